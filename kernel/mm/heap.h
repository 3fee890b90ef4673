/*
 * The kernel's heap.
 *
 * It lies on memory that is mapped and zero, but backed by the host only when a page is
 * first touched. So pages not yet handed out are never touched; what is known about
 * a page (16 bytes) is kept apart, in one array; and memory that has been in use is
 * used again before fresh memory is.
 *
 * Up to PG_HEAP_SMALL bytes come from slabs: runs of one to seven pages, cut into objects
 * of one size class. Classes are at most a fourth (from 128 bytes on) or 16 bytes apart.
 * More comes in runs of whole pages. Free runs are kept in bins by size, merged with
 * their neighbours at once.
 *
 * Any vCPU; one spinlock. With the lock held a call takes a bounded number of steps,
 * whatever the size of the heap: bins are found in a bitmap, at most PG_HEAP_TRIES
 * runs are looked at in one bin, and at most one slab per class is given up. No memory is
 * cleared under the lock. Not for use in the handler of an interrupt or exception.
 *
 * Detected, with pg_panic(): a pointer freed twice, or that was never returned; an object
 * that was written to after it had been freed (when it is handed out again).
 */
#ifndef PG_MM_HEAP_H
#define PG_MM_HEAP_H

#include <stddef.h>
#include <stdint.h>

#define PG_HEAP_SMALL 3584 /* bytes: above this, whole pages               */
#define PG_HEAP_TRIES 8

struct pg_heap_stats {
	uint64_t used;    /* bytes handed out now, as rounded up            */
	uint64_t peak;    /* the most that `used` has been                  */
	uint64_t size;    /* bytes in all, without the array of pages       */
	uint64_t touched; /* bytes that have ever been part of a run        */
};

/*
 * Use [base, base + size), which is mapped and zero. Once, before anything else here, on
 * one vCPU. With less than two pages every allocation fails.
 */
void pg_heap_init(uint64_t base, uint64_t size);

/*
 * NULL when there is no memory. Aligned to 16 bytes, to 64 if `size` is a multiple of 64,
 * to a page if it is above PG_HEAP_SMALL. Contents are undefined. A size of 0 is as 1.
 */
void *pg_alloc(size_t size);

/* The same; all bytes are zero. */
void *pg_alloc_zero(size_t size);

/* Aligned to `align`, a power of two up to 4096 (NULL otherwise). */
void *pg_alloc_aligned(size_t size, size_t align);

/* `p` is what one of these has returned; NULL is fine. */
void pg_free(void *p);

/* A consistent copy. */
void pg_heap_read_stats(struct pg_heap_stats *stats);

#endif
