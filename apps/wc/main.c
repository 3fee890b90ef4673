/*
 * wc: count lines, words, bytes and the longest line of files, several at a time.
 * An ordinary program with threads: one worker per file in work, at most `-j N` of them
 * (default: twice the vCPUs, for some wait while others count).
 *
 *	wc [-j N] [FILE...]		no file, or "-": standard input
 *
 * Exit status 1 when a file could not be read, as with coreutils.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER      (64 * 1024)
#define MAX_WORKERS 64
#define TAB         8

struct counts {
	uint64_t lines, words, bytes, longest;
};

struct file {
	const char *name; /* as it is shown */
	bool standard_input;
	int error; /* errno, 0: counted */
	struct counts counts;
};

struct work {
	struct file *files;
	size_t count;
	_Atomic size_t next; /* the first file nobody has taken yet */
};

/* What is carried over from one buffer to the next. */
struct position {
	bool in_word;
	uint64_t column;
};

static void count_buffer(struct counts *counts, struct position *at, const unsigned char *data,
			 size_t length)
{
	counts->bytes += length;
	for (size_t i = 0; i < length; i++) {
		unsigned char c = data[i];
		bool space = isspace(c);

		if (space) {
			at->in_word = false;
		} else if (!at->in_word) {
			at->in_word = true;
			counts->words++;
		}
		if (c == '\n')
			counts->lines++;
		if (c == '\n' || c == '\r' || c == '\f')
			at->column = 0;
		else if (c == '\t')
			at->column += TAB - at->column % TAB;
		else if (c >= ' ' && (c & 0xc0) != 0x80) /* a character's first byte only (UTF-8) */
			at->column++;
		if (at->column > counts->longest)
			counts->longest = at->column;
	}
}

/* 0 or an errno; what was read before an error is counted. */
static int count_file(struct file *file, unsigned char *buffer)
{
	struct position at = { .in_word = false };
	int fd = file->standard_input ? STDIN_FILENO : open(file->name, O_RDONLY | O_CLOEXEC);
	int error = 0;

	if (fd < 0)
		return errno;
	for (;;) {
		ssize_t got = read(fd, buffer, BUFFER);

		if (got == 0)
			break;
		if (got > 0) {
			count_buffer(&file->counts, &at, buffer, (size_t)got);
		} else if (errno != EINTR) {
			error = errno;
			break;
		}
	}
	if (!file->standard_input)
		(void)close(fd);
	return error;
}

static void *worker(void *context)
{
	struct work *work = context;
	unsigned char *buffer = malloc(BUFFER);

	for (;;) {
		/* Relaxed: it only shares out numbers; results are read after the join. */
		size_t index = atomic_fetch_add_explicit(&work->next, 1, memory_order_relaxed);

		if (index >= work->count)
			break;
		work->files[index].error =
			buffer ? count_file(&work->files[index], buffer) : ENOMEM;
	}
	free(buffer);
	return NULL;
}

/* The calling thread works too, so that no thread at all still gets everything counted. */
static void count_all(struct work *work, unsigned workers)
{
	pthread_t threads[MAX_WORKERS];
	unsigned started = 0;

	while (started + 1 < workers && started + 1 < work->count) {
		if (pthread_create(&threads[started], NULL, worker, work))
			break;
		started++;
	}
	(void)worker(work);
	for (unsigned i = 0; i < started; i++)
		(void)pthread_join(threads[i], NULL);
}

static void print_row(const struct counts *counts, int width, const char *name)
{
	printf("%*llu %*llu %*llu %*llu %s\n", width, (unsigned long long)counts->lines, width,
	       (unsigned long long)counts->words, width, (unsigned long long)counts->bytes, width,
	       (unsigned long long)counts->longest, name);
}

/* The table, and a message for each file that could not be read. The exit status. */
static int report(const struct file *files, size_t count)
{
	struct counts total = { 0 };
	int status = EXIT_SUCCESS, width;

	for (size_t i = 0; i < count; i++) {
		total.lines += files[i].counts.lines;
		total.words += files[i].counts.words;
		total.bytes += files[i].counts.bytes;
		if (files[i].counts.longest > total.longest)
			total.longest = files[i].counts.longest;
	}
	/* All columns as wide as the largest number, which is the bytes of the total. */
	width = snprintf(NULL, 0, "%llu", (unsigned long long)total.bytes);
	if (width < (int)strlen("longest"))
		width = (int)strlen("longest");
	printf("%*s %*s %*s %*s\n", width, "lines", width, "words", width, "bytes", width,
	       "longest");
	for (size_t i = 0; i < count; i++) {
		if (files[i].error) {
			(void)fflush(stdout);
			fprintf(stderr, "wc: %s: %s\n", files[i].name, strerror(files[i].error));
			status = EXIT_FAILURE;
		} else {
			print_row(&files[i].counts, width, files[i].name);
		}
	}
	if (count > 1)
		print_row(&total, width, "total");
	return fflush(stdout) ? EXIT_FAILURE : status;
}

static unsigned default_workers(void)
{
	long vcpus = sysconf(_SC_NPROCESSORS_ONLN);

	return vcpus < 1 ? 2 : vcpus > MAX_WORKERS / 2 ? MAX_WORKERS : 2 * (unsigned)vcpus;
}

int main(int argc, char **argv)
{
	unsigned workers = default_workers();
	int option;

	while ((option = getopt(argc, argv, "j:")) != -1) {
		char *end = NULL;
		unsigned long number = option == 'j' ? strtoul(optarg, &end, 10) : 0;

		if (number < 1 || number > MAX_WORKERS || *end) {
			fprintf(stderr, "usage: wc [-j 1..%d] [FILE...]\n", MAX_WORKERS);
			return EXIT_FAILURE;
		}
		workers = (unsigned)number;
	}

	struct work work = { .count = optind < argc ? (size_t)(argc - optind) : 1 };

	work.files = calloc(work.count, sizeof(*work.files));
	if (!work.files) {
		fprintf(stderr, "wc: %s\n", strerror(ENOMEM));
		return EXIT_FAILURE;
	}
	for (size_t i = 0; i < work.count; i++) {
		const char *name = optind < argc ? argv[optind + (int)i] : "-";

		work.files[i].name = name;
		work.files[i].standard_input = strcmp(name, "-") == 0;
	}
	count_all(&work, workers);
	int status = report(work.files, work.count);
	free(work.files);
	return status;
}
