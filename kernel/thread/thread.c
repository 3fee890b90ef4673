#include "thread.h"

#include "arch/x86_64/cpu.h"
#include "lib/string.h"
#include "mm/heap.h"
#include "sys/process.h"
#include "sys/syscall.h"

/* Linux's numbers (asm/signal.h). */
#define SIGILL  4
#define SIGTRAP 5
#define SIGBUS  7
#define SIGFPE  8
#define SIGSEGV 11

/* Threads that have not ended; ids given out. Sequentially consistent: rarely touched. */
static _Atomic uint32_t count;
static _Atomic uint32_t next_tid = PG_PID;

/* Where the next thread goes. Relaxed: any balance is right. */
static _Atomic uint32_t next_cpu;

static int signal_of(uint64_t vector)
{
	switch (vector) {
	case 0:
	case 16:
	case 19:
		return SIGFPE;
	case 1:
	case 3:
		return SIGTRAP;
	case 6:
	case 7:
		return SIGILL;
	case 17:
		return SIGBUS;
	default:
		return SIGSEGV;
	}
}

/* The thread's future: user code, from trap to trap. */
static enum pg_poll poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_thread *thread = pg_container_of(future, struct pg_thread, future);

	for (;;) {
		if (thread->in_syscall) {
			if (pg_future_poll(&thread->syscall.async.future, waker) == PG_PENDING)
				return PG_PENDING;
			pg_syscall_end(thread);
		}
		if (thread->exited)
			return PG_READY;

		switch (pg_arch_execute(thread)) {
		case PG_TRAP_SYSCALL:
			/* Polled already, in place: it is PENDING and knows whom to wake. */
			if (!thread->exited)
				return PG_PENDING;
			break;
		case PG_TRAP_EXCEPTION:
			pg_process_kill(signal_of(thread->vector), thread);
		}
	}
}

static void drop(struct pg_future *future)
{
	struct pg_thread *thread = pg_container_of(future, struct pg_thread, future);

	if (thread->in_syscall)
		pg_future_drop(&thread->syscall.async.future);
}

static const struct pg_future_ops thread_ops = { poll, drop };

static void done(struct pg_task *task)
{
	struct pg_thread *thread = pg_container_of(task, struct pg_thread, task);

	/* Cancelled in a system call? Its hypercalls are settled by now. */
	if (thread->in_syscall)
		pg_syscall_cleanup(&thread->syscall);
	pg_arch_forget(thread);
	pg_free(thread->xsave);
	pg_free(thread);
	if (atomic_fetch_sub(&count, 1) == 1)
		pg_process_exit(0);
}

struct pg_thread *pg_thread_new(const struct pg_regs *regs, uint64_t fs_base)
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

bool pg_thread_exists(uint32_t tid)
{
	return tid >= PG_PID && tid < atomic_load(&next_tid);
}
