#include "thread.h"

#include "arch/x86_64/cpu.h"
#include "core/port.h"
#include "core/trace.h"
#include "lib/string.h"
#include "mm/heap.h"
#include "sys/futex.h"
#include "sys/process.h"
#include "sys/syscall.h"
#include "sys/user.h"

/* Threads that have not ended; ids given out. Sequentially consistent: rarely touched. */
static _Atomic uint32_t count;
static _Atomic uint32_t next_tid = PG_PID;

/* Where the next thread goes. Relaxed: any balance is right. */
static _Atomic uint32_t next_cpu;

/* Another vCPU's threads and tasks are not concerned: it is this one's turn that ends. */
static enum pg_poll yield(struct pg_task *waker)
{
	pg_task_wake(waker);
	return PG_PENDING;
}

static bool may_run_here(const struct pg_thread *thread)
{
	uint64_t affinity = atomic_load_explicit(&thread->affinity, memory_order_relaxed);

	return affinity >> pg_cpu_self()->index & 1;
}

/*
 * Whoever joins the thread may free its stack as soon as the word is 0: so this is done here, where
 * nothing is on that stack any more (PG_DISPATCH_STACK).
 */
static enum pg_poll ended(struct pg_thread *thread)
{
	const uint32_t zero = 0;

	if (thread->clear_child_tid && !pg_user_write(thread->clear_child_tid, &zero, sizeof(zero)))
		(void)pg_futex_wake(thread->clear_child_tid, 1, UINT32_MAX);
	pg_arch_forget(thread);
	return PG_READY;
}

/*
 * What is PENDING is polled on the program's stack, unless a signal has to do with it. From there
 * it goes straight back to user code: not on a vCPU where that may not run.
 */
static bool waits_on_its_stack(const struct pg_thread *thread)
{
	return thread->in_syscall && thread->context && !pg_thread_attention(thread) &&
	       !thread->signals.dropped && may_run_here(thread);
}

/* PG_VECTOR_PREEMPT came while the kernel ran. */
static bool turn_is_over(struct pg_task *task)
{
	struct pg_vcpu *shared = pg_arch_shared();

	if (!shared->preempt)
		return false;
	shared->counters.preemptions++;
	pg_trace(task->executor, PG_TRACE_PREEMPT, task, 0);
	return true;
}

/* The thread's future: user code, from trap to trap. */
static enum pg_poll poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_thread *thread = pg_container_of(future, struct pg_thread, future);

	/*
	 * Whoever wanted the vCPU has had it. What comes from here on counts, until the turn ends:
	 * a thread may do little but trap, and be in the kernel whenever it is interrupted.
	 */
	pg_arch_shared()->preempt = 0;
	for (;;) {
		enum pg_trap trap;

		if (waits_on_its_stack(thread)) {
			trap = pg_arch_continue(thread);
		} else {
			if (thread->in_syscall) {
				if (pg_signal_poll_call(thread, waker) == PG_PENDING)
					return PG_PENDING;
				pg_syscall_end(thread);
				thread->context = 0; /* nobody goes back there */
			}
			if (pg_thread_attention(thread))
				pg_signal_deliver(thread);
			if (thread->exited)
				return ended(thread);
			if (!may_run_here(thread))
				return yield(waker);
			trap = pg_arch_execute(thread);
		}

		switch (trap) {
		case PG_TRAP_SYSCALL:
			if (pg_syscall_enter(thread))
				break;
			/* fallthrough */
		case PG_TRAP_PENDING:
			if (thread->in_syscall) {
				pg_trace(waker->executor, PG_TRACE_SYSCALL, waker,
					 thread->syscall.number);
				return PG_PENDING;
			}
			if (!thread->exited && turn_is_over(waker))
				return yield(waker);
			break;
		case PG_TRAP_EXCEPTION:
			pg_signal_exception(thread);
			if (turn_is_over(waker))
				return yield(waker);
			break;
		case PG_TRAP_INTERRUPT:
			pg_trace(waker->executor, PG_TRACE_PREEMPT, waker, 0);
			return yield(waker);
		}
	}
}

static void drop(struct pg_future *future)
{
	struct pg_thread *thread = pg_container_of(future, struct pg_thread, future);

	/* A signal may have dropped it already. */
	if (thread->in_syscall && !thread->signals.dropped)
		pg_future_drop(&thread->syscall.async.future);
	pg_arch_forget(thread);
}

static const struct pg_future_ops thread_ops = { poll, drop };

static void done(struct pg_task *task)
{
	struct pg_thread *thread = pg_container_of(task, struct pg_thread, task);

	/* Cancelled in a system call? Its hypercalls are settled by now. */
	if (thread->in_syscall)
		pg_syscall_cleanup(&thread->syscall);
	pg_signal_thread_exit(thread);
	pg_free(thread->xsave);
	pg_free(thread);
	if (atomic_fetch_sub(&count, 1) == 1)
		pg_process_exit(0);
}

struct pg_thread *pg_thread_new(const struct pg_regs *regs, uint64_t fs_base,
				const struct pg_thread *parent)
{
	struct pg_thread *thread = pg_alloc_aligned(sizeof(*thread), 64);
	void *xsave = pg_alloc_aligned(pg_boot->xsave_size, 64);

	if (!thread || !xsave) {
		pg_free(thread);
		pg_free(xsave);
		return NULL;
	}
	memset(thread, 0, sizeof(*thread));
	/* XRSTOR wants the header's reserved bytes zero (SDM vol. 1, 13.8.1). */
	memset((char *)xsave + 512, 0, 64);
	thread->regs = *regs;
	thread->fs_base = fs_base;
	thread->future.ops = &thread_ops;
	thread->full = true;
	thread->xsave = xsave;
	thread->tid = atomic_fetch_add(&next_tid, 1);
	atomic_init(&thread->affinity,
		    parent ? atomic_load_explicit(&parent->affinity, memory_order_relaxed)
			   : pg_cpu_mask());
	atomic_fetch_add(&count, 1);
	/* Who sends it a signal before it has started leaves its task alone. */
	atomic_init(&thread->task.state, PG_TASK_QUEUED);
	pg_signal_thread_new(thread, parent);
	return thread;
}

struct pg_executor *pg_thread_place(uint64_t affinity)
{
	unsigned first = atomic_fetch_add_explicit(&next_cpu, 1, memory_order_relaxed);
	struct pg_executor *next = NULL;

	for (unsigned i = 0; i < pg_cpu_count; i++) {
		struct pg_executor *executor = &pg_cpu((first + i) % pg_cpu_count)->executor;

		if (!(affinity >> executor->index & 1))
			continue;
		/* Relaxed: a guess, and wrong guesses are balanced later. */
		if (atomic_load_explicit(&executor->hypercalls.ring->parked, memory_order_relaxed))
			return executor;
		if (!next)
			next = executor;
	}
	return next;
}

void pg_thread_start(struct pg_thread *thread)
{
	uint64_t affinity = atomic_load_explicit(&thread->affinity, memory_order_relaxed);

	pg_trace(pg_port_executor(), PG_TRACE_NAME, &thread->task, thread->tid);
	pg_task_spawn_user(pg_thread_place(affinity), &thread->task, &thread->future, done);
}

uint32_t pg_thread_count(void)
{
	return atomic_load(&count);
}
