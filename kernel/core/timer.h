/*
 * Timers: absolute deadlines of one executor, in an intrusive pairing heap.
 *
 * Adding is O(1), removing any timer or the first one O(log n) amortised, with no
 * allocation and no recursion, so a million of them need no stack.
 *
 * A heap belongs to one executor, and everything here is called on that vCPU only: a
 * timer is on the heap of the executor that polls its task. So there is no lock. An armed
 * timer pins its task to that executor (see task.h); a sleep does so by itself, whoever
 * uses the heap directly calls pg_task_pin() before pg_timer_add(), and pg_task_unpin()
 * after pg_timer_remove().
 *
 * Deadlines are CLOCK_MONOTONIC nanoseconds; UINT64_MAX is never reached. Timers with the
 * same deadline fire in no particular order.
 */
#ifndef PG_CORE_TIMER_H
#define PG_CORE_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "future.h"

#define PG_NEVER UINT64_MAX

struct pg_timer {
	uint64_t deadline;
	struct pg_task *task;   /* woken when it fires                         */
	struct pg_timer *child; /* first child                                 */
	struct pg_timer *next;  /* sibling                                     */
	struct pg_timer *prev;  /* sibling before, the parent of a first child, or NULL */
	bool armed;             /* it is on the heap                           */
};

struct pg_timers {
	struct pg_timer *first; /* the nearest deadline, or NULL */
};

/* The nearest deadline, or PG_NEVER. */
static inline uint64_t pg_timers_deadline(const struct pg_timers *timers)
{
	return timers->first ? timers->first->deadline : PG_NEVER;
}

/* `timer` must not be armed; its deadline and task are set. */
void pg_timer_add(struct pg_timers *timers, struct pg_timer *timer);

/* Take an armed timer out. */
void pg_timer_remove(struct pg_timers *timers, struct pg_timer *timer);

/* Take out, unpin, and wake, all that are due at `now`. Returns how many. */
size_t pg_timers_expire(struct pg_timers *timers, uint64_t now);

/* READY at `deadline` or soon after. */
struct pg_sleep {
	struct pg_future future;
	struct pg_timer timer;
};

void pg_sleep_init(struct pg_sleep *sleep, uint64_t deadline);

#endif
