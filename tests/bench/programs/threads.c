/*
 * Threads: switching, waking each other, coming and going.
 * Usage: threads CPUS. Thread i belongs on CPU i % CPUS; names of figures end in CPUS.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

/* linux/futex.h, which musl does not come with. */
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129

static unsigned cpus = 1;

static pthread_t start(void *(*body)(void *), void *argument)
{
	pthread_t thread;

	if ((errno = pthread_create(&thread, NULL, body, argument)))
		bench_fail("pthread_create");
	return thread;
}

/* ---- sched_yield between two threads of one CPU ---- */

#define SWITCHES 4000

static struct {
	_Atomic int last; /* who ran last */
	_Atomic bool stop;
	uint64_t switches; /* whoever runs */
} turn;

/* True if the other one has run since. */
static void take_turn(int me)
{
	if (atomic_load_explicit(&turn.last, memory_order_relaxed) != me) {
		atomic_store_explicit(&turn.last, me, memory_order_relaxed);
		turn.switches++;
	}
	sched_yield();
}

static void *yield_too(void *argument)
{
	bench_pin(0);
	while (!atomic_load_explicit(&turn.stop, memory_order_relaxed))
		take_turn(1);
	return NULL;
}

/* With nobody to switch to: into the scheduler and out again. */
static void yield_alone(void *context, uint64_t times)
{
	while (times--)
		sched_yield();
}

/* Per switch, not per call: a yield that comes back to the same thread is no switch. */
static void measure_switch(void)
{
	pthread_t other = start(yield_too, NULL);
	double samples[BENCH_BATCHES];

	for (unsigned i = 0; i <= BENCH_BATCHES; i++) {
		uint64_t begin = bench_now(), end = turn.switches + SWITCHES;

		while (turn.switches < end)
			take_turn(0);
		if (i)
			samples[i - 1] = (double)(bench_now() - begin) / SWITCHES;
	}
	atomic_store(&turn.stop, true);
	pthread_join(other, NULL);
	bench_report("switch", bench_median(samples, BENCH_BATCHES));
}

/* ---- futex ping-pong ---- */

static _Atomic int ping, pong;

static void futex_set(_Atomic int *word)
{
	atomic_store(word, 1);
	(void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void futex_await(_Atomic int *word)
{
	while (atomic_exchange(word, 0) == 0)
		(void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static void *answer(void *argument)
{
	uint64_t times = *(uint64_t *)argument;

	bench_pin(1 % cpus);
	while (times--) {
		futex_await(&ping);
		futex_set(&pong);
	}
	return NULL;
}

static void play(void *context, uint64_t times)
{
	while (times--) {
		futex_set(&ping);
		futex_await(&pong);
	}
}

static void measure_futex(void)
{
	uint64_t times = cpus > 1 ? 300 : 1000, all = times * (BENCH_BATCHES + 1);
	char name[32];

	/* A partner that is on the other CPU: the second thread, or one more. */
	pthread_t other = start(answer, &all);
	(void)snprintf(name, sizeof(name), "futex_%u", cpus);
	bench_run(name, times, play, NULL);
	pthread_join(other, NULL);
}

/* ---- coming and going ---- */

static void *nothing(void *argument)
{
	return argument;
}

static void create_and_join(void *context, uint64_t times)
{
	while (times--)
		pthread_join(start(nothing, NULL), NULL);
}

int main(int argc, char **argv)
{
	cpus = argc > 1 && atoi(argv[1]) > 1 ? 2 : 1;
	bench_pin(0);
	measure_futex();
	if (cpus == 1) {
		bench_run("yield", SWITCHES, yield_alone, NULL);
		measure_switch();
		bench_run("thread", 100, create_and_join, NULL);
	}
	return 0;
}
