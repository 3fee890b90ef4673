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
	uint64_t start[THREADS], end[THREADS];
};

static struct crowd crowd = { .times = 200 };

/*
 * Each thread takes its own times: on one CPU, a thread that only watches the others
 * may see the start when all is over.
 */
static void *reader(void *argument)
{
	unsigned self = (unsigned)(uintptr_t)argument;

	for (unsigned i = 0; i <= BENCH_BATCHES; i++) {
		pthread_barrier_wait(&crowd.barrier);
		crowd.start[self] = bench_now();
		read_pages(0, crowd.times);
		crowd.end[self] = bench_now();
		pthread_barrier_wait(&crowd.barrier);
	}
	return NULL;
}

/* From the first one's start to the last one's end. */
static uint64_t duration(void)
{
	uint64_t start = crowd.start[0], end = crowd.end[0];

	for (unsigned i = 1; i < THREADS; i++) {
		start = crowd.start[i] < start ? crowd.start[i] : start;
		end = crowd.end[i] > end ? crowd.end[i] : end;
	}
	return end - start;
}

static void read_in_crowd(void)
{
	pthread_t threads[THREADS];
	double samples[BENCH_BATCHES];

	pthread_barrier_init(&crowd.barrier, NULL, THREADS + 1);
	for (unsigned i = 0; i < THREADS; i++) {
		errno = pthread_create(&threads[i], NULL, reader, (void *)(uintptr_t)i);
		if (errno)
			bench_fail("pthread_create");
	}
	/* The first batch warms up. Between the second wait and the first, readers are idle. */
	for (unsigned i = 0; i <= BENCH_BATCHES; i++) {
		pthread_barrier_wait(&crowd.barrier);
		pthread_barrier_wait(&crowd.barrier);
		if (i)
			samples[i - 1] = (double)duration() / (double)(crowd.times * THREADS);
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
