/* What the files of this folder share: the state of the process's signals. */
#ifndef PG_SIGNAL_STATE_H
#define PG_SIGNAL_STATE_H

#include "core/spinlock.h"
#include "core/task.h"
#include "signal.h"

#define PG_SIGSETSIZE 8

/* Entries queued at once in the process, at most: RLIMIT_SIGPENDING. */
#define PG_SIGNAL_QUEUE_MAX 4096

/* Neither blocked nor handled. */
#define PG_SIGNALS_SURE (1ull << (PG_SIGKILL - 1) | 1ull << (PG_SIGSTOP - 1))

struct pg_signal_state {
	struct pg_spinlock lock;   /* guards all of this, and the threads' part */
	struct pg_pending pending; /* the process's                           */
	struct pg_sigaction actions[PG_SIGNALS];
	struct pg_thread *first, *last; /* threads that take signals              */
};

extern struct pg_signal_state pg_signals;

/*
 * What is to be done once the lock is released: entries to free, tasks to enqueue, vCPUs to
 * interrupt. Use:
 * pg_signal_lock(&after); ... pg_signal_unlock(&after).
 */
struct pg_signal_after {
	struct pg_signal_entry *unused;
	struct pg_task_list wake;
	bool interrupt; /* a thread may have to be told that runs elsewhere   */
};

void pg_signal_lock(struct pg_signal_after *after);
void pg_signal_unlock(struct pg_signal_after *after);

/*
 * To `tid`, or to the process if it is 0. `caller` is the thread that asks for it, or NULL.
 * 0, -ESRCH, -EAGAIN; signal 0 sends nothing.
 */
int64_t pg_signal_send(uint32_t tid, int signal, const struct pg_siginfo *info,
		       struct pg_thread *caller);

/* Whether nothing happens by it. */
bool pg_signal_ignored(int signal, const struct pg_sigaction *action);

/* Locked: the thread's mask is `mask` from now on. */
void pg_signal_set_mask(struct pg_thread *thread, uint64_t mask, struct pg_signal_after *after);

/* Locked: `set` is not for `thread` any more: tell other threads what is pending of it. */
void pg_signal_pass_on(struct pg_thread *thread, uint64_t set, struct pg_signal_after *after);

/* Locked: take a signal of `set`, the thread's own ones first: its number, or 0. */
int pg_signal_take(struct pg_thread *thread, uint64_t set, struct pg_siginfo *info,
		   struct pg_signal_after *after);

/*
 * Take a signal that is to be delivered to the thread into `claimed` and `action`. False:
 * there is none. Doesn't return if it ends the process.
 */
bool pg_signal_claim(struct pg_thread *thread);

/*
 * SIGSEGV, since the kernel can't go on with what the thread has got: no frame fits on its stack,
 * or the one it returns by is not one. Its handler is prepared, or the process ends with a
 * report. `address` is where.
 */
enum pg_signal_fault {
	PG_FAULT_STACK,
	PG_FAULT_FRAME,
};
void pg_signal_fault(struct pg_thread *thread, enum pg_signal_fault why, uint64_t address);

/* The process ends by `signal`, which no exception caused. */
_Noreturn void pg_signal_end_process(int signal, struct pg_thread *thread);

/* Write `info` as a siginfo_t. 0 or -EFAULT. */
int pg_siginfo_write(uint64_t address, const struct pg_siginfo *info);

#endif
