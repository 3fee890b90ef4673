/*
 * The address space's ranges: what is reserved, and for what.
 *
 * A balanced (AVL) tree of disjoint ranges within [lo, hi), in which every node knows
 * the largest gap between the ranges below it. So finding an address, and the lowest
 * gap that is large enough, takes O(log n) steps, always.
 *
 * Ranges are maximal: two that touch differ in `prot` or `flags`. So a range isn't what
 * one call has reserved. Who needs his own range apart gives it flags of its own.
 *
 * This only keeps the books: pages are mapped and unmapped by the caller. Nothing is
 * locked: the caller serialises all calls on a space. Starts and lengths are multiples of
 * 4 KiB, and lengths are not 0 (-EINVAL); errors are negative, and then nothing has changed.
 * Recursion is as deep as the tree is high: at most 1.44 log2(n).
 */
#ifndef PG_MM_SPACE_H
#define PG_MM_SPACE_H

#include <stddef.h>
#include <stdint.h>

/* Gaps are measured twice: for any page, and for beginnings on 2 MiB. */
#define PG_SPACE_ALIGNMENTS 2
#define PG_SPACE_LARGE      0x200000

struct pg_range {
	uint64_t start, end; /* [start, end)                                */
	uint32_t prot;       /* PG_PROT_*                                   */
	uint32_t flags;      /* the caller's                                */

	/* The tree's own. The rest is about the ranges of this subtree.    */
	struct pg_range *left, *right;
	uint64_t first, last;              /* lowest start, highest end                   */
	uint64_t gap[PG_SPACE_ALIGNMENTS]; /* bytes usable in the largest gap between them */
	uint32_t height;
};

struct pg_space {
	uint64_t lo, hi;
	uint64_t base;         /* first fit begins here                     */
	struct pg_range *root; /* from pg_alloc()                           */
};

/*
 * Page-aligned, lo <= base < hi <= 2^63. All of it is free. To free its memory, remove all
 * of it.
 */
void pg_space_init(struct pg_space *space, uint64_t lo, uint64_t hi, uint64_t base);

/*
 * Reserve `length` bytes anywhere; `*start` tells where. At `hint`, rounded down to a
 * page, if that is within the space and free (0: no hint). Otherwise at the lowest place
 * from `base` on; if there is none, at the lowest one from `lo` on. Lengths of at least
 * 2 MiB are aligned to 2 MiB while there is such a place. -ENOMEM: no room, or no memory.
 */
int pg_space_reserve(struct pg_space *space, uint64_t hint, uint64_t length, uint32_t prot,
		     uint32_t flags, uint64_t *start);

/* Reserve exactly this. -EEXIST: a part is taken; -ENOMEM: outside the space, or no memory. */
int pg_space_claim(struct pg_space *space, uint64_t start, uint64_t length, uint32_t prot,
		   uint32_t flags);

/* Free whatever is reserved there. -ENOMEM: a range would be split, and no memory for it. */
int pg_space_remove(struct pg_space *space, uint64_t start, uint64_t length);

/* Change `prot`. -ENOMEM: a part isn't reserved, or no memory for splits. */
int pg_space_protect(struct pg_space *space, uint64_t start, uint64_t length, uint32_t prot);

/*
 * The range that holds `address`, or the lowest one above it, or NULL. Valid until the
 * space is changed.
 */
const struct pg_range *pg_space_find(const struct pg_space *space, uint64_t address);

/* All ranges, upwards: for (range = first; range; range = next). */
static inline const struct pg_range *pg_space_first(const struct pg_space *space)
{
	return pg_space_find(space, 0);
}

static inline const struct pg_range *pg_space_next(const struct pg_space *space,
						   const struct pg_range *range)
{
	return pg_space_find(space, range->end);
}

#endif
