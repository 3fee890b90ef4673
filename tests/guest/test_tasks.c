/* The application's own tasks on the kernel's executors, on one vCPU and several. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

static void run_with(const char *image, const char *test, unsigned vcpus, long spin_ns,
		     const char *map, const char *says)
{
	struct outcome o;
	int ends[2];

	/* Nothing ever comes: a read waits. */
	cr_assert_eq(pipe(ends), 0);
	guest_run(&(struct guest){ .image = image,
				   .args = LIST(test),
				   .vcpus = vcpus,
				   .spin_ns = spin_ns,
				   .maps = map ? LIST(map) : NULL,
				   .in = ends[0] },
		  &o);
	close(ends[0]);
	close(ends[1]);
	ended(&o, 0);
	cr_assert_str_eq(o.out.text, says, "%s on %u: %s", test, vcpus, o.out.text);
	outcome_free(&o);
}

static void run(const char *test)
{
	for (unsigned vcpus = 1; vcpus <= 4; vcpus *= 2) {
		run_with("tasks", test, vcpus, 0, NULL, "ok\n");
		run_with("tasks", test, vcpus, SPIN_NONE, NULL, "ok\n");
	}
	run_with("tasks-pie", test, 2, 0, NULL, "ok\n");
}

#define RUN(name)                                                                                  \
	Test(tasks, name, .timeout = 60)                                                           \
	{                                                                                          \
		run(#name);                                                                        \
	}

RUN(spawn)
RUN(join)
RUN(cancel)
RUN(timeout)
RUN(channel)
RUN(registers)
RUN(tls)
RUN(wait)
RUN(bad)

Test(tasks, files, .timeout = 60)
{
	for (unsigned vcpus = 1; vcpus <= 4; vcpus *= 2) {
		char map[300];

		snprintf(map, sizeof(map), "%s:/data", scratch_file("data", "hello\n", 6));
		run_with("tasks", "files", vcpus, 0, map, "a task writes\nok\n");
	}
}

/* ---- faults in a poll function are the program's ---- */

static void fault(const char *name, int signal, const char *says, const char *where)
{
	for (int block_on = 0; block_on < 2; block_on++) {
		struct outcome o;

		guest_run(&(struct guest){ .image = "tasks",
					   .args = block_on ? LIST(name, "block_on") : LIST(name),
					   .vcpus = 2 },
			  &o);
		faulted(&o, signal);
		cr_assert(strstr(o.report, says), "no \"%s\" in %s", says, o.report);
		cr_assert(strstr(o.report, ", in a task\n"), "%s", o.report);
		cr_assert(strstr(o.report, where), "no %s in %s", where, o.report);
		cr_assert(strstr(o.report, "pg_executor_run+"), "it goes on: %s", o.report);
		outcome_free(&o);
	}
}

Test(tasks, fault_write)
{
	fault("fault_write", SIGSEGV, "cannot write to 0x40", "#0  ");
}

Test(tasks, fault_call)
{
	fault("fault_call", SIGSEGV, "cannot execute 0x1234560", " fault_call+");
}

Test(tasks, fault_instruction)
{
	fault("fault_instruction", SIGILL, "invalid instruction", "#0  ");
}

Test(tasks, fault_divide)
{
	fault("fault_divide", SIGFPE, "", " fault_divide+");
}

Test(tasks, fault_in_the_kernel_with_a_bad_argument)
{
	fault("fault_kernel", SIGSEGV, "cannot read 0x40", " pg_task_wake+");
}

Test(tasks, fault_system_call)
{
	fault("fault_syscall", SIGSYS, "a system call", " syscall+");
}

/* The stack ends in a guard, and what is told is told on another one. */
Test(tasks, fault_stack)
{
	struct outcome o;

	guest_run(&(struct guest){ .image = "tasks", .args = LIST("fault_stack"), .vcpus = 2 }, &o);
	faulted(&o, SIGSEGV);
	cr_assert(strstr(o.report, "kernel stack"), "%s", o.report);
	cr_assert(strstr(o.report, " deeper+"), "%s", o.report);
	outcome_free(&o);
}

/* ---- what the kernel object exports is what public.def lists ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The words of each line but comments, sorted. Not freed. */
static size_t lines(FILE *from, char **names, size_t max)
{
	char line[256];
	size_t count = 0;

	cr_assert(from);
	while (fgets(line, sizeof(line), from)) {
		line[strcspn(line, "#\n ")] = 0;
		if (line[0] && count < max)
			names[count++] = strdup(line);
	}
	qsort(names, count, sizeof(*names), by_name);
	return count;
}

Test(tasks, exported_symbols)
{
	char *listed[256], *exported[256];
	FILE *list = fopen(PUBLIC_DEF, "r");
	FILE *symbols = popen("nm -g --defined-only -j " PAGURUS_O, "r");
	size_t count = lines(list, listed, 256);

	cr_assert_gt(count, 20);
	cr_assert_eq(lines(symbols, exported, 256), count);
	for (size_t i = 0; i < count; i++) {
		cr_assert_str_eq(exported[i], listed[i]);
		cr_assert_eq(strncmp(exported[i], "pg_", 3), 0);
	}
	fclose(list);
	cr_assert_eq(pclose(symbols), 0);
}
