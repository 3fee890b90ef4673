#include <criterion/criterion.h>

#include "core/async.h"
#include "core/semaphore.h"
#include "gate.h"
#include "host_port.h"

#define COUNT 4

static struct host_vcpu vcpu;
static struct pg_semaphore semaphore;
static struct pg_acquire acquires[COUNT];
static struct pg_task tasks[COUNT];

static void setup(void)
{
	host_vcpu_init(&vcpu, 0);
	host_enter(&vcpu);
}

TestSuite(semaphore, .init = setup, .timeout = 30);

static void start(int i)
{
	pg_acquire_init(&acquires[i], &semaphore);
	pg_task_spawn(&vcpu.executor, &tasks[i], &acquires[i].future, NULL);
}

/* Which tasks have a permit, as a bit mask. */
static unsigned holders(void)
{
	unsigned mask = 0;

	host_settle(&vcpu);
	for (int i = 0; i < COUNT; i++) {
		if (task_done(&tasks[i]) && !pg_task_cancelled(&tasks[i]))
			mask |= 1u << i;
	}
	return mask;
}

Test(semaphore, without_waiting)
{
	pg_semaphore_init(&semaphore, 1);
	cr_assert(pg_semaphore_try(&semaphore));
	cr_assert_not(pg_semaphore_try(&semaphore));
	pg_semaphore_release(&semaphore);
	pg_semaphore_release(&semaphore);
	cr_assert(pg_semaphore_try(&semaphore));
	cr_assert(pg_semaphore_try(&semaphore));
	cr_assert_not(pg_semaphore_try(&semaphore));
}

Test(semaphore, in_the_order_of_asking)
{
	pg_semaphore_init(&semaphore, 1);
	for (int i = 0; i < COUNT; i++)
		start(i);
	for (unsigned i = 0; i < COUNT; i++) {
		cr_assert_eq(holders(), (2u << i) - 1);
		pg_task_wake(&tasks[COUNT - 1]); /* a spurious poll overtakes nobody */
		cr_assert_eq(holders(), (2u << i) - 1);
		pg_semaphore_release(&semaphore);
	}
	cr_assert_eq(semaphore.permits, 1);
	cr_assert_null(semaphore.waiters.head);
}

/* A permit that was given and not yet noticed is its receiver's: nobody snatches it. */
Test(semaphore, nobody_overtakes)
{
	pg_semaphore_init(&semaphore, 0);
	start(0);
	host_settle(&vcpu);
	pg_semaphore_release(&semaphore);
	cr_assert_not(pg_semaphore_try(&semaphore));
	start(1);
	cr_assert_eq(holders(), 0x1);
	pg_semaphore_release(&semaphore);
	cr_assert_eq(holders(), 0x3);
}

Test(semaphore, dropped_before_the_first_poll)
{
	pg_semaphore_init(&semaphore, 1);
	pg_acquire_init(&acquires[0], &semaphore);
	pg_future_drop(&acquires[0].future);
	cr_assert_eq(semaphore.permits, 1);
}

/*
 * Every set of waiters is cancelled, after every number of permits was given but not noticed:
 * the permits go to the others in order, and what is left over stays.
 */
Test(semaphore, cancelled_in_every_way)
{
	for (unsigned cancelled = 0; cancelled < 1u << COUNT; cancelled++) {
		for (int permits = 0; permits <= COUNT; permits++) {
			unsigned expected = 0;
			int left = permits;

			pg_semaphore_init(&semaphore, 0);
			for (int i = 0; i < COUNT; i++)
				start(i);
			cr_assert_eq(holders(), 0);
			for (int i = 0; i < permits; i++)
				pg_semaphore_release(&semaphore);
			for (int i = 0; i < COUNT; i++) {
				if (cancelled & 1u << i)
					pg_task_cancel(&tasks[i]);
				else if (left-- > 0)
					expected |= 1u << i;
			}
			cr_assert_eq(holders(), expected, "%x cancelled, %d permits", cancelled,
				     permits);
			cr_assert_eq(semaphore.permits, left > 0 ? (unsigned)left : 0);
			/* The rest gets on, once there are permits. */
			for (int i = 0; i < COUNT; i++)
				pg_semaphore_release(&semaphore);
			cr_assert_eq(holders(), ~cancelled & ((1u << COUNT) - 1));
			cr_assert_null(semaphore.waiters.head);
		}
	}
}

/* ---- a mutex on several vCPUs ---- */

#define VCPUS   3
#define WORKERS 9
#define TIMES   1500

static struct host_vcpu vcpus[VCPUS];
static _Atomic int unfinished;
static uint64_t counter; /* plain: the mutex guards it */
static bool inside;

static struct worker {
	struct pg_async async;
	struct pg_task task;
	struct pg_acquire acquire;
	int turns;
	bool intruder;
} workers[WORKERS];

static void finished(struct pg_task *task)
{
	if (atomic_fetch_sub(&unfinished, 1) > 1)
		return;
	for (int i = 0; i < VCPUS; i++)
		pg_executor_stop(&vcpus[i].executor);
}

PG_ASYNC static enum pg_poll work(struct pg_future *future, struct pg_task *waker)
{
	struct worker *self = pg_container_of(future, struct worker, async.future);

	PG_BEGIN(&self->async);
	for (self->turns = 0; self->turns < TIMES; self->turns++) {
		pg_acquire_init(&self->acquire, &semaphore);
		PG_AWAIT(&self->async, &self->acquire.future, waker);
		self->intruder |= inside;
		inside = true;
		counter++;
		/* Held across an await. */
		PG_YIELD(&self->async, waker);
		inside = false;
		pg_semaphore_release(&semaphore);
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

Test(semaphore, mutex, .timeout = 120)
{
	static const struct pg_future_ops ops = { work, pg_async_drop };
	pthread_t threads[VCPUS];

	pg_semaphore_init(&semaphore, 1);
	atomic_store(&unfinished, WORKERS);
	for (int i = 0; i < VCPUS; i++)
		host_vcpu_init(&vcpus[i], 0);
	for (int i = 0; i < WORKERS; i++) {
		pg_async_init(&workers[i].async, &ops);
		pg_task_spawn(&vcpus[i % VCPUS].executor, &workers[i].task,
			      &workers[i].async.future, finished);
	}
	for (int i = 0; i < VCPUS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, run, &vcpus[i]), 0);
	for (int i = 0; i < VCPUS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(counter, WORKERS * TIMES);
	for (int i = 0; i < WORKERS; i++)
		cr_assert_not(workers[i].intruder);
	cr_assert_eq(semaphore.permits, 1);
}
