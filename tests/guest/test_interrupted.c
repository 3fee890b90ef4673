/*
 * Calls that wait for files, interrupted by signals. One program runs as a process of the host
 * and in virtual machines, and must print the same.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

static char expected[65536];

/* The program on Linux. What wait() told of it. */
static int run_natively(const char *arguments)
{
	char command[1024];
	size_t size;
	FILE *pipe;

	snprintf(command, sizeof(command), "exec %s %s </dev/null", guest_path("interrupted-linux"),
		 arguments);
	pipe = popen(command, "r");
	cr_assert_not_null(pipe);
	size = fread(expected, 1, sizeof(expected) - 1, pipe);
	expected[size] = 0;
	return pclose(pipe);
}

static void compare(const struct outcome *o)
{
	for (size_t i = 0, line = 0; expected[i] || o->out.text[i]; i++) {
		cr_assert_eq(expected[i], o->out.text[i],
			     "after \"%.*s\": expected %.60s, got %.60s", (int)(i - line),
			     expected + line, expected + line, o->out.text + line);
		if (expected[i] == '\n')
			line = i + 1;
	}
}

static void run(const struct guest *how)
{
	const char *directory = scratch();
	char fifo[256], arguments[300];
	struct guest guest = *how;
	struct outcome o;

	snprintf(fifo, sizeof(fifo), "%s/fifo", directory);
	snprintf(arguments, sizeof(arguments), "all %s", fifo);
	cr_assert_eq(mkfifo(fifo, 0600), 0);
	cr_assert_eq(run_natively(arguments), 0, "%s", expected);
	cr_assert(strstr(expected, "\nok\n"), "%s", expected);
	guest.image = "interrupted";
	guest.args = LIST("all", "/fifo");
	guest.maps = LIST(directory);
	guest_run(&guest, &o);
	compare(&o);
	ended(&o, 0);
	outcome_free(&o);
}

Test(interrupted, one_vcpu, .timeout = 60)
{
	run(&(struct guest){ .vcpus = 1 });
}

Test(interrupted, two_vcpus, .timeout = 60)
{
	run(&(struct guest){ .vcpus = 2 });
}

Test(interrupted, four_vcpus_that_park, .timeout = 60)
{
	run(&(struct guest){ .vcpus = 4, .spin_ns = SPIN_NONE });
}

Test(interrupted, worker_threads_of_the_loader, .timeout = 60)
{
	run(&(struct guest){ .vcpus = 2, .backend = "threads" });
}

/* A wait may then go on where it left off, on the program's stack: but not with a signal. */
Test(interrupted, calls_on_their_stacks, .timeout = 60)
{
	run(&(struct guest){ .vcpus = 2, .dispatch = "stack" });
}

Test(interrupted, sigpipe_ends_the_program)
{
	int status = run_natively("default");
	struct outcome o;

	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE, "%d", status);
	guest_run(&(struct guest){ .image = "interrupted", .args = LIST("default"), .vcpus = 2 },
		  &o);
	compare(&o);
	faulted(&o, SIGPIPE);
	cr_assert_eq(o.result.status, 128 + SIGPIPE);
	outcome_free(&o);
}
