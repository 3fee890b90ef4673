/* How much longer than asked for a short sleep takes. */
#include <sys/prctl.h>
#include <time.h>

#include "bench.h"

#define SAMPLES 201
#define NAP_NS  50000

int main(void)
{
	const struct timespec nap = { .tv_nsec = NAP_NS };
	static double samples[SAMPLES];

	/* Linux lets sleepers wait for each other, 50 us by default: not here. */
	(void)prctl(PR_SET_TIMERSLACK, 1);
	for (unsigned i = 0; i < SAMPLES; i++) {
		uint64_t start = bench_now();

		if (nanosleep(&nap, NULL))
			bench_fail("nanosleep");
		samples[i] = (double)(bench_now() - start) - NAP_NS;
	}
	bench_report("sleep", bench_median(samples, SAMPLES));
	return 0;
}
