#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t bench_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void bench_report(const char *name, double nanoseconds)
{
	printf("%s %.2f\n", name, nanoseconds);
}

void bench_skip(const char *name, const char *reason)
{
	printf("%s skip %s\n", name, reason);
}

_Noreturn void bench_fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *samples, unsigned count)
{
	qsort(samples, count, sizeof(*samples), compare);
	return samples[count / 2];
}

void bench_run(const char *name, uint64_t times, void (*body)(void *context, uint64_t times),
	       void *context)
{
	double samples[BENCH_BATCHES];

	body(context, times);
	for (unsigned i = 0; i < BENCH_BATCHES; i++) {
		uint64_t start = bench_now();

		body(context, times);
		samples[i] = (double)(bench_now() - start) / (double)times;
	}
	bench_report(name, bench_median(samples, BENCH_BATCHES));
}

void bench_pin(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}
