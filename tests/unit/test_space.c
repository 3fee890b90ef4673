#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/errno.h"
#include "mm/heap.h"
#include "mm/space.h"

#define PAGE  4096ul
#define LARGE PG_SPACE_LARGE

/* ---- the heap: it fails when told to, and counts ---- */

static long budget = -1; /* allocations that still succeed; -1: all */
static size_t nodes;

void *pg_alloc(size_t size)
{
	void *node;

	if (!budget)
		return NULL;
	if (budget > 0)
		budget--;
	node = malloc(size);
	cr_assert(node);
	memset(node, 0xa5, size);
	nodes++;
	return node;
}

void pg_free(void *p)
{
	if (p)
		nodes--;
	free(p);
}

/* ---- invariants ---- */

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t gap_between(uint64_t from, uint64_t to, uint64_t align)
{
	from = (from + align - 1) / align * align;
	return from < to ? to - from : 0;
}

/* What a subtree is, worked out anew. */
struct facts {
	uint64_t first, last, gap[2];
	uint32_t height;
	size_t count;
};

static struct facts check_tree(const struct pg_range *node)
{
	struct facts left, right, all = { .first = node->start, .last = node->end };

	cr_assert_lt(node->start, node->end);
	if (node->left) {
		left = check_tree(node->left);
		cr_assert_leq(left.last, node->start);
		all.first = left.first;
		for (int i = 0; i < 2; i++)
			all.gap[i] = larger(left.gap[i],
					    gap_between(left.last, node->start, i ? LARGE : PAGE));
	} else {
		left = (struct facts){ 0 };
	}
	if (node->right) {
		right = check_tree(node->right);
		cr_assert_geq(right.first, node->end);
		all.last = right.last;
		for (int i = 0; i < 2; i++)
			all.gap[i] = larger(all.gap[i],
					    larger(right.gap[i], gap_between(node->end, right.first,
									     i ? LARGE : PAGE)));
	} else {
		right = (struct facts){ 0 };
	}
	all.height = 1 + (uint32_t)larger(left.height, right.height);
	all.count = 1 + left.count + right.count;
	cr_assert(left.height <= right.height + 1 && right.height <= left.height + 1);
	cr_assert_eq(node->height, all.height);
	cr_assert_eq(node->first, all.first);
	cr_assert_eq(node->last, all.last);
	cr_assert_eq(node->gap[0], all.gap[0]);
	cr_assert_eq(node->gap[1], all.gap[1]);
	return all;
}

static void check(const struct pg_space *space)
{
	const struct pg_range *before = NULL, *range;
	size_t count = 0;

	if (space->root)
		cr_assert_eq(check_tree(space->root).count, nodes);
	for (range = pg_space_first(space); range; range = pg_space_next(space, range)) {
		cr_assert(range->start >= space->lo && range->end <= space->hi);
		cr_assert(!((range->start | range->end) % PAGE));
		/* Maximal. */
		if (before && before->end == range->start)
			cr_assert(before->prot != range->prot || before->flags != range->flags);
		before = range;
		count++;
	}
	cr_assert_eq(count, nodes);
}

/* ---- the reference: a word per page ---- */

#define LO    (3 * PAGE)
#define PAGES 4093ul
#define HI    (LO + PAGES * PAGE)
#define BASE  (LO + 300 * PAGE)

/* 0: free; else 1 + prot + 256 * flags. */
static uint16_t reference[PAGES];

static size_t page_of(uint64_t address)
{
	return (address - LO) / PAGE;
}

static bool all_free(size_t page, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (reference[page + i])
			return false;
	}
	return true;
}

/* The lowest place from `from` on; 0: none. */
static uint64_t lowest(uint64_t from, uint64_t length, uint64_t align)
{
	uint64_t free = 0;

	/* Downwards, so that the number of free pages from here on is known. */
	uint64_t best = 0;

	for (uint64_t at = HI - PAGE; at >= from; at -= PAGE) {
		free = reference[page_of(at)] ? 0 : free + PAGE;
		if (free >= length && at % align == 0)
			best = at;
	}
	return best;
}

static uint64_t place(uint64_t hint, uint64_t length)
{
	uint64_t at;

	hint = hint / PAGE * PAGE;
	if (hint >= LO && hint + length <= HI && all_free(page_of(hint), length / PAGE))
		return hint;
	if (length >= LARGE) {
		at = lowest(BASE, length, LARGE);
		at = at ? at : lowest(LO, length, LARGE);
		if (at)
			return at;
	}
	at = lowest(BASE, length, PAGE);
	return at ? at : lowest(LO, length, PAGE);
}

static void set(size_t page, size_t count, uint16_t value)
{
	for (size_t i = 0; i < count; i++)
		reference[page + i] = value;
}

static void compare(const struct pg_space *space)
{
	size_t page = 0;

	for (const struct pg_range *range = pg_space_first(space); range;
	     range = pg_space_next(space, range)) {
		for (; page < page_of(range->start); page++)
			cr_assert_eq(reference[page], 0, "page %zu", page);
		for (; page < page_of(range->end); page++)
			cr_assert_eq(reference[page], 1 + range->prot + 256 * range->flags,
				     "page %zu", page);
	}
	for (; page < PAGES; page++)
		cr_assert_eq(reference[page], 0, "page %zu", page);
}

static uint64_t random_state;

static uint64_t random_number(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static size_t random_length(void)
{
	const uint64_t kind = random_number() % 32;

	if (kind == 0)
		return 512 + random_number() % 700;
	return kind < 28 ? 1 + random_number() % 8 : 1 + random_number() % 100;
}

/*
 * A random operation, on both. With an allocation failing (`budget`), the only other
 * result allowed is -ENOMEM, and then nothing has changed. Returns whether it did fail so.
 */
static bool step(struct pg_space *space)
{
	const size_t page = random_number() % PAGES;
	const uint64_t start = LO + page * PAGE;
	const uint32_t prot = random_number() % 3, flags = random_number() % 4 == 0;
	const bool may_fail = budget >= 0;
	size_t count = random_length();
	uint64_t at = 1, expected;
	int error;

	switch (random_number() % 8) {
	case 0:
	case 1:
	case 2: {
		const uint64_t hint = random_number() % 3 ? 0 : start + random_number() % PAGE;

		expected = place(hint, count * PAGE);
		error = pg_space_reserve(space, hint, count * PAGE, prot, flags, &at);
		if (expected && may_fail && error == -ENOMEM)
			return true;
		cr_assert_eq(error, expected ? 0 : -ENOMEM);
		cr_assert_eq(at, expected ? expected : 1, "%lx for %lx, hint %lx length %zu", at,
			     expected, hint, count);
		if (expected)
			set(page_of(at), count, (uint16_t)(1 + prot + 256 * flags));
		return false;
	}
	case 3:
		if (page + count > PAGES)
			expected = ENOMEM;
		else
			expected = all_free(page, count) ? 0 : EEXIST;
		error = pg_space_claim(space, start, count * PAGE, prot, flags);
		if (!expected && may_fail && error == -ENOMEM)
			return true;
		cr_assert_eq(error, -(int)expected);
		if (!expected)
			set(page, count, (uint16_t)(1 + prot + 256 * flags));
		return false;
	case 4:
	case 5:
		error = pg_space_remove(space, start, count * PAGE);
		if (may_fail && error == -ENOMEM)
			return true;
		cr_assert_eq(error, 0);
		set(page, page + count > PAGES ? PAGES - page : count, 0);
		return false;
	default:
		expected = page + count > PAGES ? ENOMEM : 0;
		for (size_t i = page; i < page + count && !expected; i++)
			expected = reference[i] ? 0 : ENOMEM;
		error = pg_space_protect(space, start, count * PAGE, prot);
		if (!expected && may_fail && error == -ENOMEM)
			return true;
		cr_assert_eq(error, -(int)expected);
		for (size_t i = page; i < page + count && !expected; i++)
			reference[i] = (uint16_t)(1 + prot + (reference[i] - 1) / 256 * 256);
		return false;
	}
}

static void setup(void)
{
	budget = -1;
	nodes = 0;
	random_state = 88172645463325252;
	memset(reference, 0, sizeof(reference));
}

TestSuite(space, .init = setup, .timeout = 300);

static void clear(struct pg_space *space)
{
	/* Never needs memory. */
	budget = 0;
	cr_assert_eq(pg_space_remove(space, space->lo, space->hi - space->lo), 0);
	cr_assert_eq(nodes, 0);
	cr_assert_null(space->root);
	budget = -1;
}

Test(space, random_against_reference)
{
	struct pg_space space;
	size_t most = 0;

	pg_space_init(&space, LO, HI, BASE);
	for (int i = 0; i < 200000; i++) {
		/* Now and then from (nearly) empty to full again. */
		if (i % 20000 == 0)
			pg_space_remove(&space, LO, (PAGES - i / 1000) * PAGE),
				set(0, PAGES - i / 1000, 0);
		step(&space);
		most = nodes > most ? nodes : most;
		if (i % 50 == 0) {
			check(&space);
			compare(&space);
		}
	}
	/* It was worth it. */
	cr_assert_gt(most, 300, "%zu", most);
	clear(&space);
}

Test(space, random_with_failing_allocations)
{
	struct pg_space space;
	unsigned failed = 0;

	pg_space_init(&space, LO, HI, BASE);
	for (int i = 0; i < 50000; i++) {
		budget = random_number() % 4 ? -1 : (long)(random_number() % 2);
		if (step(&space)) {
			failed++;
			check(&space);
			compare(&space);
		} else if (i % 50 == 0) {
			check(&space);
			compare(&space);
		}
	}
	cr_assert_gt(failed, 1000, "%u", failed);
	clear(&space);
}

Test(space, find)
{
	struct pg_space space;

	pg_space_init(&space, LO, HI, LO);
	cr_assert_null(pg_space_find(&space, 0));
	cr_assert_null(pg_space_first(&space));
	for (size_t i = 0; i < 100; i++)
		cr_assert_eq(pg_space_claim(&space, LO + (3 * i + 1) * PAGE, PAGE, 1, 0), 0);
	for (size_t i = 0; i < 100; i++) {
		const uint64_t start = LO + (3 * i + 1) * PAGE;

		cr_assert_eq(pg_space_find(&space, start - 1)->start, start);
		cr_assert_eq(pg_space_find(&space, start)->start, start);
		cr_assert_eq(pg_space_find(&space, start + PAGE - 1)->start, start);
		if (i < 99)
			cr_assert_eq(pg_space_find(&space, start + PAGE)->start, start + 3 * PAGE);
		else
			cr_assert_null(pg_space_find(&space, start + PAGE));
	}
	check(&space);
	clear(&space);
}

Test(space, hints)
{
	struct pg_space space;
	uint64_t at;

	pg_space_init(&space, LO, HI, BASE);
	cr_assert_eq(pg_space_reserve(&space, LO + 5 * PAGE + 7, PAGE, 1, 0, &at), 0);
	cr_assert_eq(at, LO + 5 * PAGE);
	/* Taken, in part, below, above, or too near to the end: first fit. */
	cr_assert_eq(pg_space_reserve(&space, LO + 5 * PAGE, PAGE, 1, 0, &at), 0);
	cr_assert_eq(at, BASE);
	cr_assert_eq(pg_space_reserve(&space, LO + 4 * PAGE, 2 * PAGE, 1, 0, &at), 0);
	cr_assert_eq(at, BASE + PAGE);
	cr_assert_eq(pg_space_reserve(&space, LO - PAGE, PAGE, 1, 0, &at), 0);
	cr_assert_eq(at, BASE + 3 * PAGE);
	cr_assert_eq(pg_space_reserve(&space, HI - PAGE, 2 * PAGE, 1, 0, &at), 0);
	cr_assert_eq(at, BASE + 4 * PAGE);
	cr_assert_eq(pg_space_reserve(&space, UINT64_MAX, PAGE, 1, 0, &at), 0);
	cr_assert_eq(at, BASE + 6 * PAGE);
	cr_assert_eq(pg_space_reserve(&space, HI - PAGE, PAGE, 1, 0, &at), 0);
	cr_assert_eq(at, HI - PAGE);
	/* Nothing above `base`: from `lo` on. */
	cr_assert_eq(pg_space_claim(&space, BASE + 7 * PAGE, HI - PAGE - BASE - 7 * PAGE, 1, 0), 0);
	cr_assert_eq(pg_space_reserve(&space, 0, 6 * PAGE, 1, 0, &at), 0);
	cr_assert_eq(at, LO + 6 * PAGE);
	check(&space);
	clear(&space);
}

Test(space, large_lengths_are_aligned)
{
	struct pg_space space;
	uint64_t at;

	pg_space_init(&space, PAGE, 4 * LARGE, PAGE);
	cr_assert_eq(pg_space_reserve(&space, 0, LARGE, 1, 0, &at), 0);
	cr_assert_eq(at, LARGE);
	cr_assert_eq(pg_space_reserve(&space, 0, LARGE - PAGE, 1, 0, &at), 0);
	cr_assert_eq(at, PAGE);
	cr_assert_eq(pg_space_claim(&space, 3 * LARGE - PAGE, 2 * PAGE, 1, 0), 0);
	/* No aligned place is left, but one that is large enough would be made up. */
	cr_assert_eq(pg_space_reserve(&space, 0, LARGE, 1, 0, &at), -ENOMEM);
	cr_assert_eq(pg_space_remove(&space, 2 * LARGE - PAGE, PAGE), 0);
	cr_assert_eq(pg_space_reserve(&space, 0, LARGE, 1, 0, &at), 0);
	cr_assert_eq(at, 2 * LARGE - PAGE);
	clear(&space);
}

Test(space, neighbours_join_and_split)
{
	struct pg_space space;
	const struct pg_range *range;

	pg_space_init(&space, LO, HI, LO);
	cr_assert_eq(pg_space_claim(&space, LO, 2 * PAGE, 1, 7), 0);
	cr_assert_eq(pg_space_claim(&space, LO + 4 * PAGE, 2 * PAGE, 1, 7), 0);
	cr_assert_eq(nodes, 2);
	cr_assert_eq(pg_space_claim(&space, LO + 2 * PAGE, 2 * PAGE, 1, 7), 0);
	cr_assert_eq(nodes, 1);
	/* Other flags: apart, even when `prot` is the same. */
	cr_assert_eq(pg_space_claim(&space, LO + 6 * PAGE, PAGE, 1, 8), 0);
	cr_assert_eq(nodes, 2);
	/* The middle, across both, and back. */
	cr_assert_eq(pg_space_protect(&space, LO + 2 * PAGE, PAGE, 3), 0);
	cr_assert_eq(nodes, 4);
	cr_assert_eq(pg_space_protect(&space, LO + PAGE, 6 * PAGE, 5), 0);
	cr_assert_eq(nodes, 3);
	range = pg_space_find(&space, LO + PAGE);
	cr_assert(range->start == LO + PAGE && range->end == LO + 6 * PAGE);
	cr_assert(range->prot == 5 && range->flags == 7);
	cr_assert_eq(pg_space_protect(&space, LO, 7 * PAGE, 1), 0);
	cr_assert_eq(nodes, 2);
	check(&space);
	clear(&space);
}

Test(space, nothing_changes_without_memory)
{
	struct pg_space space;
	const struct pg_range *range;
	uint64_t at = 1;

	pg_space_init(&space, LO, HI, LO);
	cr_assert_eq(pg_space_claim(&space, LO, 10 * PAGE, 1, 0), 0);
	budget = 0;
	cr_assert_eq(pg_space_remove(&space, LO + PAGE, PAGE), -ENOMEM);
	cr_assert_eq(pg_space_protect(&space, LO, PAGE, 3), -ENOMEM);
	cr_assert_eq(pg_space_claim(&space, LO + 20 * PAGE, PAGE, 1, 0), -ENOMEM);
	cr_assert_eq(pg_space_reserve(&space, 0, PAGE, 3, 0, &at), -ENOMEM);
	cr_assert_eq(at, 1);
	/* Two splits, memory for one: it is given back. */
	budget = 1;
	cr_assert_eq(pg_space_protect(&space, LO + PAGE, PAGE, 3), -ENOMEM);
	cr_assert_eq(nodes, 1);
	range = pg_space_first(&space);
	cr_assert(range->start == LO && range->end == LO + 10 * PAGE && range->prot == 1);
	/* What needs no memory works. */
	budget = 0;
	cr_assert_eq(pg_space_protect(&space, LO + PAGE, PAGE, 1), 0);
	cr_assert_eq(pg_space_protect(&space, LO, 10 * PAGE, 3), 0);
	cr_assert_eq(pg_space_remove(&space, LO, PAGE), 0);
	cr_assert_eq(pg_space_remove(&space, LO + 9 * PAGE, PAGE), 0);
	cr_assert_eq(pg_space_reserve(&space, 0, PAGE, 3, 0, &at), 0);
	cr_assert_eq(at, LO);
	check(&space);
	clear(&space);
}

Test(space, bad_arguments)
{
	struct pg_space space;
	uint64_t at = 1;

	pg_space_init(&space, LO, HI, LO);
	cr_assert_eq(pg_space_claim(&space, LO, 0, 1, 0), -EINVAL);
	cr_assert_eq(pg_space_claim(&space, LO + 1, PAGE, 1, 0), -EINVAL);
	cr_assert_eq(pg_space_claim(&space, LO, 1, 1, 0), -EINVAL);
	cr_assert_eq(pg_space_claim(&space, -PAGE, 2 * PAGE, 1, 0), -EINVAL);
	cr_assert_eq(pg_space_claim(&space, LO - PAGE, 2 * PAGE, 1, 0), -ENOMEM);
	cr_assert_eq(pg_space_claim(&space, HI - PAGE, 2 * PAGE, 1, 0), -ENOMEM);
	cr_assert_eq(pg_space_claim(&space, HI, PAGE, 1, 0), -ENOMEM);
	cr_assert_eq(pg_space_reserve(&space, 0, 0, 1, 0, &at), -EINVAL);
	cr_assert_eq(pg_space_reserve(&space, 0, PAGE + 1, 1, 0, &at), -EINVAL);
	cr_assert_eq(pg_space_reserve(&space, 0, -PAGE, 1, 0, &at), -ENOMEM);
	cr_assert_eq(pg_space_reserve(&space, 0, HI - LO + PAGE, 1, 0, &at), -ENOMEM);
	cr_assert_eq(pg_space_remove(&space, LO, 0), -EINVAL);
	cr_assert_eq(pg_space_remove(&space, LO + 1, PAGE), -EINVAL);
	cr_assert_eq(pg_space_remove(&space, -PAGE, 2 * PAGE), -EINVAL);
	cr_assert_eq(pg_space_remove(&space, 0, PAGE), 0);
	cr_assert_eq(pg_space_protect(&space, LO, 0, 1), -EINVAL);
	cr_assert_eq(pg_space_protect(&space, LO, PAGE, 1), -ENOMEM);
	cr_assert_eq(at, 1);
	/* All of it, once. */
	cr_assert_eq(pg_space_reserve(&space, 0, HI - LO, 1, 0, &at), 0);
	cr_assert_eq(at, LO);
	cr_assert_eq(pg_space_reserve(&space, 0, PAGE, 1, 0, &at), -ENOMEM);
	clear(&space);
}

/* The tree stays low, in whatever order it grows and shrinks. */
Test(space, many_ranges_in_order)
{
	struct pg_space space;
	const size_t count = 20000;

	pg_space_init(&space, PAGE, 1ul << 40, PAGE);
	for (size_t i = 0; i < count; i++)
		cr_assert_eq(pg_space_claim(&space, (2 * i + 1) * PAGE, PAGE, 1, 0), 0);
	check(&space);
	/* 1.44 log2(20000) */
	cr_assert_leq(space.root->height, 20);
	for (size_t i = 0; i < count - 10; i++)
		cr_assert_eq(pg_space_remove(&space, (2 * i + 1) * PAGE, PAGE), 0);
	check(&space);
	cr_assert_leq(space.root->height, 4);
	clear(&space);
}
