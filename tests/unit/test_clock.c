/* The guest's clock page: as the guest reads it, against the host's clock. */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>
#include <x86intrin.h>

#include "clock.h"

#define MS     1000000ull
#define SECOND 1000000000ull

TestSuite(clock, .timeout = 30);

/* The host's TSC frequency, measured well enough for a clock that corrects itself. */
static uint64_t tsc_khz(void)
{
	uint64_t ns = uhyve_clock_now(), tsc = __rdtsc();

	nanosleep(&(struct timespec){ .tv_nsec = 20 * MS }, NULL);
	ns = uhyve_clock_now() - ns;
	tsc = __rdtsc() - tsc;
	return (uint64_t)((unsigned __int128)tsc * 1000000 / ns);
}

static int64_t difference(const struct pg_clock *clock)
{
	uint64_t before = uhyve_clock_now();
	uint64_t guest = uhyve_clock_ns(clock, __rdtsc());
	uint64_t after = uhyve_clock_now();

	/* Any time between the two readings of the host would have been right. */
	return guest < before  ? (int64_t)(guest - before)
	       : guest > after ? (int64_t)(guest - after)
			       : 0;
}

Test(clock, starts_at_the_hosts_time)
{
	struct pg_clock clock = { 0 };
	struct timespec now;

	uhyve_clock_init(&clock, tsc_khz());
	cr_assert_eq(clock.sequence, 2, "one change, complete");
	cr_assert_lt(llabs(difference(&clock)), (long long)MS);
	clock_gettime(CLOCK_REALTIME, &now);

	int64_t real = (int64_t)now.tv_sec * (int64_t)SECOND + now.tv_nsec;
	int64_t guest = (int64_t)uhyve_clock_ns(&clock, __rdtsc()) + clock.realtime_ns;
	cr_assert_lt(llabs(guest - real), (long long)(SECOND / 10));
}

Test(clock, converts_by_the_published_formula_in_both_directions)
{
	/* 2 GHz: half a nanosecond per tick. */
	struct pg_clock clock = { .base_tsc = 1000, .base_ns = 5000, .mult = 1ull << 31 };

	cr_assert_eq(uhyve_clock_ns(&clock, 1000), 5000);
	cr_assert_eq(uhyve_clock_ns(&clock, 3000), 6000);
	cr_assert_eq(uhyve_clock_ns(&clock, 200), 4600, "before the last tick");
	cr_assert_eq(uhyve_clock_ns(&clock, 0), 0, "not reached stays so");
	/* A product that needs more than 64 bits: 2^62 ticks. */
	cr_assert_eq(uhyve_clock_ns(&clock, 1000 + (1ull << 62)), 5000 + (1ull << 61));
}

Test(clock, does_nothing_when_ticked_too_soon)
{
	struct pg_clock clock = { 0 };

	uhyve_clock_init(&clock, tsc_khz());
	uint64_t tsc = clock.base_tsc, mult = clock.mult;
	uhyve_clock_tick(&clock);
	cr_assert_eq(clock.sequence, 2);
	cr_assert_eq(clock.base_tsc, tsc);
	cr_assert_eq(clock.mult, mult);
}

/* Run a clock whose rate is wrong by `ppm` through `ticks` corrections. */
static void run_wrong(int64_t ppm, unsigned ticks)
{
	struct pg_clock clock = { 0 };
	int64_t khz = (int64_t)tsc_khz();
	uint64_t last = 0;
	int64_t off_at_first = 0;

	/* A frequency that is believed too low makes the clock run too fast. */
	uhyve_clock_init(&clock, (uint64_t)(khz - khz * ppm / 1000000));
	for (unsigned i = 0; i < ticks; i++) {
		/* The only writer is this thread, so a plain read is a consistent one. */
		for (uint64_t until = uhyve_clock_now() + 120 * MS; uhyve_clock_now() < until;) {
			uint64_t now = uhyve_clock_ns(&clock, __rdtsc());

			cr_assert_geq(now, last, "went back by %llu ns",
				      (unsigned long long)(last - now));
			last = now;
			nanosleep(&(struct timespec){ .tv_nsec = 2 * MS }, NULL);
		}
		uint64_t tsc = __rdtsc();
		uint64_t before = uhyve_clock_ns(&clock, tsc);
		uint32_t sequence = clock.sequence;
		if (i == 0)
			off_at_first = llabs(difference(&clock));
		uhyve_clock_tick(&clock);
		cr_assert_eq(clock.sequence, sequence + 2, "it was corrected");
		/* At the new base the old and the new line meet: no step in either direction. */
		cr_assert_geq(clock.base_ns, before);
		cr_assert_gt(clock.mult, 0);
	}
	/* The first tick learned the true rate: uncorrected, it would be off five times as far. */
	cr_assert_gt(off_at_first, 0);
	cr_assert_lt(llabs(difference(&clock)), 2 * off_at_first);
}

Test(clock, that_runs_too_fast_is_slowed_down_but_never_goes_back)
{
	run_wrong(30000, 5);
}

Test(clock, that_runs_too_slow_is_sped_up_without_a_step)
{
	run_wrong(-30000, 5);
}
