/*
 * How long threads wait for a CPU that others compute on: one that sleeps and wakes again and
 * again, and those that compute, for each other. All on one CPU.
 * Usage: delay
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "bench.h"

#define COMPUTING 3
#define SLEEPS    200
#define NAP_NS    5000000

static _Atomic bool stop;
static double worst_gap[COMPUTING];

/* The longest time between two looks at the clock is the time the others have had. */
static void *compute(void *argument)
{
	double *worst = argument;
	uint64_t before = bench_now();

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t now = bench_now();

		if ((double)(now - before) > *worst)
			*worst = (double)(now - before);
		before = now;
		for (volatile unsigned i = 0; i < 20000; i++)
			;
	}
	return NULL;
}

int main(void)
{
	const struct timespec nap = { .tv_nsec = NAP_NS };
	static double late[SLEEPS];
	pthread_t threads[COMPUTING];
	double worst = 0;

	bench_pin(0);
	for (unsigned i = 0; i < COMPUTING; i++)
		if ((errno = pthread_create(&threads[i], NULL, compute, &worst_gap[i])))
			bench_fail("pthread_create");
	for (unsigned i = 0; i < SLEEPS; i++) {
		uint64_t start = bench_now();

		if (nanosleep(&nap, NULL))
			bench_fail("nanosleep");
		late[i] = (double)(bench_now() - start) - NAP_NS;
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < COMPUTING; i++) {
		pthread_join(threads[i], NULL);
		if (worst_gap[i] > worst)
			worst = worst_gap[i];
	}
	bench_report("delay_sleeper", bench_median(late, SLEEPS));
	bench_report("delay_sleeper_worst", late[SLEEPS - 1]);
	bench_report("delay_computing_worst", worst);
	return 0;
}
