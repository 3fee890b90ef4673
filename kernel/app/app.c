/* What include/pagurus/pagurus.h promises: the application's tasks on the kernel's executors. */
#include "include/pagurus/pagurus.h"

#include "arch/x86_64/cpu.h"
#include "core/port.h"
#include "sys/syscall.h"
#include "sys/user.h"

_Static_assert(sizeof(struct pg_app_task) == 128, "as the header says");

/* ---- tasks: the application's code, called with the registers it expects ---- */

static enum pg_poll outer_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_app_task *task = pg_container_of(future, struct pg_app_task, outer);
	struct pg_cpu *cpu = pg_arch_app_begin(task->fs_base);
	enum pg_poll poll = pg_future_poll(task->future, waker);

	pg_arch_app_end(cpu);
	return poll;
}

static void outer_drop(struct pg_future *future)
{
	struct pg_app_task *task = pg_container_of(future, struct pg_app_task, outer);
	struct pg_cpu *cpu = pg_arch_app_begin(task->fs_base);

	pg_future_drop(task->future);
	pg_arch_app_end(cpu);
}

static void outer_done(struct pg_task *inner)
{
	struct pg_app_task *task = pg_container_of(inner, struct pg_app_task, task);
	struct pg_cpu *cpu = pg_arch_app_begin(task->fs_base);

	task->done(task);
	/* The task may be gone. */
	pg_arch_app_end(cpu);
}

static void spawn(struct pg_executor *executor, struct pg_app_task *task, struct pg_future *future,
		  void (*done)(struct pg_app_task *task))
{
	static const struct pg_future_ops ops = { outer_poll, outer_drop };

	task->outer.ops = &ops;
	task->future = future;
	/* The calling thread's, or that of the thread that spawned the calling task. */
	task->fs_base = pg_arch_fs_base();
	task->done = done;
	pg_task_spawn(executor, &task->task, &task->outer, done ? outer_done : NULL);
}

void pg_spawn(struct pg_app_task *task, struct pg_future *future,
	      void (*done)(struct pg_app_task *task))
{
	spawn(pg_port_executor(), task, future, done);
}

void pg_spawn_on(unsigned cpu, struct pg_app_task *task, struct pg_future *future,
		 void (*done)(struct pg_app_task *task))
{
	spawn(&pg_cpu(cpu % pg_cpu_count)->executor, task, future, done);
}

void pg_spawn_anywhere(struct pg_app_task *task, struct pg_future *future,
		       void (*done)(struct pg_app_task *task))
{
	spawn(pg_thread_place(pg_cpu_mask()), task, future, done);
}

unsigned pg_cpus(void)
{
	return pg_cpu_count;
}

unsigned pg_this_cpu(void)
{
	return pg_cpu_self()->index;
}

uint64_t pg_now(void)
{
	return pg_port_now();
}

/* ---- a thread waits for a future ---- */

struct block_on_frame {
	struct pg_future outer;
	struct pg_future *future; /* the application's */
	uint64_t fs_base;
};

static enum pg_poll waited_poll(struct pg_future *future, struct pg_task *waker)
{
	struct block_on_frame *frame = pg_container_of(future, struct block_on_frame, outer);
	struct pg_cpu *cpu = pg_arch_app_begin(frame->fs_base);
	enum pg_poll poll = pg_future_poll(frame->future, waker);

	pg_arch_app_end(cpu);
	return poll;
}

static void waited_drop(struct pg_future *future)
{
	struct block_on_frame *frame = pg_container_of(future, struct block_on_frame, outer);
	struct pg_cpu *cpu = pg_arch_app_begin(frame->fs_base);

	pg_future_drop(frame->future);
	pg_arch_app_end(cpu);
}

/* What can be seen without calling it. */
static bool is_future(uint64_t address)
{
	struct pg_future future;
	struct pg_future_ops ops;

	return !pg_user_read(&future, address, sizeof(future)) &&
	       !pg_user_read(&ops, (uintptr_t)future.ops, sizeof(ops)) && ops.poll;
}

PG_WAITING_CALL(block_on, struct block_on_frame)
{
	static const struct pg_future_ops ops = { waited_poll, waited_drop };
	struct block_on_frame *frame = PG_FRAME(call, struct block_on_frame);

	PG_BEGIN(&call->async);
	if (!is_future(call->arg[0]))
		PG_FINISH(call, -EFAULT);
	frame->outer.ops = &ops;
	frame->future = (struct pg_future *)call->arg[0];
	frame->fs_base = pg_arch_fs_base();
	/*
	 * This poll is in place: a READY one goes straight back to the thread, whose vector
	 * registers stay in the processor. The next one is the executor's, which loads them.
	 * Dropped in between, the future is dropped too.
	 */
	call->async.awaiting = &frame->outer;
	PG_YIELD(&call->async, waker);
	PG_AWAIT(&call->async, &frame->outer, waker);
	PG_FINISH(call, 0);
}
