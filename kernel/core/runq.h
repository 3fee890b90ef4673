/*
 * The run queue of an executor: tasks that wait for their poll, first in, first out.
 *
 *	          thieves and owner                     owner
 *	               v                                  v
 *	slots:  ... | head | ...  tasks that can be stolen ... | tail | ...
 *	overflow:   a list of the owner's, behind them, when the slots are full
 *
 * The owner alone adds, at the tail. Whoever takes tasks out reads slots from the head on, and
 * makes them his with one compare-and-swap on `head`: if another one was faster, it fails,
 * and what was read is forgotten. The owner reuses a slot only after it has seen `head`
 * beyond it. Indices run freely modulo 2^32, so `head` can't be the same again while
 * somebody sleeps between reading and swapping, but for 2^32 tasks meanwhile.
 *
 * A slot holds the task's address and two bits, so that nobody has to look into a task that
 * may not be his:
 *
 *   PINNED  it must be polled by this executor: see pg_task_pin()
 *   USER    its poll runs user code, and may take a turn
 *
 * The owner claims up to PG_RUNQ_CLAIM tasks at once as long as their polls are short, so that
 * the swap is shared among them; a USER task alone, so that none waits behind it unseen.
 * Without peers (`alone`) the owner needs no atomic operation at all.
 *
 * Ordering. `tail` is released after the slot was written, and acquired by thieves. `head`
 * is released after slots were read, and acquired by the owner before it overwrites them;
 * and acquired by a thief, so that slots are not read before it.
 */
#ifndef PG_CORE_RUNQ_H
#define PG_CORE_RUNQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "task.h"

#ifndef PG_RUNQ_SLOTS      /* the interleaving tester has a few only */
#define PG_RUNQ_SLOTS 256u /* a power of two */
#define PG_RUNQ_CLAIM 16u
#define PG_RUNQ_STEAL 32u /* tasks stolen at once, at most */
#endif

#define PG_SLOT_PINNED 1u
#define PG_SLOT_USER   2u
#define PG_SLOT_FLAGS  3u

struct pg_runq {
	/* Anyone's. */
	_Alignas(64) _Atomic uint32_t head;
	/* Written by the owner. */
	_Alignas(64) _Atomic uint32_t tail;
	bool alone;
	uint8_t claimed_next, claimed_end; /* in claimed[]                   */
	struct pg_task_list overflow;      /* used only while all slots are  */
	struct pg_task *claimed[PG_RUNQ_CLAIM];
	_Atomic uintptr_t slots[PG_RUNQ_SLOTS];
};

/* Tasks in the slots. Exact for the owner but for what is stolen meanwhile; a guess for others. */
static inline uint32_t pg_runq_waiting(const struct pg_runq *queue)
{
	uint32_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);

	return atomic_load_explicit(&queue->tail, memory_order_relaxed) - head;
}

/* Nothing to pop. Owner. */
static inline bool pg_runq_empty(const struct pg_runq *queue)
{
	return queue->claimed_next == queue->claimed_end && pg_runq_waiting(queue) == 0 &&
	       !queue->overflow.head;
}

void pg_runq_init(struct pg_runq *queue);

/* Add a task. Owner. */
void pg_runq_push(struct pg_runq *queue, struct pg_task *task);

/*
 * The end of the batch that begins now: pg_runq_pop() with it takes nothing that is
 * pushed from here on. Moves what it can from the overflow list into the slots. Owner.
 */
uint32_t pg_runq_batch(struct pg_runq *queue);

/* The next task before `end`, or NULL. Owner. */
struct pg_task *pg_runq_pop(struct pg_runq *queue, uint32_t end);

/*
 * Take tasks that are not pinned from the head of another executor's queue, oldest first:
 * half of what waits, at most PG_RUNQ_STEAL. Returns how many; 0 also if somebody
 * else took them meanwhile. Any vCPU but the owner's.
 */
uint32_t pg_runq_steal(struct pg_runq *queue, struct pg_task *tasks[PG_RUNQ_STEAL]);

/* Whether the task at the head could be stolen. A guess. Any vCPU. */
bool pg_runq_stealable(const struct pg_runq *queue);

#endif
