/* The writer of trace files, and what a reader of JSON makes of them. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "names.h"
#include "trace.h"

#define VCPUS 2
#define FUTEX 202
#define US    1000

/* Numbers of two tasks. */
#define A 0xa0
#define B 0xb0

static char *text;
static size_t size;
static FILE *stream;
static struct trace_writer *writer;
static json_t *root, *events;

static void begin(void)
{
	stream = open_memstream(&text, &size);
	writer = trace_begin(stream, VCPUS);
	cr_assert(writer);
}

static void put(uint64_t us, unsigned vcpu, enum uhyve_trace_kind kind, uint64_t task, uint32_t arg,
		uint64_t more)
{
	const struct uhyve_trace_event event = {
		.time = 5000000 + us * US,
		.vcpu = vcpu,
		.kind = kind,
		.task = task,
		.arg = arg,
		.more = more,
	};

	cr_assert_eq(trace_event(writer, &event), 0);
}

/* End it, and read it. */
static void finish(void)
{
	const struct uhyve_trace_summary summary = { .events = 7, .overwritten = 3, .dropped = 1 };
	json_error_t error;

	cr_assert_eq(trace_end(writer, &summary), 0);
	fclose(stream);
	root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
	cr_assert(root, "line %d: %s in %s", error.line, error.text, text);
	events = json_object_get(root, "traceEvents");
	cr_assert(json_is_array(events));
}

static void end(void)
{
	json_decref(root);
	free(text);
}

TestSuite(trace_json, .init = begin, .fini = end);

static const char *member(const json_t *object, const char *name)
{
	const char *value = json_string_value(json_object_get(object, name));

	return value ? value : "";
}

static double number(const json_t *object, const char *name)
{
	return json_number_value(json_object_get(object, name));
}

/* The track of a process that is named so; 0: there is none. */
static int track(int process, const char *name)
{
	size_t i;
	json_t *event;

	json_array_foreach(events, i, event)
	{
		if (!strcmp(member(event, "name"), "thread_name") &&
		    number(event, "pid") == process &&
		    !strcmp(member(json_object_get(event, "args"), "name"), name))
			return (int)number(event, "tid");
	}
	return 0;
}

/* The only event of that phase and name on the track; its time must be right, too. */
static json_t *at(double us, const char *phase, int process, int tid, const char *name)
{
	json_t *event, *found = NULL;
	size_t i;

	json_array_foreach(events, i, event)
	{
		if (!strcmp(member(event, "ph"), phase) && !strcmp(member(event, "name"), name) &&
		    number(event, "pid") == process && number(event, "tid") == tid &&
		    number(event, "ts") == us)
			found = event;
	}
	cr_assert(found, "no %s of phase %s at %f in track %d/%d: %s", name, phase, us, process,
		  tid, text);
	return found;
}

static const char *arg(const json_t *event, const char *name)
{
	return member(json_object_get(event, "args"), name);
}

static unsigned count(const char *phase)
{
	unsigned n = 0;
	json_t *event;
	size_t i;

	json_array_foreach(events, i, event) n += !strcmp(member(event, "ph"), phase);
	return n;
}

Test(trace_json, names)
{
	cr_assert_str_eq(syscall_name(FUTEX), "futex");
	cr_assert_str_eq(syscall_name(0), "read");
	cr_assert_null(syscall_name(100000));
	cr_assert_null(syscall_name(57));
	finish();
}

Test(trace_json, nothing)
{
	finish();
	cr_assert_eq(count("X"), 0);
	cr_assert_neq(track(1, "vCPU 0"), 0);
	cr_assert_neq(track(1, "vCPU 1"), 0);

	const json_t *other = json_object_get(root, "otherData");
	cr_assert_eq(number(other, "events"), 7);
	cr_assert_eq(number(other, "overwritten"), 3);
	cr_assert_eq(number(other, "dropped"), 1);
}

/* Two threads: one waits for a futex, the other one wakes it from another vCPU. */
Test(trace_json, a_thread_that_waits)
{
	put(0, 0, UHYVE_TRACE_SPAWN, A, 0, 0);
	put(0, 0, UHYVE_TRACE_NAME, A, 1, 0);
	put(1, 0, UHYVE_TRACE_RUN, A, 0, 0);
	put(2, 0, UHYVE_TRACE_SPAWN, B, 1, A);
	put(2, 0, UHYVE_TRACE_NAME, B, 7, 0);
	put(3, 1, UHYVE_TRACE_RUN, B, 0, 0);
	put(5, 0, UHYVE_TRACE_SYSCALL, A, FUTEX, 0);
	put(5, 0, UHYVE_TRACE_PENDING, A, 0, 0);
	put(6, 0, UHYVE_TRACE_SPIN, 0, 0, 0);
	put(7, 0, UHYVE_TRACE_PARK, 0, 0, 0);
	put(9, 1, UHYVE_TRACE_WAKE, A, 0, B);
	put(11, 0, UHYVE_TRACE_UNPARK, 0, 0, 0);
	put(12, 0, UHYVE_TRACE_RUN, A, 0, 0);
	put(13, 1, UHYVE_TRACE_DONE, B, 0, 0);
	put(20, 0, UHYVE_TRACE_DONE, A, 0, 0);
	finish();

	int cpu0 = track(1, "vCPU 0"), cpu1 = track(1, "vCPU 1");
	int a = track(2, "thread 1"), b = track(2, "thread 7");
	cr_assert(a && b && a != b);

	json_t *slice = at(1, "X", 1, cpu0, "thread 1");
	cr_assert_eq(number(slice, "dur"), 4);
	cr_assert_str_eq(arg(slice, "ended"), "waits");
	cr_assert_str_eq(arg(slice, "syscall"), "futex");
	cr_assert_eq(number(at(6, "X", 1, cpu0, "spins"), "dur"), 1);
	cr_assert_eq(number(at(7, "X", 1, cpu0, "parked"), "dur"), 4);
	slice = at(12, "X", 1, cpu0, "thread 1");
	cr_assert_eq(number(slice, "dur"), 8);
	cr_assert_str_eq(arg(slice, "ended"), "done");
	cr_assert_str_eq(arg(slice, "syscall"), "", "of the run before");
	slice = at(3, "X", 1, cpu1, "thread 7");
	cr_assert_str_eq(arg(slice, "ended"), "done");

	cr_assert_eq(number(at(0, "X", 2, a, "runnable"), "dur"), 1);
	cr_assert_eq(number(at(5, "X", 2, a, "waits: futex"), "dur"), 4);
	cr_assert_eq(number(at(9, "X", 2, a, "runnable"), "dur"), 3);
	cr_assert_eq(number(at(2, "X", 2, b, "runnable"), "dur"), 1);
	cr_assert_eq(count("X"), 9);

	/* From the waker to where the woken one runs. */
	cr_assert_eq(count("s"), 2);
	cr_assert_eq(count("f"), 2);
	json_t *from = at(9, "s", 1, cpu1, "wake"), *to = at(12, "f", 1, cpu0, "wake");
	cr_assert_eq(number(from, "id"), number(to, "id"));
	cr_assert_str_eq(member(to, "bp"), "e");
	from = at(2, "s", 1, cpu0, "wake");
	to = at(3, "f", 1, cpu1, "wake");
	cr_assert_eq(number(from, "id"), number(to, "id"));
}

Test(trace_json, steals_and_preemptions)
{
	put(0, 0, UHYVE_TRACE_NAME, A, 3, 0);
	put(1, 0, UHYVE_TRACE_RUN, A, 0, 0);
	put(4, 0, UHYVE_TRACE_PREEMPT, A, 0, 0);
	put(4, 0, UHYVE_TRACE_YIELD, A, 0, 0);
	put(6, 1, UHYVE_TRACE_STEAL, A, 0, 0);
	put(7, 1, UHYVE_TRACE_RUN, A, 0, 0);
	finish();

	int a = track(2, "thread 3");
	cr_assert_str_eq(arg(at(4, "i", 1, track(1, "vCPU 0"), "pre-empted"), "task"), "thread 3");
	json_t *steal = at(6, "i", 1, track(1, "vCPU 1"), "steals");
	cr_assert_str_eq(arg(steal, "task"), "thread 3");
	cr_assert_str_eq(arg(steal, "from"), "vCPU 0");
	cr_assert_str_eq(arg(at(1, "X", 1, track(1, "vCPU 0"), "thread 3"), "ended"), "yields");
	cr_assert_eq(number(at(4, "X", 2, a, "runnable"), "dur"), 3);
	/* What was going on at the end is shown as far as it went. */
	cr_assert_str_eq(arg(at(7, "X", 1, track(1, "vCPU 1"), "thread 3"), "ended"),
			 "the VM ended");
}

/* The beginning was overwritten: what is there is shown, what is not known is not. */
Test(trace_json, a_trace_without_its_beginning)
{
	put(0, 0, UHYVE_TRACE_PENDING, A, 0, 0);
	put(1, 1, UHYVE_TRACE_WORK, 0, 0, 0);
	put(2, 0, UHYVE_TRACE_RUN, B, 0, 0);
	put(3, 0, UHYVE_TRACE_SYSCALL, B, 100000, 0);
	put(3, 0, UHYVE_TRACE_PENDING, B, 0, 0);
	put(4, 1, UHYVE_TRACE_WAKE, A, 0, 0);
	put(5, 1, UHYVE_TRACE_NAME, B, 0, 0);
	finish();

	int a = track(2, "task 0xa0");
	cr_assert_eq(number(at(0, "X", 2, a, "waits"), "dur"), 4);
	cr_assert_str_eq(arg(at(2, "X", 1, track(1, "vCPU 0"), "task 0xb0"), "syscall"),
			 "system call 100000");
	cr_assert_neq(track(2, "kernel task"), 0);
	cr_assert_eq(count("s"), 0, "woken by nobody");
}

/* Memory that is used again makes another task with the same number. */
Test(trace_json, a_number_that_is_used_again)
{
	put(0, 0, UHYVE_TRACE_NAME, A, 1, 0);
	put(1, 0, UHYVE_TRACE_RUN, A, 0, 0);
	put(2, 0, UHYVE_TRACE_DONE, A, 0, 0);
	put(3, 0, UHYVE_TRACE_SPAWN, A, 0, 0);
	put(3, 0, UHYVE_TRACE_NAME, A, 2, 0);
	put(4, 0, UHYVE_TRACE_RUN, A, 0, 0);
	/* Its end is missing. */
	put(5, 0, UHYVE_TRACE_SPAWN, A, 0, 0);
	put(6, 0, UHYVE_TRACE_NAME, A, 3, 0);
	finish();

	int one = track(2, "thread 1"), two = track(2, "thread 2"), three = track(2, "thread 3");
	cr_assert(one && two && three && one != two && two != three);
	cr_assert_eq(number(at(3, "X", 2, two, "runnable"), "dur"), 1);
}

/* Whatever a guest writes: the file is JSON, with all slices of some length >= 0. */
Test(trace_json, anything)
{
	uint64_t seed = 88172645463325252ull, time = 0;
	json_t *event;
	size_t i;

	for (int n = 0; n < 20000; n++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		const struct uhyve_trace_event random = {
			.time = time,
			.vcpu = seed >> 20 & 1,
			.kind = (enum uhyve_trace_kind)(seed % UHYVE_TRACE_WORK + 1),
			.task = seed & 1024 ? seed >> 60 : seed,
			.arg = seed & 2048 ? (uint32_t)seed : (uint32_t)seed & 511,
			.more = seed & 4096 ? seed : 0,
		};

		cr_assert_eq(trace_event(writer, &random), 0);
		time += n == 10000 ? UINT64_MAX / 2 : seed >> 50;
	}
	finish();
	json_array_foreach(events, i, event)
	{
		if (!strcmp(member(event, "ph"), "X"))
			cr_assert_geq(number(event, "dur"), 0);
		cr_assert_geq(number(event, "ts"), 0);
	}
}

Test(trace_json, a_full_disk)
{
	const struct uhyve_trace_summary summary = { 0 };
	FILE *full = fopen("/dev/full", "w");
	struct trace_writer *other = trace_begin(full, 1);

	cr_assert_eq(trace_end(other, &summary), -1);
	(void)fclose(full);
	finish();
}
