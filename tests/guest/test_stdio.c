/* The console: standard input, output and error. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

#define LARGE (10 << 20)

Test(stdio, end_of_input)
{
	struct outcome o;

	guest_run(&(struct guest){ .image = "stdio", .args = LIST("cat") }, &o);
	ended(&o, 0);
	cr_assert_eq(o.out.size, 0);
	outcome_free(&o);
}

Test(stdio, output_and_error_are_two)
{
	struct outcome o;

	guest_run(&(struct guest){ .image = "stdio", .args = LIST("both") }, &o);
	ended(&o, 0);
	cr_assert_str_eq(o.out.text, "to output");
	cr_assert_str_eq(o.err.text, "to error");
	outcome_free(&o);
}

static unsigned char *make_bytes(void)
{
	unsigned char *bytes = malloc(LARGE);
	uint64_t seed = 42;

	for (size_t i = 0; i < LARGE; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (unsigned char)(seed >> 56);
	}
	return bytes;
}

struct feed {
	int fd;
	const unsigned char *bytes;
};

static void *feed_bytes(void *context)
{
	struct feed *feed = context;

	for (size_t at = 0; at < LARGE;) {
		size_t piece = at % 7 ? 65536 : 1000; /* of different sizes */
		ssize_t n =
			write(feed->fd, feed->bytes + at, piece < LARGE - at ? piece : LARGE - at);

		if (n <= 0)
			break;
		at += (size_t)n;
	}
	close(feed->fd);
	return NULL;
}

static void through_a_pipe(const char *backend, const char *block)
{
	struct feed feed = { .bytes = make_bytes() };
	struct outcome o;
	pthread_t thread;
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	feed.fd = ends[1];
	cr_assert_eq(pthread_create(&thread, NULL, feed_bytes, &feed), 0);
	guest_run(&(struct guest){ .image = "stdio",
				   .args = LIST("cat", block),
				   .in = ends[0],
				   .backend = backend },
		  &o);
	close(ends[0]);
	pthread_join(thread, NULL);
	ended(&o, 0);
	cr_assert_eq(o.out.size, LARGE);
	cr_assert(!memcmp(o.out.text, feed.bytes, LARGE), "the bytes are not the same");
	outcome_free(&o);
	free((void *)feed.bytes);
}

Test(stdio, ten_mebibytes_through_a_pipe)
{
	through_a_pipe("auto", "65536");
	through_a_pipe("auto", "12345");
	through_a_pipe("threads", "65536");
}

/* A file, and blocks that are larger than one operation moves. */
Test(stdio, ten_mebibytes_from_a_file)
{
	unsigned char *bytes = make_bytes();
	int in = open(scratch_file("bytes", bytes, LARGE), O_RDONLY | O_CLOEXEC);
	struct outcome o;

	guest_run(&(struct guest){ .image = "stdio", .args = LIST("cat", "2000000"), .in = in },
		  &o);
	ended(&o, 0);
	cr_assert_eq(o.out.size, LARGE);
	cr_assert(!memcmp(o.out.text, bytes, LARGE), "the bytes are not the same");
	outcome_free(&o);
	close(in);
	free(bytes);
}

Test(stdio, many_small_writes)
{
	struct outcome o;
	char *expected = calloc(1, 16384), *end = expected;

	for (int i = 0; i < 2000; i++)
		end += sprintf(end, "%d\n", i);
	guest_run(&(struct guest){ .image = "stdio", .args = LIST("small-writes") }, &o);
	ended(&o, 0);
	cr_assert_str_eq(o.out.text, expected);
	outcome_free(&o);
	free(expected);
}

/* SIGPIPE must not end the loader; the guest gets the error. */
static void broken_pipe(const char *backend)
{
	struct outcome o;
	int in[2], out[2];

	cr_assert_eq(pipe2(in, O_CLOEXEC), 0);
	cr_assert_eq(pipe2(out, O_CLOEXEC), 0);
	close(out[0]);
	close(in[1]);
	guest_run(&(struct guest){ .image = "stdio",
				   .args = LIST("broken-pipe"),
				   .in = in[0],
				   .out = out[1],
				   .backend = backend },
		  &o);
	ended(&o, 0);
	cr_assert_str_eq(o.err.text, "-1 Broken pipe\n");
	outcome_free(&o);
	close(in[0]);
	close(out[1]);
}

Test(stdio, nobody_reads)
{
	broken_pipe("auto");
	broken_pipe("threads");
}

/* The same with the pipe full when its reader goes: the write was waiting. */
Test(stdio, the_reader_goes)
{
	static const char *const backends[] = { "auto", "threads" };

	for (size_t i = 0; i < 2; i++) {
		unsigned char *bytes = make_bytes();
		int in = open(scratch_file("bytes", bytes, LARGE), O_RDONLY | O_CLOEXEC);
		struct outcome o;
		int out[2];

		cr_assert_eq(pipe2(out, O_CLOEXEC), 0);
		struct running *running = guest_start(&(struct guest){ .image = "stdio",
								       .args = LIST("cat"),
								       .in = in,
								       .out = out[1],
								       .backend = backends[i] });
		cr_assert_eq(read(out[0], bytes, 1000), 1000);
		usleep(20000);
		close(out[0]);
		guest_finish(running, &o);
		/* Linux's SIGPIPE, or the error that cat complains about. */
		cr_expect((o.result.end == UHYVE_EXITED && o.result.status == 1) ||
				  (o.result.end == UHYVE_FAULTED && o.result.signal == 13),
			  "end %d, status %d", o.result.end, o.result.status);
		outcome_free(&o);
		close(in);
		close(out[1]);
		free(bytes);
	}
}
