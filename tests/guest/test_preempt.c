/*
 * Pre-emption as the nub does it, and the start of the other vCPUs, with an image that has no
 * kernel: what the contract says, whatever our kernel makes of it.
 */
#include <unistd.h>

#include "harness.h"

static void run(const char *name, unsigned vcpus, struct outcome *o)
{
	guest_run(&(struct guest){ .image = "preempt", .args = LIST(name), .vcpus = vcpus }, o);
}

static void exits(const char *name, unsigned vcpus, int status)
{
	struct outcome o;

	run(name, vcpus, &o);
	cr_expect(o.result.end == UHYVE_EXITED && o.result.status == status,
		  "%s: end %d, status %d: %s", name, o.result.end, o.result.status, o.report);
	outcome_free(&o);
}

/* User code: the kernel gets all it needs to go on there. */
Test(preempt, user_code)
{
	exits("registers", 1, 0);
	exits("behind_the_text", 1, 0);
	exits("before_the_text", 1, 0);
}

Test(preempt, user_code_goes_on)
{
	struct outcome o;

	run("resumes", 1, &o);
	ended(&o, 0);
	cr_assert_geq(o.stats.preemptions_sent, 60);
	outcome_free(&o);
}

Test(preempt, kernel_code_is_only_told)
{
	exits("inside_the_text", 1, 0);
	exits("no_handler", 1, 0);
	exits("on_the_kernels_stack", 1, 0);
	exits("above_the_stack", 1, 0);
	exits("in_the_system_call_stub", 1, 0);
}

Test(preempt, the_nub_is_only_told)
{
	exits("halted", 1, 0);
}

Test(preempt, completions_nobody_consumes)
{
	exits("left_completions", 1, 0);
}

Test(preempt, hostile_addresses)
{
	static const char *const names[] = { "not_canonical", "upper_half" };

	exits("to_null", 1, 114);
	exits("to_the_nub", 1, 114);
	exits("strange_text", 1, 0);
	/* Which exception it is, and at which level, depends on the host. */
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct outcome o;

		run(names[i], 1, &o);
		cr_expect((o.result.end == UHYVE_EXITED && o.result.status > 100) ||
				  o.result.end == UHYVE_FAILED,
			  "%s: end %d, status %d: %s", names[i], o.result.end, o.result.status,
			  o.report);
		outcome_free(&o);
	}
}

Test(preempt, hostile_needs)
{
	exits("needs", 2, 0);
}

Test(start, when_the_first_vcpu_says_so)
{
	exits("start", 1, 0);
	exits("start", 2, 0);
	exits("start", 5, 0);
}

Test(start, never)
{
	exits("never_start", 4, 0);
	exits("never_start", UHYVE_VCPUS_MAX, 0);
}

/* Stopped before, while, and after the others are started. */
Test(start, stopped_at_any_time)
{
	static const char *const names[] = { "go_on", "start_and_go_on" };

	for (unsigned i = 0; i < 30; i++) {
		struct outcome o;
		struct running *running = guest_start(&(struct guest){
			.image = "preempt", .args = LIST(names[i % 10 != 0]), .vcpus = 8 });

		usleep(i * 150);
		guest_stop(running);
		guest_finish(running, &o);
		cr_assert_eq(o.result.end, UHYVE_STOPPED, "%s", o.report);
		outcome_free(&o);
	}
}
