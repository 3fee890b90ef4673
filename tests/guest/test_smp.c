/* Threads on two vCPUs (and on one): wakes, locks, creation; each many times. */
#include <stdio.h>
#include <string.h>

#include "harness.h"

#define TIMES 20

static void run(const char *test, unsigned vcpus, long spin_ns)
{
	struct outcome o;

	guest_run(
		&(struct guest){
			.image = "smp", .args = LIST(test), .vcpus = vcpus, .spin_ns = spin_ns },
		&o);
	ended(&o, 0);
	cr_assert(strstr(o.out.text, "ok\n"), "%s", o.out.text);
	outcome_free(&o);
}

/*
 * With no spinning at all each wait is a park, and each wake of another vCPU an interrupt.
 * Long spinning is for the tests that look at it: the machine may have two processors only.
 */
static void repeat(const char *test)
{
	for (int i = 0; i < TIMES; i++)
		run(test, 2, i % 2 ? SPIN_NONE : 0);
	run(test, 1, 0);
	run(test, 1, SPIN_NONE);
	run(test, 4, 0);
}

Test(smp, all_vcpus_are_used)
{
	for (unsigned vcpus = 1; vcpus <= 4; vcpus++) {
		struct outcome o;
		char says[32];

		guest_run(&(struct guest){ .image = "smp",
					   .args = LIST("everywhere"),
					   .vcpus = vcpus },
			  &o);
		ended(&o, 0);
		cr_assert_str_eq(o.out.text, (sprintf(says, "vcpus %u\nok\n", vcpus), says));
		cr_assert_eq(o.stats.vcpus, vcpus);
		outcome_free(&o);
	}
}

Test(smp, as_many_vcpus_as_there_may_be)
{
	run("many", UHYVE_VCPUS_MAX, SPIN_NONE);
}

Test(smp, affinity, .timeout = 60)
{
	repeat("affinity");
}

Test(smp, affinity_of_one_that_waits, .timeout = 60)
{
	repeat("moved");
}

Test(smp, everywhere, .timeout = 60)
{
	repeat("everywhere");
}

Test(smp, ping_pong, .timeout = 60)
{
	repeat("ping-pong");
}

Test(smp, the_target_is_idle, .timeout = 60)
{
	for (int i = 0; i < TIMES; i++) {
		run("idle-target", 2, SPIN_NONE);
		run("idle-target", 2, SPIN_LARGE);
	}
}

Test(smp, many_threads, .timeout = 60)
{
	repeat("many");
}

Test(smp, threads_one_after_the_other, .timeout = 60)
{
	repeat("again");
}

Test(smp, detached_threads, .timeout = 60)
{
	repeat("detached");
}

Test(smp, barrier, .timeout = 60)
{
	repeat("barrier");
}

Test(smp, contended_lock, .timeout = 60)
{
	repeat("lock");
}

Test(smp, registers_are_each_threads_own, .timeout = 60)
{
	repeat("registers");
}

Test(smp, timed_wait, .timeout = 60)
{
	repeat("timed-wait");
}

Test(smp, ends_while_others_run, .timeout = 60)
{
	for (int i = 0; i < TIMES; i++) {
		run("leave", 2, i % 2 ? SPIN_NONE : 0);
		run("leave", 3, 0);
	}
}

/* Parked vCPUs are woken by interrupts, spinning ones are not. */
Test(smp, parked_or_spinning)
{
	struct outcome parked, spinning;

	guest_run(&(struct guest){ .image = "smp",
				   .args = LIST("idle-target"),
				   .vcpus = 2,
				   .spin_ns = SPIN_NONE },
		  &parked);
	guest_run(&(struct guest){ .image = "smp",
				   .args = LIST("idle-target"),
				   .vcpus = 2,
				   .spin_ns = SPIN_LARGE },
		  &spinning);
	ended(&parked, 0);
	ended(&spinning, 0);
	cr_assert_gt(parked.stats.kicks, 0);
	cr_assert_gt(parked.stats.parks, 20);
	cr_assert_eq(parked.stats.spins, 0);
	cr_assert_gt(spinning.stats.spins, 0);
	outcome_free(&parked);
	outcome_free(&spinning);
}
