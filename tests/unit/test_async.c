#include <criterion/criterion.h>

#include "core/async.h"
#include "gate.h"
#include "host_port.h"

static struct host_vcpu vcpu;

static void setup(void)
{
	host_vcpu_init(&vcpu, 0);
	host_enter(&vcpu);
}

TestSuite(async, .init = setup, .timeout = 10);

#define STEPS 5

struct steps {
	struct pg_async async;
	struct gate gates[STEPS];
	int step;
	int trace;
	bool early;
};

/* An await in a loop, one in a switch, two on a line, a yield, an early return. */
PG_ASYNC static enum pg_poll steps_poll(struct pg_future *future, struct pg_task *waker)
{
	struct steps *self = pg_container_of(future, struct steps, async.future);

	PG_BEGIN(&self->async);
	for (self->step = 0; self->step < 2; self->step++) {
		PG_AWAIT(&self->async, &self->gates[self->step].future, waker);
		self->trace = self->trace * 10 + self->step + 1;
	}
	switch (self->step) {
	case 2:
		PG_AWAIT(&self->async, &self->gates[2].future, waker);
		self->trace = self->trace * 10 + 3;
		break;
	default:
		self->trace = -1;
	}
	if (self->early)
		PG_RETURN(&self->async);
	PG_YIELD(&self->async, waker);
	self->trace = self->trace * 10 + 9;
	/* clang-format off */
	PG_AWAIT(&self->async, &self->gates[3].future, waker); PG_AWAIT(&self->async, &self->gates[4].future, waker);
	/* clang-format on */
	self->trace = self->trace * 10 + 5;
	PG_END(&self->async);
}

static const struct pg_future_ops steps_ops = { steps_poll, pg_async_drop };

static void steps_init(struct steps *steps)
{
	*steps = (struct steps){ .step = 0 };
	pg_async_init(&steps->async, &steps_ops);
	for (int i = 0; i < STEPS; i++)
		gate_init(&steps->gates[i]);
}

Test(async, waits_at_each_step)
{
	const int traces[STEPS] = { 0, 1, 12, 1239, 1239 };
	struct steps steps;
	struct pg_task task;

	steps_init(&steps);
	pg_task_spawn(&vcpu.executor, &task, &steps.async.future, NULL);
	for (int i = 0; i < STEPS; i++) {
		host_settle(&vcpu);
		cr_assert_not(task_done(&task));
		cr_assert_eq(steps.trace, traces[i], "step %d: %d", i, steps.trace);
		pg_task_wake(&task); /* spurious */
		host_settle(&vcpu);
		cr_assert_eq(steps.trace, traces[i]);
		cr_assert_eq(steps.gates[i].polls, 2);
		gate_open(&steps.gates[i]);
	}
	host_settle(&vcpu);
	cr_assert(task_done(&task));
	cr_assert_eq(steps.trace, 12395);
}

Test(async, runs_through_when_all_is_ready)
{
	struct steps steps;
	struct pg_task task;

	steps_init(&steps);
	for (int i = 0; i < STEPS; i++)
		steps.gates[i].open = true;
	pg_task_spawn(&vcpu.executor, &task, &steps.async.future, NULL);
	cr_assert(pg_executor_step(&vcpu.executor));
	cr_assert_eq(steps.trace, 123, "up to the yield");
	cr_assert_not(task_done(&task));
	cr_assert(pg_executor_step(&vcpu.executor));
	cr_assert(task_done(&task));
	cr_assert_eq(steps.trace, 12395);
}

Test(async, returns_early)
{
	struct steps steps;
	struct pg_task task;

	steps_init(&steps);
	steps.early = true;
	for (int i = 0; i < STEPS; i++)
		steps.gates[i].open = true;
	pg_task_spawn(&vcpu.executor, &task, &steps.async.future, NULL);
	host_settle(&vcpu);
	cr_assert(task_done(&task));
	cr_assert_eq(steps.trace, 123);
	cr_assert_eq(steps.gates[3].polls, 0);
}

Test(async, drop_reaches_what_is_awaited)
{
	for (int at = 0; at < STEPS; at++) {
		struct steps steps;
		struct pg_task task;

		steps_init(&steps);
		for (int i = 0; i < at; i++)
			steps.gates[i].open = true;
		pg_task_spawn(&vcpu.executor, &task, &steps.async.future, NULL);
		host_settle(&vcpu);
		pg_task_cancel(&task);
		host_settle(&vcpu);
		cr_assert(pg_task_cancelled(&task));
		for (int i = 0; i < STEPS; i++)
			cr_assert_eq(steps.gates[i].drops, i == at, "at %d, gate %d", at, i);
	}
}

Test(async, drop_before_start_and_between_awaits)
{
	struct steps steps;
	struct pg_task task;

	steps_init(&steps);
	pg_task_spawn(&vcpu.executor, &task, &steps.async.future, NULL);
	pg_task_cancel(&task);
	host_settle(&vcpu);
	cr_assert(pg_task_cancelled(&task));

	steps_init(&steps);
	for (int i = 0; i < 3; i++)
		steps.gates[i].open = true;
	pg_task_spawn(&vcpu.executor, &task, &steps.async.future, NULL);
	cr_assert(pg_executor_step(&vcpu.executor));
	pg_task_cancel(&task); /* it stands at the yield */
	host_settle(&vcpu);
	cr_assert(pg_task_cancelled(&task));
	for (int i = 0; i < STEPS; i++)
		cr_assert_eq(steps.gates[i].drops, 0);
}
