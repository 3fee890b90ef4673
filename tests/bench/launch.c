/*
 * Usage: launch TIMES COMMAND [ARGUMENT...]
 * Run a command again and again with its output thrown away, and print per run the
 * nanoseconds from before the fork to after the wait. A run that fails ends it all.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static _Noreturn void run(char **command, int null)
{
	if (dup2(null, STDOUT_FILENO) >= 0)
		(void)execv(command[0], command);
	fprintf(stderr, "launch: %s: %s\n", command[0], strerror(errno));
	_exit(127);
}

int main(int argc, char **argv)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (argc < 3 || null < 0)
		return 2;
	for (int times = atoi(argv[1]); times > 0; times--) {
		uint64_t start = now(), end;
		int status = 0;
		/* vfork: this process's own size is no part of the figure. */
		pid_t child = vfork();

		if (child == 0)
			run(argv + 2, null);
		if (child < 0 || waitpid(child, &status, 0) != child)
			return 1;
		end = now();
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
			fprintf(stderr, "launch: %s: status 0x%x\n", argv[2], (unsigned)status);
			return 1;
		}
		printf("%" PRIu64 "\n", end - start);
	}
	return 0;
}
