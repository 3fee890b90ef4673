/*
 * Reads of 4 KiB that the host has cached: one at a time, and from many threads.
 * Usage: file PATH, a file of FILE_PAGES pages at least.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define PAGE       4096
#define FILE_PAGES 256
#define THREADS    32

static int fd;

static void read_pages(uint64_t first, uint64_t times)
{
	static _Thread_local char buffer[PAGE];

	for (uint64_t i = 0; i < times; i++) {
		off_t offset = (off_t)((first + i) % FILE_PAGES * PAGE);

		if (pread(fd, buffer, PAGE, offset) != PAGE)
			bench_fail("pread");
	}
}

static void read_alone(void *context, uint64_t times)
{
	read_pages(0, times);
}

struct crowd {
	pthread_barrier_t barrier;
	uint64_t times; /* per thread and batch */
};

static void *reader(void *argument)
{
	struct crowd *crowd = argument;

	for (unsigned i = 0; i <= BENCH_BATCHES; i++) {
		pthread_barrier_wait(&crowd->barrier);
		read_pages(0, crowd->times);
		pthread_barrier_wait(&crowd->barrier);
	}
	return NULL;
}

static void read_in_crowd(void)
{
	static struct crowd crowd = { .times = 200 };
	pthread_t threads[THREADS];
	double samples[BENCH_BATCHES];

	pthread_barrier_init(&crowd.barrier, NULL, THREADS + 1);
	for (unsigned i = 0; i < THREADS; i++) {
		if ((errno = pthread_create(&threads[i], NULL, reader, &crowd)))
			bench_fail("pthread_create");
	}
	/* The first batch warms up. */
	for (unsigned i = 0; i <= BENCH_BATCHES; i++) {
		uint64_t start;

		pthread_barrier_wait(&crowd.barrier);
		start = bench_now();
		pthread_barrier_wait(&crowd.barrier);
		if (i)
			samples[i - 1] =
				(double)(bench_now() - start) / (double)(crowd.times * THREADS);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	bench_report("pread_32", bench_median(samples, BENCH_BATCHES));
}

int main(int argc, char **argv)
{
	fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;
	if (fd < 0) {
		bench_skip("pread", strerror(errno));
		bench_skip("pread_32", strerror(errno));
		return 0;
	}
	bench_run("pread", 5000, read_alone, NULL);
	read_in_crowd();
	return 0;
}
