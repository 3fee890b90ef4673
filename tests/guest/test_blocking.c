/*
 * No head-of-line blocking: a call that waits for the host keeps nobody from running, neither
 * other threads nor other calls.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#define FILE_SIZE ((8 << 20) + 12345)
#define READERS   64
#define WAIT_MS   15000

static uint64_t sum;
static const char *map;

static void make_file(void)
{
	unsigned char *bytes = malloc(FILE_SIZE);

	sum = 0;
	for (size_t i = 0; i < FILE_SIZE; i++) {
		bytes[i] = (unsigned char)(i * 2654435761u >> 13);
		sum = sum * 31 + bytes[i];
	}
	(void)scratch_file("data", bytes, FILE_SIZE);
	map = scratch();
	free(bytes);
}

static void others_run(const char *backend, unsigned vcpus, long spin_ns)
{
	char expected[128];
	struct outcome o;
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	struct running *running = guest_start(&(struct guest){ .image = "blocking",
							       .args = LIST("/data"),
							       .maps = LIST(map),
							       .in = ends[0],
							       .backend = backend,
							       .vcpus = vcpus,
							       .spin_ns = spin_ns });

	/* All of this while the first thread has got nothing. */
	bool waiting = guest_wait_output(running, "waiting\n", WAIT_MS);
	cr_assert_eq(write(ends[1], "at last", 7), 7);
	close(ends[1]);
	guest_finish(running, &o);
	close(ends[0]);

	cr_assert(waiting, "others did not run while a thread was blocked: %s", o.out.text);
	ended(&o, 0);
	snprintf(expected, sizeof(expected), "file %d bytes, sum %llx\n", FILE_SIZE,
		 (unsigned long long)sum);
	cr_assert(strstr(o.out.text, expected), "no \"%s\" in: %s", expected, o.out.text);
	for (int i = 1; i <= 20; i++) {
		snprintf(expected, sizeof(expected), "tick %d\n", i);
		cr_assert(strstr(o.out.text, expected), "no \"%s\" in: %s", expected, o.out.text);
	}
	const char *end = strstr(o.out.text, "waiting\ninput 7 at last\n");
	cr_assert(end, "%s", o.out.text);
	cr_assert_str_empty(o.err.text);
	outcome_free(&o);
}

Test(blocking, others_run_with_io_uring, .init = make_file)
{
	others_run("auto", 1, 0);
	others_run("auto", 1, SPIN_NONE);
	others_run("auto", 2, 0);
}

Test(blocking, others_run_with_threads, .init = make_file)
{
	others_run("threads", 1, 0);
	others_run("threads", 1, SPIN_NONE);
	others_run("threads", 2, 0);
}

static void many_reads(const char *backend)
{
	const char *fifo = scratch_file("fifo", NULL, 0);
	char expected[64], *writable;
	uint64_t total = 0;
	struct outcome o;

	(void)unlink(fifo);
	cr_assert_eq(mkfifo(fifo, 0600), 0);
	cr_assert_gt(asprintf(&writable, "%s:/:rw", map), 0);
	struct running *running = guest_start(&(struct guest){ .image = "fifo",
							       .args = LIST("/fifo", "/data"),
							       .maps = LIST(writable),
							       .backend = backend });

	snprintf(expected, sizeof(expected), "file %d\n", FILE_SIZE);
	bool read_file = guest_wait_output(running, expected, WAIT_MS);
	int fd = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	cr_expect_geq(fd, 0, "the guest has not opened the FIFO");
	for (uint64_t i = 1; fd >= 0 && i <= READERS; i++) {
		/* Slowly: one record, one reader. */
		cr_expect_eq(write(fd, &i, sizeof(i)), (ssize_t)sizeof(i));
		total += i;
		usleep(500);
	}
	guest_finish(running, &o);
	close(fd);
	free(writable);
	cr_assert(read_file, "the file was not read: %s", o.out.text);
	ended(&o, 0);
	snprintf(expected, sizeof(expected), "file %d\nsum %llu\n", FILE_SIZE,
		 (unsigned long long)total);
	cr_assert_str_eq(o.out.text, expected);
	cr_assert_geq(o.stats.deferred, READERS);
	outcome_free(&o);
}

Test(blocking, many_reads_with_io_uring, .init = make_file)
{
	many_reads("io_uring");
}

Test(blocking, many_reads_with_threads, .init = make_file)
{
	many_reads("threads");
}

/* The program ends while its reads wait: nobody waits for them. */
Test(blocking, the_end_does_not_wait)
{
	static const char *const backends[] = { "auto", "threads" };

	for (size_t i = 0; i < 2; i++) {
		struct outcome o;
		int ends[2];

		cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
		guest_run(&(struct guest){ .image = "stdio",
					   .args = LIST("leave-reader"),
					   .in = ends[0],
					   .backend = backends[i] },
			  &o);
		ended(&o, 7);
		outcome_free(&o);
		close(ends[0]);
		close(ends[1]);
	}
}

/* Stopped from outside while a read waits. */
Test(blocking, stopped_while_it_waits)
{
	static const char *const backends[] = { "auto", "threads" };

	for (size_t i = 0; i < 2; i++) {
		struct outcome o;
		int ends[2];

		cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
		struct running *running = guest_start(&(struct guest){ .image = "stdio",
								       .args = LIST("cat"),
								       .in = ends[0],
								       .backend = backends[i] });
		cr_assert_eq(write(ends[1], "first", 5), 5);
		cr_expect(guest_wait_output(running, "first", WAIT_MS));
		guest_stop(running);
		guest_finish(running, &o);
		cr_assert_eq(o.result.end, UHYVE_STOPPED);
		cr_assert_eq(o.result.status, 143);
		outcome_free(&o);
		close(ends[0]);
		close(ends[1]);
	}
}
