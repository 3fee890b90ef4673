#include "mm/heap.h"

#include <stdbool.h>

#include "abi/layout.h"
#include "core/spinlock.h"
#include "lib/panic.h"
#include "lib/string.h"

/*
 * What a page is. Free runs have their first and last page marked, so that a neighbour
 * finds them; others their first page only, slabs all. Everything between is PAGE_NONE,
 * and so are pages that were never handed out.
 */
enum page_state {
	PAGE_NONE,
	PAGE_FREE,      /* `length` pages; `next`, `prev`: first pages of the bin    */
	PAGE_RUN,       /* an allocation of `length` pages                           */
	PAGE_SLAB,      /* first page of a slab; `next`, `prev`: slabs with room     */
	PAGE_SLAB_TAIL, /* another page of it, the first is `length` pages before    */
};

/* Links and runs are indices into the array of pages. 0 is the array itself: no page. */
struct page {
	uint32_t next, prev;
	union {
		uint32_t length;
		struct {
			uint16_t free;   /* 1 + index of the first free object, 0: none      */
			uint16_t carved; /* objects from here on were never handed out       */
		};
	};
	uint16_t used; /* objects handed out */
	uint8_t state; /* enum page_state    */
	uint8_t class;
};

_Static_assert(sizeof(struct page) == 16, "dense");

/* A free object of a slab; the rest of it is left alone. */
struct object {
	uint64_t next; /* as page.free                                  */
	uint64_t mark; /* tells that it is free, and was not written to */
};

#define OBJECT_MIN 16
#define MARK       0x9e3779b97f4a7c15 /* no address, number or text in common use */

_Static_assert(sizeof(struct object) == OBJECT_MIN, "a free object fits everywhere");

struct class
{
	uint16_t size;     /* bytes of an object                        */
	uint16_t capacity; /* objects in a slab                         */
	uint32_t pages;    /* of a slab                                 */
	uint32_t partial;  /* slabs that are neither full nor empty     */
	uint32_t empty;    /* one empty slab, so that a pair of alloc and free stays cheap */
};

#define CLASSES 27 /* 16, 32 .. 128, 160, 192, 224, 256, 320 .. 3584 */
#define BINS    240

static struct {
	struct pg_spinlock lock;
	struct page *pages; /* at the heap's beginning                   */
	uint64_t base;      /* address of page 0                         */
	uint32_t count;     /* pages in all                              */
	uint32_t first;     /* first page that is not the array's        */
	uint32_t frontier;  /* pages from here on were never handed out  */
	uint64_t used, peak;
	struct class classes[CLASSES];
	uint64_t bitmap[(BINS + 63) / 64]; /* bins that are not empty    */
	uint32_t bins[BINS];
} heap;

/* ---- size classes ---- */

static unsigned log2_floor(uint32_t value)
{
	return 31 - (unsigned)__builtin_clz(value);
}

/* Steps of 16 up to 128; then four classes per power of two. */
static unsigned class_of(size_t size)
{
	const uint32_t last = (uint32_t)size - 1;
	unsigned power;

	if (size <= 128)
		return last / OBJECT_MIN;
	power = log2_floor(last);
	return 8 + (power - 7) * 4 + ((last >> (power - 2)) & 3);
}

static void class_init(struct class *class, unsigned index)
{
	/* Slabs that sizes of 5, 6, 7 and 8 times a power of two fill without waste. */
	static const uint8_t pages[] = { 5, 3, 7, 1 };

	if (index < 8)
		class->size = (uint16_t)((index + 1) * OBJECT_MIN);
	else
		class->size = (uint16_t)((5 + index % 4) << (5 + (index - 8) / 4));
	class->pages = class->size <= 256 ? 1 : pages[index % 4];
	class->capacity = (uint16_t)(class->pages * PG_PAGE_SIZE / class->size);
	class->partial = class->empty = 0;
}

/* ---- lists of pages ---- */

static void list_push(uint32_t *list, uint32_t index)
{
	struct page *page = &heap.pages[index];

	page->prev = 0;
	page->next = *list;
	if (*list)
		heap.pages[*list].prev = index;
	*list = index;
}

static void list_remove(uint32_t *list, uint32_t index)
{
	const struct page *page = &heap.pages[index];

	if (page->prev)
		heap.pages[page->prev].next = page->next;
	else
		*list = page->next;
	if (page->next)
		heap.pages[page->next].prev = page->prev;
}

/* ---- page runs ---- */

/* Bins hold one length each up to 15, then eight share a power of two. */
static unsigned bin_of(uint32_t length)
{
	const unsigned power = log2_floor(length);

	if (length < 8)
		return length;
	return (power - 2) * 8 + ((length >> (power - 3)) & 7);
}

/* The first bin in which every run is at least `length` long. BINS or above: none. */
static unsigned bin_above(uint32_t length)
{
	const unsigned bin = bin_of(length);

	if (length < 8 || !(length & ((1u << (log2_floor(length) - 3)) - 1)))
		return bin;
	return bin + 1;
}

static void run_link(uint32_t start, uint32_t length)
{
	const unsigned bin = bin_of(length);

	heap.pages[start].state = heap.pages[start + length - 1].state = PAGE_FREE;
	heap.pages[start].length = heap.pages[start + length - 1].length = length;
	list_push(&heap.bins[bin], start);
	heap.bitmap[bin / 64] |= UINT64_C(1) << bin % 64;
}

/* Returns its length. */
static uint32_t run_unlink(uint32_t start)
{
	const uint32_t length = heap.pages[start].length;
	const unsigned bin = bin_of(length);

	heap.pages[start].state = heap.pages[start + length - 1].state = PAGE_NONE;
	list_remove(&heap.bins[bin], start);
	if (!heap.bins[bin])
		heap.bitmap[bin / 64] &= ~(UINT64_C(1) << bin % 64);
	return length;
}

/* A free run of at least `length` pages, or 0. May miss one that is a little longer. */
static uint32_t run_find(uint32_t length)
{
	uint32_t run = heap.bins[bin_of(length)];
	unsigned bin = bin_above(length);

	for (unsigned tries = 0; run && tries < PG_HEAP_TRIES; tries++) {
		if (heap.pages[run].length >= length)
			return run;
		run = heap.pages[run].next;
	}
	while (bin < BINS) {
		const uint64_t bits = heap.bitmap[bin / 64] >> bin % 64;

		if (bits)
			return heap.bins[bin + (unsigned)__builtin_ctzll(bits)];
		bin = (bin / 64 + 1) * 64;
	}
	return 0;
}

/*
 * Take `length` pages; 0: there are none. The first `*dirty` of them have been in use,
 * the others are zero.
 */
static uint32_t run_take(uint32_t length, uint32_t *dirty)
{
	uint32_t start = run_find(length), had = 0;

	if (!start) {
		/* Fresh pages, and the free run just before them. */
		if (heap.pages[heap.frontier - 1].state == PAGE_FREE)
			had = heap.pages[heap.frontier - 1].length;
		if (length > had && length - had > heap.count - heap.frontier)
			return 0;
		start = heap.frontier - had;
	}
	if (heap.pages[start].state == PAGE_FREE)
		had = run_unlink(start);
	if (had > length)
		run_link(start + length, had - length);
	else
		heap.frontier += length - had;
	*dirty = had < length ? had : length;
	return start;
}

static void run_give(uint32_t start, uint32_t length)
{
	heap.pages[start].state = PAGE_NONE;
	if (heap.pages[start - 1].state == PAGE_FREE) {
		const uint32_t before = heap.pages[start - 1].length;

		run_unlink(start - before);
		start -= before;
		length += before;
	}
	if (start + length < heap.frontier && heap.pages[start + length].state == PAGE_FREE)
		length += run_unlink(start + length);
	run_link(start, length);
}

/* ---- slabs ---- */

static void slab_give(uint32_t slab, uint32_t pages)
{
	for (uint32_t i = 0; i < pages; i++)
		heap.pages[slab + i].state = PAGE_NONE;
	run_give(slab, pages);
}

/* As run_take(); before there is no memory, the spare slabs go. */
static uint32_t run_take_hard(uint32_t length, uint32_t *dirty)
{
	uint32_t start = run_take(length, dirty);

	if (start)
		return start;
	for (unsigned i = 0; i < CLASSES; i++) {
		if (heap.classes[i].empty)
			slab_give(heap.classes[i].empty, heap.classes[i].pages);
		heap.classes[i].empty = 0;
	}
	return run_take(length, dirty);
}

static struct object *object_at(uint32_t slab, const struct class *class, unsigned index)
{
	return (struct object *)(heap.base + (uint64_t)slab * PG_PAGE_SIZE +
				 (uint64_t)index * class->size);
}

static uint64_t object_mark(const struct object *object)
{
	return (uintptr_t)object ^ object->next ^ MARK;
}

static bool slab_full(const struct page *slab, const struct class *class)
{
	return slab->used == class->capacity;
}

/* A slab with room, at the head of `partial`; 0: no memory. */
static uint32_t slab_find(struct class *class)
{
	uint32_t slab = class->partial, dirty;

	if (slab)
		return slab;
	slab = class->empty;
	if (slab) {
		class->empty = 0;
	} else {
		slab = run_take_hard(class->pages, &dirty);
		if (!slab)
			return 0;
		heap.pages[slab] = (struct page){
			.state = PAGE_SLAB,
			.class = (uint8_t)(class - heap.classes),
		};
		for (uint32_t i = 1; i < class->pages; i++)
			heap.pages[slab + i] =
				(struct page){ .state = PAGE_SLAB_TAIL, .length = i };
	}
	list_push(&class->partial, slab);
	return slab;
}

/* NULL with `*problem` unchanged: no memory. */
static void *object_take(struct class *class, const char **problem)
{
	const uint32_t slab = slab_find(class);
	struct page *page = &heap.pages[slab];
	struct object *object;

	if (!slab)
		return NULL;
	if (page->free) {
		object = object_at(slab, class, page->free - 1u);
		if (object->mark != object_mark(object)) {
			*problem = "written to after it was freed";
			return object;
		}
		page->free = (uint16_t)object->next;
		/* Not to look free to pg_free(), should its owner write nothing here. */
		object->mark = 0;
	} else {
		/* Not touched here: the host may take long to back it. */
		object = object_at(slab, class, page->carved++);
	}
	page->used++;
	if (slab_full(page, class))
		list_remove(&class->partial, slab);
	return object;
}

/* `object` looks free. So may one whose owner happens to have written just these bytes. */
static bool object_is_free(uint32_t slab, const struct class *class, unsigned index)
{
	unsigned free = heap.pages[slab].free;

	/* Bounded, should the list be broken. */
	for (unsigned i = 0; free && i < class->capacity; i++) {
		if (free == index + 1)
			return true;
		free = (uint16_t)object_at(slab, class, free - 1)->next;
	}
	return false;
}

/* Returns what is wrong, or NULL. */
static const char *object_give(uint32_t slab, uint64_t address)
{
	struct page *page = &heap.pages[slab];
	struct class *class = &heap.classes[page->class];
	const uint32_t offset = (uint32_t)(address - heap.base - (uint64_t)slab * PG_PAGE_SIZE);
	const unsigned index = offset / class->size;
	struct object *object = object_at(slab, class, index);

	if (offset % class->size || index >= page->carved)
		return "never allocated";
	if (!page->used ||
	    (object->mark == object_mark(object) && object_is_free(slab, class, index)))
		return "freed twice";
	object->next = page->free;
	object->mark = object_mark(object);
	page->free = (uint16_t)(index + 1);
	if (slab_full(page, class))
		list_push(&class->partial, slab);
	page->used--;
	heap.used -= class->size;
	if (page->used)
		return NULL;
	list_remove(&class->partial, slab);
	if (class->empty)
		slab_give(slab, class->pages);
	else
		class->empty = slab;
	return NULL;
}

/* ---- the heap ---- */

void pg_heap_init(uint64_t base, uint64_t size)
{
	const uint64_t start = (base + PG_PAGE_SIZE - 1) & ~(uint64_t)(PG_PAGE_SIZE - 1);
	const uint64_t end = (base + size) & ~(uint64_t)(PG_PAGE_SIZE - 1);
	uint64_t count = end > start ? (end - start) / PG_PAGE_SIZE : 0;
	uint64_t first;

	if (count > UINT32_MAX)
		count = UINT32_MAX;
	first = (count * sizeof(struct page) + PG_PAGE_SIZE - 1) / PG_PAGE_SIZE;
	memset(&heap, 0, sizeof(heap));
	pg_spin_init(&heap.lock);
	heap.base = start;
	heap.pages = (struct page *)start;
	heap.count = (uint32_t)count;
	heap.first = heap.frontier = (uint32_t)first;
	for (unsigned i = 0; i < CLASSES; i++)
		class_init(&heap.classes[i], i);
}

static void account(uint64_t bytes)
{
	heap.used += bytes;
	if (heap.used > heap.peak)
		heap.peak = heap.used;
}

/* The first `*dirty` bytes have been in use. `align` is a power of two up to a page. */
static void *allocate(size_t size, size_t align, uint64_t *dirty)
{
	const char *problem = NULL;
	unsigned class = CLASSES;
	uint32_t run, pages, dirty_pages;
	void *memory = NULL;

	size = size ? size : 1;
	if (size > (uint64_t)(heap.count - heap.first) * PG_PAGE_SIZE)
		return NULL;
	/* A slab starts with a page, so its objects are aligned as their size is. */
	if (size <= PG_HEAP_SMALL) {
		class = class_of(size);
		while (class < CLASSES && heap.classes[class].size % align)
			class ++;
	}
	pg_spin_lock(&heap.lock);
	if (class < CLASSES) {
		memory = object_take(&heap.classes[class], &problem);
		*dirty = size;
		if (memory)
			account(heap.classes[class].size);
	} else {
		pages = (uint32_t)((size + PG_PAGE_SIZE - 1) / PG_PAGE_SIZE);
		run = run_take_hard(pages, &dirty_pages);
		if (run) {
			heap.pages[run].state = PAGE_RUN;
			heap.pages[run].length = pages;
			account((uint64_t)pages * PG_PAGE_SIZE);
			memory = (void *)(heap.base + (uint64_t)run * PG_PAGE_SIZE);
			*dirty = (uint64_t)dirty_pages * PG_PAGE_SIZE;
		}
	}
	pg_spin_unlock(&heap.lock);
	if (problem)
		pg_panic("heap: %p was %s", memory, problem);
	return memory;
}

void *pg_alloc(size_t size)
{
	uint64_t dirty;

	return allocate(size, 1, &dirty);
}

void *pg_alloc_zero(size_t size)
{
	uint64_t dirty;
	void *memory = allocate(size, 1, &dirty);

	/* Fresh pages are zero, and stay untouched. */
	if (memory)
		memset(memory, 0, dirty < size ? dirty : size);
	return memory;
}

void *pg_alloc_aligned(size_t size, size_t align)
{
	uint64_t dirty;

	if (!align || align & (align - 1) || align > PG_PAGE_SIZE)
		return NULL;
	return allocate(size, align, &dirty);
}

/* With the lock held. Returns what is wrong, or NULL. */
static const char *release(uint64_t address)
{
	const uint64_t page = (address - heap.base) / PG_PAGE_SIZE;
	uint32_t index, length;

	if (address < heap.base || page >= heap.frontier)
		return "never allocated";
	index = (uint32_t)page;
	switch (heap.pages[index].state) {
	case PAGE_SLAB:
		return object_give(index, address);
	case PAGE_SLAB_TAIL:
		return object_give(index - heap.pages[index].length, address);
	case PAGE_RUN:
		if (address % PG_PAGE_SIZE)
			return "never allocated";
		length = heap.pages[index].length;
		heap.used -= (uint64_t)length * PG_PAGE_SIZE;
		run_give(index, length);
		return NULL;
	default:
		return "freed twice, or never allocated";
	}
}

void pg_free(void *p)
{
	const char *problem;

	if (!p)
		return;
	pg_spin_lock(&heap.lock);
	problem = release((uintptr_t)p);
	pg_spin_unlock(&heap.lock);
	if (problem)
		pg_panic("heap: %p was %s", p, problem);
}

void pg_heap_read_stats(struct pg_heap_stats *stats)
{
	pg_spin_lock(&heap.lock);
	stats->used = heap.used;
	stats->peak = heap.peak;
	stats->size = (uint64_t)(heap.count - heap.first) * PG_PAGE_SIZE;
	stats->touched = (uint64_t)(heap.frontier - heap.first) * PG_PAGE_SIZE;
	pg_spin_unlock(&heap.lock);
}
