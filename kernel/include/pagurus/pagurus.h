/*
 * Pagurus for applications: the kernel's futures and tasks, used directly.
 *
 * An application has threads (pthreads, from the C library), and it may have tasks. A
 * thread has a stack and blocks; a task is a struct of the application's with a poll function
 * that never blocks. A hundred thousand tasks are cheap; threads of that number are not.
 * Tasks run on the kernel's own executors, one for each vCPU, side by side with the threads.
 * docs/tasks.md is a guide with examples; this is the whole API, and its rules.
 *
 * From the bottom up:
 *
 *	core/future.h      what a future is, and what poll() and drop() promise
 *	core/async.h       futures of several steps, written from top to bottom: PG_AWAIT
 *	core/combine.h     all of them, the first of them, not for too long
 *	core/timer.h       struct pg_sleep: until a time
 *	core/waitq.h       wait for a condition of your own: struct pg_wait_until
 *	core/channel.h     bounded queues between tasks
 *	core/semaphore.h   at most so many at a time; mutexes
 *	core/hypercall.h   operations of the loader: files
 *	core/task.h        the states of a task; wake, cancel, join, and when memory is free again
 *	statx.h            what is known about a file
 *	this file          spawning tasks, waiting for them in a thread, memory, time, files
 *
 * Those headers are the kernel's own, and say more than an application needs: what is exported
 * is listed in the kernel's public.def, and anything else does not link.
 *
 * In a poll function, a drop function, and a task's done callback
 *
 *  - No system call, hence no function of the C library that makes one: no stdio, no
 *    malloc and free, no pthread_mutex_lock, no clock_gettime, no exit. It would end the program
 *    (SIGSEGV) or do harm. memcpy, strlen, qsort, snprintf to a buffer, and the like are fine.
 *  - Instead: pg_alloc() and pg_free(), pg_now(), semaphores and channels, hypercalls.
 *  - Never block and never spin for long. Tasks are not pre-empted: while one is polled, no
 *    other task and no thread of that vCPU runs. Use PG_YIELD in long computations.
 *  - The stack is the vCPU's, 32 KiB with a guard below it, of which a C library's snprintf
 *    may take 8. It is empty again after each poll: locals don't survive PG_AWAIT.
 *  - Don't switch to a stack of your own (coroutines): the kernel tells a task from a thread by
 *    the stack it is on, when it interrupts a vCPU.
 *  - Floating point and vector registers may be used, and lose their contents between polls
 *    as in any function call. Whoever changes the rounding mode changes it back.
 *  - Thread-local variables, errno included, are those of the thread that spawned the
 *    task, or that waits in pg_block_on(). That thread must live as long. A task that is spawned
 *    by a task gets the same.
 *  - A fault ends the program with a fault report, as in a thread ("in a task").
 *
 * Which vCPU
 *
 *  Everything here may be called on any vCPU, in tasks and in threads, but for what a
 *  future's own poll and drop call. One task is never polled twice at a time, but may
 *  be polled on another vCPU the next time: don't keep pg_this_cpu() across an await. Two tasks
 *  do run at the same time on two vCPUs: what they share needs atomics, a channel, a semaphore,
 *  or a struct pg_spinlock held for a few instructions. A thread never takes a pg_spinlock:
 *  it may be interrupted while it holds it.
 *
 * Memory
 *
 *  Nothing is allocated for futures and tasks: embed them. They stay where they are until the
 *  task is done (core/task.h, Lifetime). A hypercall that was dropped (a timeout) still owns its
 *  struct and buffers until it is settled (core/hypercall.h); a task is not done before.
 */
#ifndef PAGURUS_H
#define PAGURUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/async.h"
#include "core/channel.h"
#include "core/combine.h"
#include "core/container.h"
#include "core/future.h"
#include "core/hypercall.h"
#include "core/semaphore.h"
#include "core/task.h"
#include "core/timer.h"
#include "core/waitq.h"
#include "statx.h"

/* ---- tasks ---- */

/*
 * A task of the application: 128 bytes. Use `task` with what core/task.h offers:
 *
 *	pg_task_wake(&t->task);			poll it soon
 *	pg_task_cancel(&t->task);		drop its future, and be done
 *	pg_join_init(&join, &t->task);		a future that is READY when it is done
 *	pg_task_cancelled(&t->task)		whether it was dropped; once it is done
 *
 * The rest is the kernel's.
 */
struct pg_app_task {
	struct pg_task task;
	struct pg_future outer;   /* sets the registers up, and polls ... */
	struct pg_future *future; /* ... the application's                */
	uint64_t fs_base;         /* thread-local variables              */
	void (*done)(struct pg_app_task *task);
};

/*
 * Run `future` as a task. `done`, or NULL, is called last thing, on the vCPU where the task
 * ended: it may free the task, or spawn it again. The memory of both is the kernel's until
 * the task is done. Threads and tasks; never fails.
 *
 * pg_spawn: on this vCPU, which is the cheapest. pg_spawn_anywhere: on a vCPU that is idle, else
 * on the next one in turn. pg_spawn_on: on vCPU `cpu`, modulo their number. Where a task
 * is polled later is the kernel's choice.
 */
void pg_spawn(struct pg_app_task *task, struct pg_future *future,
	      void (*done)(struct pg_app_task *task));
void pg_spawn_anywhere(struct pg_app_task *task, struct pg_future *future,
		       void (*done)(struct pg_app_task *task));
void pg_spawn_on(unsigned cpu, struct pg_app_task *task, struct pg_future *future,
		 void (*done)(struct pg_app_task *task));

/* How many vCPUs there are; and the one we are on, from 0. */
unsigned pg_cpus(void);
unsigned pg_this_cpu(void);

/* ---- from a thread to futures ---- */

#define PG_SYS_BLOCK_ON 0x50470000 /* Pagurus' own system call; Linux's numbers end far below */

/*
 * The calling thread waits until `future` is READY; others go on. 0, or -EFAULT (nothing was
 * polled) if `future` is not one. In threads only, never in a task.
 *
 * A hypercall that `future` has dropped may not be settled yet when this returns: pg_run()
 * waits for that too.
 */
static inline int64_t pg_block_on(struct pg_future *future)
{
	int64_t result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"((uint64_t)PG_SYS_BLOCK_ON), "D"(future)
			 : "rcx", "r11", "memory");
	return result;
}

/*
 * Run `future` as a task, and wait for its end, all of its hypercalls included. All of its
 * memory is the caller's again. In threads only.
 */
static inline void pg_run(struct pg_future *future)
{
	struct pg_app_task task;
	struct pg_join join;

	pg_spawn(&task, future, NULL);
	pg_join_init(&join, &task.task);
	(void)pg_block_on(&join.future);
}

/* ---- memory ---- */

/*
 * From the kernel's heap, an eighth of the machine's memory: for tasks, where malloc is not
 * possible. Tasks and threads. NULL when there is none. Aligned to 16 bytes, to 64 if `size` is
 * a multiple of 64 (as the size of whatever holds a task is), to a page above 3584 bytes. Contents
 * are undefined. Freeing what is not allocated ends the machine.
 */
void *pg_alloc(size_t size);
void *pg_alloc_zero(size_t size);
void *pg_alloc_aligned(size_t size, size_t align); /* a power of two up to 4096 */
void pg_free(void *p);

/* ---- time: CLOCK_MONOTONIC, in nanoseconds ---- */

uint64_t pg_now(void);

/* `ns` from now on, for deadlines; PG_NEVER if that is out of range. */
static inline uint64_t pg_after(uint64_t ns)
{
	uint64_t now = pg_now();

	return ns > PG_NEVER - now ? PG_NEVER : now + ns;
}

/* Sleep until a deadline: pg_sleep_init(); for a while: */
static inline void pg_sleep_for_init(struct pg_sleep *sleep, uint64_t ns)
{
	pg_sleep_init(sleep, pg_after(ns));
}

/*
 * ---- files ----
 *
 * Hypercalls, by name: prepare one of these, await `call.future`, look at `call.result`, which is
 * what Linux's system call would give, or a negative errno. core/hypercall.h has the rules for
 * those that are dropped; struct pg_settle is the future to await then.
 *
 * They work on handles of the loader, not on file descriptors of the C library; 0, 1 and 2 are the
 * console on both sides. Paths are absolute, name what --map shows, and stay in place until the
 * call is settled, like buffers. Flags are open(2)'s. Memory is checked: -EFAULT.
 */

static inline void pg_open_init(struct pg_hypercall *call, const char *path, uint64_t flags,
				uint32_t mode)
{
	pg_hypercall_init(call, PG_OP_OPENAT, 0, (uintptr_t)path, __builtin_strlen(path), flags,
			  mode);
}

/* At `offset`, or PG_OFFSET_STREAM: at the file's position, which moves. At most PG_IO_MAX bytes. */
static inline void pg_read_init(struct pg_hypercall *call, int32_t handle, void *buffer,
				size_t size, uint64_t offset)
{
	pg_hypercall_init(call, PG_OP_READ, handle, (uintptr_t)buffer, size, offset);
}

static inline void pg_write_init(struct pg_hypercall *call, int32_t handle, const void *buffer,
				 size_t size, uint64_t offset)
{
	pg_hypercall_init(call, PG_OP_WRITE, handle, (uintptr_t)buffer, size, offset);
}

/* Once asked, it is done, whether it was dropped or not. */
static inline void pg_close_init(struct pg_hypercall *call, int32_t handle)
{
	pg_hypercall_init(call, PG_OP_CLOSE, handle);
}

/* By path, following a symbolic link; or by handle. `mask`: what is wanted, PG_STATX_BASIC. */
static inline void pg_statx_init(struct pg_hypercall *call, const char *path, struct pg_statx *to,
				 uint32_t mask)
{
	pg_hypercall_init(call, PG_OP_STATX, -1, (uintptr_t)path, __builtin_strlen(path),
			  (uintptr_t)to, 0, mask);
}

static inline void pg_fstatx_init(struct pg_hypercall *call, int32_t handle, struct pg_statx *to,
				  uint32_t mask)
{
	pg_hypercall_init(call, PG_OP_STATX, handle, 0, 0, (uintptr_t)to, 0, mask);
}

#endif
