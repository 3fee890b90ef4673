/*
 * Signals: Linux's, for the one process there is.
 *
 * Sending makes a signal pending, in the set of the process or of one thread, and tells a
 * thread that does not block it: a bit in the thread's `attention`, and a wake of its task.
 * The thread does the rest itself, on its way back to user code:
 *
 *	user code -> trap -> ... -> attention? -> pg_signal_deliver() -> user code
 *
 *	send:     pending |= signal; attention |= SIGNAL; wake the task
 *	thread:   waits in a system call: pg_signal_poll_call() drops the call's future
 *	          runs in the kernel: finds `attention` at the end of the system call
 *	          runs user code: finds it when that traps or is interrupted
 *
 * One lock guards all sets, masks, actions and the list of threads. `attention` is changed
 * under it as well, so the bit SIGNAL is set exactly if a signal is pending that the thread
 * does not block; reading it without the lock is a hint that the slow path checks.
 *
 * Interrupting a system call. Before it drops the call's future, the thread claims the signal:
 * takes it out of its set, and decides what is to be done. So an interrupted call always
 * ends with a handler being run (or the process), and "interrupted, but by nothing" does
 * not exist. Then it waits until the loader has let go of all the call's hypercalls, and
 * the call's own hook says what the result is: what a dropped operation has done all the
 * same counts, so no byte is lost.
 */
#ifndef PG_SIGNAL_H
#define PG_SIGNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/future.h"
#include "queue.h"

struct pg_syscall;
struct pg_task;
struct pg_thread;

/* Bits of struct pg_thread.attention. Any bit: leave the fast path after a system call. */
#define PG_ATTENTION_SIGNAL 1u /* there is a signal to deliver: set by anyone          */
#define PG_ATTENTION_RETURN 2u /* registers or mask are to be put back: by the thread   */

/* Results of an interrupt hook (syscall.h) that are not the program's. */
#define PG_RESTART        (-512) /* made again if the handler has SA_RESTART, else -EINTR  */
#define PG_RESTART_ALWAYS (-513) /* made again                                             */

#define PG_SIG_DFL 0
#define PG_SIG_IGN 1

#define PG_SA_SIGINFO   0x4ull
#define PG_SA_RESTORER  0x04000000ull
#define PG_SA_ONSTACK   0x08000000ull
#define PG_SA_RESTART   0x10000000ull
#define PG_SA_NODEFER   0x40000000ull
#define PG_SA_RESETHAND 0x80000000ull

/* As Linux's struct sigaction is for the system call. */
struct pg_sigaction {
	uint64_t handler; /* PG_SIG_DFL, PG_SIG_IGN, or an address              */
	uint64_t flags;
	uint64_t restorer;
	uint64_t mask;
};

_Static_assert(sizeof(struct pg_sigaction) == 32, "as Linux's");

#define PG_SS_ONSTACK    1u
#define PG_SS_DISABLE    2u
#define PG_SS_AUTODISARM 0x80000000u

/* As Linux's stack_t. */
struct pg_sigstack {
	uint64_t base;
	uint32_t flags, pad;
	uint64_t size; /* 0: there is none */
};

_Static_assert(sizeof(struct pg_sigstack) == 24, "as Linux's");

/* Whether a stack pointer lies on it. One that disarms itself is never in use. */
static inline bool pg_sigstack_active(const struct pg_sigstack *stack, uint64_t rsp)
{
	return !(stack->flags & PG_SS_AUTODISARM) && rsp > stack->base &&
	       rsp - stack->base <= stack->size;
}

/*
 * Make what the program says (flags included) the thread's alternate stack. -EPERM: the one
 * there is is in use by `rsp`. -EINVAL, -ENOMEM: there can't be such a one.
 */
int pg_sigstack_set(struct pg_sigstack *stack, const struct pg_sigstack *to, uint64_t rsp);

/* struct pg_thread.signals. What others read, under the lock: mask to linked. */
struct pg_thread_signals {
	uint64_t mask;    /* blocked; changed by the thread only              */
	uint64_t awaited; /* by sigtimedwait: taken although blocked          */
	struct pg_pending pending;
	struct pg_thread *next, *prev; /* all threads, oldest first         */
	bool linked;

	/* The thread's own. */
	bool restore;   /* `saved` is the mask after the next handler, or instead of one */
	uint64_t saved; /* the mask before sigsuspend or ppoll                */
	struct pg_sigstack stack;

	bool dropped; /* the call's future is dropped: await its hypercalls    */
	bool ended;   /* the call that ends now was interrupted ...            */
	bool restart; /* ... and is to be made again if the handler says so     */

	/* Taken and decided, not delivered yet; claimed.signal 0: none. */
	struct pg_siginfo claimed;
	struct pg_sigaction action;
};

/* ---- for threads ---- */

/*
 * A new thread takes part: with the mask of `parent` (NULL: nothing blocked), nothing pending,
 * no alternate stack.
 */
void pg_signal_thread_new(struct pg_thread *thread, const struct pg_thread *parent);

/*
 * It takes no signals any more; what was meant for the process goes to others. Called when
 * it ends, more than once if need be.
 */
void pg_signal_thread_exit(struct pg_thread *thread);

/*
 * Poll the thread's pending system call, or end it if a signal interrupts it. READY: its
 * result is set, for pg_syscall_end(). On the thread's vCPU.
 */
enum pg_poll pg_signal_poll_call(struct pg_thread *thread, struct pg_task *waker);

/*
 * `attention` is not 0, and user code is to go on: run handlers, put back what has to be. After
 * a system call or whatever else; the thread's registers are in its struct. May set
 * `full`; may end the process. On the thread's vCPU, not from a system call.
 */
void pg_signal_deliver(struct pg_thread *thread);

/*
 * The thread's last exception (vector, error, address) becomes a signal: its handler is
 * prepared, or the process ends with a report.
 */
void pg_signal_exception(struct pg_thread *thread);

/* ---- sending: from anywhere, but under no lock ---- */

/*
 * To the process; any thread that doesn't block it takes it. `info` tells more; NULL: only
 * that the kernel sent it. `signal` is from 1 to PG_SIGNALS. 0, or -EAGAIN if too many
 * real-time signals are queued. Doesn't return if the signal ends the process.
 */
int64_t pg_signal_send_process(int signal, const struct pg_siginfo *info);

/*
 * To one thread, which must exist, as if it had sent it itself: SIGPIPE. Also from a system
 * call of that thread. As above.
 */
int64_t pg_signal_send_thread(struct pg_thread *thread, int signal);

/* Whether the thread is told to do something before it goes on with user code. */
#define pg_thread_attention(thread) atomic_load_explicit(&(thread)->attention, memory_order_relaxed)

/* ---- for system calls that wait ---- */

/*
 * While this call waits, `address` (user memory, `size` bytes) is the thread's mask: for
 * ppoll and sigsuspend. It is put back when the call ends, or after the handler that
 * ended it. 0, -EINVAL or -EFAULT. At the call's first poll.
 */
int pg_signal_mask_during(struct pg_syscall *call, uint64_t address, uint64_t size);

/*
 * Whether there is a signal that would interrupt the call, could it wait: for those that come to
 * their end without a result, and so are interrupted after all. Such a call sets its interrupt
 * hook, and yields as long as this is true: the thread takes the signal, or it was for nothing.
 */
bool pg_signal_interrupts(struct pg_syscall *call);

#endif
