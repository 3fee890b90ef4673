/*
 * A spinlock of one word: test, then test-and-set.
 *
 * Critical sections are short and bounded: a few pointers are changed, nothing is polled,
 * no vCPU is kicked, no other lock is taken. So a holder is never waited for
 * longer than that, unless the host takes its processor away meanwhile.
 */
#ifndef PG_CORE_SPINLOCK_H
#define PG_CORE_SPINLOCK_H

#include <stdatomic.h>
#include <stdint.h>

#include "port.h"

struct pg_spinlock {
	_Atomic uint32_t held;
};

static inline void pg_spin_init(struct pg_spinlock *lock)
{
	atomic_init(&lock->held, 0);
}

static inline void pg_spin_lock(struct pg_spinlock *lock)
{
	/* Acquire: we see what the last holder did. */
	while (atomic_exchange_explicit(&lock->held, 1, memory_order_acquire)) {
		/* Relaxed reads keep the line shared until there is something to win. */
		while (atomic_load_explicit(&lock->held, memory_order_relaxed))
			pg_port_relax();
	}
}

/*
 * Release: the next holder sees what we did. This store is the last access to
 * the lock, so the next holder may free the memory the lock lives in.
 */
static inline void pg_spin_unlock(struct pg_spinlock *lock)
{
	atomic_store_explicit(&lock->held, 0, memory_order_release);
}

#endif
