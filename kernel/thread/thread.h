/*
 * Threads: user code as a future.
 *
 *	            +-------------------- execute() ----------------------+
 *	executor -> | user code ... syscall -> polled in place -> READY --+--> user code ...
 *	            |                               |                     |
 *	            +-------------------------------+---------------------+
 *	                                            | PENDING
 *	executor <------ PG_TRAP_SYSCALL -----------'
 *
 * A thread is a task whose future's poll() calls execute(): it runs the program's code
 * until that traps, and returns why. A system call is itself a future; it lives in the
 * thread, and is polled at once on this vCPU's kernel stack. If it is READY, the program
 * goes on, and the executor has never heard of it. If it is PENDING, execute() returns
 * PG_TRAP_SYSCALL, and the thread's poll returns PENDING; the system call has
 * registered the thread's task as its waker. So a blocked thread has no kernel stack: all
 * that is left of it is this struct.
 *
 * Vector registers stay in the processor until another thread runs on the vCPU.
 */
#ifndef PG_THREAD_H
#define PG_THREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi/vcpu.h"
#include "core/async.h"
#include "core/task.h"
#include "core/waitq.h"

struct pg_cpu;
struct pg_syscall_entry;

enum pg_trap {
	PG_TRAP_SYSCALL,   /* a system call is PENDING, or has ended the thread */
	PG_TRAP_EXCEPTION, /* `vector`, `error`, `address` tell which        */
};

/* Room for what a system call keeps while it waits. */
#define PG_SYSCALL_FRAME 1024

/* A system call under way. One per thread: a thread makes one at a time. */
struct pg_syscall {
	struct pg_async async;
	const struct pg_syscall_entry *entry;
	uint64_t arg[6];
	int64_t result;
	void (*cleanup)(struct pg_syscall *call);     /* see sys/syscall.h, or NULL       */
	_Alignas(16) uint8_t frame[PG_SYSCALL_FRAME]; /* the handler's, zero at first */
};

struct pg_thread {
	struct pg_regs regs; /* first: entry.S relies on it. Valid while it doesn't run */
	uint64_t fs_base;

	struct pg_task task;
	struct pg_future future;
	struct pg_syscall syscall;
	bool in_syscall; /* `syscall` is PENDING                              */
	bool full;       /* resume with all registers (else: as after a syscall) */
	bool exited;     /* ends as soon as it leaves user code                */

	uint32_t tid;
	uint64_t clear_child_tid; /* user address of a 32-bit word, or 0      */
	uint64_t signal_mask;

	/* The last exception. */
	uint64_t vector, error, address;

	void *xsave;    /* vector registers, when not in the processor      */
	bool has_xsave; /* false: initial state                              */
};

_Static_assert(offsetof(struct pg_thread, regs) == 0, "entry.S");

/*
 * A thread that starts with `regs` and `fs_base`; NULL: no memory. It has a thread id and
 * is counted, but doesn't run before pg_thread_start().
 */
struct pg_thread *pg_thread_new(const struct pg_regs *regs, uint64_t fs_base);

/* Run it, on the vCPU whose turn it is. It frees itself when it has ended. */
void pg_thread_start(struct pg_thread *thread);

/* The thread that made the system call being polled on this vCPU. */
struct pg_thread *pg_thread_current(void);

/* Whether the id was given out. Those that have ended are not told from others. */
bool pg_thread_exists(uint32_t tid);

/* Threads that have not ended. */
uint32_t pg_thread_count(void);

/* arch: run the thread until it traps. On its vCPU. */
enum pg_trap pg_arch_execute(struct pg_thread *thread);

/* Called by entry.S with all registers saved. True: READY, go on with regs.rax as result. */
bool pg_syscall_enter(struct pg_thread *thread);

/* The pending system call is READY: hand over its result. */
void pg_syscall_end(struct pg_thread *thread);

#endif
