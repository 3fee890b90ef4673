/* Sleeping, clocks, and the counters that tell what was done meanwhile. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

static void run(const char *test, unsigned vcpus, long spin_ns, struct outcome *o)
{
	guest_run(
		&(struct guest){
			.image = "timers", .args = LIST(test), .vcpus = vcpus, .spin_ns = spin_ns },
		o);
	cr_expect_str_empty(o->out.text);
	ended(o, 0);
}

static void run_all(const char *test)
{
	static const long spins[] = { 0, SPIN_NONE, SPIN_LARGE };

	for (unsigned vcpus = 1; vcpus <= 2; vcpus++) {
		for (int i = 0; i < 3; i++) {
			struct outcome o;

			run(test, vcpus, spins[i], &o);
			outcome_free(&o);
		}
	}
}

Test(time, sleeps_are_long_enough)
{
	run_all("sleeps");
}

/* On one vCPU: two may well overtake each other on the way from deadline to list. */
Test(time, sleepers_wake_in_order)
{
	static const long spins[] = { 0, SPIN_NONE };

	for (int i = 0; i < 2; i++) {
		struct outcome o;

		run("order", 1, spins[i], &o);
		outcome_free(&o);
	}
}

Test(time, bad_times)
{
	run_all("invalid");
}

Test(time, the_clock_never_goes_back)
{
	struct outcome o;

	run("monotonic", 2, 0, &o);
	outcome_free(&o);
	run("monotonic", 3, SPIN_NONE, &o);
	outcome_free(&o);
}

static int64_t host_clock(clockid_t clock)
{
	struct timespec at;

	clock_gettime(clock, &at);
	return at.tv_sec * 1000000000ll + at.tv_nsec;
}

/*
 * The guest's time lies between two looks at the host's, give or take a millisecond; the
 * realtime clock may be set meanwhile, so it is only compared to the second.
 */
Test(time, the_clock_is_the_hosts)
{
	struct outcome o;
	int ends[2];
	int64_t before[60], after[60];
	const int64_t ms = 1000000, late = (emulated() ? 5000 : 500) * ms;

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	struct running *running = guest_start(&(struct guest){
		.image = "timers", .args = LIST("clocks"), .in = ends[0], .vcpus = 2 });
	/* Longer than a second: the loader corrects the clock as it goes. */
	for (int i = 0; i < 60; i++) {
		before[i] = host_clock(CLOCK_MONOTONIC);
		cr_assert_eq(write(ends[1], "x", 1), 1);
		usleep(25000);
		after[i] = host_clock(CLOCK_MONOTONIC);
	}
	close(ends[1]);
	guest_finish(running, &o);
	int64_t offset = host_clock(CLOCK_REALTIME) - host_clock(CLOCK_MONOTONIC);
	close(ends[0]);
	ended(&o, 0);

	const char *at = o.out.text;
	for (int i = 0; i < 60; i++) {
		long long monotonic, realtime;
		int length;

		cr_assert_eq(sscanf(at, "%lld %lld\n%n", &monotonic, &realtime, &length), 2, "%s",
			     o.out.text);
		at += length;
		cr_expect_geq(monotonic, before[i] - ms, "look %d: %lld ns before", i,
			      (long long)(before[i] - monotonic));
		/* It may have been late to look, but not by much more than the pause. */
		cr_expect_leq(monotonic, after[i] + late, "look %d: %lld ns after", i,
			      (long long)(monotonic - after[i]));
		cr_expect_leq(monotonic, host_clock(CLOCK_MONOTONIC));
		cr_expect_lt(llabs(realtime - monotonic - offset), 1000 * ms);
	}
	outcome_free(&o);
}

Test(stats, an_idle_vcpu_parks_and_is_interrupted)
{
	struct outcome o;

	run("idle", 1, SPIN_NONE, &o);
	/* Usually five; a host that is busy may be late for some. */
	cr_assert_gt(o.stats.parks, 0);
	cr_assert_gt(o.stats.interrupts, 0);
	cr_assert_eq(o.stats.spins, 0);
	cr_assert_gt(o.stats.doorbells, 0);
	cr_assert_gt(o.stats.sleeps, 0);
	outcome_free(&o);
}

Test(stats, unknown_calls_are_counted)
{
	struct outcome o;

	run("unknown", 1, 0, &o);
	cr_assert_eq(o.stats.syscalls_unknown, 5);
	cr_assert_geq(o.stats.syscalls, 5);
	outcome_free(&o);
}

Test(stats, times_follow_each_other)
{
	struct outcome o;

	guest_run(&(struct guest){ .image = "hello" }, &o);
	ended(&o, 0);
	const uint64_t times[] = { o.stats.created, o.stats.loaded,  o.stats.mapped,
				   o.stats.ready,   o.stats.started, o.stats.entered,
				   o.stats.reached, o.stats.ended,   o.stats.finished };
	cr_assert_gt(times[0], 0);
	for (size_t i = 1; i < sizeof(times) / sizeof(times[0]); i++)
		cr_assert_geq(times[i], times[i - 1], "time %zu", i);
	outcome_free(&o);
}

Test(stats, sums_are_right)
{
	struct outcome o;

	guest_run(&(struct guest){ .image = "hello", .memory = 64 << 20 }, &o);
	ended(&o, 0);
	cr_assert_eq(o.stats.memory, 64 << 20);
	cr_assert_gt(o.stats.memory_touched, 0);
	cr_assert_leq(o.stats.memory_touched, o.stats.memory);
	cr_assert_eq(o.stats.vcpus, 1);
	cr_assert_gt(o.stats.operations, 0);
	/* One was not answered, if that: the last one before the end. */
	cr_assert_eq(o.stats.answered_at_once + o.stats.deferred, o.stats.operations);
	cr_assert_leq(o.stats.completions, o.stats.operations);
	cr_assert_gt(o.stats.syscalls, 0);
	cr_assert_gt(o.stats.tasks, 0);
	cr_assert_eq(o.stats.syscalls_unknown, 0);
	cr_assert_eq(o.stats.exceptions, 0);
	outcome_free(&o);
}

Test(stats, the_backend_is_the_one_asked_for)
{
	static const char *const names[] = { "io_uring", "threads" };

	for (int i = 0; i < 2; i++) {
		struct outcome o;

		guest_run(&(struct guest){ .image = "hello", .backend = names[i] }, &o);
		ended(&o, 0);
		cr_assert_str_eq(o.stats.backend, names[i]);
		outcome_free(&o);
	}
}
