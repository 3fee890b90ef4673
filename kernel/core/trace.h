/*
 * What an executor writes into its vCPU's trace (abi/trace.h): one test where there is none.
 * On the executor's vCPU only; `here` may be NULL (no executor, no trace).
 */
#ifndef PG_CORE_TRACE_H
#define PG_CORE_TRACE_H

#include <stdint.h>

#include "executor.h"
#include "port.h"
#include "abi/trace.h"

void pg_trace_write(struct pg_executor *here, enum pg_trace_kind kind, const struct pg_task *task,
		    uint32_t arg, const struct pg_task *more);

static inline void pg_trace(struct pg_executor *here, enum pg_trace_kind kind,
			    const struct pg_task *task, uint32_t arg)
{
	if (__builtin_expect(here && here->trace.events, 0))
		pg_trace_write(here, kind, task, arg, NULL);
}

/* `task` is about to be enqueued, or was spawned, by what runs here. */
static inline void pg_trace_wake(struct pg_executor *here, const struct pg_task *task)
{
	if (__builtin_expect(here && here->trace.events, 0))
		pg_trace_write(here, PG_TRACE_WAKE, task, task->executor->index, here->running);
}

static inline void pg_trace_spawn(struct pg_executor *here, const struct pg_task *task)
{
	if (__builtin_expect(here && here->trace.events, 0))
		pg_trace_write(here, PG_TRACE_SPAWN, task, task->executor->index, here->running);
}

#endif
