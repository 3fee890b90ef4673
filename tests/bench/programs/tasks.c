/*
 * Tasks and timers of the kernel, and threads by the thousand. Outside a Pagurus guest there are
 * no tasks: there, the same names are what comes nearest, done with threads, or nothing.
 * Usage: tasks
 */
#include <errno.h>
#include <pagurus/pagurus.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "bench.h"
#include "call.h"

#define BATCH   1000
#define YIELDS  2000
#define TASKS   100000
#define TIMERS  1000000
#define THREADS 10000

/* ---- memory for a hundred thousand of something ---- */

static void *memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		bench_fail("mmap");
	/* Touched once: what is measured is not the host's paging. */
	for (size_t at = 0; at < size; at += 4096)
		((volatile char *)p)[at] = 0;
	return p;
}

/* ---- spawn and complete ---- */

static enum pg_poll at_once(struct pg_future *future, struct pg_task *waker)
{
	return PG_READY;
}

static const struct pg_future_ops at_once_ops = { at_once, NULL };

static struct pg_app_task children[BATCH];
static struct pg_future child_futures[BATCH];
static unsigned children_left;

static void child_done(struct pg_app_task *task)
{
	children_left--;
}

/* BATCH children, spawned and run to their end, again and again. */
struct spawner {
	struct pg_async async;
	uint64_t times;
};

PG_ASYNC static enum pg_poll spawner_poll(struct pg_future *future, struct pg_task *waker)
{
	struct spawner *self = pg_container_of(future, struct spawner, async.future);

	PG_BEGIN(&self->async);
	for (; self->times; self->times--) {
		children_left = BATCH;
		for (unsigned i = 0; i < BATCH; i++) {
			child_futures[i].ops = &at_once_ops;
			pg_spawn(&children[i], &child_futures[i], child_done);
		}
		while (children_left)
			PG_YIELD(&self->async, waker);
	}
	PG_END(&self->async);
}

static const struct pg_future_ops spawner_ops = { spawner_poll, pg_async_drop };

static void spawn(void *context, uint64_t times)
{
	struct spawner spawner = { .times = times / BATCH };

	pg_async_init(&spawner.async, &spawner_ops);
	pg_run(&spawner.async.future);
}

/* ---- a poll: one task that yields to itself ---- */

struct yielder {
	struct pg_async async;
	uint64_t times;
};

PG_ASYNC static enum pg_poll yielder_poll(struct pg_future *future, struct pg_task *waker)
{
	struct yielder *self = pg_container_of(future, struct yielder, async.future);

	PG_BEGIN(&self->async);
	for (; self->times; self->times--)
		PG_YIELD(&self->async, waker);
	PG_END(&self->async);
}

static const struct pg_future_ops yielder_ops = { yielder_poll, pg_async_drop };

static void yield(void *context, uint64_t times)
{
	struct yielder yielder = { .times = times };

	pg_async_init(&yielder.async, &yielder_ops);
	pg_run(&yielder.async.future);
}

/* ---- a hundred thousand tasks that wait, and are all woken ---- */

struct waiter {
	struct pg_app_task task;
	struct pg_wait_until wait;
};

static struct pg_waitq gate;
static bool gate_open;
static unsigned waiting;

static bool is_open(void *argument)
{
	return gate_open;
}

static void waiter_done(struct pg_app_task *task)
{
	waiting--;
}

struct crowd {
	struct pg_async async;
	struct waiter *waiters;
	uint64_t start;
	double spawned, woken; /* ns each */
};

PG_ASYNC static enum pg_poll crowd_poll(struct pg_future *future, struct pg_task *waker)
{
	struct crowd *self = pg_container_of(future, struct crowd, async.future);

	PG_BEGIN(&self->async);
	pg_waitq_init(&gate);
	gate_open = false;
	waiting = TASKS;
	self->start = pg_now();
	for (unsigned i = 0; i < TASKS; i++) {
		pg_wait_until_init(&self->waiters[i].wait, &gate, is_open, NULL);
		pg_spawn(&self->waiters[i].task, &self->waiters[i].wait.future, waiter_done);
	}
	/* Behind all of them: then each has had its first poll. */
	PG_YIELD(&self->async, waker);
	PG_YIELD(&self->async, waker);
	self->spawned = (double)(pg_now() - self->start) / TASKS;
	self->start = pg_now();
	gate_open = true;
	pg_waitq_wake_all(&gate);
	while (waiting)
		PG_YIELD(&self->async, waker);
	self->woken = (double)(pg_now() - self->start) / TASKS;
	PG_END(&self->async);
}

static const struct pg_future_ops crowd_ops = { crowd_poll, pg_async_drop };

static void measure_crowd(void)
{
	struct crowd crowd = { .waiters = memory(TASKS * sizeof(struct waiter)) };

	pg_async_init(&crowd.async, &crowd_ops);
	pg_run(&crowd.async.future);
	bench_report("tasks_wait", crowd.spawned);
	bench_report("tasks_wake", crowd.woken);
	bench_report("task_bytes", (double)sizeof(struct waiter));
	(void)munmap(crowd.waiters, TASKS * sizeof(struct waiter));
}

/* ---- timers: armed in random order; half are disarmed, the others fire ---- */

struct sleeper {
	struct pg_app_task task;
	struct pg_sleep sleep;
};

static unsigned sleeping;

static void sleeper_done(struct pg_app_task *task)
{
	sleeping--;
}

struct dormitory {
	struct pg_async async;
	struct sleeper *sleepers;
	unsigned count, next;
	uint64_t start, seed;
	double armed, disarmed, fired; /* ns each */
	struct pg_sleep until;
};

#define FAR 3600000000000ull

static uint64_t random_number(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

PG_ASYNC static enum pg_poll dormitory_poll(struct pg_future *future, struct pg_task *waker)
{
	struct dormitory *self = pg_container_of(future, struct dormitory, async.future);

	PG_BEGIN(&self->async);
	sleeping = self->count;
	self->start = pg_now();
	for (unsigned i = 0; i < self->count; i++) {
		/* Even ones are far in the future, odd ones soon: but not before all are armed. */
		uint64_t deadline = self->start + (i % 2 ? 3000000000ull : FAR) +
				    random_number(&self->seed) % 1000000;

		pg_sleep_init(&self->sleepers[i].sleep, deadline);
		pg_spawn(&self->sleepers[i].task, &self->sleepers[i].sleep.future, sleeper_done);
	}
	PG_YIELD(&self->async, waker);
	PG_YIELD(&self->async, waker);
	self->armed = (double)(pg_now() - self->start) / self->count;
	self->until = (struct pg_sleep){ 0 };
	pg_sleep_init(&self->until, self->start + 3001000000ull);

	self->start = pg_now();
	for (unsigned i = 0; i < self->count; i += 2)
		pg_task_cancel(&self->sleepers[i].task.task);
	PG_YIELD(&self->async, waker);
	while (sleeping > self->count / 2)
		PG_YIELD(&self->async, waker);
	self->disarmed = (double)(pg_now() - self->start) / (self->count / 2.0);

	/* Nothing is looked at until all are due: then the time is the firing's alone. */
	while (pg_now() < self->until.timer.deadline)
		;
	self->start = pg_now();
	while (sleeping)
		PG_YIELD(&self->async, waker);
	self->fired = (double)(pg_now() - self->start) / (self->count / 2.0);
	PG_END(&self->async);
}

static const struct pg_future_ops dormitory_ops = { dormitory_poll, pg_async_drop };

static void measure_timers(void)
{
	struct sleeper *sleepers = memory(TIMERS * sizeof(*sleepers));
	static const struct {
		unsigned count;
		const char *name;
	} sizes[] = { { 1000, "1k" }, { 100000, "100k" }, { TIMERS, "1m" } };

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct dormitory all = { .sleepers = sleepers,
					 .count = sizes[i].count,
					 .seed = 88172645463325252 };
		char name[32];

		pg_async_init(&all.async, &dormitory_ops);
		pg_run(&all.async.future);
		(void)snprintf(name, sizeof(name), "timer_arm_%s", sizes[i].name);
		bench_report(name, all.armed);
		(void)snprintf(name, sizeof(name), "timer_disarm_%s", sizes[i].name);
		bench_report(name, all.disarmed);
		(void)snprintf(name, sizeof(name), "timer_fire_%s", sizes[i].name);
		bench_report(name, all.fired);
	}
	(void)munmap(sleepers, TIMERS * sizeof(*sleepers));
}

/* ---- ten thousand blocked threads ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool go;
static unsigned arrived;

static void *blocked(void *argument)
{
	pthread_mutex_lock(&mutex);
	arrived++;
	while (!go)
		pthread_cond_wait(&changed, &mutex);
	pthread_mutex_unlock(&mutex);
	return argument;
}

static void measure_threads(void)
{
	static pthread_t threads[THREADS];
	uint64_t start = bench_now();

	for (unsigned i = 0; i < THREADS; i++)
		if ((errno = pthread_create(&threads[i], NULL, blocked, NULL)))
			bench_fail("pthread_create");
	for (bool all = false; !all;) {
		pthread_mutex_lock(&mutex);
		all = arrived == THREADS;
		pthread_mutex_unlock(&mutex);
		sched_yield();
	}
	bench_report("threads_start", (double)(bench_now() - start) / THREADS);
	start = bench_now();
	pthread_mutex_lock(&mutex);
	go = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	bench_report("threads_end", (double)(bench_now() - start) / THREADS);
}

int main(void)
{
	bench_pin(0);
	if (call_possible()) {
		bench_run("task", 100 * BATCH, spawn, NULL);
		bench_run("poll", 50 * YIELDS, yield, NULL);
		measure_crowd();
		measure_timers();
	}
	measure_threads();
	return 0;
}
