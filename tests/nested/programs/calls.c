/*
 * System calls of an ordinary program, COUNT times: calls getppid|pread|yield COUNT. Each
 * is one that the kernel answers, one that the loader answers, or one that switches threads.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long count = argc == 3 ? atol(argv[2]) : -1;
	char byte;

	if (count < 0)
		return 2;
	int fd = open("/file", O_RDONLY);
	if (fd < 0) {
		perror("calls: /file");
		return 1;
	}
	for (long i = 0; i < count; i++) {
		if (strcmp(argv[1], "getppid") == 0)
			(void)syscall(SYS_getppid);
		else if (strcmp(argv[1], "pread") == 0 && pread(fd, &byte, 1, 0) == 1)
			continue;
		else if (strcmp(argv[1], "yield") == 0 && sched_yield() == 0)
			continue;
		else
			return 1;
	}
	return 0;
}
