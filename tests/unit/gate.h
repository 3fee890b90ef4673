/* A future for tests: READY when opened. It counts what is done to it. */
#ifndef GATE_H
#define GATE_H

#include <stdbool.h>

#include "core/container.h"
#include "core/future.h"
#include "core/task.h"

struct gate {
	struct pg_future future;
	struct pg_task *waker;
	bool open, ready, dropped;
	unsigned polls, drops;
	void (*hook)(struct gate *gate); /* called within each poll, or NULL */
	void *context;
};

static enum pg_poll gate_poll(struct pg_future *future, struct pg_task *waker)
{
	struct gate *gate = pg_container_of(future, struct gate, future);

	/* Polled after the end: make the counts wrong, so that any test fails. */
	if (gate->ready || gate->dropped)
		gate->polls += 1000;
	gate->polls++;
	gate->waker = waker;
	if (gate->hook)
		gate->hook(gate);
	gate->ready = gate->open;
	return gate->open ? PG_READY : PG_PENDING;
}

static void gate_drop(struct pg_future *future)
{
	struct gate *gate = pg_container_of(future, struct gate, future);

	if (gate->ready || gate->dropped)
		gate->drops += 1000;
	gate->drops++;
	gate->dropped = true;
}

static const struct pg_future_ops gate_ops = { gate_poll, gate_drop };

static inline void gate_init(struct gate *gate)
{
	*gate = (struct gate){ .future.ops = &gate_ops };
}

static inline void gate_open(struct gate *gate)
{
	gate->open = true;
	if (gate->waker)
		pg_task_wake(gate->waker);
}

static inline bool task_done(struct pg_task *task)
{
	return atomic_load(&task->state) & PG_TASK_DONE;
}

#endif
