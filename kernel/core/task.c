#include "task.h"

#include "container.h"
#include "executor.h"
#include "trace.h"

void pg_task_enqueue(struct pg_task *task)
{
	struct pg_executor *here = pg_port_executor();

	pg_trace_wake(here, task);
	if (task->executor == here)
		pg_executor_push(here, task);
	else
		pg_executor_post(task->executor, task);
}

void pg_task_list_enqueue(struct pg_task_list *list)
{
	struct pg_task *task = list->head;

	while (task) {
		/* Enqueued, it may run elsewhere and end: read the link first. */
		struct pg_task *next = task->next;

		pg_task_enqueue(task);
		task = next;
	}
	list->head = NULL;
}

static void spawn(struct pg_executor *executor, struct pg_task *task, struct pg_future *future,
		  void (*done)(struct pg_task *task), uint32_t kind)
{
	struct pg_executor *here = pg_port_executor();

	/* Enqueueing publishes this to another vCPU. */
	atomic_init(&task->state, PG_TASK_QUEUED | kind);
	atomic_init(&task->pins, 0);
	task->future = future;
	task->executor = executor;
	task->done = done;
	pg_waitq_init(&task->joiners);
	/* Counters are written by their own vCPU only. */
	if (here)
		here->counters->tasks++;
	pg_trace_spawn(here, task);
	pg_task_enqueue(task);
}

void pg_task_spawn(struct pg_executor *executor, struct pg_task *task, struct pg_future *future,
		   void (*done)(struct pg_task *task))
{
	spawn(executor, task, future, done, 0);
}

void pg_task_spawn_user(struct pg_executor *executor, struct pg_task *task,
			struct pg_future *future, void (*done)(struct pg_task *task))
{
	spawn(executor, task, future, done, PG_TASK_USER);
}

void pg_task_wake(struct pg_task *task)
{
	if (pg_task_mark_queued(task) == PG_WAKE_ENQUEUE)
		pg_task_enqueue(task);
}

void pg_task_cancel(struct pg_task *task)
{
	if (pg_task_mark(task, PG_TASK_CANCEL | PG_TASK_QUEUED) == PG_WAKE_ENQUEUE)
		pg_task_enqueue(task);
}

void pg_task_complete(struct pg_task *task)
{
	void (*done)(struct pg_task *) = task->done;
	struct pg_task_list joiners = { 0 };
	/* Relaxed: only the executor changes it. */
	uint32_t dropped =
		atomic_load_explicit(&task->state, memory_order_relaxed) & PG_TASK_DROPPED;

	/*
	 * A joiner looks at DONE under this lock. So it finds the bit either before
	 * it is queued here, or after we have let go of the task for good.
	 */
	pg_spin_lock(&task->joiners.lock);
	atomic_store_explicit(&task->state, PG_TASK_DONE | dropped, memory_order_release);
	pg_waitq_notify_locked(&task->joiners, SIZE_MAX, PG_NOTIFIED_ALL, &joiners);
	pg_spin_unlock(&task->joiners.lock);
	/* Without a done callback, the task may be gone from here on. */
	pg_task_list_enqueue(&joiners);
	if (done)
		done(task);
}

static enum pg_poll join_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_join *join = pg_container_of(future, struct pg_join, future);
	struct pg_task *task = join->task;
	enum pg_poll poll = PG_PENDING;

	pg_spin_lock(&task->joiners.lock);
	/* Relaxed: the lock orders it. */
	if (atomic_load_explicit(&task->state, memory_order_relaxed) & PG_TASK_DONE) {
		/* Completion has taken our waiter out. */
		poll = PG_READY;
	} else {
		pg_waitq_add_locked(&task->joiners, &join->waiter, waker);
	}
	pg_spin_unlock(&task->joiners.lock);
	return poll;
}

static void join_drop(struct pg_future *future)
{
	struct pg_join *join = pg_container_of(future, struct pg_join, future);

	pg_waitq_remove(&join->task->joiners, &join->waiter);
}

static const struct pg_future_ops join_ops = { join_poll, join_drop };

void pg_join_init(struct pg_join *join, struct pg_task *task)
{
	join->future.ops = &join_ops;
	join->task = task;
	pg_waiter_init(&join->waiter);
}
