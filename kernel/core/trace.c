#include "trace.h"

void pg_trace_write(struct pg_executor *here, enum pg_trace_kind kind, const struct pg_task *task,
		    uint32_t arg, const struct pg_task *more)
{
	struct pg_trace *trace = &here->trace;

	trace->events[*trace->head & trace->mask] = (struct pg_trace_event){
		.tsc = pg_port_ticks(),
		.task = (uintptr_t)task,
		.kind = kind,
		.arg = arg,
		.more = (uintptr_t)more,
	};
	++*trace->head;
}
