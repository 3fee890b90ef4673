/*
 * usage: fifo FIFO FILE. 64 threads each read one record (8 bytes) from the FIFO, which
 * delivers nothing yet; meanwhile the file is read. Then the sum of all records.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#define READERS 64

static int fifo;

static void *read_record(void *argument)
{
	uint64_t *record = argument;
	ssize_t n = read(fifo, record, sizeof(*record));

	if (n != sizeof(*record))
		printf("a record of %zd bytes\n", n);
	return NULL;
}

static uint64_t file_size(const char *path)
{
	static char block[65536];
	int fd = open(path, O_RDONLY);
	uint64_t size = 0;
	ssize_t n;

	while ((n = read(fd, block, sizeof(block))) > 0)
		size += (uint64_t)n;
	close(fd);
	return size;
}

int main(int argc, char **argv)
{
	static uint64_t records[READERS];
	pthread_t threads[READERS];
	uint64_t sum = 0;

	if (argc < 3)
		return 99;
	fifo = open(argv[1], O_RDWR);
	if (fifo < 0)
		perror(argv[1]);
	for (int i = 0; i < READERS; i++)
		pthread_create(&threads[i], NULL, read_record, &records[i]);
	usleep(2000); /* all of them have asked */
	printf("file %llu\n", (unsigned long long)file_size(argv[2]));
	fflush(stdout);
	for (int i = 0; i < READERS; i++) {
		pthread_join(threads[i], NULL);
		sum += records[i];
	}
	printf("sum %llu\n", (unsigned long long)sum);
	return 0;
}
