#include <criterion/criterion.h>
#include <sched.h>
#include <time.h>

#include "gate.h"
#include "host_port.h"
#include "core/port.h"

static struct host_vcpu vcpu;

static void setup(void)
{
	host_vcpu_init(&vcpu, 0);
	host_enter(&vcpu);
}

TestSuite(executor, .init = setup, .timeout = 20);

static int order[16];
static int ordered;

static void note(struct gate *gate)
{
	order[ordered++] = *(int *)gate->context;
}

static void note_and_wake(struct gate *gate)
{
	note(gate);
	pg_task_wake(gate->waker);
}

Test(executor, self_wakes_starve_nobody)
{
	int names[3] = { 0, 1, 2 };
	struct pg_task tasks[3];
	struct gate gates[3];

	for (int i = 0; i < 3; i++) {
		gate_init(&gates[i]);
		gates[i].hook = note_and_wake;
		gates[i].context = &names[i];
		pg_task_spawn(&vcpu.executor, &tasks[i], &gates[i].future, NULL);
	}
	for (int batch = 1; batch <= 4; batch++) {
		cr_assert(pg_executor_step(&vcpu.executor));
		cr_assert_eq(ordered, 3 * batch, "each exactly once in a batch");
	}
	for (int i = 0; i < ordered; i++)
		cr_assert_eq(order[i], i % 3);
}

Test(executor, inbox_keeps_the_order)
{
	int names[5] = { 0, 1, 2, 3, 4 };
	struct pg_task tasks[5];
	struct gate gates[5];

	host_enter(NULL);
	for (int i = 0; i < 5; i++) {
		gate_init(&gates[i]);
		gates[i].hook = note;
		gates[i].context = &names[i];
		pg_task_spawn(&vcpu.executor, &tasks[i], &gates[i].future, NULL);
	}
	cr_assert_eq(atomic_load(&vcpu.kicks), 0, "it is not parked");
	host_enter(&vcpu);
	cr_assert(pg_executor_step(&vcpu.executor));
	cr_assert_eq(ordered, 5);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(order[i], i);
	cr_assert_not(pg_executor_step(&vcpu.executor));
}

Test(executor, completions_are_taken_between_batches)
{
	int busy_name = 0;
	struct pg_task busy, task;
	struct gate gate;
	struct pg_hypercall call;
	struct pg_sqe entry;

	vcpu.manual = true;
	gate_init(&gate);
	gate.context = &busy_name;
	gate.hook = note_and_wake;
	pg_task_spawn(&vcpu.executor, &busy, &gate.future, NULL);
	pg_hypercall_init(&call, PG_OP_NOP, 0);
	pg_task_spawn(&vcpu.executor, &task, &call.future, NULL);
	cr_assert(pg_executor_step(&vcpu.executor));
	cr_assert(host_take(&vcpu, &entry));
	host_complete(&vcpu, entry.user_data, 0);
	cr_assert(pg_executor_step(&vcpu.executor));
	cr_assert(task_done(&task), "one batch later, in spite of the busy task");
}

static void stop(struct pg_task *task)
{
	pg_executor_stop(task->executor);
}

Test(executor, parks_until_the_deadline)
{
	struct pg_sleep sleep;
	struct pg_task task;
	uint64_t until = pg_port_now() + 20000000;

	pg_sleep_init(&sleep, until);
	pg_task_spawn(&vcpu.executor, &task, &sleep.future, stop);
	pg_executor_run(&vcpu.executor);
	cr_assert(task_done(&task));
	cr_assert(pg_port_now() >= until);
	cr_assert_eq(vcpu.counters.parks, 1);
	cr_assert_eq(vcpu.executor.hypercalls.outstanding, 0);
	cr_assert_eq(atomic_load(&vcpu.ring.parked), 0);
}

static struct pg_task late_task;
static struct gate late_gate;

/* Another vCPU's wake-up, at the last moment before `parked` is published. */
static void wake_unseen(struct host_vcpu *self)
{
	host_enter(NULL);
	gate_init(&late_gate);
	late_gate.open = true;
	pg_task_spawn(&self->executor, &late_task, &late_gate.future, stop);
	host_enter(self);
}

Test(executor, last_look_before_parking)
{
	struct pg_sleep sleep;
	struct pg_task task;

	vcpu.manual = true; /* nobody answers: a park would last for ever */
	vcpu.on_doorbell = wake_unseen;
	pg_sleep_init(&sleep, pg_port_now() + 3600000000000);
	pg_task_spawn(&vcpu.executor, &task, &sleep.future, NULL);
	pg_executor_run(&vcpu.executor);
	cr_assert(task_done(&late_task));
	cr_assert_eq(vcpu.counters.parks, 0);
	cr_assert_eq(atomic_load(&vcpu.kicks), 0);
	cr_assert_eq(atomic_load(&vcpu.ring.parked), 0);
}

Test(executor, near_deadline_is_spun_through)
{
	struct pg_sleep sleep;
	struct pg_task task;

	vcpu.executor.spin_ns = 1000000000;
	pg_sleep_init(&sleep, pg_port_now() + 2000000);
	pg_task_spawn(&vcpu.executor, &task, &sleep.future, stop);
	pg_executor_run(&vcpu.executor);
	cr_assert(task_done(&task));
	cr_assert_eq(vcpu.counters.parks, 0);
	cr_assert_eq(vcpu.counters.spins, 1);
	cr_assert_eq(vcpu.doorbells, 0, "no deadline was armed");
}

/* A far one is left with the loader, once: the doorbell rings since it looks too late. */
Test(executor, far_deadline_is_left_with_the_loader)
{
	struct pg_sleep sleep;
	struct pg_task task;
	uint64_t deadline = pg_port_now() + 2000000;

	pg_sleep_init(&sleep, deadline);
	pg_task_spawn(&vcpu.executor, &task, &sleep.future, stop);
	pg_executor_run(&vcpu.executor);
	cr_assert(task_done(&task));
	cr_assert(vcpu.counters.parks >= 1);
	cr_assert_eq(vcpu.doorbells, 1);
	cr_assert(pg_port_now() >= deadline);
}

Test(executor, stop_is_remembered)
{
	pg_executor_stop(&vcpu.executor);
	pg_executor_run(&vcpu.executor);
	cr_assert_eq(vcpu.counters.parks, 0);
}

static void *run(void *argument)
{
	struct host_vcpu *self = argument;

	host_enter(self);
	pg_executor_run(&self->executor);
	return NULL;
}

static void wait_until_parked(void)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	while (!atomic_load(&vcpu.ring.parked))
		nanosleep(&moment, NULL);
}

Test(executor, wakes_and_stop_end_a_park)
{
	struct pg_task task;
	struct gate gate;
	pthread_t thread;

	host_enter(NULL);
	gate_init(&gate);
	gate.open = true;
	cr_assert_eq(pthread_create(&thread, NULL, run, &vcpu), 0);
	wait_until_parked();
	pg_task_spawn(&vcpu.executor, &task, &gate.future, NULL);
	while (!task_done(&task))
		sched_yield();
	wait_until_parked();
	pg_executor_stop(&vcpu.executor);
	pthread_join(thread, NULL);
	cr_assert(atomic_load(&vcpu.kicks) >= 2);
	cr_assert_eq(gate.polls, 1);
	cr_assert(vcpu.counters.parks >= 2);
}
