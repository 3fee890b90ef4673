/*
 * Semaphores: at most so many tasks at a time. With one permit, a mutex that may be held
 * across awaits.
 *
 * Permits are handed out in the order of asking: a release gives its permit to who waits
 * longest, and nobody overtakes. A waiter that was given one and is dropped before it was
 * polled gives it back, to the next.
 *
 * Lifetime. The memory may be reused once no acquire is registered (all were READY or dropped)
 * and no call is under way.
 */
#ifndef PG_CORE_SEMAPHORE_H
#define PG_CORE_SEMAPHORE_H

#include <stdbool.h>
#include <stddef.h>

#include "future.h"
#include "waitq.h"

struct pg_semaphore {
	struct pg_waitq waiters; /* its lock guards `permits` as well */
	size_t permits;          /* free ones: none while anybody waits */
};

void pg_semaphore_init(struct pg_semaphore *semaphore, size_t permits);

/* Take a permit if there is one. Any vCPU. */
bool pg_semaphore_try(struct pg_semaphore *semaphore);

/* Give a permit back, or add one. Any vCPU. */
void pg_semaphore_release(struct pg_semaphore *semaphore);

/* READY with a permit: give it back by pg_semaphore_release(), on any vCPU. */
struct pg_acquire {
	struct pg_future future;
	struct pg_semaphore *semaphore;
	struct pg_waiter waiter;
};

void pg_acquire_init(struct pg_acquire *acquire, struct pg_semaphore *semaphore);

#endif
