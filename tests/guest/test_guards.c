/*
 * What is guarded stays guarded: a forbidden access or instruction ends the program by the
 * signal Linux would send, with a report that tells what happened and where.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

struct fault {
	const char *name;
	int signal;
	const char *reason; /* in the report                                */
	/* The report must name this function; default: fault_<name> */
	const char *function;
	int or_signal; /* also right, or 0                                  */
};

#define WRITE   "cannot write to"
#define EXECUTE "cannot execute"
#define READ    "cannot read"
#define GP      "#GP"

static const struct fault faults[] = {
	{ "text", SIGSEGV, .reason = WRITE },
	{ "rodata", SIGSEGV, .reason = WRITE },
	{ "nub", SIGSEGV, .reason = WRITE },
	{ "nub_tables", SIGSEGV, .reason = WRITE },
	{ "nub_stack", SIGSEGV, .reason = WRITE },
	{ "nub_read", SIGSEGV, .reason = READ },
	{ "nub_call", SIGSEGV, .reason = EXECUTE },
	{ "frame", SIGSEGV, .reason = WRITE },
	{ "boot", SIGSEGV, .reason = WRITE },
	{ "lstar", SIGSEGV, .reason = WRITE },
	{ "kernel_guard", SIGSEGV, .reason = WRITE },
	{ "null_read", SIGSEGV, .reason = READ },
	{ "null_write", SIGSEGV, .reason = WRITE },
	{ "null_call", SIGSEGV, .reason = EXECUTE },
	{ "execute_stack", SIGSEGV, .reason = EXECUTE },
	{ "execute_heap", SIGSEGV, .reason = EXECUTE },
	{ "execute_data", SIGSEGV, .reason = EXECUTE },
	{ "jit_write", SIGSEGV, .reason = WRITE },
	{ "unmapped", SIGSEGV, .reason = WRITE },
	{ "no_access", SIGSEGV, .reason = WRITE },
	/* The host may keep the upper half for itself: either kind of exception is right. */
	{ "upper_half", SIGSEGV, .reason = "SIGSEGV" },
	{ "not_canonical", SIGSEGV, .reason = GP },
	{ "call_not_canonical", SIGSEGV, .reason = GP },
	{ "stack", SIGSEGV, .reason = WRITE, .function = "recurse" },
	{ "thread_stack", SIGSEGV, .reason = WRITE, .function = "recurse" },
	{ "ud2", SIGILL, .reason = "#UD" },
	{ "division", SIGFPE, .reason = "#DE" },
	{ "cli", SIGSEGV, .reason = GP },
	{ "hlt", SIGSEGV, .reason = GP },
	{ "mov_cr3", SIGSEGV, .reason = GP },
	{ "read_cr0", SIGSEGV, .reason = GP },
	{ "lgdt", SIGSEGV, .reason = GP },
	{ "lidt", SIGSEGV, .reason = GP },
	{ "wrmsr", SIGSEGV, .reason = GP },
	{ "out", SIGSEGV, .reason = GP },
	{ "in", SIGSEGV, .reason = GP },
	{ "invlpg", SIGSEGV, .reason = GP },
	{ "swapgs", SIGSEGV, .reason = GP },
	{ "int3", SIGTRAP, .reason = "#BP" },
	/* kvm_pvm has no software interrupts: #UD there. */
	{ "int80", SIGSEGV, .reason = "#", .or_signal = SIGILL },
	{ "int_wake", SIGSEGV, .reason = "#", .or_signal = SIGILL },
	/* In the C library, which has no frame pointers: the innermost frame only. */
	{ "abort", SIGABRT, .reason = "raised by the program itself", .function = "" },
	{ "raise", SIGTERM, .reason = "raised by the program itself", .function = "" },
};

#define FAULTS (sizeof(faults) / sizeof(faults[0]))

static bool has_registers(const char *report)
{
	static const char *const names[] = { "rip", "rsp", "rbp", "rax", "rbx", "rcx",
					     "rdx", "rsi", "rdi", "r8 ", "r15", "flags" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strstr(report, names[i]))
			return false;
	return true;
}

static void run_fault(const struct fault *fault, const char *image, unsigned vcpus,
		      struct outcome *o)
{
	char shown[64];

	guest_run(&(struct guest){ .image = image, .args = LIST(fault->name), .vcpus = vcpus }, o);
	cr_expect_eq(o->result.end, UHYVE_FAULTED, "%s: end %d, status %d: %.500s%s", fault->name,
		     o->result.end, o->result.status, o->out.text, o->report);
	cr_expect(o->result.signal == fault->signal ||
			  (fault->or_signal && o->result.signal == fault->or_signal),
		  "%s: signal %d", fault->name, o->result.signal);
	cr_expect_eq(o->result.status, 128 + o->result.signal, "%s: status %d", fault->name,
		     o->result.status);
	cr_expect(strstr(o->report, fault->reason), "%s: no \"%s\" in:\n%s", fault->name,
		  fault->reason, o->report);
	/* The address that the program announced. */
	if (sscanf(o->out.text, "at %60s", shown) == 1)
		cr_expect(strstr(o->report, shown), "%s: no %s in:\n%s", fault->name, shown,
			  o->report);
	cr_expect(has_registers(o->report), "%s: registers are missing in:\n%s", fault->name,
		  o->report);
	cr_expect(strstr(o->report, "backtrace:\n  #0 "), "%s: no backtrace in:\n%s", fault->name,
		  o->report);
	cr_expect_str_empty(o->err.text);
}

static void run_fault_with_symbols(const struct fault *fault)
{
	char function[64];
	struct outcome o;

	run_fault(fault, "fault", 1, &o);
	snprintf(function, sizeof(function), "%s%s", fault->function ? "" : "fault_",
		 fault->function ? fault->function : fault->name);
	const char *trace = strstr(o.report, "backtrace:");
	cr_expect(trace && strstr(trace, function), "%s: no %s in:\n%s", fault->name, function,
		  o.report);
	outcome_free(&o);
}

Test(guards, end_by_a_signal_with_a_report)
{
	for (size_t i = 0; i < FAULTS; i++)
		run_fault_with_symbols(&faults[i]);
}

Test(guards, vector_exception)
{
	if (emulated())
		skip_test("the processor that QEMU emulates raises no #XM");
	run_fault_with_symbols(&(struct fault){ "sse", SIGFPE, .reason = "#XM" });
}

Test(guards, backtrace_shows_the_callers)
{
	struct outcome o;

	guest_run(&(struct guest){ .image = "fault", .args = LIST("text") }, &o);
	faulted(&o, SIGSEGV);
	const char *inner = strstr(o.report, "fault_text+0x");
	cr_assert(inner, "%s", o.report);
	cr_assert(strstr(inner, "main+0x"), "%s", o.report);
	outcome_free(&o);
}

Test(guards, without_symbols)
{
	for (size_t i = 0; i < FAULTS; i += 5) {
		struct outcome o;

		run_fault(&faults[i], "fault-stripped", 1, &o);
		cr_expect_null(strstr(o.report, "main+"), "%s", o.report);
		cr_expect(strstr(o.report, "#0  0x"), "%s", o.report);
		outcome_free(&o);
	}
}

Test(guards, hold_on_several_vcpus)
{
	for (size_t i = 0; i < FAULTS; i += 3) {
		struct outcome o;

		run_fault(&faults[i], "fault", 2, &o);
		outcome_free(&o);
	}
}

/* "Z...": the bytes that must not get where they are sent. */
static const char *zeds(void)
{
	char bytes[65536];

	memset(bytes, 'Z', sizeof(bytes));
	return scratch_file("zeds", bytes, sizeof(bytes));
}

static void refused(const char *backend)
{
	int in = open(zeds(), O_RDONLY | O_CLOEXEC);
	struct outcome o;

	guest_run(&(struct guest){ .image = "deny", .in = in, .backend = backend }, &o);
	cr_expect_str_empty(o.out.text);
	ended(&o, 0);
	cr_assert_str_empty(o.err.text);
	outcome_free(&o);
	close(in);
}

Test(guards, refused_with_an_error)
{
	refused("auto");
}

Test(guards, refused_with_an_error_by_the_threads_backend)
{
	refused("threads");
}

/* Standard input is a pipe: the read is deferred, and fails all the same. */
Test(guards, refused_when_the_input_is_a_pipe)
{
	int ends[2];
	char bytes[4096];
	struct outcome o;

	cr_assert_eq(pipe(ends), 0);
	memset(bytes, 'Z', sizeof(bytes));
	cr_assert_eq(write(ends[1], bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
	guest_run(&(struct guest){ .image = "deny", .in = ends[0] }, &o);
	cr_expect_str_empty(o.out.text);
	ended(&o, 0);
	outcome_free(&o);
	close(ends[0]);
	close(ends[1]);
}

Test(guards, refused_when_reading_a_file)
{
	int in = open(zeds(), O_RDONLY | O_CLOEXEC);
	struct outcome o;

	guest_run(
		&(struct guest){
			.image = "deny", .args = LIST("/zeds"), .maps = LIST(scratch()), .in = in },
		&o);
	cr_expect_str_empty(o.out.text);
	ended(&o, 0);
	outcome_free(&o);
	close(in);
}
