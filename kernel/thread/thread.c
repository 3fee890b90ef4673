#include "thread.h"

#include "arch/x86_64/cpu.h"
#include "lib/string.h"
#include "mm/heap.h"
#include "sys/process.h"
#include "sys/syscall.h"

/* Threads that have not ended; ids given out. Sequentially consistent: rarely touched. */
static _Atomic uint32_t count;
static _Atomic uint32_t next_tid = PG_PID;

/* Where the next thread goes. Relaxed: any balance is right. */
static _Atomic uint32_t next_cpu;

/* The thread's future: user code, from trap to trap. */
static enum pg_poll poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_thread *thread = pg_container_of(future, struct pg_thread, future);

	for (;;) {
		if (thread->in_syscall) {
			if (pg_signal_poll_call(thread, waker) == PG_PENDING)
				return PG_PENDING;
			pg_syscall_end(thread);
		}
		if (pg_thread_attention(thread))
			pg_signal_deliver(thread);
		if (thread->exited)
			return PG_READY;

		switch (pg_arch_execute(thread)) {
		case PG_TRAP_SYSCALL:
			/* Polled already, in place: it is PENDING and knows whom to wake. */
			if (thread->in_syscall)
				return PG_PENDING;
			break;
		case PG_TRAP_EXCEPTION:
			pg_signal_exception(thread);
			break;
		}
	}
}

static void drop(struct pg_future *future)
{
	struct pg_thread *thread = pg_container_of(future, struct pg_thread, future);

	/* A signal may have dropped it already. */
	if (thread->in_syscall && !thread->signals.dropped)
		pg_future_drop(&thread->syscall.async.future);
}

static const struct pg_future_ops thread_ops = { poll, drop };

static void done(struct pg_task *task)
{
	struct pg_thread *thread = pg_container_of(task, struct pg_thread, task);

	/* Cancelled in a system call? Its hypercalls are settled by now. */
	if (thread->in_syscall)
		pg_syscall_cleanup(&thread->syscall);
	pg_signal_thread_exit(thread);
	pg_arch_forget(thread);
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
	atomic_fetch_add(&count, 1);
	/* Who sends it a signal before it has started leaves its task alone. */
	atomic_init(&thread->task.state, PG_TASK_QUEUED);
	pg_signal_thread_new(thread, parent);
	return thread;
}

void pg_thread_start(struct pg_thread *thread)
{
	unsigned cpu = atomic_fetch_add_explicit(&next_cpu, 1, memory_order_relaxed);

	pg_task_spawn(&pg_cpu(cpu % pg_cpu_count)->executor, &thread->task, &thread->future, done);
}

uint32_t pg_thread_count(void)
{
	return atomic_load(&count);
}
