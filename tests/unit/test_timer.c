#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/container.h"
#include "host_port.h"
#include "core/port.h"
#include "core/timer.h"

static struct host_vcpu vcpu;

static void setup(void)
{
	host_vcpu_init(&vcpu, 0);
	host_enter(&vcpu);
	host_set_clock(1000);
}

TestSuite(timer, .init = setup, .timeout = 60);

static uint64_t random_state = 88172645463325252;

static uint64_t random_number(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* A task that is always being polled: waking it only sets a bit. */
static struct pg_task busy = { .state = PG_TASK_RUNNING };

/* As a sleep does: an armed timer pins its task. */
static void arm(struct pg_timers *heap, struct pg_timer *timer)
{
	pg_task_pin(timer->task);
	pg_timer_add(heap, timer);
}

static void disarm(struct pg_timers *heap, struct pg_timer *timer)
{
	pg_timer_remove(heap, timer);
	pg_task_unpin(timer->task);
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

#define TIMERS  512
#define BUCKETS 1024

Test(timer, random_against_reference)
{
	static struct pg_timer timers[TIMERS];
	/* The reference: how many armed timers have each deadline. */
	static unsigned reference[BUCKETS];
	struct pg_timers heap = { 0 };
	size_t armed = 0;

	for (int round = 0; round < 100000; round++) {
		struct pg_timer *timer = &timers[random_number() % TIMERS];
		uint64_t nearest = 0;

		if (timer->armed) {
			reference[timer->deadline]--;
			disarm(&heap, timer);
			armed--;
		} else {
			timer->deadline = random_number() % BUCKETS;
			timer->task = &busy;
			reference[timer->deadline]++;
			arm(&heap, timer);
			armed++;
		}
		while (nearest < BUCKETS && !reference[nearest])
			nearest++;
		cr_assert_eq(pg_timers_deadline(&heap), nearest < BUCKETS ? nearest : PG_NEVER);
		if (round % 100 == 0) {
			/* Expire some: exactly those that are due. */
			uint64_t now = nearest + random_number() % 8;
			size_t due = 0;

			for (uint64_t i = 0; i <= now && i < BUCKETS; i++) {
				due += reference[i];
				reference[i] = 0;
			}
			cr_assert_eq(pg_timers_expire(&heap, now), due);
			armed -= due;
		}
	}
	cr_assert_eq(pg_timers_expire(&heap, BUCKETS), armed);
	cr_assert_null(heap.first);
	for (int i = 0; i < TIMERS; i++)
		cr_assert_not(timers[i].armed);
}

Test(timer, a_million)
{
	const size_t count = 1000000;
	struct pg_timer *timers = calloc(count, sizeof(*timers));
	uint64_t *sorted = calloc(count, sizeof(*sorted));
	struct pg_timers heap = { 0 };

	cr_assert(timers && sorted);
	for (size_t i = 0; i < count; i++) {
		timers[i].task = &busy;
		timers[i].deadline = random_number() >> 1;
		sorted[i] = timers[i].deadline;
		arm(&heap, &timers[i]);
	}
	qsort(sorted, count, sizeof(*sorted), compare);
	for (size_t i = 0; i < count; i++) {
		cr_assert_eq(pg_timers_deadline(&heap), sorted[i]);
		disarm(&heap, heap.first);
	}
	cr_assert_null(heap.first);
	free(sorted);
	free(timers);
}

Test(timer, sleeps_end_in_order)
{
	const uint64_t deadlines[] = { 3000, 2000, 4000, PG_NEVER };
	struct pg_sleep sleeps[4];
	struct pg_task tasks[4];

	for (int i = 0; i < 4; i++) {
		pg_sleep_init(&sleeps[i], deadlines[i]);
		pg_task_spawn(&vcpu.executor, &tasks[i], &sleeps[i].future, NULL);
	}
	for (uint64_t now = 1000; now <= 5000; now += 500) {
		host_set_clock(now);
		host_settle(&vcpu);
		for (int i = 0; i < 4; i++) {
			bool done = atomic_load(&tasks[i].state) & PG_TASK_DONE;

			cr_assert_eq(done, deadlines[i] <= now, "%d at %lu", i, now);
		}
	}
	host_set_clock(PG_NEVER);
	host_settle(&vcpu);
	cr_assert_not(atomic_load(&tasks[3].state) & PG_TASK_DONE, "never is never");
}

Test(timer, sleep_that_is_over_already_is_not_armed)
{
	struct pg_sleep sleep;
	struct pg_task task;

	pg_sleep_init(&sleep, 1000);
	pg_task_spawn(&vcpu.executor, &task, &sleep.future, NULL);
	cr_assert(pg_executor_step(&vcpu.executor));
	cr_assert(atomic_load(&task.state) & PG_TASK_DONE);
	cr_assert_not(sleep.timer.armed);
}

Test(timer, spurious_polls_and_drop)
{
	struct pg_sleep sleep;
	struct pg_task task;

	pg_sleep_init(&sleep, 2000);
	pg_task_spawn(&vcpu.executor, &task, &sleep.future, NULL);
	for (int i = 0; i < 3; i++) {
		host_settle(&vcpu);
		cr_assert_eq(vcpu.executor.timers.first, &sleep.timer);
		cr_assert_null(sleep.timer.next);
		pg_task_wake(&task);
	}
	pg_task_cancel(&task);
	host_settle(&vcpu);
	cr_assert(pg_task_cancelled(&task));
	cr_assert_null(vcpu.executor.timers.first);
}
