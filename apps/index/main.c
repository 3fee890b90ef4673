/*
 * index: the most frequent words of files, counted by tasks.
 *
 *	index [-n WORDS] [-r READERS] FILE...
 *
 *	readers ----- blocks -----> parsers, one per vCPU ----- tables -----> merger
 *	   ^                           |
 *	   +------ free blocks --------+
 *
 * Readers take one file after the other, read it block by block, and cut each block behind its
 * last whole word. Parsers count the words of blocks, each in a table of its own, so no
 * two tasks write to the same memory. When all is counted, the merger adds the tables up. Blocks go
 * round: there is a fixed number of them, so memory stays bounded, and readers wait
 * when parsers are slow. main() is a thread: it starts the tasks, waits, sorts and prints.
 *
 * A word is a run of letters (ASCII); case does not count. A run longer than a block is cut.
 */
#include <errno.h>
#include <fcntl.h>
#include <pagurus/pagurus.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK       (64 * 1024)
#define BLOCKS      32
#define MAX_READERS 16
#define MAX_PARSERS 64
#define TABLE_START 1024 /* slots: a power of two */

struct block {
	size_t length;
	char data[BLOCK];
};

struct file {
	const char *name; /* as it was given */
	char *path;       /* absolute        */
	int error;        /* errno, or 0     */
	uint64_t bytes;
};

static struct file *files;
static size_t file_count;
static _Atomic size_t next_file;
static _Atomic bool out_of_memory;

static struct pg_channel free_blocks, full_blocks, tables;
static void *free_slots[BLOCKS], *full_slots[BLOCKS], *table_slots[MAX_PARSERS];

/* ---- a table of words. Memory is the kernel's: a task can't call malloc ---- */

struct word {
	uint64_t count;
	uint32_t hash, length;
	char text[];
};

struct table {
	struct word **slots; /* open addressing, at most half full */
	size_t size, used;
	uint64_t words;
};

static bool table_init(struct table *table)
{
	*table = (struct table){ .size = TABLE_START };
	table->slots = pg_alloc_zero(TABLE_START * sizeof(*table->slots));
	return table->slots;
}

static bool is_letter(char c)
{
	return (unsigned char)((c | 0x20) - 'a') < 26;
}

static struct word **find(const struct table *table, const char *text, uint32_t length,
			  uint32_t hash)
{
	size_t at = hash & (table->size - 1);

	for (;; at = (at + 1) & (table->size - 1)) {
		const struct word *word = table->slots[at];

		if (!word || (word->hash == hash && word->length == length &&
			      !memcmp(word->text, text, length)))
			return &table->slots[at];
	}
}

static bool grow(struct table *table)
{
	struct table larger = *table;

	larger.size *= 2;
	larger.slots = pg_alloc_zero(larger.size * sizeof(*larger.slots));
	if (!larger.slots)
		return false;
	for (size_t i = 0; i < table->size; i++) {
		struct word *word = table->slots[i];

		if (word)
			*find(&larger, word->text, word->length, word->hash) = word;
	}
	pg_free(table->slots);
	*table = larger;
	return true;
}

/* `text` is in lower case. False: no memory. */
static bool count_word(struct table *table, const char *text, uint32_t length, uint32_t hash)
{
	struct word **slot = find(table, text, length, hash);

	if (!*slot) {
		struct word *word = pg_alloc(sizeof(*word) + length);

		if (!word)
			return false;
		*word = (struct word){ .hash = hash, .length = length };
		memcpy(word->text, text, length);
		*slot = word;
		if (++table->used > table->size / 2 && !grow(table))
			return false;
		slot = find(table, text, length, hash);
	}
	(*slot)->count++;
	table->words++;
	return true;
}

/* Changes the data to lower case. */
static bool count_words(struct table *table, char *data, size_t length)
{
	for (size_t at = 0; at < length;) {
		uint32_t hash = 2166136261u; /* FNV-1a */
		size_t start = at;

		for (; at < length && is_letter(data[at]); at++) {
			data[at] |= 0x20;
			hash = (hash ^ (unsigned char)data[at]) * 16777619u;
		}
		if (at == start)
			at++;
		else if (!count_word(table, data + start, (uint32_t)(at - start), hash))
			return false;
	}
	return true;
}

/* ---- readers ---- */

struct reader {
	struct pg_app_task task;
	struct pg_async async;
	struct pg_hypercall call;
	struct pg_receive receive;
	struct pg_send send;
	struct file *file;
	struct block *block, *rest; /* being filled; the next one, with the cut word's beginning */
	int32_t handle;
	bool end;
};

static _Atomic size_t readers_left;

/* Where the last whole word ends; all of it if the block is one word. */
static size_t cut(const struct block *block)
{
	size_t at = block->length;

	while (at && is_letter(block->data[at - 1]))
		at--;
	return at ? at : block->length;
}

/*
 * What must survive an await lives in `self`. A reader holds at most two blocks, and there are
 * more than twice as many blocks as readers, so some reader always gets on.
 */
PG_ASYNC static enum pg_poll reader_poll(struct pg_future *future, struct pg_task *waker)
{
	struct reader *self = pg_container_of(future, struct reader, async.future);
	size_t number, whole;

	PG_BEGIN(&self->async);
	while ((number = atomic_fetch_add(&next_file, 1)) < file_count) {
		self->file = &files[number];
		pg_open_init(&self->call, self->file->path, O_RDONLY, 0);
		PG_AWAIT(&self->async, &self->call.future, waker);
		if (self->call.result < 0) {
			self->file->error = (int)-self->call.result;
			continue;
		}
		self->handle = (int32_t)self->call.result;

		pg_receive_init(&self->receive, &free_blocks);
		PG_AWAIT(&self->async, &self->receive.future, waker);
		self->block = self->receive.item;
		self->block->length = 0;
		do {
			pg_read_init(&self->call, self->handle,
				     self->block->data + self->block->length,
				     BLOCK - self->block->length, PG_OFFSET_STREAM);
			PG_AWAIT(&self->async, &self->call.future, waker);
			if (self->call.result < 0)
				self->file->error = (int)-self->call.result;
			self->end = self->call.result <= 0;
			if (!self->end) {
				self->block->length += (size_t)self->call.result;
				self->file->bytes += (uint64_t)self->call.result;
			}
			/* A read may be short: a block is sent when it is full, or the last one. */
			if (!self->end && self->block->length < BLOCK)
				continue;

			pg_receive_init(&self->receive, &free_blocks);
			PG_AWAIT(&self->async, &self->receive.future, waker);
			self->rest = self->receive.item;
			whole = self->end ? self->block->length : cut(self->block);
			self->rest->length = self->block->length - whole;
			memcpy(self->rest->data, self->block->data + whole, self->rest->length);
			self->block->length = whole;
			pg_send_init(&self->send, &full_blocks, self->block);
			PG_AWAIT(&self->async, &self->send.future, waker);
			self->block = self->rest;
		} while (!self->end);
		/* It has room: there are as many places as blocks. */
		(void)pg_channel_try_send(&free_blocks, self->block);

		pg_close_init(&self->call, self->handle);
		PG_AWAIT(&self->async, &self->call.future, waker);
	}
	/* The last one to leave tells the parsers that nothing more will come. */
	if (atomic_fetch_sub(&readers_left, 1) == 1)
		pg_channel_close(&full_blocks);
	PG_END(&self->async);
}

/* ---- parsers ---- */

struct parser {
	struct pg_app_task task;
	struct pg_async async;
	struct pg_receive receive;
	struct pg_send send;
	struct table table;
};

static _Atomic size_t parsers_left;

PG_ASYNC static enum pg_poll parser_poll(struct pg_future *future, struct pg_task *waker)
{
	struct parser *self = pg_container_of(future, struct parser, async.future);
	struct block *block;

	PG_BEGIN(&self->async);
	if (!table_init(&self->table))
		atomic_store(&out_of_memory, true);
	for (;;) {
		pg_receive_init(&self->receive, &full_blocks);
		PG_AWAIT(&self->async, &self->receive.future, waker);
		if (self->receive.result) /* closed and empty */
			break;
		block = self->receive.item;
		/* Without memory the blocks still go round, or the readers would wait for ever. */
		if (!atomic_load(&out_of_memory) &&
		    !count_words(&self->table, block->data, block->length))
			atomic_store(&out_of_memory, true);
		(void)pg_channel_try_send(&free_blocks, block);
		/* A block is a tenth of a millisecond of work: let others run. */
		PG_YIELD(&self->async, waker);
	}
	pg_send_init(&self->send, &tables, &self->table);
	PG_AWAIT(&self->async, &self->send.future, waker);
	if (atomic_fetch_sub(&parsers_left, 1) == 1)
		pg_channel_close(&tables);
	PG_END(&self->async);
}

/* ---- the merger ---- */

struct merger {
	struct pg_async async;
	struct pg_receive receive;
	struct table *from, *table; /* into the first one that comes */
	size_t at;
};

static bool merge_word(struct table *table, struct word *word)
{
	struct word **slot = find(table, word->text, word->length, word->hash);

	if (*slot) {
		(*slot)->count += word->count;
		pg_free(word);
		return true;
	}
	*slot = word;
	return ++table->used <= table->size / 2 || grow(table);
}

PG_ASYNC static enum pg_poll merger_poll(struct pg_future *future, struct pg_task *waker)
{
	struct merger *self = pg_container_of(future, struct merger, async.future);

	PG_BEGIN(&self->async);
	for (;;) {
		pg_receive_init(&self->receive, &tables);
		PG_AWAIT(&self->async, &self->receive.future, waker);
		if (self->receive.result)
			break;
		self->from = self->receive.item;
		if (!self->table)
			self->table = self->from;
		if (self->table == self->from || atomic_load(&out_of_memory))
			continue;
		self->table->words += self->from->words;
		for (self->at = 0; self->at < self->from->size; self->at++) {
			if (self->from->slots[self->at] &&
			    !merge_word(self->table, self->from->slots[self->at]))
				atomic_store(&out_of_memory, true);
			if (self->at % 4096 == 4095)
				PG_YIELD(&self->async, waker);
		}
		pg_free(self->from->slots);
	}
	PG_END(&self->async);
}

/* ---- the thread ---- */

static struct reader readers[MAX_READERS];
static struct parser parsers[MAX_PARSERS];
static struct block blocks[BLOCKS];

static const struct table *run(size_t reader_count)
{
	static const struct pg_future_ops reader_ops = { reader_poll, pg_async_drop };
	static const struct pg_future_ops parser_ops = { parser_poll, pg_async_drop };
	static const struct pg_future_ops merger_ops = { merger_poll, pg_async_drop };
	struct merger merger = { .table = NULL };

	pg_channel_init(&free_blocks, free_slots, BLOCKS);
	pg_channel_init(&full_blocks, full_slots, BLOCKS);
	pg_channel_init(&tables, table_slots, MAX_PARSERS);
	for (size_t i = 0; i < BLOCKS; i++)
		(void)pg_channel_try_send(&free_blocks, &blocks[i]);
	readers_left = reader_count;
	parsers_left = pg_cpus();
	for (size_t i = 0; i < reader_count; i++) {
		pg_async_init(&readers[i].async, &reader_ops);
		pg_spawn_anywhere(&readers[i].task, &readers[i].async.future, NULL);
	}
	for (unsigned i = 0; i < pg_cpus(); i++) {
		pg_async_init(&parsers[i].async, &parser_ops);
		pg_spawn_on(i, &parsers[i].task, &parsers[i].async.future, NULL);
	}
	pg_async_init(&merger.async, &merger_ops);
	pg_run(&merger.async.future);
	/* The merger has ended after the parsers have sent, and they after the readers. */
	for (unsigned i = 0; i < pg_cpus(); i++) {
		struct pg_join join;

		pg_join_init(&join, &parsers[i].task.task);
		(void)pg_block_on(&join.future);
	}
	for (size_t i = 0; i < reader_count; i++) {
		struct pg_join join;

		pg_join_init(&join, &readers[i].task.task);
		(void)pg_block_on(&join.future);
	}
	return merger.table;
}

/* The most frequent first, then by the alphabet. */
static int by_count(const void *left, const void *right)
{
	const struct word *a = *(struct word *const *)left, *b = *(struct word *const *)right;
	int order;

	if (a->count != b->count)
		return a->count < b->count ? 1 : -1;
	order = memcmp(a->text, b->text, a->length < b->length ? a->length : b->length);
	return order ? order : (a->length > b->length) - (a->length < b->length);
}

static int print(const struct table *table, size_t words, uint64_t ns)
{
	struct word **sorted = malloc((table->used + 1) * sizeof(struct word *));
	uint64_t bytes = 0;
	size_t count = 0;
	int status = 0;

	if (!sorted) {
		fprintf(stderr, "index: not enough memory\n");
		return 1;
	}
	for (size_t i = 0; i < table->size; i++) {
		if (table->slots[i])
			sorted[count++] = table->slots[i];
	}
	qsort(sorted, count, sizeof(*sorted), by_count);
	for (size_t i = 0; i < count && (i < words || words == 0); i++)
		printf("%7llu %.*s\n", (unsigned long long)sorted[i]->count, (int)sorted[i]->length,
		       sorted[i]->text);
	free(sorted);
	for (size_t i = 0; i < file_count; i++) {
		bytes += files[i].bytes;
		if (!files[i].error)
			continue;
		fflush(stdout);
		fprintf(stderr, "index: %s: %s\n", files[i].name, strerror(files[i].error));
		status = 1;
	}
	fprintf(stderr,
		"%zu file(s), %llu bytes, %llu words, %zu different ones; %.1f ms on %u vCPU(s)\n",
		file_count, (unsigned long long)bytes, (unsigned long long)table->words, count,
		(double)ns / 1e6, pg_cpus());
	return status;
}

/* The loader wants absolute paths. */
static char *absolute(const char *name)
{
	char directory[4096];
	char *path = NULL;

	if (name[0] == '/')
		return strdup(name);
	if (!getcwd(directory, sizeof(directory)))
		return NULL;
	if (asprintf(&path, "%s/%s", strcmp(directory, "/") ? directory : "", name) < 0)
		return NULL;
	return path;
}

static void usage(FILE *to)
{
	fprintf(to, "Usage: index [-n WORDS] [-r READERS] FILE...\n"
		    "Print the most frequent words of files, and how often they occur.\n\n"
		    "  -n WORDS    how many words (default 10); 0: all\n"
		    "  -r READERS  files read at the same time, 1 to 15 (default 8)\n"
		    "  --help      this text\n\n"
		    "Exit status 1 if a file could not be read. Show files with uhyve-c --map.\n");
}

static size_t number(char option, const char *text, size_t min, size_t max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || end == text || value < min || value > max) {
		fprintf(stderr, "index: -%c wants a number from %zu to %zu, not '%s'\n", option,
			min, max, text);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	size_t words = 10, reader_count = MAX_READERS / 2;
	const struct table *table;
	uint64_t start;
	int option;

	if (argc > 1 && !strcmp(argv[1], "--help")) {
		usage(stdout);
		return 0;
	}
	while ((option = getopt(argc, argv, "n:r:")) != -1) {
		switch (option) {
		case 'n':
			words = number('n', optarg, 0, SIZE_MAX / 2);
			break;
		case 'r':
			reader_count = number('r', optarg, 1, MAX_READERS - 1);
			break;
		default:
			usage(stderr);
			return 2;
		}
	}
	file_count = (size_t)(argc - optind);
	if (file_count == 0) {
		fprintf(stderr, "index: no files\n");
		usage(stderr);
		return 2;
	}
	files = calloc(file_count, sizeof(*files));
	for (size_t i = 0; files && i < file_count; i++) {
		files[i].name = argv[optind + (int)i];
		files[i].path = absolute(files[i].name);
		if (!files[i].path) {
			fprintf(stderr, "index: %s: %s\n", files[i].name, strerror(errno));
			return 1;
		}
	}
	start = pg_now();
	table = files ? run(reader_count) : NULL;
	if (!table || atomic_load(&out_of_memory)) {
		fprintf(stderr, "index: not enough memory: try uhyve-c --memory\n");
		return 1;
	}
	return print(table, words, pg_now() - start);
}
