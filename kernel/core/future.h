/*
 * Futures: the kernel's one way to wait.
 *
 * A future is something that will be ready later. It is intrusive: a struct
 * that begins with (or contains) a struct pg_future and holds everything the
 * operation needs, its result included. Nothing is ever allocated for it; it is
 * pinned, that is, it stays at its address from the first poll until it is READY,
 * or dropped.
 *
 * The contract:
 *
 *  - Only the executor that runs the task polls the task's future; a future polls
 *    the futures it is made of. So one future is never polled by two vCPUs, and its
 *    fields need no lock unless it registers them somewhere others can see.
 *  - poll() gets the task that waits, the waker. A future that returns PENDING has
 *    made sure that pg_task_wake() will be called on it once polling is worth while.
 *  - poll() never blocks. It may be called without anything having happened (a
 *    spurious poll): then it returns PENDING again, and registers nothing twice.
 *  - After READY it is never polled again, and not dropped. It has withdrawn from
 *    everything it had registered with. The result lies in the struct around it.
 *  - drop() tells a future that is not READY that nobody waits any more: it withdraws
 *    from what it had registered with, and drops the futures it is made of. It may come
 *    before the first poll, comes at most once, on the same vCPU as the polls. NULL
 *    means that there is nothing to withdraw from.
 *  - Whoever stops polling a future that is not READY must drop it.
 */
#ifndef PG_CORE_FUTURE_H
#define PG_CORE_FUTURE_H

struct pg_future;
struct pg_task;

enum pg_poll {
	PG_PENDING,
	PG_READY,
};

struct pg_future_ops {
	enum pg_poll (*poll)(struct pg_future *future, struct pg_task *waker);
	void (*drop)(struct pg_future *future);
};

struct pg_future {
	const struct pg_future_ops *ops;
};

__attribute__((warn_unused_result)) static inline enum pg_poll pg_future_poll(
	struct pg_future *future, struct pg_task *waker)
{
	return future->ops->poll(future, waker);
}

static inline void pg_future_drop(struct pg_future *future)
{
	if (future->ops->drop)
		future->ops->drop(future);
}

#endif
