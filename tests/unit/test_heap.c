#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "core/port.h"
#include "lib/panic.h"
#include "mm/heap.h"

#define SIZE (16u << 20)
#define PAGE 4096u

static uint8_t *memory;
static jmp_buf panicked;
static char panic_text[128];

void pg_panic(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(panic_text, sizeof(panic_text), format, args);
	va_end(args);
	longjmp(panicked, 1);
}

void pg_port_relax(void)
{
	sched_yield();
}

static void setup(void)
{
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(memory, MAP_FAILED);
	pg_heap_init((uintptr_t)memory, SIZE);
}

static void teardown(void)
{
	munmap(memory, SIZE);
}

TestSuite(heap, .init = setup, .fini = teardown, .timeout = 120);

static void free_panics(void *p, const char *words)
{
	panic_text[0] = '\0';
	if (!setjmp(panicked)) {
		pg_free(p);
		cr_assert(false, "freeing %p should have been: %s", p, words);
	}
	cr_assert(strstr(panic_text, words), "said: %s", panic_text);
}

static void alloc_panics(size_t size, const char *words)
{
	panic_text[0] = '\0';
	if (!setjmp(panicked)) {
		pg_alloc(size);
		cr_assert(false, "allocating %zu should have been: %s", size, words);
	}
	cr_assert(strstr(panic_text, words), "said: %s", panic_text);
}

static uint64_t random_number(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static struct pg_heap_stats stats(void)
{
	struct pg_heap_stats now;

	pg_heap_read_stats(&now);
	return now;
}

/* Pages of the heap that the host had to back. */
static size_t resident(void)
{
	static unsigned char pages[SIZE / PAGE];
	size_t count = 0;

	cr_assert_eq(mincore(memory, SIZE, pages), 0);
	for (size_t i = 0; i < SIZE / PAGE; i++)
		count += pages[i] & 1;
	return count;
}

/* Everything there is, as one run: fragments can't hide. */
static void assert_whole(void)
{
	void *all = pg_alloc(stats().size);

	cr_assert_not_null(all);
	cr_assert_eq(stats().used, stats().size);
	pg_free(all);
	cr_assert_eq(stats().used, 0);
}

struct block {
	uint8_t *at;
	size_t size;
	uint8_t fill;
};

static size_t random_size(uint64_t *state)
{
	const uint64_t kind = random_number(state) % 16;

	if (kind < 10)
		return random_number(state) % 512;
	if (kind < 14)
		return random_number(state) % 8192;
	return random_number(state) % 100000;
}

static void check_filled(const struct block *block)
{
	for (size_t i = 0; i < block->size; i++)
		cr_assert_eq(block->at[i], block->fill, "byte %zu of %zu", i, block->size);
}

static size_t expected_align(size_t size)
{
	if (size > PG_HEAP_SMALL)
		return PAGE;
	return size && size % 64 == 0 ? 64 : 16;
}

/* Fill, and look whether it is still so when it is freed: no two overlap. */
static void churn(struct block *blocks, size_t count, unsigned rounds, uint64_t seed)
{
	for (unsigned round = 0; round < rounds; round++) {
		struct block *block = &blocks[random_number(&seed) % count];
		size_t align = 1;

		if (block->at) {
			check_filled(block);
			pg_free(block->at);
			block->at = NULL;
			continue;
		}
		block->size = random_size(&seed);
		switch (random_number(&seed) % 3) {
		case 0:
			block->at = pg_alloc(block->size);
			break;
		case 1:
			block->at = pg_alloc_zero(block->size);
			block->fill = 0;
			if (block->at)
				check_filled(block);
			break;
		default:
			align = (size_t)1 << random_number(&seed) % 13;
			block->at = pg_alloc_aligned(block->size, align);
		}
		if (!block->at)
			continue;
		cr_assert_eq((uintptr_t)block->at % align, 0);
		cr_assert_eq((uintptr_t)block->at % expected_align(block->size), 0);
		cr_assert(block->at >= memory && block->at + block->size <= memory + SIZE);
		block->fill = (uint8_t)random_number(&seed);
		memset(block->at, block->fill, block->size);
	}
	for (size_t i = 0; i < count; i++) {
		if (blocks[i].at) {
			check_filled(&blocks[i]);
			pg_free(blocks[i].at);
		}
	}
}

Test(heap, random_against_shadow)
{
	static struct block blocks[1000];

	churn(blocks, 1000, 100000, 88172645463325252);
	cr_assert_eq(stats().used, 0);
	cr_assert_gt(stats().peak, 0);
	assert_whole();
}

/* So many that many calls find no memory. */
Test(heap, random_when_scarce)
{
	static struct block blocks[2000];

	pg_heap_init((uintptr_t)memory, 1u << 20);
	churn(blocks, 2000, 100000, 362436069);
	cr_assert_eq(stats().used, 0);
	assert_whole();
}

#define THREADS 4

static void *churn_thread(void *seed)
{
	struct block blocks[100] = { 0 };

	churn(blocks, 100, 20000, *(const uint64_t *)seed);
	return NULL;
}

Test(heap, threads)
{
	static uint64_t seeds[THREADS] = { 1234567, 7654321, 1111111, 9999999 };
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, churn_thread, &seeds[i]), 0);
	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	cr_assert_eq(stats().used, 0);
	assert_whole();
}

/* One thread allocates, the other frees. */
static void *_Atomic mailbox;
#define LETTERS 20000

static void *receive(void *unused)
{
	for (int i = 0; i < LETTERS; i++) {
		void *letter;

		while (!(letter = atomic_exchange(&mailbox, NULL)))
			sched_yield();
		cr_assert_eq(*(int *)letter, i);
		pg_free(letter);
	}
	return NULL;
}

Test(heap, freed_by_another_thread)
{
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, receive, NULL), 0);
	for (int i = 0; i < LETTERS; i++) {
		int *letter = pg_alloc(16 + (size_t)i % 200);

		cr_assert_not_null(letter);
		*letter = i;
		while (atomic_load(&mailbox))
			sched_yield();
		atomic_store(&mailbox, letter);
	}
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(stats().used, 0);
}

Test(heap, every_small_size)
{
	for (size_t size = 0; size <= 2 * PAGE; size++) {
		uint8_t *a = pg_alloc(size), *b = pg_alloc(size);
		const size_t rounded = stats().used / 2;

		cr_assert(a && b);
		cr_assert_eq((uintptr_t)a % expected_align(size), 0);
		cr_assert_eq((uintptr_t)b % expected_align(size), 0);
		cr_assert(a + rounded <= b || b + rounded <= a);
		cr_assert_geq(rounded, size);
		/* Not wasteful: 16 bytes, a fourth, or the rest of a page. */
		if (size >= 16 && size <= PG_HEAP_SMALL)
			cr_assert(rounded < size + 16 || rounded * 4 <= size * 5,
				  "%zu for %zu bytes", rounded, size);
		else
			cr_assert_lt(rounded, size + (size < 16 ? 17 : PAGE));
		pg_free(a);
		pg_free(b);
	}
	cr_assert_eq(stats().used, 0);
	assert_whole();
}

Test(heap, aligned)
{
	for (size_t align = 1; align <= PAGE; align *= 2) {
		for (size_t size = 0; size < 3 * PAGE; size += 13) {
			uint8_t *a = pg_alloc_aligned(size, align);
			uint8_t *b = pg_alloc_aligned(size, align);

			cr_assert(a && b);
			cr_assert_eq((uintptr_t)a % align, 0);
			cr_assert_eq((uintptr_t)b % align, 0);
			memset(a, 1, size);
			memset(b, 2, size);
			cr_assert(!size || (a[size - 1] == 1 && a[0] == 1));
			pg_free(a);
			pg_free(b);
		}
	}
	cr_assert_null(pg_alloc_aligned(16, 0));
	cr_assert_null(pg_alloc_aligned(16, 24));
	cr_assert_null(pg_alloc_aligned(16, 2 * PAGE));
	cr_assert_eq(stats().used, 0);
}

/* Take all there is in pieces of `size`, in a list; give every second one back; and so on. */
static void exhaust(size_t size)
{
	void **kept = NULL, **freed = NULL, **block;
	size_t total = 0, again = 0, dropped = 0;

	while ((block = pg_alloc(size))) {
		void ***list = total++ % 2 ? &kept : &freed;

		*block = *list;
		*list = block;
	}
	cr_assert_gt(total * size, stats().size * 3 / 4, "%zu blocks of %zu", total, size);
	cr_assert_leq(stats().used, stats().size);
	cr_assert_geq(stats().peak, stats().used);
	for (; freed; freed = block, dropped++) {
		block = *freed;
		pg_free(freed);
	}
	/* Exactly as many fit in again. */
	while ((block = pg_alloc(size))) {
		*block = kept;
		kept = block;
		again++;
	}
	cr_assert_eq(again, dropped);
	for (; kept; kept = block) {
		block = *kept;
		pg_free(kept);
	}
	cr_assert_eq(stats().used, 0);
	assert_whole();
}

Test(heap, exhaustion_and_recovery)
{
	static const size_t sizes[] = {
		16, 48, 128, 160, 640, 896, 2048, 3584, 4096, 20000, 100000
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memset(memory, 0, SIZE);
		pg_heap_init((uintptr_t)memory, 4u << 20);
		exhaust(sizes[i]);
		/* What one size has left is good for any other. */
		exhaust(sizes[(i + 3) % (sizeof(sizes) / sizeof(sizes[0]))]);
	}
}

Test(heap, too_much_to_ask)
{
	cr_assert_null(pg_alloc(SIZE));
	cr_assert_null(pg_alloc(stats().size + 1));
	cr_assert_null(pg_alloc(SIZE_MAX));
	cr_assert_null(pg_alloc_zero(SIZE_MAX - PAGE));
	cr_assert_null(pg_alloc_aligned(SIZE_MAX - 1, PAGE));
	assert_whole();
}

Test(heap, tiny_heaps)
{
	for (size_t size = 0; size < 2 * PAGE; size += 512) {
		pg_heap_init((uintptr_t)memory, size);
		cr_assert_null(pg_alloc(1));
		cr_assert_null(pg_alloc(PAGE));
		cr_assert_eq(stats().size, 0);
	}
	memset(memory, 0, PAGE);
	/* Bounds that are not on pages: only whole ones are used. */
	pg_heap_init((uintptr_t)memory + 100, 3 * PAGE);
	cr_assert_eq(stats().size, PAGE);
	cr_assert_eq(pg_alloc(PAGE), memory + 2 * PAGE);
	cr_assert_null(pg_alloc(1));
}

/* The host backs only what was used: nothing else is touched. */
Test(heap, fresh_memory_stays_untouched)
{
	uint8_t *large, *small;

	large = pg_alloc_zero(SIZE / 2);
	cr_assert_not_null(large);
	cr_assert_leq(resident(), 4);
	large[0] = large[SIZE / 2 - 1] = 1;
	small = pg_alloc(100);
	cr_assert_not_null(small);
	small[0] = 1;
	cr_assert_leq(resident(), 8);
	pg_free(large);
	/* Freeing it touched nothing but the array of pages. */
	cr_assert_leq(resident(), 9);
	pg_free(small);
}

Test(heap, zeroed_where_used_before)
{
	const size_t size = 64 * PAGE;
	uint8_t *memory_before = pg_alloc(size), *larger;

	memset(memory_before, 0xff, size);
	pg_free(memory_before);
	/* It grows into fresh memory: the first part needs clearing, the rest doesn't. */
	larger = pg_alloc_zero(3 * size);
	cr_assert_eq(larger, memory_before);
	for (size_t i = 0; i < 3 * size; i++)
		cr_assert_eq(larger[i], 0);
	pg_free(larger);
}

Test(heap, used_memory_comes_first)
{
	void *blocks[64];
	uint64_t touched;

	for (int i = 0; i < 64; i++)
		blocks[i] = pg_alloc(5 * PAGE);
	touched = stats().touched;
	cr_assert_eq(touched, 64 * 5 * PAGE);
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 64; i++)
			pg_free(blocks[(i * 37 + round) % 64]);
		for (int i = 0; i < 64; i++)
			blocks[i] = pg_alloc(5 * PAGE);
	}
	cr_assert_eq(stats().touched, touched);
	for (int i = 0; i < 64; i++)
		pg_free(blocks[i]);
	for (int i = 0; i < 64; i++)
		blocks[i] = pg_alloc(1024);
	cr_assert_eq(stats().touched, touched);
	for (int i = 0; i < 64; i++)
		pg_free(blocks[i]);
}

Test(heap, freed_runs_join)
{
	static const int orders[][3] = { { 0, 1, 2 }, { 2, 1, 0 }, { 0, 2, 1 }, { 1, 0, 2 } };

	for (int i = 0; i < 4; i++) {
		uint8_t *part[3], *fence, *whole;

		for (int j = 0; j < 3; j++)
			part[j] = pg_alloc((size_t)(j + 2) * PAGE);
		fence = pg_alloc(PAGE);
		for (int j = 0; j < 3; j++)
			pg_free(part[orders[i][j]]);
		whole = pg_alloc(9 * PAGE);
		cr_assert_eq(whole, part[0]);
		pg_free(whole);
		pg_free(fence);
	}
}

Test(heap, peak_stays)
{
	void *large = pg_alloc(10 * PAGE), *small;

	pg_free(large);
	small = pg_alloc(17);
	cr_assert_eq(stats().used, 32);
	cr_assert_eq(stats().peak, 10 * PAGE);
	pg_free(small);
	pg_free(NULL);
}

Test(heap, double_free)
{
	static const size_t sizes[] = { 16, 100, 1000, 3584, 4096, 50000 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		void *a = pg_alloc(sizes[i]), *other = pg_alloc(sizes[i]);

		pg_free(a);
		free_panics(a, "freed twice");
		pg_free(other);
		free_panics(other, "freed twice");
		free_panics(a, "freed twice");
	}
	/* The lock was let go of, and nothing has changed. */
	cr_assert_eq(stats().used, 0);
	assert_whole();
}

Test(heap, bad_pointers)
{
	uint8_t *small = pg_alloc(48), *slab = pg_alloc(640), *large = pg_alloc(3 * PAGE);

	free_panics(small + 1, "never allocated");
	free_panics(small + 16, "never allocated");
	free_panics(small + 48, "never allocated");
	free_panics(slab + PAGE, "never allocated");
	free_panics(large + 16, "never allocated");
	free_panics(large + PAGE, "never allocated");
	free_panics(memory, "never allocated");
	free_panics(memory - PAGE, "never allocated");
	free_panics(memory + SIZE, "never allocated");
	free_panics(memory + SIZE - PAGE, "never allocated");
	free_panics(&small, "never allocated");
	pg_free(small);
	pg_free(slab);
	pg_free(large);
	assert_whole();
}

/* What pages were before doesn't make a bad pointer a good one. */
Test(heap, bad_pointers_into_former_slabs)
{
	void *objects[2 * 32], *first = pg_alloc(PAGE);
	uint8_t *large;

	for (int i = 0; i < 2 * 32; i++)
		objects[i] = pg_alloc(640);
	for (int i = 0; i < 2 * 32; i++)
		pg_free(objects[i]);
	pg_free(first);
	assert_whole();
	large = pg_alloc(10 * PAGE);
	/* Where the objects of the first slab were. */
	for (size_t i = 0; i < 32; i++)
		free_panics(large + PAGE + i * 640, "never allocated");
	pg_free(large);
	assert_whole();
}

Test(heap, written_after_free)
{
	for (size_t word = 0; word < 2; word++) {
		uint64_t *keep = pg_alloc(64), *a = pg_alloc(64);

		pg_free(a);
		a[word] ^= 1;
		alloc_panics(64, "written to after it was freed");
		a[word] ^= 1;
		cr_assert_eq(pg_alloc(64), a);
		pg_free(a);
		pg_free(keep);
	}
}

/* An owner may write what a free object looks like: that is no double free. */
Test(heap, a_look_alike_is_no_double_free)
{
	uint64_t *keep = pg_alloc(64), *a = pg_alloc(64), image[2];

	pg_free(a);
	memcpy(image, a, sizeof(image));
	cr_assert_eq(pg_alloc(64), a);
	memcpy(a, image, sizeof(image));
	pg_free(a);
	free_panics(a, "freed twice");
	pg_free(keep);
}
