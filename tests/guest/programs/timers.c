/* Clocks and sleeping. usage: timers TEST */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ll

static int64_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000 * MS + at.tv_nsec;
}

static int fail(const char *what, long long value)
{
	printf("%s: %lld\n", what, value);
	return 1;
}

/* Each kind of sleep lasts at least as long as it was asked to. */
static int sleeps(void)
{
	static const int64_t lengths[] = { 1 * MS, 5 * MS, 20 * MS };

	for (int i = 0; i < 3; i++) {
		struct timespec length = { .tv_nsec = lengths[i] }, until;
		int64_t start = now(), lasted;

		if (nanosleep(&length, NULL))
			return fail("nanosleep", errno);
		lasted = now() - start;
		if (lasted < lengths[i])
			return fail("nanosleep lasted", lasted);

		start = now();
		until.tv_sec = (start + lengths[i]) / (1000 * MS);
		until.tv_nsec = (start + lengths[i]) % (1000 * MS);
		if (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL))
			return fail("clock_nanosleep", errno);
		lasted = now() - start;
		if (lasted < lengths[i])
			return fail("clock_nanosleep lasted", lasted);
	}
	return 0;
}

#define SLEEPERS 100

static int64_t base;
static int woken[SLEEPERS];
static _Atomic int next;
static pthread_barrier_t ready;

/* Deadlines 1 ms apart. */
static void *sleep_until(void *argument)
{
	int number = (int)(intptr_t)argument;

	pthread_barrier_wait(&ready); /* all are there ... */
	pthread_barrier_wait(&ready); /* ... and `base` is known */
	int64_t deadline = base + number * MS;
	struct timespec until = { deadline / (1000 * MS), deadline % (1000 * MS) };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	if (now() < deadline)
		printf("too early: %d\n", number);
	woken[atomic_fetch_add(&next, 1)] = number;
	return NULL;
}

static int order(void)
{
	pthread_t threads[SLEEPERS];

	pthread_barrier_init(&ready, NULL, SLEEPERS + 1);
	/* In an order that isn't theirs. */
	for (int i = 0; i < SLEEPERS; i++)
		pthread_create(&threads[i], NULL, sleep_until,
			       (void *)(intptr_t)(i * 37 % SLEEPERS));
	pthread_barrier_wait(&ready);
	/* Far enough away for all to be asleep by then. */
	base = now() + 300 * MS;
	pthread_barrier_wait(&ready);
	for (int i = 0; i < SLEEPERS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < SLEEPERS; i++)
		if (woken[i] != i)
			return fail("woken out of order", i);
	return 0;
}

/* ---- clocks: never backwards, whichever vCPU looks ---- */

static _Atomic int64_t latest;

static void *watch(void *argument)
{
	for (int i = 0; i < 5000; i++) {
		int64_t before = atomic_load(&latest), here = now();

		if (here < before) {
			printf("back by %lld ns\n", (long long)(before - here));
			exit(1);
		}
		while (before < here && !atomic_compare_exchange_weak(&latest, &before, here))
			;
		if (i % 1000 == 0)
			usleep(10);
	}
	return argument;
}

static int monotonic(void)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, watch, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

/* The host compares these with its own. */
static int clocks(void)
{
	struct timespec at;
	char byte;

	/* One line for each byte of the host's. */
	while (read(STDIN_FILENO, &byte, 1) == 1) {
		clock_gettime(CLOCK_REALTIME, &at);
		printf("%lld %lld\n", (long long)now(),
		       (long long)(at.tv_sec * 1000 * MS + at.tv_nsec));
		fflush(stdout);
	}
	return 0;
}

static int idle(void)
{
	for (int i = 0; i < 5; i++)
		usleep(2000);
	return 0;
}

static int unknown(void)
{
	for (int i = 0; i < 5; i++)
		if (syscall(9999 + i) != -1 || errno != ENOSYS)
			return fail("errno", errno);
	return 0;
}

static int invalid(void)
{
	static const struct timespec bad[] = { { 0, -1 }, { 0, 1000000000 }, { -1, 0 } };

	for (int i = 0; i < 3; i++)
		if (nanosleep(&bad[i], NULL) != -1 || errno != EINVAL)
			return fail("a bad time", i);
	if (clock_gettime(12345, &(struct timespec){ 0 }) != -1 || errno != EINVAL)
		return fail("a bad clock", errno);
	/* Times that are over. */
	for (int i = 0; i < 1000; i++)
		nanosleep(&(struct timespec){ 0, 0 }, NULL);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
} tests[] = {
	{ "sleeps", sleeps },   { "order", order }, { "monotonic", monotonic },
	{ "clocks", clocks },   { "idle", idle },   { "unknown", unknown },
	{ "invalid", invalid },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(tests) / sizeof(tests[0]); i++)
		if (!strcmp(argv[1], tests[i].name))
			return tests[i].run();
	return 99;
}
