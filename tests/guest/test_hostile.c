/*
 * Hostile guests: whatever they do ends at most their own VM, with a reason; the process
 * that runs them is as it was, and the next guest runs.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

/* Long enough for a guest that works to end, short enough to wait for one that never does. */
#define STOP_MS 300

static void next_guest_runs(void)
{
	struct outcome o;

	guest_run(&(struct guest){ .image = "hello" }, &o);
	ended(&o, 0);
	cr_assert_str_eq(o.out.text, "hello\n");
	outcome_free(&o);
}

static void attack(const struct guest *like, const char *name, struct outcome *o)
{
	struct guest guest = *like;

	guest.image = "hostile";
	guest.args = LIST(name);
	guest_run(&guest, o);
	/* A report goes to a terminal. */
	for (const char *at = o->report; *at; at++)
		cr_expect((*at >= ' ' && *at != 0x7f) || *at == '\n' || (*at & 0x80),
			  "%s: control characters in the report", name);
}

/* It ends by itself, with this status. */
static void exits(const struct guest *like, const char *name, int status)
{
	struct outcome o;

	attack(like, name, &o);
	cr_expect(o.result.end == UHYVE_EXITED && o.result.status == status,
		  "%s: end %d, status %d instead of %d: %s%.1000s", name, o.result.end,
		  o.result.status, status, o.report, o.out.text);
	outcome_free(&o);
}

/* The loader ends it, and says why. */
static void fails(const struct guest *like, const char *name, const char *reason)
{
	struct outcome o;

	attack(like, name, &o);
	cr_expect(o.result.end == UHYVE_FAILED && o.result.status == 125,
		  "%s: end %d, status %d: %s", name, o.result.end, o.result.status, o.report);
	cr_expect(strstr(o.report, reason), "%s: no \"%s\" in: %s", name, reason, o.report);
	outcome_free(&o);
}

/* It goes on until it is stopped. */
static void never_ends(const char *name)
{
	struct outcome o;

	attack(&(struct guest){ .ms = STOP_MS, .expected = true }, name, &o);
	cr_expect(o.result.end == UHYVE_STOPPED && o.result.status == 143,
		  "%s: end %d, status %d: %s", name, o.result.end, o.result.status, o.report);
	outcome_free(&o);
}

static const struct guest plain;
static const struct guest threads = { .backend = "threads" };
static const struct guest sleepy = { .spin_ns = SPIN_NONE };
static unsigned descriptors;

static void before(void)
{
	next_guest_runs();
	descriptors = open_descriptors();
}

static void after(void)
{
	next_guest_runs();
	cr_assert_eq(open_descriptors(), descriptors, "descriptors have leaked");
}

TestSuite(hostile, .init = before, .fini = after);

Test(hostile, rings)
{
	fails(&plain, "tail_out_of_bounds", "submission queue");
	fails(&plain, "tail_backwards", "submission queue");
	fails(&plain, "head_out_of_bounds", "completion queue");
	fails(&plain, "completions_not_taken", "outstanding");
	exits(&plain, "loaders_fields", 0);
	exits(&sleepy, "loaders_fields", 0);
	exits(&plain, "unknown_operations", 0);
}

Test(hostile, garbage)
{
	exits(&plain, "garbage_entries", 0);
	exits(&threads, "garbage_entries", 0);
	exits(&(struct guest){ .maps = LIST("/usr:/:ro") }, "garbage_entries", 0);
}

Test(hostile, entries_that_change)
{
	exits(&(struct guest){ .vcpus = 2 }, "changing_entries", 0);
}

Test(hostile, control_register)
{
	fails(&plain, "unknown_control", "unknown control code");
	fails(&plain, "control_zero", "unknown control code");
	fails(&plain, "nub_control", "CPL0");
	fails(&plain, "panic_with_escapes", "kernel panic");
	exits(&plain, "greatest_status", 255);
	exits(&plain, "least_status", 0);
	exits(&plain, "device_page", 0);
	exits(&plain, "kick_storm", 0);
}

Test(hostile, fault_reports)
{
	static const char *const names[] = { "wild_fault", "fault_of_no_signal",
					     "fault_frames_in_a_circle", "fault_frame_in_the_nub",
					     "fault_many_frames" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct outcome o;

		attack(&plain, names[i], &o);
		cr_expect_eq(o.result.end, UHYVE_FAULTED, "%s: end %d", names[i], o.result.end);
		cr_expect_eq(o.result.status, 128 + o.result.signal, "%s: status %d", names[i],
			     o.result.status);
		cr_expect(o.result.signal >= 0 && o.result.signal < 65, "%s: signal %d", names[i],
			  o.result.signal);
		/* What is the nub's is not shown. */
		cr_expect_null(strstr(o.report, "#33"), "%s: %s", names[i], o.report);
		outcome_free(&o);
	}
}

Test(hostile, exceptions)
{
	static const struct guest *const how = &plain;

	exits(how, "jump_not_canonical", 113);
	exits(how, "return_not_canonical", 113);
	exits(how, "stack_in_the_nub", 114);
	exits(how, "no_gs", 106);
	exits(how, "strange_flags", 106);
	exits(how, "far_to_kernel_code", 113);
	exits(how, "iret_to_kernel_code", 113);
	exits(how, "syscall_entry", 114);
}

/* Which exception it is depends on the host. */
Test(hostile, exceptions_of_several_kinds)
{
	static const char *const names[] = { "stack_pointer", "single_step", "hypercall",
					     "upcall_not_canonical", "upcall_upper_half" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct outcome o;

		attack(&(struct guest){ .ms = STOP_MS, .expected = true }, names[i], &o);
		cr_expect((o.result.end == UHYVE_EXITED &&
			   (o.result.status == 0 || o.result.status > 100)) ||
				  o.result.end == UHYVE_FAILED || o.result.end == UHYVE_STOPPED,
			  "%s: end %d, status %d: %s", names[i], o.result.end, o.result.status,
			  o.report);
		outcome_free(&o);
	}
}

Test(hostile, never_ending)
{
	never_ends("compute_for_ever");
	never_ends("halt_for_ever");
	never_ends("upcall_null");
	never_ends("upcall_nub");
	never_ends("upcall_faults");
	never_ends("upcall_never_ends");
}

Test(hostile, smashed_block)
{
	struct outcome o;

	attack(&plain, "smash_block", &o);
	cr_expect(o.result.end == UHYVE_FAILED ||
			  (o.result.end == UHYVE_EXITED && o.result.status == 255),
		  "end %d, status %d: %s", o.result.end, o.result.status, o.report);
	outcome_free(&o);
}

Test(hostile, handles)
{
	exits(&plain, "bad_handles", 0);
	exits(&threads, "bad_handles", 0);
}

Test(hostile, memory)
{
	exits(&plain, "mappings", 0);
	exits(&(struct guest){ .memory = 32 << 20 }, "all_memory", 0);
	exits(&(struct guest){ .memory = 8 << 20 }, "all_tables", 0);
	exits(&plain, "bad_buffers", 0);
	exits(&threads, "bad_buffers", 0);
}

/* A directory to map, full of ways out. */
static char *trap(void)
{
	const char *directory = scratch();
	const char *top = scratch_file("top", NULL, 0);
	const char *links[][2] = { { "/etc/passwd", "absolute" },
				   { "../../../../../../etc/passwd", "upwards" },
				   { "/etc", "directory" },
				   { "circle", "circle" },
				   { "/proc", "magic" } };
	char path[4096], *map;

	cr_assert(directory);
	cr_assert_eq(mkdir(top, 0700), 0);
	(void)scratch_file("top/inside", "inside", 6);
	cr_assert_eq(mkdir(scratch_file("top/sub", NULL, 0), 0700), 0);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", top, links[i][1]);
		cr_assert_eq(symlink(links[i][0], path), 0);
	}
	cr_assert_gt(asprintf(&map, "%s:/", top), 0);
	return map;
}

static bool still_inside(void)
{
	char text[16] = "";
	int fd = open(scratch_file("top/inside", NULL, 0), O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text));

	close(fd);
	return n == 6 && !memcmp(text, "inside", 6);
}

static void ways_out(const char *backend)
{
	char *map = trap(), *ro, *rw;

	cr_assert_gt(asprintf(&ro, "%s:ro", map), 0);
	cr_assert_gt(asprintf(&rw, "%s:rw", map), 0);
	exits(&(struct guest){ .maps = LIST(ro), .backend = backend }, "paths", 0);
	exits(&(struct guest){ .maps = LIST(ro), .backend = backend }, "read_only_paths", 0);
	cr_expect(still_inside());
	exits(&(struct guest){ .maps = LIST(rw), .backend = backend }, "paths", 0);
	cr_expect(still_inside());
	cr_expect_eq(access(scratch_file("top/new", NULL, 0), F_OK), -1);
	exits(&(struct guest){ .maps = LIST(ro), .backend = backend }, "all_handles", 0);
	free(map);
	free(ro);
	free(rw);
}

Test(hostile, paths)
{
	ways_out("auto");
}

Test(hostile, paths_with_the_threads_backend)
{
	ways_out("threads");
}

Test(hostile, operations_in_flight)
{
	static const char *const backends[] = { "auto", "threads" };
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	for (size_t i = 0; i < 2; i++) {
		struct guest guest = { .in = ends[0], .backend = backends[i] };

		exits(&guest, "busy_memory", 0);
		exits(&guest, "end_with_all_in_flight", 0);
		exits(&guest, "close_the_console", 0);
		exits(&guest, "cancel_everything", 0);
		fails(&guest, "too_many_in_flight", "outstanding");
	}
	close(ends[0]);
	close(ends[1]);
}

/* Two at once: the one ends, the other doesn't notice. */
Test(hostile, beside_a_good_one)
{
	struct outcome good, bad;
	struct running *running = guest_start(&(struct guest){ .image = "forever" });

	cr_assert(guest_wait_output(running, "running", 5000));
	attack(&plain, "completions_not_taken", &bad);
	cr_expect_eq(bad.result.end, UHYVE_FAILED);
	outcome_free(&bad);
	attack(&plain, "nub_control", &bad);
	cr_expect_eq(bad.result.end, UHYVE_FAILED);
	outcome_free(&bad);
	guest_stop(running);
	guest_finish(running, &good);
	cr_assert_eq(good.result.end, UHYVE_STOPPED);
	cr_assert_eq(good.result.status, 143);
	outcome_free(&good);
}
