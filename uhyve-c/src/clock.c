#include "clock.h"

#include <time.h>
#include <x86intrin.h>

#define SECOND 1000000000ull

/* Largest correction of the rate: 500 ppm, what NTP allows itself too. */
#define SLEW_LIMIT(mult) ((mult) / 2000)

static uint64_t read_clock(clockid_t id)
{
	struct timespec now;

	(void)clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

uint64_t uhyve_clock_now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

/* A TSC reading and the time that belongs to it; the tightest of a few attempts. */
static void sample(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 4; i++) {
		uint64_t before = __rdtsc();
		uint64_t now = uhyve_clock_now();
		uint64_t after = __rdtsc();

		if (after - before < best) {
			best = after - before;
			*tsc = before + best / 2;
			*ns = now;
		}
	}
}

static void publish(struct pg_clock *clock, uint64_t tsc, uint64_t ns, uint64_t mult)
{
	uint32_t sequence = atomic_load_explicit(&clock->sequence, memory_order_relaxed);

	/* Odd before any field changes, even after all have (seqlock, writer's side). */
	atomic_store_explicit(&clock->sequence, sequence + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&clock->base_tsc, tsc, memory_order_relaxed);
	atomic_store_explicit(&clock->base_ns, ns, memory_order_relaxed);
	atomic_store_explicit(&clock->mult, mult, memory_order_relaxed);
	atomic_store_explicit(&clock->realtime_ns,
			      (int64_t)(read_clock(CLOCK_REALTIME) - uhyve_clock_now()),
			      memory_order_relaxed);
	atomic_store_explicit(&clock->sequence, sequence + 2, memory_order_release);
}

static uint64_t scale(uint64_t ticks, uint64_t mult)
{
	return (uint64_t)((unsigned __int128)ticks * mult >> 32);
}

void uhyve_clock_init(struct pg_clock *clock, uint64_t tsc_khz)
{
	uint64_t tsc = 0, ns = 0;

	sample(&tsc, &ns);
	publish(clock, tsc, ns, (1000000ull << 32) / tsc_khz);
}

uint64_t uhyve_clock_ns(const struct pg_clock *clock, uint64_t tsc)
{
	int64_t ticks = (int64_t)(tsc - clock->base_tsc);

	if (!tsc)
		return 0;
	return ticks >= 0 ? clock->base_ns + scale((uint64_t)ticks, clock->mult)
			  : clock->base_ns - scale((uint64_t)-ticks, clock->mult);
}

void uhyve_clock_tick(struct pg_clock *clock)
{
	uint64_t tsc = 0, ns = 0, base = clock->base_tsc, mult = clock->mult;

	sample(&tsc, &ns);
	uint64_t ticks = tsc - base;
	uint64_t guest = uhyve_clock_ns(clock, tsc);
	uint64_t elapsed = ns - clock->base_ns;
	if (ticks == 0 || elapsed < SECOND / 10)
		return;

	/*
	 * The rate that was true since the last tick, bent so that the difference is gone
	 * a second from now. The clock itself goes on from where it was: no step.
	 */
	int64_t ahead = (int64_t)(guest - ns);
	uint64_t rate = (uint64_t)(((unsigned __int128)elapsed << 32) / ticks);
	int64_t bend = (int64_t)((__int128)rate * ahead / (int64_t)SECOND);
	int64_t limit = (int64_t)SLEW_LIMIT(mult);

	bend = bend > limit ? limit : bend < -limit ? -limit : bend;
	publish(clock, tsc, guest, rate - (uint64_t)bend);
}
