/*
 * System calls on the host: handlers run as tasks of one vCPU, whose ring the test answers;
 * the heap is malloc, counted; the program's memory is ours, with a hole in it.
 */
#ifndef SYS_CALLS_H
#define SYS_CALLS_H

#include <stdbool.h>
#include <stdint.h>

#include "host_port.h"
#include "sys/syscall.h"

/* Addresses from here on, for a page, fault. So does what touches page 0. */
#define SYS_HOLE      0x10000000000ull
#define SYS_HOLE_SIZE 4096

typedef enum pg_poll (*sys_handler)(struct pg_future *future, struct pg_task *waker);

struct sys_call {
	struct pg_syscall call;
	struct pg_syscall_entry entry;
	struct pg_task task;
	bool done; /* the task is; call.result is valid unless the task was cancelled */
	bool signalled, dropped;
};

extern struct host_vcpu sys_vcpu;

/* A fresh vCPU, boot information with `cwd`, descriptors 0 to 2. Once per test. */
void sys_setup(const char *cwd);

/* Start a call; it runs until it waits. `call` may be reused when it is done. */
#define sys_start(call, handler, ...)                                                              \
	sys_start_args((call), (handler), (const uint64_t[6]){ __VA_ARGS__ })
void sys_start_args(struct sys_call *call, sys_handler handler, const uint64_t arg[6]);

/* The same, but it has not run yet. */
void sys_prepare(struct sys_call *call, sys_handler handler, const uint64_t arg[6]);

/* A call that must be over at once: its result. */
#define sys_now(handler, ...) sys_now_args((handler), (const uint64_t[6]){ __VA_ARGS__ })
int64_t sys_now_args(sys_handler handler, const uint64_t arg[6]);

/* The next entry of the ring, which must be `op`. */
struct pg_sqe sys_take(enum pg_op op);

/* That there is none. */
void sys_expect_none(void);

/* Answer an entry, and let everything run. */
void sys_answer(const struct pg_sqe *entry, int64_t result);

/* Take the next entry, which must be `op`, and answer it. */
void sys_serve(enum pg_op op, int64_t result);

/* Cancel the call's task, and answer its cancellation. */
void sys_cancel(struct sys_call *call);

/*
 * A signal interrupts the call, as signal/deliver.c has it: unless it is READY after all, it is
 * dropped, and done once its hypercalls are settled, which is for the test to see to.
 */
void sys_interrupt(struct sys_call *call);

/* Whether a path in an entry (address, length) is `text`. */
bool sys_path_is(uint64_t address, uint64_t length, const char *text);

/* Open "/x" as the loader's `handle`; the descriptor. */
int sys_open(int32_t handle, uint64_t flags);

/* pg_alloc: blocks not freed; fail the one after the next `n` (-1: none). */
extern _Atomic long sys_allocated, sys_fail_after;

/* How often a thread wrote where nobody reads. */
extern _Atomic unsigned sys_broken_pipes;

#endif
