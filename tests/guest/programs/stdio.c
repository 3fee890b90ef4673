/* Standard input and output. usage: stdio TEST */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int write_all(const char *from, size_t size)
{
	while (size > 0) {
		ssize_t n = write(STDOUT_FILENO, from, size);

		if (n < 0) {
			perror("write");
			return 1;
		}
		from += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Status 0 at the end of the input. */
static int cat(size_t block_size)
{
	static char block[2 << 20];
	ssize_t n;

	while ((n = read(STDIN_FILENO, block, block_size)) > 0)
		if (write_all(block, (size_t)n))
			return 1;
	if (n < 0)
		perror("read");
	return n < 0;
}

static int small_writes(void)
{
	char text[16];

	for (int i = 0; i < 2000; i++) {
		int length = snprintf(text, sizeof(text), "%d\n", i);

		if (write_all(text, (size_t)length))
			return 1;
	}
	return 0;
}

/* Nobody reads any more. Linux would send SIGPIPE, or only say EPIPE if that is ignored. */
static int broken_pipe(void)
{
	char byte;

	signal(SIGPIPE, SIG_IGN);
	if (read(STDIN_FILENO, &byte, 1) < 0) /* until the host has closed it */
		return 2;
	errno = 0;
	ssize_t n = write(STDOUT_FILENO, "x", 1);
	fprintf(stderr, "%zd %s\n", n, n < 0 ? strerror(errno) : "written");
	return 0;
}

static void *read_input(void *argument)
{
	char byte;

	(void)read(STDIN_FILENO, &byte, 1);
	return argument;
}

static int leave_reader(void)
{
	pthread_t thread;

	for (int i = 0; i < 4; i++)
		pthread_create(&thread, NULL, read_input, NULL);
	usleep(1000);
	exit(7);
}

int main(int argc, char **argv)
{
	const char *test = argc > 1 ? argv[1] : "";

	if (!strcmp(test, "cat"))
		return cat(argc > 2 ? (size_t)atoi(argv[2]) : 65536);
	if (!strcmp(test, "small-writes"))
		return small_writes();
	if (!strcmp(test, "broken-pipe"))
		return broken_pipe();
	if (!strcmp(test, "leave-reader"))
		return leave_reader();
	if (!strcmp(test, "both")) {
		fputs("to output", stdout);
		fputs("to error", stderr);
		return 0;
	}
	return 99;
}
