#include "mm/space.h"

#include <stdbool.h>

#include "abi/layout.h"
#include "lib/errno.h"
#include "mm/heap.h"

static const uint64_t alignments[PG_SPACE_ALIGNMENTS] = { PG_PAGE_SIZE, PG_SPACE_LARGE };

static uint64_t round_up(uint64_t value, uint64_t align)
{
	return (value + align - 1) & ~(align - 1);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Bytes of [from, to) that are left when one begins on a multiple of `align`. */
static uint64_t usable(uint64_t from, uint64_t to, uint64_t align)
{
	from = round_up(from, align);
	return from < to ? to - from : 0;
}

/* ---- the tree ---- */

static uint32_t height(const struct pg_range *node)
{
	return node ? node->height : 0;
}

/* Work out what `node` knows of its subtree from its children. */
static void update(struct pg_range *node)
{
	const struct pg_range *left = node->left, *right = node->right;

	node->height = 1 + (uint32_t)larger(height(left), height(right));
	node->first = left ? left->first : node->start;
	node->last = right ? right->last : node->end;
	for (int i = 0; i < PG_SPACE_ALIGNMENTS; i++) {
		uint64_t gap = 0;

		if (left) {
			gap = larger(gap, left->gap[i]);
			gap = larger(gap, usable(left->last, node->start, alignments[i]));
		}
		if (right) {
			gap = larger(gap, right->gap[i]);
			gap = larger(gap, usable(node->end, right->first, alignments[i]));
		}
		node->gap[i] = gap;
	}
}

/* These return the subtree's new root. */

static struct pg_range *rotate_left(struct pg_range *node)
{
	struct pg_range *root = node->right;

	node->right = root->left;
	root->left = node;
	update(node);
	update(root);
	return root;
}

static struct pg_range *rotate_right(struct pg_range *node)
{
	struct pg_range *root = node->left;

	node->left = root->right;
	root->right = node;
	update(node);
	update(root);
	return root;
}

/* The children are balanced, and their heights differ by two at most. */
static struct pg_range *balance(struct pg_range *node)
{
	if (height(node->left) > height(node->right) + 1) {
		if (height(node->left->left) < height(node->left->right))
			node->left = rotate_left(node->left);
		return rotate_right(node);
	}
	if (height(node->right) > height(node->left) + 1) {
		if (height(node->right->right) < height(node->right->left))
			node->right = rotate_right(node->right);
		return rotate_left(node);
	}
	update(node);
	return node;
}

static struct pg_range *insert(struct pg_range *root, struct pg_range *node)
{
	if (!root) {
		node->left = node->right = NULL;
		update(node);
		return node;
	}
	if (node->start < root->start)
		root->left = insert(root->left, node);
	else
		root->right = insert(root->right, node);
	return balance(root);
}

static struct pg_range *take_lowest(struct pg_range *root, struct pg_range **lowest)
{
	if (!root->left) {
		*lowest = root;
		return root->right;
	}
	root->left = take_lowest(root->left, lowest);
	return balance(root);
}

/* `node` is in the tree; afterwards it isn't, and is the caller's. */
static struct pg_range *take(struct pg_range *root, const struct pg_range *node)
{
	struct pg_range *heir;

	if (node->start < root->start) {
		root->left = take(root->left, node);
	} else if (node->start > root->start) {
		root->right = take(root->right, node);
	} else if (!root->right) {
		return root->left;
	} else {
		root->right = take_lowest(root->right, &heir);
		heir->left = root->left;
		heir->right = root->right;
		root = heir;
	}
	return balance(root);
}

/* The bounds of `node` have changed, though not its place among the others. */
static void refresh(struct pg_range *root, const struct pg_range *node)
{
	if (node->start < root->start)
		refresh(root->left, node);
	else if (node->start > root->start)
		refresh(root->right, node);
	update(root);
}

/* ---- looking ---- */

static struct pg_range *find(const struct pg_space *space, uint64_t address)
{
	struct pg_range *node = space->root, *found = NULL;

	while (node) {
		if (address < node->end) {
			found = node;
			node = node->left;
		} else {
			node = node->right;
		}
	}
	return found;
}

static bool is_free(const struct pg_space *space, uint64_t start, uint64_t end)
{
	const struct pg_range *range = find(space, start);

	return !range || range->start >= end;
}

struct request {
	uint64_t from; /* not below this */
	uint64_t length;
	int alignment; /* index          */
};

/* Does it fit into the gap [start, end)? Then `*found` tells where. */
static bool fits(const struct request *request, uint64_t start, uint64_t end, uint64_t *found)
{
	const uint64_t align = alignments[request->alignment];

	start = larger(start, request->from);
	if (usable(start, end, align) < request->length)
		return false;
	*found = round_up(start, align);
	return true;
}

/*
 * The lowest fit in the gaps between the ranges of a subtree. Where all of the subtree is
 * above `from`, its `gap` is right, and no step is in vain; it may be too large only along
 * the path to `from`. So this is O(log n).
 */
static bool search(const struct pg_range *node, const struct request *request, uint64_t *found)
{
	if (!node || node->gap[request->alignment] < request->length || node->last <= request->from)
		return false;
	return search(node->left, request, found) ||
	       (node->left && fits(request, node->left->last, node->start, found)) ||
	       (node->right && fits(request, node->end, node->right->first, found)) ||
	       search(node->right, request, found);
}

static bool first_fit(const struct pg_space *space, const struct request *request, uint64_t *found)
{
	const struct pg_range *root = space->root;

	if (!root)
		return fits(request, space->lo, space->hi, found);
	return fits(request, space->lo, root->first, found) || search(root, request, found) ||
	       fits(request, root->last, space->hi, found);
}

const struct pg_range *pg_space_find(const struct pg_space *space, uint64_t address)
{
	return find(space, address);
}

/* ---- changing ---- */

static bool valid(uint64_t start, uint64_t length)
{
	return length && !((start | length) % PG_PAGE_SIZE) && start + length >= start;
}

/* Move an end of `range`; it stays where it is in the tree, and doesn't become empty. */
static void resize(struct pg_space *space, struct pg_range *range, uint64_t start, uint64_t end)
{
	range->start = start;
	range->end = end;
	refresh(space->root, range);
}

static void discard(struct pg_space *space, struct pg_range *range)
{
	space->root = take(space->root, range);
	pg_free(range);
}

/* Make [address, range->end) a range of its own, in `node`. Takes and clears `*node`. */
static void split(struct pg_space *space, struct pg_range *range, uint64_t address,
		  struct pg_range **node)
{
	struct pg_range *upper = *node;

	*node = NULL;
	upper->start = address;
	upper->end = range->end;
	upper->prot = range->prot;
	upper->flags = range->flags;
	resize(space, range, range->start, address);
	space->root = insert(space->root, upper);
}

static bool alike(const struct pg_range *range, uint32_t prot, uint32_t flags)
{
	return range->prot == prot && range->flags == flags;
}

/* [start, end) is free. */
static int add(struct pg_space *space, uint64_t start, uint64_t end, uint32_t prot, uint32_t flags)
{
	/* The neighbours that can take it in. */
	struct pg_range *below = start ? find(space, start - 1) : NULL;
	struct pg_range *above = find(space, start);
	struct pg_range *range;

	if (below && (below->end != start || !alike(below, prot, flags)))
		below = NULL;
	if (above && (above->start != end || !alike(above, prot, flags)))
		above = NULL;

	if (below && above) {
		end = above->end;
		discard(space, above);
		resize(space, below, below->start, end);
	} else if (below) {
		resize(space, below, below->start, end);
	} else if (above) {
		resize(space, above, start, above->end);
	} else {
		range = pg_alloc(sizeof(*range));
		if (!range)
			return -ENOMEM;
		range->start = start;
		range->end = end;
		range->prot = prot;
		range->flags = flags;
		space->root = insert(space->root, range);
	}
	return 0;
}

void pg_space_init(struct pg_space *space, uint64_t lo, uint64_t hi, uint64_t base)
{
	space->lo = lo;
	space->hi = hi;
	space->base = base;
	space->root = NULL;
}

static bool choose(const struct pg_space *space, uint64_t hint, uint64_t length, uint64_t *start)
{
	struct request request = { .length = length };

	hint &= ~(uint64_t)(PG_PAGE_SIZE - 1);
	if (hint && hint >= space->lo && hint <= space->hi - length &&
	    is_free(space, hint, hint + length)) {
		*start = hint;
		return true;
	}
	for (int i = length >= PG_SPACE_LARGE ? 1 : 0; i >= 0; i--) {
		request.alignment = i;
		request.from = space->base;
		if (first_fit(space, &request, start))
			return true;
		request.from = space->lo;
		if (first_fit(space, &request, start))
			return true;
	}
	return false;
}

int pg_space_reserve(struct pg_space *space, uint64_t hint, uint64_t length, uint32_t prot,
		     uint32_t flags, uint64_t *start)
{
	uint64_t at;
	int error;

	if (!valid(0, length))
		return -EINVAL;
	if (length > space->hi - space->lo || !choose(space, hint, length, &at))
		return -ENOMEM;
	error = add(space, at, at + length, prot, flags);
	if (!error)
		*start = at;
	return error;
}

int pg_space_claim(struct pg_space *space, uint64_t start, uint64_t length, uint32_t prot,
		   uint32_t flags)
{
	if (!valid(start, length))
		return -EINVAL;
	if (start < space->lo || start + length > space->hi)
		return -ENOMEM;
	if (!is_free(space, start, start + length))
		return -EEXIST;
	return add(space, start, start + length, prot, flags);
}

int pg_space_remove(struct pg_space *space, uint64_t start, uint64_t length)
{
	const uint64_t end = start + length;
	struct pg_range *range, *node;

	if (!valid(start, length))
		return -EINVAL;
	range = find(space, start);
	if (range && range->start < start && range->end > end) {
		node = pg_alloc(sizeof(*node));
		if (!node)
			return -ENOMEM;
		split(space, range, end, &node);
	}
	for (; range && range->start < end; range = find(space, start)) {
		if (range->start < start)
			resize(space, range, range->start, start);
		else if (range->end > end)
			resize(space, range, end, range->end);
		else
			discard(space, range);
	}
	return 0;
}

/* Is all of [start, end) reserved? Then `*last` is the range that holds its end. */
static bool covered(const struct pg_space *space, uint64_t start, uint64_t end,
		    struct pg_range **last)
{
	do {
		*last = find(space, start);
		if (!*last || (*last)->start > start)
			return false;
		start = (*last)->end;
	} while (start < end);
	return true;
}

int pg_space_protect(struct pg_space *space, uint64_t start, uint64_t length, uint32_t prot)
{
	const uint64_t end = start + length;
	struct pg_range *range, *last, *lower = NULL, *upper = NULL;
	bool split_first, split_last;

	if (!valid(start, length))
		return -EINVAL;
	if (!covered(space, start, end, &last))
		return -ENOMEM;
	range = find(space, start);
	split_first = range->start < start && range->prot != prot;
	split_last = last->end > end && last->prot != prot;
	/* Before anything is changed: what can fail. */
	if (split_first) {
		lower = pg_alloc(sizeof(*lower));
		if (!lower)
			return -ENOMEM;
	}
	if (split_last) {
		upper = pg_alloc(sizeof(*upper));
		if (!upper) {
			pg_free(lower);
			return -ENOMEM;
		}
	}
	/* The last one first: it may be the first one too. */
	if (split_last)
		split(space, last, end, &upper);
	if (split_first)
		split(space, range, start, &lower);

	for (range = find(space, start); range && range->start < end;
	     range = find(space, range->end)) {
		/* One that reaches beyond [start, end) has this `prot` already. */
		range->prot = prot;
	}
	/* Join what is alike now, from the range that touches `start` from below. */
	range = find(space, start ? start - 1 : 0);
	while (range && range->end <= end) {
		struct pg_range *next = find(space, range->end);

		if (next && next->start == range->end && alike(next, range->prot, range->flags)) {
			const uint64_t joined = next->end;

			discard(space, next);
			resize(space, range, range->start, joined);
		} else {
			range = next;
		}
	}
	return 0;
}
