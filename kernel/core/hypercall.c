#include "hypercall.h"

#include "container.h"
#include "executor.h"
#include "port.h"
#include "task.h"

/* The low bits of user_data say what was completed; a struct pg_hypercall is aligned. */
#define TAG_MASK   7u
#define TAG_CALL   0u /* the rest is the hypercall's address                       */
#define TAG_CANCEL 1u /* the rest is the address of the hypercall to be cancelled  */

_Static_assert(_Alignof(struct pg_hypercall) > TAG_MASK, "room for the tag");

static void queue_append(struct pg_hypercall_queue *queue, struct pg_hypercall *call)
{
	call->next = NULL;
	call->prev = queue->tail;
	if (queue->tail)
		queue->tail->next = call;
	else
		queue->head = call;
	queue->tail = call;
}

static void queue_remove(struct pg_hypercall_queue *queue, struct pg_hypercall *call)
{
	if (call->prev)
		call->prev->next = call->next;
	else
		queue->head = call->next;
	if (call->next)
		call->next->prev = call->prev;
	else
		queue->tail = call->prev;
}

static bool has_room(const struct pg_hypercalls *calls, uint32_t max)
{
	return calls->outstanding < max && !pg_sq_full(calls->ring);
}

/* There is room. Publishes one entry, and rings the doorbell if the loader sleeps. */
static void submit(struct pg_executor *executor, const struct pg_sqe *entry)
{
	struct pg_hypercalls *calls = &executor->hypercalls;
	struct pg_ring *ring = calls->ring;

	calls->outstanding++;
	if (!pg_sq_push(ring, calls->sq, entry)) {
		calls->rung = false;
		return;
	}
	/*
	 * Waking up takes the loader a while, and a doorbell costs an exit. While it has
	 * not taken an entry for which we rang, it is on its way, and will find this one
	 * too: it looks at the queue once more before it sleeps again.
	 */
	if (calls->rung && (int32_t)(atomic_load(&ring->sq_head) - calls->rung_for) < 0)
		return;
	calls->rung = true;
	/* Relaxed: only we write it. */
	calls->rung_for = atomic_load_explicit(&ring->sq_tail, memory_order_relaxed);
	executor->counters->doorbells++;
	pg_port_doorbell(executor);
}

static void submit_call(struct pg_executor *executor, struct pg_hypercall *call)
{
	call->state = PG_HYPERCALL_SUBMITTED;
	call->sqe.user_data = (uintptr_t)call | TAG_CALL;
	executor->counters->hypercalls++;
	submit(executor, &call->sqe);
}

static void submit_cancel(struct pg_executor *executor, struct pg_hypercall *call)
{
	const struct pg_sqe entry = {
		.op = PG_OP_CANCEL,
		.user_data = (uintptr_t)call | TAG_CANCEL,
		.arg = { call->sqe.user_data },
	};

	call->cancel = PG_CANCEL_SENT;
	submit(executor, &entry);
}

/* The loader has let go of the call: the last thing that happens to it here. */
static void settle(struct pg_hypercall *call)
{
	struct pg_task *task = call->task;
	enum pg_wake wake = pg_task_mark_queued(task);

	call->state = PG_HYPERCALL_COMPLETED;
	/* Marked before it is unpinned: until then nobody can take the task away. */
	pg_task_unpin(task);
	if (wake == PG_WAKE_ENQUEUE)
		pg_executor_push_soon(task->executor, task);
}

static void call_answered(struct pg_hypercalls *calls, struct pg_hypercall *call, int64_t result)
{
	call->answered = true;
	call->result = result;
	if (call->cancel == PG_CANCEL_QUEUED) {
		queue_remove(&calls->cancels, call);
		call->cancel = PG_CANCEL_NONE;
	}
	if (call->cancel == PG_CANCEL_NONE)
		settle(call);
}

static void cancel_answered(struct pg_hypercall *call)
{
	call->cancel = PG_CANCEL_NONE;
	if (call->answered)
		settle(call);
}

static void complete(struct pg_hypercalls *calls, const struct pg_cqe *entry)
{
	uintptr_t address = entry->user_data & ~(uintptr_t)TAG_MASK;

	calls->outstanding--;
	switch (entry->user_data & TAG_MASK) {
	case TAG_CALL:
		call_answered(calls, (struct pg_hypercall *)address, entry->result);
		break;
	case TAG_CANCEL:
		cancel_answered((struct pg_hypercall *)address);
		break;
	}
}

void pg_hypercalls_drain(struct pg_executor *executor)
{
	struct pg_hypercalls *calls = &executor->hypercalls;
	struct pg_hypercall *call;
	struct pg_cqe entry;

	while (pg_cq_pop(calls->ring, calls->cq, &entry))
		complete(calls, &entry);
	/* Cancellations first: they make room. */
	while ((call = calls->cancels.head) && has_room(calls, PG_CANCEL_MAX)) {
		queue_remove(&calls->cancels, call);
		submit_cancel(executor, call);
	}
	while ((call = calls->waiting.head) && has_room(calls, PG_HYPERCALL_MAX)) {
		queue_remove(&calls->waiting, call);
		submit_call(executor, call);
	}
}

bool pg_hypercalls_stalled(const struct pg_hypercalls *calls)
{
	return (calls->cancels.head && calls->outstanding < PG_CANCEL_MAX) ||
	       (calls->waiting.head && calls->outstanding < PG_HYPERCALL_MAX);
}

void pg_hypercalls_init(struct pg_hypercalls *calls, struct pg_ring *ring, struct pg_sqe *sq,
			const struct pg_cqe *cq)
{
	*calls = (struct pg_hypercalls){ .ring = ring, .sq = sq, .cq = cq };
}

static enum pg_poll hypercall_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_hypercall *call = pg_container_of(future, struct pg_hypercall, future);
	struct pg_hypercalls *calls = &waker->executor->hypercalls;

	if (call->state == PG_HYPERCALL_COMPLETED)
		return PG_READY;
	if (call->state == PG_HYPERCALL_NEW) {
		call->task = waker;
		pg_task_pin(waker);
		/* Not ahead of those that wait. */
		if (!calls->waiting.head && has_room(calls, PG_HYPERCALL_MAX)) {
			submit_call(waker->executor, call);
		} else {
			call->state = PG_HYPERCALL_QUEUED;
			queue_append(&calls->waiting, call);
		}
	}
	return PG_PENDING;
}

static void hypercall_drop(struct pg_future *future)
{
	struct pg_hypercall *call = pg_container_of(future, struct pg_hypercall, future);
	struct pg_hypercalls *calls;

	switch (call->state) {
	case PG_HYPERCALL_QUEUED:
		queue_remove(&call->task->executor->hypercalls.waiting, call);
		pg_task_unpin(call->task);
		/* fallthrough */
	case PG_HYPERCALL_NEW:
		call->state = PG_HYPERCALL_COMPLETED;
		call->result = -PG_ECANCELED;
		break;
	case PG_HYPERCALL_SUBMITTED:
		calls = &call->task->executor->hypercalls;
		call->state = PG_HYPERCALL_IGNORED;
		if (!calls->cancels.head && has_room(calls, PG_CANCEL_MAX)) {
			submit_cancel(call->task->executor, call);
		} else {
			call->cancel = PG_CANCEL_QUEUED;
			queue_append(&calls->cancels, call);
		}
		break;
	case PG_HYPERCALL_IGNORED:
	case PG_HYPERCALL_COMPLETED:
		break;
	}
}

static const struct pg_future_ops hypercall_ops = { hypercall_poll, hypercall_drop };

void pg_hypercall_init_args(struct pg_hypercall *call, enum pg_op op, int32_t handle,
			    const uint64_t args[6])
{
	*call = (struct pg_hypercall){
		.future.ops = &hypercall_ops,
		.state = PG_HYPERCALL_NEW,
		.sqe = { .op = op,
			 .handle = handle,
			 .arg = { args[0], args[1], args[2], args[3], args[4], args[5] } },
	};
}

static enum pg_poll settle_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_settle *settle = pg_container_of(future, struct pg_settle, future);

	/* The hypercall wakes its task, which is `waker`, when it is settled. */
	return pg_hypercall_settled(settle->call) ? PG_READY : PG_PENDING;
}

static const struct pg_future_ops settle_ops = { settle_poll, NULL };

void pg_settle_init(struct pg_settle *settle, struct pg_hypercall *call)
{
	settle->future.ops = &settle_ops;
	settle->call = call;
}
