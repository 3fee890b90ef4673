/*
 * The executor: one per vCPU, it runs that vCPU's tasks.
 *
 *	loop:	take completions from the ring, wake their tasks
 *		wake tasks whose deadline has come
 *		append the inbox (tasks other vCPUs have woken) to the run queue
 *		poll each task of the run queue, as one batch
 *		if there was none: spin a little, then park
 *
 * What is woken while a batch runs goes to the next one. So a task that wakes itself
 * again and again, however many there are, delays completions, timers and other
 * tasks by one batch only.
 *
 * The run queue is the owner's and needs no atomics. The inbox is a stack anyone
 * pushes on with one compare-and-swap; the owner takes all of it with one exchange and
 * reverses it. Nothing is ever popped singly, so there is no ABA problem.
 *
 * Parking. The owner publishes `parked` on its ring, and only then looks at the inbox and
 * the completion queue a last time. Whoever pushes does it first, and only then looks at
 * `parked`; the one who changes it back to 0 kicks. All four are sequentially
 * consistent, so one side sees the other, and no wake-up is lost. The nearest deadline
 * is left with the loader as a PG_OP_DEADLINE, so that a completion ends the park.
 */
#ifndef PG_CORE_EXECUTOR_H
#define PG_CORE_EXECUTOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "adaptive.h"
#include "hypercall.h"
#include "task.h"
#include "timer.h"
#include "abi/vcpu.h"

struct pg_executor {
	/* The owner's. */
	struct pg_task_list runnable;
	struct pg_timers timers;
	struct pg_counters *counters;
	struct pg_hypercalls hypercalls;
	struct pg_adaptive adaptive;
	uint64_t spin_ns; /* longest spin before parking; 0: never spin */

	/* Anyone's. */
	_Alignas(64) _Atomic(struct pg_task *) inbox; /* the newest; linked by `next` */
	_Atomic bool stop;
};

/* All that is pointed at is borrowed, and belongs to the vCPU that will run the executor. */
void pg_executor_init(struct pg_executor *executor, struct pg_ring *ring, struct pg_sqe *sq,
		      const struct pg_cqe *cq, struct pg_counters *counters, uint64_t spin_ns);

/* Run tasks on this vCPU until pg_executor_stop(). Tasks not done by then stay as they are. */
void pg_executor_run(struct pg_executor *executor);

/* One batch, without waiting. False when nothing was runnable. Not from within a poll. */
bool pg_executor_step(struct pg_executor *executor);

/* Make pg_executor_run() return soon, now or whenever it is called. Any vCPU. */
void pg_executor_stop(struct pg_executor *executor);

/* Put a task into the inbox of its executor, and end the park of its vCPU. Any vCPU. */
void pg_executor_post(struct pg_executor *executor, struct pg_task *task);

#endif
