/*
 * Hypercalls: operations of the loader, as futures over this vCPU's ring.
 *
 *              poll, room              completion
 *    +-----+ ------------> +-----------+ -------> +-----------+
 *    | NEW |               | SUBMITTED |          | COMPLETED |
 *    +-----+ --. poll,     +-----------+          +-----------+
 *       |      |  no room     ^     |              ^   ^
 *       |      v              |     | drop         |   |
 *       |   +--------+  room  |     v              |   |
 *       |   | QUEUED | -------'  +---------+ ------'   |
 *       |   +--------+           | IGNORED | both completions: the operation's,
 *       |      |                 +---------+ and its PG_OP_CANCEL's, if that was sent
 *       |      | drop                                  |
 *       `------+---------------------------------------'
 *         drop: result = -PG_ECANCELED, the loader never knew
 *
 * A dropped hypercall still belongs to the loader: the buffers it names, and the
 * struct, must live until it is settled (NEW or COMPLETED). Two things see to that:
 *
 *  - a task is not done while hypercalls it submitted are unsettled. So what lives as
 *    long as the task needs no care, whether the task was cancelled or returned;
 *  - whoever drops a hypercall and goes on running (a timeout, a signal) awaits a
 *    struct pg_settle before it reuses the struct or the buffers. Afterwards `result`
 *    says what became of the operation: it may have succeeded after all.
 *
 * That a dropped hypercall waits for its cancellation's completion too, means the loader
 * never holds the address of a struct that was reused.
 *
 * The ring holds PG_CQ_DEPTH operations. A few are kept for cancellations, so that
 * operations which never end can't keep themselves from being cancelled. Hypercalls beyond
 * PG_HYPERCALL_MAX wait their turn, in order.
 *
 * Everything here is called on the vCPU that owns the ring; there is no lock. A
 * hypercall goes to the ring of the executor that polls it first, and pins its task there
 * (see task.h) from the first poll until it is settled.
 *
 * This relies on each entry being completed exactly once, also a PG_OP_CANCEL that found
 * nothing.
 */
#ifndef PG_CORE_HYPERCALL_H
#define PG_CORE_HYPERCALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "future.h"
#include "abi/ops.h"
#include "abi/ring.h"

struct pg_executor;

#define PG_ECANCELED 125 /* Linux's ECANCELED */

/* Operations outstanding, at most: with cancellations; without. */
#define PG_CANCEL_MAX    PG_CQ_DEPTH
#define PG_HYPERCALL_MAX (PG_CANCEL_MAX - 16)

enum pg_hypercall_state {
	PG_HYPERCALL_NEW,
	PG_HYPERCALL_QUEUED,
	PG_HYPERCALL_SUBMITTED,
	PG_HYPERCALL_IGNORED,
	PG_HYPERCALL_COMPLETED,
};

/* Where the cancellation of a dropped hypercall is. */
enum pg_cancel_state {
	PG_CANCEL_NONE,
	PG_CANCEL_QUEUED, /* waits for room */
	PG_CANCEL_SENT,
};

struct pg_hypercall {
	struct pg_future future;
	struct pg_task *task;      /* set when it is first polled */
	struct pg_hypercall *next; /* in the queue for room  */
	struct pg_hypercall *prev;
	enum pg_hypercall_state state;
	enum pg_cancel_state cancel;
	bool answered;     /* the operation's own completion has arrived        */
	int64_t result;    /* valid when COMPLETED: >= 0 or a negative errno    */
	struct pg_sqe sqe; /* user_data is set when it is submitted          */
};

struct pg_hypercall_queue {
	struct pg_hypercall *head;
	struct pg_hypercall *tail;
};

/* One vCPU's side of the rings. */
struct pg_hypercalls {
	struct pg_ring *ring;
	struct pg_sqe *sq;
	const struct pg_cqe *cq;
	uint32_t outstanding; /* submitted, completion not consumed          */
	struct pg_hypercall_queue waiting;
	struct pg_hypercall_queue cancels;

	bool rung;         /* the loader was asleep, and we rang the doorbell ... */
	uint32_t rung_for; /* ... for the entries before this index           */
};

void pg_hypercalls_init(struct pg_hypercalls *calls, struct pg_ring *ring, struct pg_sqe *sq,
			const struct pg_cqe *cq);

/*
 * Prepare an operation: enum pg_op, handle, and its arguments (up to six, the rest
 * zero). The struct must be settled, or never have been used.
 */
#define pg_hypercall_init(call, op, handle, ...)                                                   \
	pg_hypercall_init_args((call), (op), (handle), (const uint64_t[6]){ __VA_ARGS__ })

void pg_hypercall_init_args(struct pg_hypercall *call, enum pg_op op, int32_t handle,
			    const uint64_t args[6]);

/* True when the loader has nothing to do with it: the struct and its buffers may be reused. */
static inline bool pg_hypercall_settled(const struct pg_hypercall *call)
{
	return call->state == PG_HYPERCALL_NEW || call->state == PG_HYPERCALL_COMPLETED;
}

/* READY when a dropped hypercall is settled. Polled by the task that polled the hypercall. */
struct pg_settle {
	struct pg_future future;
	struct pg_hypercall *call;
};

void pg_settle_init(struct pg_settle *settle, struct pg_hypercall *call);

/* ---- for the executor ---- */

/* Take all completions, wake their tasks, and submit what waited for room. */
void pg_hypercalls_drain(struct pg_executor *executor);

/*
 * True when entries wait only because the submission queue is full. The loader empties it
 * without telling: look again soon, don't park.
 */
bool pg_hypercalls_stalled(const struct pg_hypercalls *calls);

#endif
