/*
 * Which vCPUs a thread may run on. A change holds from the thread's next turn on: it is looked at
 * each time before user code is entered, and where the thread is queued (thread/thread.c).
 * A thread that may not run everywhere is not taken over by others, but placed by hand.
 */
#include "arch/x86_64/cpu.h"
#include "core/executor.h"
#include "syscall.h"
#include "user.h"

static void read_mask(struct pg_thread *thread, void *mask)
{
	*(uint64_t *)mask = atomic_load_explicit(&thread->affinity, memory_order_relaxed);
}

static void write_mask(struct pg_thread *thread, void *mask)
{
	atomic_store_explicit(&thread->affinity, *(uint64_t *)mask, memory_order_relaxed);
}

/* 0 is the caller. */
static uint32_t tid_of(const struct pg_thread *thread, uint64_t argument)
{
	return (uint32_t)argument ? (uint32_t)argument : thread->tid;
}

/* sched_getaffinity(tid, size, mask) */
PG_CALL(sched_getaffinity)
{
	uint64_t mask;

	if (arg[1] < sizeof(mask) || arg[1] & 7)
		return -EINVAL;
	if (!pg_thread_visit(tid_of(thread, arg[0]), read_mask, &mask))
		return -ESRCH;
	return pg_user_write(arg[2], &mask, sizeof(mask)) ? -EFAULT : (int64_t)sizeof(mask);
}

/* sched_setaffinity(tid, size, mask): a thread that asks for another vCPU goes there at once. */
PG_WAITING_CALL(sched_setaffinity, struct pg_no_frame)
{
	struct pg_thread *thread = pg_container_of(call, struct pg_thread, syscall);
	uint64_t size = call->arg[1] < 8 ? call->arg[1] : 8, mask = 0;

	PG_BEGIN(&call->async);
	if (pg_user_read(&mask, call->arg[2], size))
		PG_FINISH(call, -EFAULT);
	mask &= pg_cpu_mask();
	if (!mask)
		PG_FINISH(call, -EINVAL);
	if (!pg_thread_visit(tid_of(thread, call->arg[0]), write_mask, &mask))
		PG_FINISH(call, -ESRCH);
	if (tid_of(thread, call->arg[0]) == thread->tid)
		PG_YIELD(&call->async, waker);
	PG_FINISH(call, 0);
	PG_END(&call->async);
}
