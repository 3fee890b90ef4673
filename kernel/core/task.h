/*
 * Tasks: futures that an executor runs.
 *
 * A task belongs to one executor at a time, and so to one vCPU. While it waits in a run
 * queue, an idle executor may take it over (see runq.h), unless it is pinned. Its state is
 * one word. Four bits of it change as drawn:
 *
 *   QUEUED   somebody owes it a poll         set by anyone, cleared by the executor
 *   RUNNING  it is being polled              executor only
 *   CANCEL   its owner wants it to end       set by anyone, never cleared
 *   DONE     it has ended                    executor only
 *
 * and three say what kind of task it is:
 *
 *   USER     its poll runs user code         set before it is spawned
 *   FIXED    it must not be taken over       executor only (pg_task_fix)
 *   DROPPED  its future was dropped          executor only; valid once DONE
 *
 *                                 wake (4)
 *               (1)              +--------+
 *   pg_task_spawn -------.       |        |
 *                         v      |        v
 *    +------+   wake (2)   +--------+------+  begin (3)  +---------+
 *    | idle |------------->|     QUEUED    |------------>| RUNNING |
 *    +------+              +---------------+             +---------+
 *        ^                         ^                      |  |  |
 *        |                         | end (7)     wake (5) |  |  | complete (8)
 *        |                         |                      v  |  v
 *        |               +----------------------------------+|  +------+
 *        |               |        RUNNING | QUEUED          || | DONE |
 *        |               +----------------------------------+|  +------+
 *        |                         |  complete (8)           |    ^
 *        |                         `-------------------------|----'
 *        |                       end (6)                     |
 *        `---------------------------------------------------'
 *
 *   #   who       change                 what to do next
 *   1   spawner   = QUEUED               enqueue it (nobody else knows it yet: a store)
 *   2   anyone    |= QUEUED, from idle   PG_WAKE_ENQUEUE: the caller enqueues it
 *   3   executor  QUEUED -> RUNNING      PG_TASK_POLL, or PG_TASK_DROP with CANCEL set
 *   4   anyone    |= QUEUED, no change   PG_WAKE_NOTHING: whoever set it enqueues it
 *   5   anyone    |= QUEUED              PG_WAKE_NOTHING: the executor sees it at the end
 *   6   executor  -= RUNNING             PG_TASK_IDLE: not ours any more
 *   7   executor  -= RUNNING             PG_TASK_REQUEUE: goes into the next batch
 *   8   executor  = DONE (and DROPPED)   wake the joiners, call done()
 *   9   anyone    |= CANCEL | QUEUED     as for 2, 4, 5 (not drawn)
 *  10   anyone    wake or cancel, DONE   PG_WAKE_NOTHING: nobody looks at the word again
 *
 * Each is one atomic operation. 2 to 7 and 9 are acquire and release, so that a poll sees
 * whatever any waker did before its wake, also a waker of kind 4 or 5. 8 is a
 * store, since nothing that a waker could add matters any more.
 *
 * Whoever set QUEUED on an idle task (1, 2) or has seen it at the end of a poll (7) owns
 * `next` and `executor`, and the duty to enqueue. Until that is done the task can't run. That is what
 * lets a waker keep a task for a moment after it has released the lock under which
 * it found it (see waitq.h). In cases 4 and 5 the waker does not touch the task again.
 *
 * Taking over. The thief gets a queued task as it gets any other thing out of a queue, and so
 * owns `executor`: it stores itself there, and enqueues the task with itself. Wakers read
 * `executor` only with PG_WAKE_ENQUEUE in hand, so not at the same time; they see the newest
 * one, because 6 released the word after it and 2 acquires.
 *
 * Pins. Some things that a future has registered belong to one executor and are touched
 * there without a lock: armed timers, hypercalls that are not settled, vector registers
 * that are still in the processor. Each of them is a pin, and a task with pins is not taken
 * over. Only the task's executor changes the count. A pin goes (release) after the last
 * access to the task that it stood for, so a thief that finds none (acquire) has the task
 * for itself. A pin that goes while the task is queued may be seen late: then the task stays.
 *
 * Lifetime. The owner of a task may reuse its memory (and that of its future):
 *
 *  - if it has a done() callback: once that is called. The executor calls it last thing;
 *  - otherwise: once a join future on it was READY, and every other one was READY or dropped.
 *
 * Nothing else points at a task by then: wait queues and timers hold a task only
 * as long as its futures are registered there, and a READY or dropped future is
 * not; and a task is not done before the last of its hypercalls has been settled, so
 * neither does the loader. A caller that wakes or cancels a task directly is one
 * who knows, as its owner does, that the task still exists.
 */
#ifndef PG_CORE_TASK_H
#define PG_CORE_TASK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "future.h"
#include "waitq.h"

struct pg_executor;

#define PG_TASK_QUEUED  1u
#define PG_TASK_RUNNING 2u
#define PG_TASK_CANCEL  4u
#define PG_TASK_DONE    8u
#define PG_TASK_USER    16u
#define PG_TASK_FIXED   32u
#define PG_TASK_DROPPED 64u

/* One cache line: all that a poll touches. */
struct pg_task {
	_Alignas(64) _Atomic uint32_t state;
	_Atomic uint32_t pins;              /* written by the executor: see Pins         */
	struct pg_future *future;           /* NULL: READY or dropped; executor only     */
	struct pg_executor *executor;       /* see Taking over                           */
	struct pg_task *next;               /* queue link: see above who owns it         */
	void (*done)(struct pg_task *task); /* set before spawning; or NULL        */
	struct pg_waitq joiners;            /* its lock guards DONE as well              */
};

_Static_assert(sizeof(struct pg_task) == 64, "one cache line");

enum pg_wake {
	PG_WAKE_NOTHING,
	PG_WAKE_ENQUEUE,
};

enum pg_task_begin {
	PG_TASK_POLL,
	PG_TASK_DROP,
};

enum pg_task_end {
	PG_TASK_IDLE,
	PG_TASK_REQUEUE,
};

/* Transitions 2, 4, 5, 9 and 10. */
__attribute__((warn_unused_result)) static inline enum pg_wake pg_task_mark(struct pg_task *task,
									    uint32_t bits)
{
	uint32_t old = atomic_fetch_or_explicit(&task->state, bits, memory_order_acq_rel);

	return old & (PG_TASK_QUEUED | PG_TASK_RUNNING | PG_TASK_DONE) ? PG_WAKE_NOTHING
								       : PG_WAKE_ENQUEUE;
}

__attribute__((warn_unused_result)) static inline enum pg_wake pg_task_mark_queued(
	struct pg_task *task)
{
	return pg_task_mark(task, PG_TASK_QUEUED);
}

/* Transition 3. QUEUED is set and RUNNING is not, so an addition moves the bit: one xadd. */
__attribute__((warn_unused_result)) static inline enum pg_task_begin pg_task_begin(
	struct pg_task *task)
{
	uint32_t old = atomic_fetch_add_explicit(&task->state, PG_TASK_RUNNING - PG_TASK_QUEUED,
						 memory_order_acq_rel);

	return old & PG_TASK_CANCEL ? PG_TASK_DROP : PG_TASK_POLL;
}

/* Transitions 6 and 7. */
__attribute__((warn_unused_result)) static inline enum pg_task_end pg_task_end(struct pg_task *task)
{
	uint32_t old =
		atomic_fetch_sub_explicit(&task->state, PG_TASK_RUNNING, memory_order_acq_rel);

	return old & PG_TASK_QUEUED ? PG_TASK_REQUEUE : PG_TASK_IDLE;
}

/* A pin comes, during a poll, or goes: on the task's executor. */
static inline void pg_task_pin(struct pg_task *task)
{
	uint32_t pins = atomic_load_explicit(&task->pins, memory_order_relaxed);

	/* Relaxed: nobody can take the task before its poll ends, which releases. */
	atomic_store_explicit(&task->pins, pins + 1, memory_order_relaxed);
}

/* The last access to the task for what was pinned. It may be gone afterwards, unless queued. */
static inline void pg_task_unpin(struct pg_task *task)
{
	uint32_t pins = atomic_load_explicit(&task->pins, memory_order_relaxed);

	atomic_store_explicit(&task->pins, pins - 1, memory_order_release);
}

/* How many there are. On the task's executor. */
static inline uint32_t pg_task_pins(const struct pg_task *task)
{
	return atomic_load_explicit(&task->pins, memory_order_relaxed);
}

/* Whether it has to stay where it is. By whoever has it out of a queue, or its executor. */
static inline bool pg_task_pinned(const struct pg_task *task)
{
	/* Acquire: see Pins. */
	return atomic_load_explicit(&task->pins, memory_order_acquire) != 0 ||
	       atomic_load_explicit(&task->state, memory_order_relaxed) & PG_TASK_FIXED;
}

/* USER never changes, DROPPED not any more once the task is done: relaxed. */
static inline bool pg_task_is_user(const struct pg_task *task)
{
	return atomic_load_explicit(&task->state, memory_order_relaxed) & PG_TASK_USER;
}

/* It was cancelled, and its future was not READY. Once the task is done. */
static inline bool pg_task_cancelled(const struct pg_task *task)
{
	return atomic_load_explicit(&task->state, memory_order_relaxed) & PG_TASK_DROPPED;
}

/* Keep the task on its executor from now on, or not any more. During its poll. */
static inline void pg_task_fix(struct pg_task *task, bool fixed)
{
	/* Relaxed: thieves look when the task is queued, later. */
	if (!(atomic_load_explicit(&task->state, memory_order_relaxed) & PG_TASK_FIXED) != fixed)
		return;
	if (fixed)
		atomic_fetch_or_explicit(&task->state, PG_TASK_FIXED, memory_order_relaxed);
	else
		atomic_fetch_and_explicit(&task->state, ~PG_TASK_FIXED, memory_order_relaxed);
}

/* A queue of tasks, linked by `next`. One owner. */
struct pg_task_list {
	struct pg_task *head;
	struct pg_task *tail;
};

static inline void pg_task_list_append(struct pg_task_list *list, struct pg_task *task)
{
	task->next = NULL;
	if (list->head)
		list->tail->next = task;
	else
		list->head = task;
	list->tail = task;
}

/*
 * Run `future` as a task of `executor`. `done` may be NULL. Both structs belong
 * to the executor until the task is done (see Lifetime). Any vCPU.
 */
void pg_task_spawn(struct pg_executor *executor, struct pg_task *task, struct pg_future *future,
		   void (*done)(struct pg_task *task));

/* The same for a future whose poll runs user code: it may take a turn, or be pre-empted. */
void pg_task_spawn_user(struct pg_executor *executor, struct pg_task *task,
			struct pg_future *future, void (*done)(struct pg_task *task));

/* Poll the task soon. Never polls here: it enqueues, and kicks a parked vCPU. Any vCPU. */
void pg_task_wake(struct pg_task *task);

/*
 * Ask for the end: the executor drops the future, waits for hypercalls that are under
 * way, and completes the task as cancelled. No effect if READY comes first. Any vCPU.
 */
void pg_task_cancel(struct pg_task *task);

/* Put a task on its executor's queue; the caller has got PG_WAKE_ENQUEUE for it. */
void pg_task_enqueue(struct pg_task *task);

/* The same for a list of tasks, of any executors. The list is used up. */
void pg_task_list_enqueue(struct pg_task_list *list);

/*
 * Transition 8, called by the executor on the task's vCPU: marks the task, wakes
 * the joiners, calls done(). The task may be gone on return.
 */
void pg_task_complete(struct pg_task *task);

/* READY when `task` is done. Any number of tasks, on any vCPUs, may join one task. */
struct pg_join {
	struct pg_future future;
	struct pg_task *task;
	struct pg_waiter waiter;
};

void pg_join_init(struct pg_join *join, struct pg_task *task);

#endif
