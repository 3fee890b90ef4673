/*
 * One thread waits for standard input, one reads a file, one prints ticks: nobody waits for
 * anybody else. usage: blocking FILE; standard input delivers the last word.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TICKS 20

static void *read_input(void *argument)
{
	static char text[64];
	ssize_t n = read(STDIN_FILENO, text, sizeof(text) - 1);

	if (n < 0)
		perror("standard input");
	*(ssize_t *)argument = n;
	return text;
}

static void *read_file(void *path)
{
	static char block[16384];
	uint64_t sum = 0, size = 0;
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		perror(path);
	while ((n = read(fd, block, sizeof(block))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			sum = sum * 31 + (unsigned char)block[i];
		size += (uint64_t)n;
	}
	if (n < 0)
		perror(path);
	printf("file %llu bytes, sum %llx\n", (unsigned long long)size, (unsigned long long)sum);
	fflush(stdout);
	return NULL;
}

static void *tick(void *argument)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (int i = 1; i <= TICKS; i++) {
		nanosleep(&pause, NULL);
		printf("tick %d\n", i);
		fflush(stdout);
	}
	return argument;
}

int main(int argc, char **argv)
{
	pthread_t input, file, ticks;
	ssize_t length = -1;
	void *text;

	if (argc < 2)
		return 99;
	pthread_create(&input, NULL, read_input, &length);
	pthread_create(&file, NULL, read_file, argv[1]);
	pthread_create(&ticks, NULL, tick, NULL);
	pthread_join(file, NULL);
	pthread_join(ticks, NULL);
	puts("waiting");
	fflush(stdout);
	pthread_join(input, &text);
	printf("input %zd %s\n", length, (char *)text);
	return 0;
}
