/*
 * What threads wait on: pipes, eventfds, timers, poll, select, epoll. One program runs as a
 * process of the host and in virtual machines, and must print the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

static char fifo[256], expected[65536];

/* The program on Linux, with the files in `directory`. */
static void run_natively(const char *directory)
{
	char command[1024];
	size_t size;
	FILE *pipe;

	snprintf(command, sizeof(command), "%s all %s/fifo %s/regular </dev/null",
		 guest_path("waiting-linux"), directory, directory);
	pipe = popen(command, "r");
	cr_assert_not_null(pipe);
	size = fread(expected, 1, sizeof(expected) - 1, pipe);
	cr_assert_eq(pclose(pipe), 0);
	expected[size] = 0;
	cr_assert(strstr(expected, "\nok\n"), "%s", expected);
}

static void run(unsigned vcpus, long spin_ns, const char *backend)
{
	const char *directory = scratch();
	struct outcome o;

	(void)scratch_file("regular", "data", 4);
	snprintf(fifo, sizeof(fifo), "%s/fifo", directory);
	cr_assert_eq(mkfifo(fifo, 0600), 0);
	run_natively(directory);
	guest_run(&(struct guest){ .image = "waiting",
				   .args = LIST("all", "/fifo", "/regular"),
				   .maps = LIST(directory),
				   .vcpus = vcpus,
				   .spin_ns = spin_ns,
				   .backend = backend },
		  &o);
	ended(&o, 0);
	for (size_t i = 0, line = 0; expected[i] || o.out.text[i]; i++) {
		cr_assert_eq(expected[i], o.out.text[i],
			     "after \"%.*s\": expected %.60s, got %.60s", (int)(i - line),
			     expected + line, expected + line, o.out.text + line);
		if (expected[i] == '\n')
			line = i + 1;
	}
	outcome_free(&o);
}

Test(waiting, one_vcpu, .timeout = 60)
{
	run(1, 0, NULL);
}

Test(waiting, two_vcpus, .timeout = 60)
{
	run(2, 0, NULL);
}

Test(waiting, four_vcpus, .timeout = 60)
{
	run(4, 0, NULL);
}

Test(waiting, parked_at_once, .timeout = 60)
{
	run(2, SPIN_NONE, NULL);
}

Test(waiting, worker_threads_of_the_loader, .timeout = 60)
{
	run(2, 0, "threads");
}
