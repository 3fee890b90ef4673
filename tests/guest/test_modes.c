/*
 * The three ways from a system call to its future (uhyve_config_set_dispatch): programs do
 * the same in all of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

static const char *const modes[] = { "union", "return", "stack" };

#define MODES (sizeof(modes) / sizeof(modes[0]))

static const struct row {
	const char *image, *args[3];
	int status;
	bool ok; /* it says "ok" last */
	unsigned vcpus;
} rows[] = {
	{ "hello", {}, 0, false, 1 },
	{ "hello-pie", {}, 0, false, 1 },
	{ "arguments", { "3", "two words" }, 3, false, 1 },
	{ "smp", { "everywhere" }, 0, true, 2 },
	{ "smp", { "ping-pong" }, 0, true, 2 },
	{ "smp", { "idle-target" }, 0, true, 2 },
	{ "smp", { "affinity" }, 0, true, 2 },
	{ "smp", { "moved" }, 0, true, 2 },
	{ "smp", { "many" }, 0, true, 2 },
	{ "smp", { "again" }, 0, true, 2 },
	{ "smp", { "detached" }, 0, true, 2 },
	{ "smp", { "barrier" }, 0, true, 2 },
	{ "smp", { "lock" }, 0, true, 2 },
	{ "smp", { "registers" }, 0, true, 2 },
	{ "smp", { "timed-wait" }, 0, true, 2 },
	{ "smp", { "leave" }, 0, true, 2 },
	{ "stdio", { "small-writes" }, 0, false, 1 },
	{ "stdio", { "both" }, 0, false, 1 },
	{ "timers", { "sleeps" }, 0, false, 2 },
	{ "timers", { "invalid" }, 0, false, 1 },
	{ "timers", { "monotonic" }, 0, false, 2 },
	{ "timers", { "unknown" }, 0, false, 1 },
	{ "fair", { "together" }, 0, true, 2 },
	{ "badcalls", { "/data" }, 0, false, 1 },
	{ "badcalls", { "stack" }, 0, true, 2 },
	{ "badcalls", { "flags" }, 0, true, 1 },
};

static const char *map;

static void make_file(void)
{
	map = (scratch_file("data", "0123456789", 10), scratch());
}

static void run_mode(const struct row *row, const char *mode, long spin_ns, struct outcome *o)
{
	guest_run(&(struct guest){ .image = row->image,
				   .args = row->args,
				   .maps = LIST(map),
				   .vcpus = row->vcpus,
				   .spin_ns = spin_ns,
				   .turn_ns = 500000,
				   .dispatch = mode },
		  o);
}

static void run_rows(long spin_ns)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct outcome o[MODES];

		for (size_t mode = 0; mode < MODES; mode++) {
			cr_log_info("%s %s in mode %s", row->image, row->args[0], modes[mode]);
			run_mode(row, modes[mode], spin_ns, &o[mode]);
			cr_expect(o[mode].result.end == UHYVE_EXITED &&
					  o[mode].result.status == row->status,
				  "%s %s in mode %s: end %d, status %d: %.500s%s", row->image,
				  row->args[0], modes[mode], o[mode].result.end,
				  o[mode].result.status, o[mode].out.text, o[mode].report);
			cr_expect_str_eq(o[mode].out.text, o[0].out.text, "%s %s in mode %s: %s%s",
					 row->image, row->args[0], modes[mode], o[mode].out.text,
					 o[0].out.text);
			cr_expect_str_eq(o[mode].err.text, o[0].err.text);
			if (row->ok)
				cr_expect(strstr(o[mode].out.text, "ok\n"), "%s %s in mode %s: %s",
					  row->image, row->args[0], modes[mode], o[mode].out.text);
		}
		for (size_t mode = 0; mode < MODES; mode++)
			outcome_free(&o[mode]);
	}
}

Test(modes, programs_do_the_same, .init = make_file, .timeout = 200)
{
	run_rows(0);
}

Test(modes, programs_do_the_same_without_spinning, .init = make_file, .timeout = 200)
{
	run_rows(SPIN_NONE);
}

/* Addresses that are wrong give what they give on Linux. */
Test(modes, wrong_addresses, .init = make_file, .timeout = 60)
{
	const struct row row = { "badcalls", { "/data" }, 0, false, 1 };

	for (size_t mode = 0; mode < MODES; mode++) {
		static const char *const calls[] = { "write",     "open",         "stat",
						     "nanosleep", "futex",        "futex time",
						     "uname",     "getrandom",    "poll",
						     "writev",    "clock_gettime" };
		struct outcome o;

		run_mode(&row, modes[mode], 0, &o);
		ended(&o, 0);
		for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
			char good[64];
			const char *at = o.out.text;
			unsigned count = 0;

			snprintf(good, sizeof(good), "\n%s -14\n", calls[i]);
			for (; (at = strstr(at, good)); at++)
				count++;
			/* A futex that is not aligned is wrong before its address is. */
			cr_expect_eq(count,
				     i == 10  ? 5
				     : i == 4 ? 4
					      : 6,
				     "%s in mode %s: %s", calls[i], modes[mode], o.out.text);
		}
		cr_expect(strstr(o.out.text, "read forbidden -14\nread null -14\n"
					     "fstat forbidden -14\nread at last 10\n"),
			  "%s", o.out.text);
		outcome_free(&o);
	}
}

/* With a stack pointer that leads nowhere; a call on the program's stack can't do that. */
Test(modes, without_a_stack, .init = make_file, .timeout = 60)
{
	const struct row row = { "badcalls", { "nowhere" }, 0, true, 1 };

	for (size_t mode = 0; mode < MODES; mode++) {
		struct outcome o;

		run_mode(&row, modes[mode], 0, &o);
		if (!strcmp(modes[mode], "stack"))
			faulted(&o, 11);
		else
			ended(&o, 0);
		outcome_free(&o);
	}
}

/* A fault is told as such, whatever the mode; and after an interruption as well. */
Test(modes, faults, .timeout = 60)
{
	static const char *const names[] = { "text", "nub" };

	for (size_t mode = 0; mode < MODES; mode++) {
		for (size_t i = 0; i < 2; i++) {
			struct outcome o;

			guest_run(&(struct guest){ .image = "fault",
						   .args = LIST(names[i]),
						   .dispatch = modes[mode] },
				  &o);
			faulted(&o, 11);
			cr_expect(strstr(o.report, "fault_"), "%s", o.report);
			outcome_free(&o);
		}
	}
}

static void with_input(const char *mode, unsigned vcpus)
{
	char *bytes = malloc(1 << 20);
	struct outcome o;
	int ends[2];

	for (int i = 0; i < 1 << 20; i++)
		bytes[i] = (char)(i * 2654435761u >> 11);
	map = (scratch_file("data", bytes, 1 << 20), scratch());
	cr_assert_eq(pipe(ends), 0);
	struct running *running = guest_start(&(struct guest){ .image = "blocking",
							       .args = LIST("/data"),
							       .maps = LIST(map),
							       .in = ends[0],
							       .vcpus = vcpus,
							       .dispatch = mode });
	bool waiting = guest_wait_output(running, "waiting\n", 15000);
	cr_assert_eq(write(ends[1], "at last", 7), 7);
	close(ends[1]);
	guest_finish(running, &o);
	close(ends[0]);
	cr_assert(waiting, "%s", o.out.text);
	ended(&o, 0);
	cr_assert(strstr(o.out.text, "waiting\ninput 7 at last\n"), "%s", o.out.text);
	outcome_free(&o);
	free(bytes);
}

Test(modes, others_run_while_one_reads, .timeout = 100)
{
	for (size_t mode = 0; mode < MODES; mode++)
		for (unsigned vcpus = 1; vcpus <= 2; vcpus++)
			with_input(modes[mode], vcpus);
}
