#include <criterion/criterion.h>
#include <string.h>

#include "gate.h"
#include "host_port.h"

static struct host_vcpu vcpu;
static unsigned done_calls;

static void setup(void)
{
	host_vcpu_init(&vcpu, 0);
	host_enter(&vcpu);
}

TestSuite(task, .init = setup, .timeout = 10);

static void count_done(struct pg_task *task)
{
	cr_assert(task_done(task));
	done_calls++;
}

Test(task, runs_to_done)
{
	struct pg_task task;
	struct gate gate;

	gate_init(&gate);
	gate.open = true;
	pg_task_spawn(&vcpu.executor, &task, &gate.future, count_done);
	cr_assert_eq(gate.polls, 0, "spawning only enqueues");
	host_settle(&vcpu);
	cr_assert(task_done(&task));
	cr_assert_not(pg_task_cancelled(&task));
	cr_assert_eq(gate.polls, 1);
	cr_assert_eq(gate.drops, 0);
	cr_assert_eq(done_calls, 1);
	cr_assert_eq(vcpu.counters.tasks, 1);
	cr_assert_eq(vcpu.counters.polls, 1);
}

Test(task, wakes_add_up_to_one_poll)
{
	struct pg_task task;
	struct gate gate;

	gate_init(&gate);
	pg_task_spawn(&vcpu.executor, &task, &gate.future, NULL);
	pg_task_wake(&task);
	host_settle(&vcpu);
	cr_assert_eq(gate.polls, 1);
	pg_task_wake(&task);
	pg_task_wake(&task);
	pg_task_wake(&task);
	cr_assert_eq(gate.polls, 1, "waking does not poll");
	host_settle(&vcpu);
	cr_assert_eq(gate.polls, 2);
	host_settle(&vcpu);
	cr_assert_eq(gate.polls, 2, "nobody woke it");
}

static void wake_twice_in_first_poll(struct gate *gate)
{
	if (gate->polls == 1) {
		pg_task_wake(gate->waker);
		pg_task_wake(gate->waker);
	}
}

Test(task, wake_during_poll_requeues_once)
{
	struct pg_task task;
	struct gate gate;

	gate_init(&gate);
	gate.hook = wake_twice_in_first_poll;
	pg_task_spawn(&vcpu.executor, &task, &gate.future, NULL);
	cr_assert(pg_executor_step(&vcpu.executor));
	cr_assert_eq(gate.polls, 1, "the second poll is in the next batch");
	cr_assert(pg_executor_step(&vcpu.executor));
	cr_assert_eq(gate.polls, 2);
	cr_assert_not(pg_executor_step(&vcpu.executor));
}

Test(task, transitions)
{
	const struct {
		uint32_t state;
		enum pg_wake wake;
	} wakes[] = {
		{ 0, PG_WAKE_ENQUEUE },
		{ PG_TASK_CANCEL, PG_WAKE_ENQUEUE },
		{ PG_TASK_QUEUED, PG_WAKE_NOTHING },
		{ PG_TASK_RUNNING, PG_WAKE_NOTHING },
		{ PG_TASK_RUNNING | PG_TASK_QUEUED, PG_WAKE_NOTHING },
		{ PG_TASK_DONE, PG_WAKE_NOTHING },
	};
	struct pg_task task;

	for (size_t i = 0; i < sizeof(wakes) / sizeof(wakes[0]); i++) {
		atomic_init(&task.state, wakes[i].state);
		cr_assert_eq(pg_task_mark_queued(&task), wakes[i].wake, "state %#x",
			     wakes[i].state);
		cr_assert_eq(atomic_load(&task.state), wakes[i].state | PG_TASK_QUEUED);
	}
	for (uint32_t cancel = 0; cancel <= PG_TASK_CANCEL; cancel += PG_TASK_CANCEL) {
		atomic_init(&task.state, PG_TASK_QUEUED | cancel);
		cr_assert_eq(pg_task_begin(&task), cancel ? PG_TASK_DROP : PG_TASK_POLL);
		cr_assert_eq(atomic_load(&task.state), PG_TASK_RUNNING | cancel);
		cr_assert_eq(pg_task_end(&task), PG_TASK_IDLE);
		cr_assert_eq(atomic_load(&task.state), cancel);
		atomic_init(&task.state, PG_TASK_RUNNING | PG_TASK_QUEUED | cancel);
		cr_assert_eq(pg_task_end(&task), PG_TASK_REQUEUE);
		cr_assert_eq(atomic_load(&task.state), PG_TASK_QUEUED | cancel);
	}
}

Test(task, cancel_before_first_poll)
{
	struct pg_task task;
	struct gate gate;

	gate_init(&gate);
	pg_task_spawn(&vcpu.executor, &task, &gate.future, count_done);
	pg_task_cancel(&task);
	host_settle(&vcpu);
	cr_assert(task_done(&task));
	cr_assert(pg_task_cancelled(&task));
	cr_assert_eq(gate.polls, 0);
	cr_assert_eq(gate.drops, 1);
	cr_assert_eq(done_calls, 1);
}

Test(task, cancel_while_waiting)
{
	struct pg_task task;
	struct gate gate;

	gate_init(&gate);
	pg_task_spawn(&vcpu.executor, &task, &gate.future, count_done);
	host_settle(&vcpu);
	pg_task_cancel(&task);
	cr_assert_eq(gate.drops, 0, "the executor drops, not the caller");
	pg_task_cancel(&task);
	host_settle(&vcpu);
	cr_assert(pg_task_cancelled(&task));
	cr_assert_eq(gate.polls, 1);
	cr_assert_eq(gate.drops, 1);
	pg_task_cancel(&task);
	host_settle(&vcpu);
	cr_assert_eq(done_calls, 1);
}

static void cancel_self(struct gate *gate)
{
	pg_task_cancel(gate->waker);
}

Test(task, ready_wins_over_cancel)
{
	struct pg_task task;
	struct gate gate;

	gate_init(&gate);
	gate.hook = cancel_self;
	gate.open = true;
	pg_task_spawn(&vcpu.executor, &task, &gate.future, count_done);
	host_settle(&vcpu);
	cr_assert(task_done(&task));
	cr_assert_not(pg_task_cancelled(&task));
	cr_assert_eq(gate.drops, 0);
	cr_assert_eq(done_calls, 1);
}

Test(task, cancel_in_poll_that_is_pending)
{
	struct pg_task task;
	struct gate gate;

	gate_init(&gate);
	gate.hook = cancel_self;
	pg_task_spawn(&vcpu.executor, &task, &gate.future, NULL);
	host_settle(&vcpu);
	cr_assert(pg_task_cancelled(&task));
	cr_assert_eq(gate.polls, 1);
	cr_assert_eq(gate.drops, 1);
}

Test(task, joiners)
{
	struct pg_task task, joiners[3], late;
	struct pg_join joins[3], late_join;
	struct gate gate;

	gate_init(&gate);
	pg_task_spawn(&vcpu.executor, &task, &gate.future, NULL);
	for (int i = 0; i < 3; i++) {
		pg_join_init(&joins[i], &task);
		pg_task_spawn(&vcpu.executor, &joiners[i], &joins[i].future, NULL);
	}
	host_settle(&vcpu);
	for (int i = 0; i < 3; i++) {
		pg_task_wake(&joiners[i]); /* spurious */
		cr_assert_not(task_done(&joiners[i]));
	}
	host_settle(&vcpu);
	pg_task_cancel(&joiners[1]);
	host_settle(&vcpu);
	cr_assert(pg_task_cancelled(&joiners[1]));

	gate_open(&gate);
	host_settle(&vcpu);
	cr_assert(task_done(&task));
	cr_assert(task_done(&joiners[0]) && !pg_task_cancelled(&joiners[0]));
	cr_assert(task_done(&joiners[2]) && !pg_task_cancelled(&joiners[2]));

	pg_join_init(&late_join, &task);
	pg_task_spawn(&vcpu.executor, &late, &late_join.future, NULL);
	host_settle(&vcpu);
	cr_assert(task_done(&late));
}

static struct pg_task reused;
static struct gate reused_gate;

static void reuse(struct pg_task *task)
{
	if (++done_calls == 100)
		return;
	/* The memory is ours again: scribble, and start over. */
	memset(task, 0xff, sizeof(*task));
	gate_init(&reused_gate);
	reused_gate.open = true;
	pg_task_spawn(&vcpu.executor, task, &reused_gate.future, reuse);
}

Test(task, done_may_reuse_the_memory)
{
	gate_init(&reused_gate);
	reused_gate.open = true;
	pg_task_spawn(&vcpu.executor, &reused, &reused_gate.future, reuse);
	host_settle(&vcpu);
	cr_assert_eq(done_calls, 100);
}

Test(task, foreign_thread_uses_the_inbox)
{
	struct pg_task task;
	struct gate gate;

	gate_init(&gate);
	host_enter(NULL);
	pg_task_spawn(&vcpu.executor, &task, &gate.future, NULL);
	cr_assert_eq(atomic_load(&vcpu.executor.inbox), &task);
	cr_assert(pg_runq_empty(&vcpu.executor.runq));
	host_enter(&vcpu);
	host_settle(&vcpu);
	cr_assert_eq(gate.polls, 1);
	gate_open(&gate);
	host_settle(&vcpu);
	cr_assert(task_done(&task));
}
