/*
 * Futures made of futures: all of them, the first of them, or not for too long.
 *
 * On each wake every child that is not READY is polled again: simple, and right for
 * the few children a wait has. Dropping a combinator drops the children that are not
 * READY. A hypercall that was dropped may still have its buffers (see hypercall.h): await
 * its pg_settle before they are reused.
 */
#ifndef PG_CORE_COMBINE_H
#define PG_CORE_COMBINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "future.h"
#include "timer.h"

/* READY when all are. The caller's array is used: entries that are READY become NULL. */
struct pg_all {
	struct pg_future future;
	struct pg_future **children;
	size_t count;
};

void pg_all_init(struct pg_all *all, struct pg_future **children, size_t count);

/*
 * READY when one is; the others have been dropped by then. If several are READY in one
 * poll, the first in the array wins. Without children it is never READY.
 */
struct pg_race {
	struct pg_future future;
	struct pg_future **children;
	size_t count;
	size_t winner; /* index of the one that was READY */
};

void pg_race_init(struct pg_race *race, struct pg_future **children, size_t count);

/*
 * READY when the child is, or at `deadline`; then the child has been dropped. The
 * child wins a tie.
 */
struct pg_timeout {
	struct pg_future future;
	struct pg_future *child;
	struct pg_sleep sleep;
	bool timed_out;
};

void pg_timeout_init(struct pg_timeout *timeout, struct pg_future *child, uint64_t deadline);

#endif
