/*
 * Periodic sleeping to points in time, for some seconds: how late each wake-up is, and what the
 * clock says at the beginning and at the end, which the runner compares with its own.
 * Usage: drift SECONDS
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#include "bench.h"

#define PERIOD 1000000 /* ns */

static void tell_time(void)
{
	printf("clock %llu\n", (unsigned long long)bench_now());
	fflush(stdout);
}

int main(int argc, char **argv)
{
	unsigned count = (argc > 1 ? (unsigned)atoi(argv[1]) : 3) * 1000;
	double *late = malloc(count * sizeof(*late));
	uint64_t at;

	if (!late)
		bench_fail("malloc");
	(void)prctl(PR_SET_TIMERSLACK, 1);
	tell_time();
	at = bench_now();
	for (unsigned i = 0; i < count; i++) {
		struct timespec until;

		at += PERIOD;
		until = (struct timespec){ (time_t)(at / 1000000000), (long)(at % 1000000000) };
		if ((errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL)))
			bench_fail("clock_nanosleep");
		late[i] = (double)(bench_now() - at);
	}
	tell_time();
	bench_report("periodic", bench_median(late, count));
	/* Sorted now. */
	bench_report("periodic_99", late[count / 100 * 99]);
	return 0;
}
