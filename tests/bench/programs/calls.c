/* System calls that do nothing, or next to nothing. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

static void call_getppid(void *context, uint64_t times)
{
	for (uint64_t i = 0; i < times; i++)
		(void)syscall(SYS_getppid);
}

/* The program's way to the clock: a shared page where there is one, else a system call. */
static void read_clock(void *context, uint64_t times)
{
	struct timespec now;

	for (uint64_t i = 0; i < times; i++)
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
}

static void write_byte(void *context, uint64_t times)
{
	int fd = *(int *)context;

	for (uint64_t i = 0; i < times; i++) {
		if (write(fd, "", 1) != 1)
			bench_fail("write");
	}
}

static void pipe_byte(void *context, uint64_t times)
{
	int *fds = context;
	char byte = 0;

	for (uint64_t i = 0; i < times; i++) {
		if (write(fds[1], &byte, 1) != 1 || read(fds[0], &byte, 1) != 1)
			bench_fail("pipe");
	}
}

int main(void)
{
	int fds[2], null;

	bench_run("getppid", 20000, call_getppid, NULL);
	bench_run("clock_gettime", 20000, read_clock, NULL);

	null = open("/dev/null", O_WRONLY);
	if (null < 0)
		bench_skip("write_null", strerror(errno));
	else
		bench_run("write_null", 5000, write_byte, &null);

	if (pipe(fds))
		bench_skip("pipe_byte", strerror(errno));
	else
		bench_run("pipe_byte", 5000, pipe_byte, fds);
	return 0;
}
