/*
 * The executor: one per vCPU, it runs that vCPU's tasks.
 *
 *	loop:	events: take completions from the ring, look at deadlines; poll what they wake
 *		append the inbox (tasks other vCPUs have woken) to the run queue
 *		poll each task of the run queue, as one batch;
 *			after user code: events, as above
 *		if there was none: look around for work, then park
 *
 * What is woken while a batch runs goes to the next one. So a task that wakes itself
 * again and again, however many there are, delays completions, timers and other
 * tasks by one batch only. And what the loader or the clock has woken does not wait for the
 * turns of all threads that compute, but for one. It gets one poll for it, and goes to the
 * run queue's end if it wants more: so nobody starves by it either.
 *
 * Where tasks wait. The run queue (runq.h) is filled by its owner alone. The inbox is a stack
 * anyone pushes on with one compare-and-swap; whoever takes from it takes all of it
 * with one exchange. Nothing is ever popped singly, so there is no ABA problem.
 *
 * Balance. A woken task goes back to the executor it ran on last: what it needs is in
 * that processor's caches, and mostly it is polled at once. An executor that has nothing to do
 * looks at its peers. Only what has waited for PG_PATIENCE_NS in one place is taken over: then
 * its executor is busy with something long, or still on its way out of the halt. Half of
 * a peer's run queue is taken, or all that may go of its inbox. A parked vCPU does not
 * look; the loader wakes one if tasks wait elsewhere for a turn (see ring.h, Looking).
 *
 * Parking. The owner publishes `parked` on its ring, and only then looks at the inbox and
 * the completion queue a last time. Whoever pushes does it first, and only then looks at
 * `parked`; the one who changes it back to 0 kicks. All four are sequentially
 * consistent, so one side sees the other, and no wake-up is lost. A thief holds tasks of
 * an inbox for a moment; what it may not keep it pushes back like anybody else.
 *
 * Deadlines and turns. The nearest deadline is left with the loader (ring.h) before the vCPU
 * parks, and before it runs user code. What waits while user code runs is told there as
 * well, so that the loader pre-empts on need, and only then. A USER task's poll ends soon after
 * PG_VECTOR_PREEMPT: the port sees to that.
 */
#ifndef PG_CORE_EXECUTOR_H
#define PG_CORE_EXECUTOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "adaptive.h"
#include "hypercall.h"
#include "runq.h"
#include "task.h"
#include "timer.h"
#include "abi/vcpu.h"

struct pg_trace_event;

/* How long a task must have waited in one place before another vCPU takes it over, ns. */
#define PG_PATIENCE_NS 3000

/* This vCPU's trace; events NULL: none. */
struct pg_trace {
	struct pg_trace_event *events;
	uint64_t mask, *head;
};

/* What an idle executor has seen waiting at a peer, and since when. */
struct pg_suspect {
	unsigned peer;         /* where the next look begins              */
	uint32_t head;         /* of its run queue, or                    */
	struct pg_task *inbox; /* the newest of its inbox                 */
	uint64_t since;        /* 0: nothing was seen                     */
};

struct pg_executor {
	/* The owner's; others look at the queue's slots. */
	struct pg_runq runq;
	struct pg_task_list soon; /* woken by events                               */
	struct pg_timers timers;
	struct pg_counters *counters;
	struct pg_hypercalls hypercalls;
	struct pg_adaptive adaptive;
	struct pg_task *running; /* being polled, or NULL                          */
	bool in_user;            /* ... and its poll runs user code                */
	bool eager;              /* woken from a park: don't be patient            */
	bool odd;                /* the deadline left last was                     */
	struct pg_suspect suspect;
	struct pg_trace trace;

	/* Set before it runs, constant from then on. */
	uint64_t spin_ns; /* longest spin before parking; 0: never spin            */
	uint64_t turn_ns; /* a turn while others wait; 0: never ask for pre-emption */
	struct pg_executor *const *peers; /* all of the group, itself included     */
	unsigned peer_count, index;       /* 0: no group                           */

	/* Anyone's. */
	_Alignas(64) _Atomic(struct pg_task *) inbox; /* the newest; linked by `next` */
	_Atomic bool stop;
};

/*
 * All that is pointed at is borrowed, and belongs to the vCPU that will run the executor.
 * It has no peers, no turns and no trace at first.
 */
void pg_executor_init(struct pg_executor *executor, struct pg_ring *ring, struct pg_sqe *sq,
		      const struct pg_cqe *cq, struct pg_counters *counters, uint64_t spin_ns);

/* Executors that balance their work: `all` is borrowed for good. Before any of them runs. */
void pg_executor_group(struct pg_executor *const *all, unsigned count);

/* Run tasks on this vCPU until pg_executor_stop(). Tasks not done by then stay as they are. */
void pg_executor_run(struct pg_executor *executor);

/* One batch, without waiting. False when nothing was runnable. Not from within a poll. */
bool pg_executor_step(struct pg_executor *executor);

/* Make pg_executor_run() return soon, now or whenever it is called. Any vCPU. */
void pg_executor_stop(struct pg_executor *executor);

/* Put a task into the inbox of its executor, and end the park of its vCPU. Any vCPU. */
void pg_executor_post(struct pg_executor *executor, struct pg_task *task);

/* Put a task of this executor into its run queue. On its vCPU. */
void pg_executor_push(struct pg_executor *executor, struct pg_task *task);

/* The same for one that was woken by a completion or by the clock. */
void pg_executor_push_soon(struct pg_executor *executor, struct pg_task *task);

/*
 * See to it that all vCPUs but this one come out of user code soon (within the bound for a
 * task that waits): for what a task that runs there has to be told. For rare occasions.
 */
void pg_executor_interrupt_others(struct pg_executor *executor);

/*
 * Whether anything but the task being polled could run now: then a yield is worth while.
 * On its vCPU.
 */
bool pg_executor_others(struct pg_executor *executor);

/*
 * Take over tasks of peers that have waited for long enough (`patient` false: at all).
 * True if there were any. On its vCPU, not from within a poll.
 */
bool pg_executor_balance(struct pg_executor *executor, bool patient);

#endif
