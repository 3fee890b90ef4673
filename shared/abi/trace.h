/*
 * The trace of a vCPU: what its executor did, and when. A flight recorder: the kernel writes
 * events one after the other into a ring of boot.trace_events slots, from PG_VA_TRACE on, and
 * counts them in pg_vcpu.trace_head; the newest overwrite the oldest. The loader reads
 * it when the VM has ended.
 */
#ifndef PG_ABI_TRACE_H
#define PG_ABI_TRACE_H

#include <stdint.h>

#include "layout.h"

/* X(number, NAME, name, meaning of `task`, `arg` and `more`) */
#define PG_TRACE_EVENTS(X)                                                                         \
	X(0, NONE, "none", "-")                                                                    \
	X(1, NAME, "name", "task is a thread with id `arg`; 0: a task of the kernel's; more: 0")   \
	X(2, SPAWN, "spawn", "task was spawned, for vCPU `arg`; more: the spawning task or 0")     \
	X(3, RUN, "run", "task begins a poll here")                                                \
	X(4, PENDING, "pending", "its poll ended: it waits")                                       \
	X(5, YIELD, "yield", "its poll ended: it runs again later")                                \
	X(6, DONE, "done", "its poll ended: the task is done")                                     \
	X(7, SYSCALL, "syscall", "task waits in system call `arg`; follows before PENDING")        \
	X(8, PREEMPT, "preempt", "the turn of the task is over; YIELD follows")                    \
	X(9, WAKE, "wake", "task was enqueued for vCPU `arg`; more: the waking task or 0")         \
	X(10, STEAL, "steal", "task was taken over from vCPU `arg`")                               \
	X(11, SPIN, "spin", "nothing to run: looks for work")                                      \
	X(12, PARK, "park", "halts")                                                               \
	X(13, UNPARK, "unpark", "goes on after a halt")                                            \
	X(14, WORK, "work", "found work while spinning")

enum pg_trace_kind {
#define PG_TRACE_ENUM(number, name, word, meaning) PG_TRACE_##name = (number),
	PG_TRACE_EVENTS(PG_TRACE_ENUM)
#undef PG_TRACE_ENUM
	PG_TRACE_COUNT
};

struct pg_trace_event {
	uint64_t tsc;
	uint64_t task; /* which one: an address, and nothing but a name      */
	uint32_t kind; /* enum pg_trace_kind                                 */
	uint32_t arg;
	uint64_t more;
};

#define PG_TRACE_MAX (PG_TRACE_STRIDE / 32) /* events of a vCPU at most */

_Static_assert(sizeof(struct pg_trace_event) == 32, "PG_TRACE_MAX");

#endif
