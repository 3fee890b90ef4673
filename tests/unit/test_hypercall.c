#include <criterion/criterion.h>
#include <errno.h>

#include "core/combine.h"
#include "gate.h"
#include "host_port.h"
#include "core/port.h"

static struct host_vcpu vcpu;

static void setup(void)
{
	host_vcpu_init(&vcpu, 0);
	vcpu.manual = true;
	host_enter(&vcpu);
}

TestSuite(hypercall, .init = setup, .timeout = 20);

static struct pg_sqe take(enum pg_op op)
{
	struct pg_sqe entry;

	cr_assert(host_take(&vcpu, &entry), "nothing was submitted");
	cr_assert_eq(entry.op, op);
	return entry;
}

static void expect_none(void)
{
	struct pg_sqe entry;

	cr_assert_not(host_take(&vcpu, &entry));
}

Test(hypercall, submits_and_completes)
{
	struct pg_hypercall call;
	struct pg_task task;
	struct pg_sqe entry;

	pg_hypercall_init(&call, PG_OP_READ, 3, 0x1000, 20, PG_OFFSET_STREAM);
	pg_task_spawn(&vcpu.executor, &task, &call.future, NULL);
	cr_assert(pg_hypercall_settled(&call));
	host_settle(&vcpu);
	entry = take(PG_OP_READ);
	cr_assert_eq(entry.handle, 3);
	cr_assert_eq(entry.arg[0], 0x1000);
	cr_assert_eq(entry.arg[1], 20);
	cr_assert_eq(entry.arg[2], PG_OFFSET_STREAM);
	cr_assert_eq(entry.arg[3], 0);
	cr_assert_not(pg_hypercall_settled(&call));
	pg_task_wake(&task); /* spurious */
	host_settle(&vcpu);
	expect_none();

	host_complete(&vcpu, entry.user_data, 17);
	host_settle(&vcpu);
	cr_assert(task_done(&task));
	cr_assert_eq(call.result, 17);
	cr_assert_eq(vcpu.counters.hypercalls, 1);
	cr_assert_eq(vcpu.executor.hypercalls.outstanding, 0);
}

Test(hypercall, one_doorbell_until_the_loader_moves)
{
	struct pg_hypercall calls[4];
	struct pg_task tasks[4];

	for (int i = 0; i < 4; i++) {
		pg_hypercall_init(&calls[i], PG_OP_NOP, 0);
		if (i < 3)
			pg_task_spawn(&vcpu.executor, &tasks[i], &calls[i].future, NULL);
	}
	host_settle(&vcpu);
	cr_assert_eq(vcpu.doorbells, 1);
	take(PG_OP_NOP);
	/* It has taken the one we rang for, and sleeps again (so it saw the others). */
	pg_task_spawn(&vcpu.executor, &tasks[3], &calls[3].future, NULL);
	host_settle(&vcpu);
	cr_assert_eq(vcpu.doorbells, 2);
	cr_assert_eq(vcpu.counters.doorbells, 2);
}

Test(hypercall, no_doorbell_while_the_loader_is_awake)
{
	struct pg_hypercall calls[2];
	struct pg_task tasks[2];

	pg_ring_server_wake(&vcpu.ring);
	pg_hypercall_init(&calls[0], PG_OP_NOP, 0);
	pg_task_spawn(&vcpu.executor, &tasks[0], &calls[0].future, NULL);
	host_settle(&vcpu);
	cr_assert_eq(vcpu.doorbells, 0);
	pg_ring_server_sleep(&vcpu.ring, PG_LOOK_NEVER);
	pg_hypercall_init(&calls[1], PG_OP_NOP, 0);
	pg_task_spawn(&vcpu.executor, &tasks[1], &calls[1].future, NULL);
	host_settle(&vcpu);
	cr_assert_eq(vcpu.doorbells, 1);
}

Test(hypercall, an_old_doorbell_does_not_count)
{
	struct pg_hypercall calls[3];
	struct pg_task three[3];
	uint32_t later;

	for (int i = 0; i < 3; i++)
		pg_hypercall_init(&calls[i], PG_OP_NOP, 0);
	pg_task_spawn(&vcpu.executor, &three[0], &calls[0].future, NULL);
	host_settle(&vcpu);
	take(PG_OP_NOP);
	pg_ring_server_wake(&vcpu.ring);
	pg_task_spawn(&vcpu.executor, &three[1], &calls[1].future, NULL);
	host_settle(&vcpu);
	take(PG_OP_NOP);
	/* As after two thousand million entries that found the loader awake. */
	later = vcpu.sq_head + 0x80000000u;
	atomic_store(&vcpu.ring.sq_tail, later);
	atomic_store(&vcpu.ring.sq_head, later);
	vcpu.sq_head = later;
	pg_ring_server_sleep(&vcpu.ring, PG_LOOK_NEVER);
	pg_task_spawn(&vcpu.executor, &three[2], &calls[2].future, NULL);
	host_settle(&vcpu);
	cr_assert_eq(vcpu.doorbells, 2);
}

Test(hypercall, dropped_before_submission)
{
	struct pg_hypercall call;
	struct pg_task task;

	pg_hypercall_init(&call, PG_OP_NOP, 0);
	pg_task_spawn(&vcpu.executor, &task, &call.future, NULL);
	pg_task_cancel(&task);
	host_settle(&vcpu);
	cr_assert(pg_task_cancelled(&task));
	cr_assert_eq(call.result, -ECANCELED);
	expect_none();
}

/* A cancelled task is done after both completions, in either order. */
static void cancel_in_order(bool call_first)
{
	struct pg_hypercall call;
	struct pg_task task;
	struct pg_sqe entry, cancel;

	pg_hypercall_init(&call, PG_OP_READ, 0);
	pg_task_spawn(&vcpu.executor, &task, &call.future, NULL);
	host_settle(&vcpu);
	entry = take(PG_OP_READ);
	pg_task_cancel(&task);
	host_settle(&vcpu);
	cancel = take(PG_OP_CANCEL);
	cr_assert_eq(cancel.arg[0], entry.user_data);
	cr_assert_neq(cancel.user_data, entry.user_data);
	cr_assert_not(task_done(&task));

	if (call_first)
		host_complete(&vcpu, entry.user_data, 5);
	else
		host_complete(&vcpu, cancel.user_data, 0);
	host_settle(&vcpu);
	cr_assert_not(task_done(&task), "the other completion is missing");
	cr_assert_not(pg_hypercall_settled(&call));
	pg_task_wake(&task);
	pg_task_cancel(&task);
	host_settle(&vcpu);
	cr_assert_not(task_done(&task));
	expect_none();

	if (call_first)
		host_complete(&vcpu, cancel.user_data, -ENOENT);
	else
		host_complete(&vcpu, entry.user_data, -ECANCELED);
	host_settle(&vcpu);
	cr_assert(task_done(&task));
	cr_assert(pg_task_cancelled(&task));
	cr_assert_eq(call.result, call_first ? 5 : -ECANCELED);
	cr_assert_eq(vcpu.executor.hypercalls.outstanding, 0);
}

Test(hypercall, cancelled_call_first)
{
	cancel_in_order(true);
}

Test(hypercall, cancelled_cancel_first)
{
	cancel_in_order(false);
}

Test(hypercall, completed_but_dropped_before_it_was_polled)
{
	struct pg_hypercall call;
	struct pg_task task;
	struct pg_sqe entry;

	pg_hypercall_init(&call, PG_OP_READ, 0);
	pg_task_spawn(&vcpu.executor, &task, &call.future, NULL);
	host_settle(&vcpu);
	entry = take(PG_OP_READ);
	host_complete(&vcpu, entry.user_data, 9);
	pg_task_cancel(&task);
	host_settle(&vcpu);
	cr_assert(task_done(&task));
	cr_assert(pg_task_cancelled(&task));
	expect_none();
}

Test(hypercall, ready_task_waits_for_what_it_dropped)
{
	struct pg_hypercall call;
	struct pg_timeout timeout;
	struct pg_task task;
	struct pg_sqe entry, cancel;

	host_set_clock(1000);
	pg_hypercall_init(&call, PG_OP_READ, 0);
	pg_timeout_init(&timeout, &call.future, 2000);
	pg_task_spawn(&vcpu.executor, &task, &timeout.future, NULL);
	host_settle(&vcpu);
	entry = take(PG_OP_READ);
	host_set_clock(2000);
	host_settle(&vcpu);
	cr_assert(timeout.timed_out);
	cr_assert_not(task_done(&task), "its buffers are still the loader's");
	cancel = take(PG_OP_CANCEL);
	/* Too late to be cancelled: it is READY already. */
	pg_task_cancel(&task);
	host_settle(&vcpu);
	host_complete(&vcpu, cancel.user_data, 0);
	host_complete(&vcpu, entry.user_data, -ECANCELED);
	host_settle(&vcpu);
	cr_assert(task_done(&task));
	cr_assert_not(pg_task_cancelled(&task));
}

Test(hypercall, settle)
{
	struct pg_hypercall call;
	struct pg_task task;
	struct pg_settle settle;
	struct pg_timeout timeout;
	struct pg_future *both[2] = { &timeout.future, &settle.future };
	struct pg_all all;
	struct pg_sqe entry, cancel;

	host_set_clock(1000);
	pg_hypercall_init(&call, PG_OP_READ, 0);
	pg_timeout_init(&timeout, &call.future, 2000);
	pg_settle_init(&settle, &call);
	pg_all_init(&all, both, 2);
	pg_task_spawn(&vcpu.executor, &task, &all.future, NULL);
	host_settle(&vcpu);
	entry = take(PG_OP_READ);
	host_set_clock(2000);
	host_settle(&vcpu);
	cancel = take(PG_OP_CANCEL);
	cr_assert_null(both[0]);
	cr_assert_not_null(both[1]);
	host_complete(&vcpu, cancel.user_data, 0);
	host_settle(&vcpu);
	cr_assert_not_null(both[1]);
	host_complete(&vcpu, entry.user_data, -ECANCELED);
	host_settle(&vcpu);
	cr_assert_null(both[1]);
	cr_assert(task_done(&task));
}

#define MANY 600

static struct pg_hypercall many[MANY];
static struct pg_task tasks[MANY];
static struct pg_sqe entries[MANY];

static size_t take_all(size_t count)
{
	while (host_take(&vcpu, &entries[count])) {
		cr_assert(++count < MANY);
		host_settle(&vcpu);
	}
	return count;
}

static void start_many(void)
{
	for (int i = 0; i < MANY; i++) {
		pg_hypercall_init(&many[i], PG_OP_READ, i);
		pg_task_spawn(&vcpu.executor, &tasks[i], &many[i].future, NULL);
	}
	host_settle(&vcpu);
}

Test(hypercall, more_than_the_ring_holds)
{
	size_t submitted = 0, completed = 0;
	struct pg_sqe entry;

	start_many();
	cr_assert(pg_hypercalls_stalled(&vcpu.executor.hypercalls), "the queue is full");
	while (completed < MANY) {
		while (host_take(&vcpu, &entry)) {
			cr_assert_eq(entry.handle, (int32_t)submitted, "in order");
			entries[submitted++] = entry;
			cr_assert(submitted - completed <= PG_HYPERCALL_MAX);
			host_settle(&vcpu);
		}
		cr_assert(submitted == MANY || submitted - completed == PG_HYPERCALL_MAX);
		cr_assert_not(pg_hypercalls_stalled(&vcpu.executor.hypercalls));
		host_complete(&vcpu, entries[completed].user_data, (int64_t)completed);
		completed++;
		host_settle(&vcpu);
	}
	for (int i = 0; i < MANY; i++) {
		cr_assert(task_done(&tasks[i]));
		cr_assert_eq(many[i].result, i);
	}
	cr_assert_eq(vcpu.executor.hypercalls.outstanding, 0);
}

Test(hypercall, a_full_ring_can_be_cancelled)
{
	size_t taken, answered = 0;
	unsigned cancels = 0;

	/* Operations that never end fill the ring; the loader only honours cancellations. */
	start_many();
	taken = take_all(0);
	cr_assert_eq(taken, PG_HYPERCALL_MAX);
	for (int i = 0; i < MANY; i++)
		pg_task_cancel(&tasks[i]);
	host_settle(&vcpu);
	answered = taken;
	while ((taken = take_all(taken)) > answered) {
		cr_assert_leq(vcpu.executor.hypercalls.outstanding, PG_CANCEL_MAX);
		for (; answered < taken; answered++) {
			cr_assert_eq(entries[answered].op, PG_OP_CANCEL);
			host_complete(&vcpu, entries[answered].arg[0], -ECANCELED);
			host_complete(&vcpu, entries[answered].user_data, 0);
			cancels++;
			host_settle(&vcpu);
		}
	}
	cr_assert_eq(cancels, PG_HYPERCALL_MAX, "the others never were submitted");
	for (int i = 0; i < MANY; i++) {
		cr_assert(task_done(&tasks[i]));
		cr_assert(pg_task_cancelled(&tasks[i]));
		cr_assert_eq(many[i].result, -ECANCELED);
	}
	cr_assert_eq(vcpu.executor.hypercalls.outstanding, 0);
}

Test(hypercall, answer_overtakes_a_cancellation_that_waits)
{
	size_t taken;

	start_many();
	taken = take_all(0);
	for (size_t i = 0; i < taken; i++)
		pg_task_cancel(&tasks[i]);
	host_settle(&vcpu);
	/* Some cancellations wait for room; the last call is one of theirs. */
	cr_assert_eq(many[taken - 1].cancel, PG_CANCEL_QUEUED);
	host_complete(&vcpu, entries[taken - 1].user_data, 4);
	host_settle(&vcpu);
	cr_assert(task_done(&tasks[taken - 1]), "no cancellation to wait for");
	cr_assert_eq(many[taken - 1].result, 4);
}

/* From the first poll until it is settled, a hypercall keeps its task on this vCPU. */
Test(hypercall, pins_its_task)
{
	struct pg_hypercall call;
	struct pg_task task;
	struct pg_sqe entry;

	pg_hypercall_init(&call, PG_OP_NOP, 0);
	pg_task_spawn(&vcpu.executor, &task, &call.future, NULL);
	cr_assert_not(pg_task_pinned(&task));
	host_settle(&vcpu);
	cr_assert(pg_task_pinned(&task));
	pg_task_cancel(&task);
	host_settle(&vcpu);
	cr_assert(pg_task_pinned(&task), "neither completion is there");
	entry = take(PG_OP_NOP);
	host_complete(&vcpu, entry.user_data, 0);
	host_settle(&vcpu);
	cr_assert(pg_task_pinned(&task), "the cancellation's is not there");
	cr_assert_not(task_done(&task));
	entry = take(PG_OP_CANCEL);
	host_complete(&vcpu, entry.user_data, -ENOENT);
	host_settle(&vcpu);
	cr_assert(task_done(&task));
	cr_assert_not(pg_task_pinned(&task));
}

/* Also while it waits for room. */
Test(hypercall, pins_its_task_without_room)
{
	struct pg_hypercall call;
	struct pg_task task;

	start_many();
	pg_hypercall_init(&call, PG_OP_NOP, 0);
	pg_task_spawn(&vcpu.executor, &task, &call.future, NULL);
	host_settle(&vcpu);
	cr_assert_eq(call.state, PG_HYPERCALL_QUEUED);
	cr_assert(pg_task_pinned(&task));
	pg_task_cancel(&task);
	host_settle(&vcpu);
	cr_assert(task_done(&task));
	cr_assert_not(pg_task_pinned(&task));
}

Test(hypercall, indices_wrap_around)
{
	struct pg_hypercall call;
	struct pg_task task;
	struct pg_sqe entry;
	const uint32_t start = UINT32_MAX - 3;

	atomic_store(&vcpu.ring.sq_tail, start);
	atomic_store(&vcpu.ring.sq_head, start);
	atomic_store(&vcpu.ring.cq_tail, start);
	atomic_store(&vcpu.ring.cq_head, start);
	vcpu.sq_head = start;
	vcpu.cq_tail = start;
	for (unsigned i = 1; i <= 8; i++) {
		pg_hypercall_init(&call, PG_OP_NOP, 0);
		pg_task_spawn(&vcpu.executor, &task, &call.future, NULL);
		host_settle(&vcpu);
		cr_assert_eq(vcpu.doorbells, i, "each entry finds the loader asleep");
		entry = take(PG_OP_NOP);
		host_complete(&vcpu, entry.user_data, i);
		host_settle(&vcpu);
		cr_assert(task_done(&task));
		cr_assert_eq(call.result, i);
	}
}
