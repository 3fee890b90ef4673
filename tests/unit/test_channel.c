#include <criterion/criterion.h>
#include <stdint.h>

#include "core/async.h"
#include "core/channel.h"
#include "core/combine.h"
#include "gate.h"
#include "host_port.h"

#define SLOTS 2
#define TASKS 3

static struct host_vcpu vcpu;
static struct pg_channel channel;
static void *slots[SLOTS];
static struct pg_send sends[TASKS];
static struct pg_receive receives[TASKS];
static struct pg_task senders[TASKS], receivers[TASKS];

static void setup(void)
{
	host_vcpu_init(&vcpu, 0);
	host_enter(&vcpu);
	pg_channel_init(&channel, slots, SLOTS);
}

TestSuite(channel, .init = setup, .timeout = 30);

static void *item(uintptr_t number)
{
	return (void *)number;
}

static void start_send(int i, uintptr_t number)
{
	pg_send_init(&sends[i], &channel, item(number));
	pg_task_spawn(&vcpu.executor, &senders[i], &sends[i].future, NULL);
}

static void start_receive(int i)
{
	pg_receive_init(&receives[i], &channel);
	pg_task_spawn(&vcpu.executor, &receivers[i], &receives[i].future, NULL);
}

static void expect_received(int i, uintptr_t number)
{
	host_settle(&vcpu);
	cr_assert(task_done(&receivers[i]));
	cr_assert_not(pg_task_cancelled(&receivers[i]));
	cr_assert_eq(receives[i].result, 0);
	cr_assert_eq(receives[i].item, item(number));
}

static void nothing_is_registered(void)
{
	cr_assert_null(channel.senders.head);
	cr_assert_null(channel.receivers.head);
}

/* ---- without waiting ---- */

Test(channel, try_in_order)
{
	void *got = item(99);

	cr_assert_eq(pg_channel_try_receive(&channel, &got), -PG_EAGAIN);
	cr_assert_eq(got, item(99));
	/* Twice round the ring. */
	for (uintptr_t i = 0; i < 5; i++) {
		cr_assert_eq(pg_channel_try_send(&channel, item(2 * i)), 0);
		cr_assert_eq(pg_channel_try_send(&channel, item(2 * i + 1)), 0);
		cr_assert_eq(pg_channel_try_send(&channel, item(77)), -PG_EAGAIN);
		cr_assert_eq(pg_channel_try_receive(&channel, &got), 0);
		cr_assert_eq(got, item(2 * i));
		cr_assert_eq(pg_channel_try_receive(&channel, &got), 0);
		cr_assert_eq(got, item(2 * i + 1));
	}
	cr_assert_eq(pg_channel_try_receive(&channel, &got), -PG_EAGAIN);
}

Test(channel, try_after_close)
{
	void *got;

	cr_assert_eq(pg_channel_try_send(&channel, item(1)), 0);
	pg_channel_close(&channel);
	pg_channel_close(&channel);
	cr_assert_eq(pg_channel_try_send(&channel, item(2)), -PG_EPIPE);
	cr_assert_eq(pg_channel_try_receive(&channel, &got), 0);
	cr_assert_eq(got, item(1));
	cr_assert_eq(pg_channel_try_receive(&channel, &got), -PG_EPIPE);
}

/* ---- waiting ---- */

Test(channel, receive_waits_for_an_item)
{
	start_receive(0);
	host_settle(&vcpu);
	cr_assert_not(task_done(&receivers[0]));
	pg_task_wake(&receivers[0]); /* a spurious poll registers nothing twice */
	host_settle(&vcpu);
	start_send(0, 5);
	expect_received(0, 5);
	cr_assert(task_done(&senders[0]));
	cr_assert_eq(sends[0].result, 0);
	nothing_is_registered();
}

Test(channel, send_waits_for_room)
{
	void *got;

	for (int i = 0; i < 3; i++)
		start_send(i, (uintptr_t)i + 1);
	host_settle(&vcpu);
	cr_assert(task_done(&senders[0]) && task_done(&senders[1]));
	cr_assert_not(task_done(&senders[2]));
	pg_task_wake(&senders[2]);
	host_settle(&vcpu);
	for (uintptr_t i = 1; i <= 3; i++) {
		cr_assert_eq(pg_channel_try_receive(&channel, &got), 0);
		cr_assert_eq(got, item(i));
		host_settle(&vcpu);
	}
	cr_assert(task_done(&senders[2]));
	nothing_is_registered();
}

Test(channel, close_ends_waiting_receivers)
{
	for (int i = 0; i < TASKS; i++)
		start_receive(i);
	host_settle(&vcpu);
	pg_channel_close(&channel);
	host_settle(&vcpu);
	for (int i = 0; i < TASKS; i++) {
		cr_assert(task_done(&receivers[i]));
		cr_assert_eq(receives[i].result, -PG_EPIPE);
		cr_assert_null(receives[i].item);
	}
	nothing_is_registered();
}

Test(channel, close_ends_waiting_senders_and_keeps_items)
{
	for (int i = 0; i < 3; i++)
		start_send(i, (uintptr_t)i + 1);
	host_settle(&vcpu);
	pg_channel_close(&channel);
	host_settle(&vcpu);
	cr_assert(task_done(&senders[2]));
	cr_assert_eq(sends[2].result, -PG_EPIPE);
	start_receive(0);
	start_receive(1);
	start_receive(2);
	expect_received(0, 1);
	expect_received(1, 2);
	cr_assert_eq(receives[2].result, -PG_EPIPE);
	nothing_is_registered();
}

/* Somebody was faster: whoever was woken waits again, and is woken again. */
Test(channel, a_wake_up_for_nothing)
{
	void *got;

	start_receive(0);
	host_settle(&vcpu);
	cr_assert_eq(pg_channel_try_send(&channel, item(1)), 0);
	cr_assert_eq(pg_channel_try_receive(&channel, &got), 0);
	host_settle(&vcpu);
	cr_assert_not(task_done(&receivers[0]));
	cr_assert_eq(pg_channel_try_send(&channel, item(2)), 0);
	expect_received(0, 2);
}

Test(channel, an_unused_wake_up_is_passed_on_by_a_receiver)
{
	start_receive(0);
	start_receive(1);
	host_settle(&vcpu);
	cr_assert_eq(pg_channel_try_send(&channel, item(1)), 0);
	pg_task_cancel(&receivers[0]); /* chosen, but not polled since */
	expect_received(1, 1);
	cr_assert(pg_task_cancelled(&receivers[0]));
	nothing_is_registered();
}

Test(channel, an_unused_wake_up_is_passed_on_by_a_sender)
{
	void *got;

	cr_assert_eq(pg_channel_try_send(&channel, item(1)), 0);
	cr_assert_eq(pg_channel_try_send(&channel, item(2)), 0);
	start_send(0, 3);
	start_send(1, 4);
	host_settle(&vcpu);
	cr_assert_eq(pg_channel_try_receive(&channel, &got), 0);
	pg_task_cancel(&senders[0]);
	host_settle(&vcpu);
	cr_assert(pg_task_cancelled(&senders[0]));
	cr_assert(task_done(&senders[1]) && !pg_task_cancelled(&senders[1]));
	for (uintptr_t i = 2; i <= 4; i += 2) {
		cr_assert_eq(pg_channel_try_receive(&channel, &got), 0);
		cr_assert_eq(got, item(i), "what was cancelled has not been sent");
	}
	nothing_is_registered();
}

Test(channel, dropped_before_the_first_poll)
{
	pg_send_init(&sends[0], &channel, item(1));
	pg_receive_init(&receives[0], &channel);
	pg_future_drop(&sends[0].future);
	pg_future_drop(&receives[0].future);
	cr_assert_eq(channel.count, 0);
	nothing_is_registered();
}

Test(channel, a_receive_that_times_out)
{
	struct pg_timeout timeout;
	void *got;

	host_set_clock(1000);
	pg_receive_init(&receives[0], &channel);
	pg_timeout_init(&timeout, &receives[0].future, 2000);
	pg_task_spawn(&vcpu.executor, &receivers[0], &timeout.future, NULL);
	host_settle(&vcpu);
	host_set_clock(2000);
	host_settle(&vcpu);
	cr_assert(task_done(&receivers[0]));
	cr_assert(timeout.timed_out);
	nothing_is_registered();
	/* It takes nothing any more. */
	cr_assert_eq(pg_channel_try_send(&channel, item(1)), 0);
	cr_assert_eq(pg_channel_try_receive(&channel, &got), 0);
	host_set_clock(0);
}

/*
 * Every order: two senders, two receivers, the cancellation of one task, and a close, in each of
 * the 720 orders, with and without polls in between. Whatever the order: what was sent
 * is received once or left in the channel, nothing waits that could go on, nothing hangs.
 */
enum step {
	SEND_A,
	SEND_B,
	RECEIVE_A,
	RECEIVE_B,
	CANCEL,
	CLOSE,
	STEPS
};

struct model {
	bool started[4]; /* by enum step */
	bool closed;
	struct pg_task *tasks[4];
};

static void take_step(struct model *model, enum step step, int victim)
{
	switch (step) {
	case SEND_A:
	case SEND_B:
		start_send((int)step, step + 1u);
		break;
	case RECEIVE_A:
	case RECEIVE_B:
		start_receive(step - RECEIVE_A);
		break;
	case CANCEL:
		if (model->started[victim])
			pg_task_cancel(model->tasks[victim]);
		return;
	case CLOSE:
		pg_channel_close(&channel);
		model->closed = true;
		return;
	case STEPS:
		return;
	}
	model->started[step] = true;
}

static void check(const struct model *model)
{
	unsigned sent = 0, received = 0, left = 0; /* bit masks of items */
	void *got;

	host_settle(&vcpu);
	for (int i = 0; i < 2; i++) {
		if (task_done(&senders[i]) && !pg_task_cancelled(&senders[i]) &&
		    sends[i].result == 0)
			sent |= 1u << (i + 1);
		if (task_done(&receivers[i]) && !pg_task_cancelled(&receivers[i]) &&
		    receives[i].result == 0) {
			unsigned bit = 1u << (uintptr_t)receives[i].item;

			cr_assert_eq(received & bit, 0, "received twice");
			received |= bit;
		}
	}
	if (model->closed) {
		for (int i = 0; i < 4; i++)
			cr_assert(task_done(model->tasks[i]), "task %d hangs", i);
	}
	/* Nobody waits for what there is. */
	cr_assert(channel.count == 0 || !channel.receivers.head);
	cr_assert(channel.count == channel.capacity || !channel.senders.head);
	while (pg_channel_try_receive(&channel, &got) == 0) {
		left |= 1u << (uintptr_t)got;
		host_settle(&vcpu);
	}
	for (int i = 0; i < 2; i++) {
		if (task_done(&senders[i]) && !pg_task_cancelled(&senders[i]) &&
		    sends[i].result == 0)
			sent |= 1u << (i + 1);
	}
	cr_assert_eq(received & left, 0);
	cr_assert_eq(received | left, sent, "received %x, left %x, sent %x", received, left, sent);
}

static void run_order(const int *order, size_t capacity, int victim, unsigned polls)
{
	struct model model = { .tasks = { &senders[0], &senders[1], &receivers[0],
					  &receivers[1] } };

	pg_channel_init(&channel, slots, capacity);
	for (int i = 0; i < STEPS; i++) {
		take_step(&model, (enum step)order[i], victim);
		if (polls & 1u << i)
			host_settle(&vcpu);
	}
	check(&model);
	nothing_is_registered();
}

static unsigned orders;

/* All permutations of order[at..]. */
static void permute(int *order, int at)
{
	if (at == STEPS) {
		orders++;
		for (int victim = 0; victim < 4; victim++) {
			for (unsigned polls = 0; polls < 1u << STEPS; polls += 3)
				run_order(order, 1 + polls % 2, victim, polls);
		}
		return;
	}
	for (int i = at; i < STEPS; i++) {
		int first = order[at];

		order[at] = order[i];
		order[i] = first;
		permute(order, at + 1);
		order[i] = order[at];
		order[at] = first;
	}
}

Test(channel, every_order)
{
	int order[STEPS] = { SEND_A, SEND_B, RECEIVE_A, RECEIVE_B, CANCEL, CLOSE };

	permute(order, 0);
	cr_assert_eq(orders, 720);
}

/* ---- several vCPUs ---- */

#define VCPUS 3
#define ITEMS 4000 /* of each producer */

static struct host_vcpu vcpus[VCPUS];
static _Atomic int unfinished;

struct producer {
	struct pg_async async;
	struct pg_task task;
	struct pg_send send;
	uintptr_t base, sent;
};

struct consumer {
	struct pg_async async;
	struct pg_task task;
	struct pg_receive receive;
	uintptr_t last[VCPUS]; /* of each producer */
	uint64_t count, sum;
	bool disorder;
};

static struct producer producers[VCPUS];
static struct consumer consumers[VCPUS];

static void finished(struct pg_task *task)
{
	int left = atomic_fetch_sub(&unfinished, 1) - 1;

	if (left == VCPUS) /* the producers are through */
		pg_channel_close(&channel);
	for (int i = 0; i < VCPUS && left == 0; i++)
		pg_executor_stop(&vcpus[i].executor);
}

PG_ASYNC static enum pg_poll produce(struct pg_future *future, struct pg_task *waker)
{
	struct producer *self = pg_container_of(future, struct producer, async.future);

	PG_BEGIN(&self->async);
	for (self->sent = 1; self->sent <= ITEMS; self->sent++) {
		pg_send_init(&self->send, &channel, item(self->base + self->sent));
		PG_AWAIT(&self->async, &self->send.future, waker);
	}
	PG_END(&self->async);
}

PG_ASYNC static enum pg_poll consume(struct pg_future *future, struct pg_task *waker)
{
	struct consumer *self = pg_container_of(future, struct consumer, async.future);
	uintptr_t got;

	PG_BEGIN(&self->async);
	for (;;) {
		pg_receive_init(&self->receive, &channel);
		PG_AWAIT(&self->async, &self->receive.future, waker);
		if (self->receive.result)
			break;
		got = (uintptr_t)self->receive.item;
		/* What one producer sends arrives in its order, also at each single consumer. */
		if (got % 10000 <= self->last[got / 10000])
			self->disorder = true;
		self->last[got / 10000] = got % 10000;
		self->count++;
		self->sum += got;
	}
	PG_END(&self->async);
}

static void *run(void *argument)
{
	struct host_vcpu *self = argument;

	host_enter(self);
	pg_executor_run(&self->executor);
	return NULL;
}

Test(channel, many_to_many, .timeout = 120)
{
	static const struct pg_future_ops produce_ops = { produce, pg_async_drop };
	static const struct pg_future_ops consume_ops = { consume, pg_async_drop };
	pthread_t threads[VCPUS];
	uint64_t count = 0, sum = 0, expected = 0;

	atomic_store(&unfinished, 2 * VCPUS);
	for (int i = 0; i < VCPUS; i++)
		host_vcpu_init(&vcpus[i], 0);
	for (int i = 0; i < VCPUS; i++) {
		producers[i].base = 10000u * (unsigned)i;
		pg_async_init(&producers[i].async, &produce_ops);
		pg_async_init(&consumers[i].async, &consume_ops);
		pg_task_spawn(&vcpus[i].executor, &producers[i].task, &producers[i].async.future,
			      finished);
		pg_task_spawn(&vcpus[(i + 1) % VCPUS].executor, &consumers[i].task,
			      &consumers[i].async.future, finished);
	}
	for (int i = 0; i < VCPUS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, run, &vcpus[i]), 0);
	for (int i = 0; i < VCPUS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < VCPUS; i++) {
		for (unsigned n = 1; n <= ITEMS; n++)
			expected += producers[i].base + n;
		count += consumers[i].count;
		sum += consumers[i].sum;
		cr_assert_not(consumers[i].disorder);
	}
	cr_assert_eq(count, VCPUS * ITEMS);
	cr_assert_eq(sum, expected);
	nothing_is_registered();
}
