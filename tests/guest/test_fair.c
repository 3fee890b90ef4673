/*
 * Turns: a thread that never stops keeps nobody from running, whatever it does; and where
 * nobody waits, nobody is disturbed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

#define TURN 500000

static void run(const struct guest *guest, struct outcome *o)
{
	guest_run(guest, o);
	ended(o, 0);
}

/* All that others wait for comes to its end beside those that never do. */
static void beside(const char *kind)
{
	char *bytes = calloc(1, 8192);
	const char *map = (scratch_file("data", bytes, 8192), scratch());

	free(bytes);
	for (unsigned vcpus = 1; vcpus <= 2; vcpus++) {
		static const long spins[] = { 0, SPIN_NONE };

		for (int i = 0; i < 2; i++) {
			struct outcome o;
			int ends[2];

			cr_assert_eq(pipe(ends), 0);
			run(&(struct guest){ .image = "fair",
					     .args = LIST(kind, "/data"),
					     .maps = LIST(map),
					     .in = ends[0],
					     .vcpus = vcpus,
					     .turn_ns = TURN,
					     .spin_ns = spins[i],
					     .ms = 60000 },
			    &o);
			close(ends[0]);
			close(ends[1]);
			cr_assert(strstr(o.out.text, "ok\n"), "%s", o.out.text);
			cr_log_info("%s on %u: %.30s, %lu preemptions of %lu", kind, vcpus,
				    o.out.text, o.stats.preemptions, o.stats.preemptions_sent);
			/*
			 * Wherever an interrupt comes, it ends the turn; but some come when the
			 * turn is over anyway. One in ten is what it was when they got lost.
			 */
			if (vcpus == 1 && !strcmp(kind, "trap"))
				cr_assert_geq(4 * o.stats.preemptions, o.stats.preemptions_sent);
			outcome_free(&o);
		}
	}
}

Test(fair, beside_threads_that_compute, .timeout = 200)
{
	beside("compute");
}

Test(fair, beside_threads_that_yield, .timeout = 200)
{
	beside("yield");
}

Test(fair, beside_threads_that_call, .timeout = 200)
{
	beside("getppid");
}

Test(fair, beside_threads_that_wake_each_other, .timeout = 200)
{
	beside("futex");
}

Test(fair, beside_threads_that_trap, .timeout = 200)
{
	beside("trap");
}

Test(fair, beside_all_of_these, .timeout = 200)
{
	beside("mixed");
}

/* Woken by the clock at once, and each needs the others: nobody is in the run queue. */
Test(fair, woken_together, .timeout = 200)
{
	for (unsigned vcpus = 1; vcpus <= 2; vcpus++) {
		struct outcome o;

		run(&(struct guest){ .image = "fair",
				     .args = LIST("together"),
				     .vcpus = vcpus,
				     .turn_ns = TURN },
		    &o);
		cr_assert(strstr(o.out.text, "ok\n"), "%s", o.out.text);
		outcome_free(&o);
	}
}

/* ---- on need only ---- */

Test(fair, nobody_disturbs_one_that_is_alone, .timeout = 60)
{
	struct outcome o;

	run(&(struct guest){ .image = "fair", .args = LIST("alone", "1000") }, &o);
	cr_expect_eq(o.stats.preemptions_sent, 0);
	cr_expect_eq(o.stats.preemptions, 0);
	cr_expect_eq(o.stats.interrupts, 0);
	cr_expect_eq(o.stats.looks, 0);
	outcome_free(&o);
}

/* With other vCPUs, which have nothing to do, it is the same. */
Test(fair, nor_do_other_vcpus, .timeout = 60)
{
	struct outcome o;

	run(&(struct guest){ .image = "fair", .args = LIST("alone", "1000"), .vcpus = 4 }, &o);
	cr_expect_eq(o.stats.preemptions_sent, 0);
	cr_expect_eq(o.stats.interrupts, 0);
	cr_expect_eq(o.stats.balanced, 0);
	cr_expect_eq(o.stats.looks, 0);
	/*
	 * As it starts it may be taken over, where it waits for longer than a thief's patience:
	 * under emulation everything does.
	 */
	if (!emulated())
		cr_expect_leq(o.stats.steals, 1);
	outcome_free(&o);
}

/* An idle guest is idle: what it costs does not grow with the time. */
Test(fair, idle_is_idle, .timeout = 60)
{
	static const char *const times[] = { "200", "1000" };
	struct outcome o[2];

	for (int i = 0; i < 2; i++)
		run(&(struct guest){ .image = "fair", .args = LIST("idle", times[i]), .vcpus = 2 },
		    &o[i]);
	for (int i = 0; i < 2; i++) {
		/* The wake at its end, and one that comes too early maybe. */
		cr_expect_geq(o[i].stats.interrupts, 1);
		cr_expect_leq(o[i].stats.interrupts, 3);
		cr_expect_eq(o[i].stats.preemptions_sent, 0);
		cr_expect_eq(o[i].stats.balanced, 0);
		cr_expect_leq(o[i].stats.looks, 4);
	}
	cr_expect_leq(o[1].stats.exits_mmio, o[0].stats.exits_mmio + 3);
	cr_expect_leq(o[1].stats.exits_other, o[0].stats.exits_other + 3);
	cr_expect_leq(o[1].stats.exits_signal, o[0].stats.exits_signal + 3);
	cr_expect_leq(o[1].stats.polls, o[0].stats.polls + 3);
	outcome_free(&o[0]);
	outcome_free(&o[1]);
}

/* ---- without turns ---- */

Test(fair, without_turns_nobody_is_interrupted, .timeout = 60)
{
	static const char *const says[] = { "computed 0\nok\n", "computed 1\nok\n" };

	for (int i = 0; i < 2; i++) {
		struct outcome o;

		run(&(struct guest){ .image = "fair",
				     .args = LIST("turns"),
				     .turn_ns = i ? TURN_NONE : TURN },
		    &o);
		cr_assert_str_eq(o.out.text, says[i]);
		if (i) {
			cr_assert_eq(o.stats.preemptions_sent, 0);
			cr_assert_eq(o.stats.preemptions, 0);
		} else {
			cr_assert_gt(o.stats.preemptions, 0);
		}
		outcome_free(&o);
	}
}
