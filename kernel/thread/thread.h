/*
 * Threads: user code as a future.
 *
 *	            +-------------------- execute() ----------------------+
 *	executor -> | user code ... syscall -> polled in place -> READY --+--> user code ...
 *	            |                               |                     |
 *	            +-------------------------------+---------------------+
 *	                                            | PENDING
 *	executor <------- PG_TRAP_PENDING ----------'
 *
 * A thread is a task whose future's poll() calls execute(): it runs the program's code
 * until that traps, and returns why. A system call is itself a future; it lives in the
 * thread, and is polled at once on this vCPU's kernel stack. If it is READY, the program
 * goes on, and the executor has never heard of it. If it is PENDING, execute() returns
 * PG_TRAP_PENDING, and the thread's poll returns PENDING; the system call has
 * registered the thread's task as its waker. So a blocked thread has no kernel stack: all
 * that is left of it is this struct. abi/boot.h's enum pg_dispatch has the two other ways there
 * are; docs/scheduling.md compares them.
 *
 * When the loader sends PG_VECTOR_PREEMPT, execute() returns PG_TRAP_INTERRUPT from user code,
 * or PG_TRAP_PENDING from the end of a system call; the thread is queued again behind
 * all others.
 *
 * Vector registers stay in the processor until another thread runs on the vCPU. As long as
 * they do the thread's task is pinned there.
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
#include "signal/signal.h"

struct pg_cpu;
struct pg_syscall_entry;

enum pg_trap {
	PG_TRAP_SYSCALL,   /* a system call, not looked at yet (PG_DISPATCH_RETURN)  */
	PG_TRAP_PENDING,   /* one that is PENDING, has ended the thread, or its turn */
	PG_TRAP_EXCEPTION, /* `vector`, `error`, `address` tell which        */
	PG_TRAP_INTERRUPT, /* PG_VECTOR_PREEMPT                               */
};

/* Room for what a system call keeps while it waits. */
#define PG_SYSCALL_FRAME 1024

/* A system call under way. One per thread: a thread makes one at a time. */
struct pg_syscall {
	struct pg_async async;
	const struct pg_syscall_entry *entry;
	uint32_t number;
	uint64_t arg[6];
	int64_t result;
	void (*cleanup)(struct pg_syscall *call);      /* see sys/syscall.h, or NULL       */
	int64_t (*interrupt)(struct pg_syscall *call); /* the same                         */
	_Alignas(16) uint8_t frame[PG_SYSCALL_FRAME];  /* the handler's, zero at first */
};

struct pg_thread {
	struct pg_regs regs; /* first: entry.S relies on it. Valid while it doesn't run */
	uint64_t context;    /* next: the stack a PENDING call is on; 0: the kernel's   */
	uint64_t fs_base;

	struct pg_task task;
	struct pg_future future;
	struct pg_syscall syscall;
	bool in_syscall; /* `syscall` is PENDING                              */
	bool full;       /* resume with all registers (else: as after a syscall) */
	bool exited;     /* ends as soon as it leaves user code                */

	/*
	 * What is to be done before user code goes on: PG_ATTENTION_* (signal/signal.h). Relaxed:
	 * a hint, what it tells of is looked at under a lock.
	 */
	_Atomic uint32_t attention;
	struct pg_thread_signals signals;

	uint32_t tid;
	_Atomic uint64_t affinity; /* vCPUs it may run on, a bit each. Relaxed: a setting */
	uint64_t clear_child_tid;  /* user address of a 32-bit word, or 0      */

	/* The last exception. */
	uint64_t vector, error, address;

	void *xsave;    /* vector registers, when not in the processor      */
	bool has_xsave; /* false: initial state                              */
};

_Static_assert(offsetof(struct pg_thread, regs) == 0, "entry.S");
_Static_assert(offsetof(struct pg_thread, context) == 144, "entry.S");

/*
 * A thread that starts with `regs` and `fs_base`, and the signal mask of `parent` (NULL: none);
 * NULL: no memory. It has a thread id and is counted, and signals can be sent to it, but it
 * doesn't run before pg_thread_start().
 */
struct pg_thread *pg_thread_new(const struct pg_regs *regs, uint64_t fs_base,
				const struct pg_thread *parent);

/*
 * Run it: on a vCPU of its affinity that is parked, or else on the next one in turn. It frees
 * itself when it has ended.
 */
void pg_thread_start(struct pg_thread *thread);

/* A vCPU of `affinity` (not 0) for a task that may go anywhere in it: see pg_thread_start(). */
struct pg_executor *pg_thread_place(uint64_t affinity);

/* The thread that made the system call being polled on this vCPU. */
struct pg_thread *pg_thread_current(void);

/* Threads that have not ended. */
uint32_t pg_thread_count(void);

/*
 * Call visit() with the thread that has this id, while it can't end; false if there is none.
 * visit() must be short, and not send signals: a lock is held. Any vCPU.
 */
bool pg_thread_visit(uint32_t tid, void (*visit)(struct pg_thread *thread, void *argument),
		     void *argument);

/* arch: run the thread until it traps. On its vCPU. */
enum pg_trap pg_arch_execute(struct pg_thread *thread);

/* arch: go on with a call that is PENDING on the program's stack (PG_DISPATCH_STACK). */
enum pg_trap pg_arch_continue(struct pg_thread *thread);

/* arch: leave the program's stack while a call is PENDING there; returns when it goes on. */
void pg_arch_exchange(struct pg_thread *thread);

/*
 * Called with all registers saved: looks the call up, and polls it once. True: go on, with
 * regs.rax as result. False: it is PENDING (in_syscall), the thread has ended (exited), or
 * another task shall have the vCPU.
 */
bool pg_syscall_enter(struct pg_thread *thread);

/* The same on the program's stack: comes back when the call is over. */
bool pg_syscall_enter_stack(struct pg_thread *thread);

/* It polls a future of the application's, which wants the kernel's stack: for PG_DISPATCH_STACK. */
bool pg_syscall_is_block_on(const struct pg_syscall *call);

/* The pending system call is READY: hand over its result. */
void pg_syscall_end(struct pg_thread *thread);

#endif
