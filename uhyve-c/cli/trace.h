/*
 * A trace as Chrome's trace-event JSON, which ui.perfetto.dev and chrome://tracing show.
 *
 *	process "vCPUs", a track each:   thread 1 | thread 2 | spins | parked | thread 1 ...
 *	                                     |                                    ^
 *	                                     +---- flow: the waker, the woken ----+
 *	process "tasks", a track each:   waits: futex | runnable | (runs) | waits: read ...
 *
 * Slices of a vCPU tell why the poll ended, and the system call that it waits in. Steals and
 * pre-emptions are instant events. Times in microseconds since the first event. Events are
 * written as they come; what is kept is one record per task and vCPU.
 */
#ifndef UHYVE_CLI_TRACE_H
#define UHYVE_CLI_TRACE_H

#include <stdio.h>
#include <uhyve-c/uhyve.h>

struct trace_writer;

/* Begin a file. NULL: no memory. The stream stays the caller's. */
struct trace_writer *trace_begin(FILE *stream, unsigned vcpus);

/* One event, in order of time: for uhyve_vm_trace(), the context is the writer. 0 or -ENOMEM. */
int trace_event(void *writer, const struct uhyve_trace_event *event);

/* End the file, and free the writer. 0, or -1 when something could not be written. */
int trace_end(struct trace_writer *writer, const struct uhyve_trace_summary *summary);

#endif
