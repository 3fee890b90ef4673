#include "file.h"

#include "core/container.h"
#include "core/port.h"
#include "core/spinlock.h"
#include "core/task.h"
#include "events.h"
#include "mm/heap.h"
#include "path.h"

void pg_file_init(struct pg_file *file, const struct pg_file_ops *ops, uint32_t flags)
{
	*file = (struct pg_file){ .ops = ops, .opened = flags, .handle = -1 };
	atomic_init(&file->refs, 1);
	atomic_init(&file->flags, flags);
}

struct pg_file *pg_file_new(const struct pg_file_ops *ops, uint32_t flags)
{
	struct pg_file *file = pg_alloc(sizeof(*file));

	if (file)
		pg_file_init(file, ops, flags);
	return file;
}

struct pg_file *pg_file_ref(struct pg_file *file)
{
	/* Relaxed: there is a reference already, the caller's or the descriptor's. */
	atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
	return file;
}

bool pg_file_try_ref(struct pg_file *file)
{
	uint32_t refs = atomic_load_explicit(&file->refs, memory_order_relaxed);

	/* Relaxed: the lock under which it was found orders the rest. */
	while (refs) {
		if (atomic_compare_exchange_weak_explicit(&file->refs, &refs, refs + 1,
							  memory_order_relaxed,
							  memory_order_relaxed))
			return true;
	}
	return false;
}

bool pg_file_unref(struct pg_file *file)
{
	/* Release: what we did to it is done. Acquire: so is what anybody did. */
	if (atomic_fetch_sub_explicit(&file->refs, 1, memory_order_acq_rel) != 1)
		return false;
	/* Relaxed: whoever put it into an epoll had a reference. */
	if (atomic_load_explicit(&file->watched, memory_order_relaxed))
		pg_watch_forget(file);
	return true;
}

void pg_file_put(struct pg_file *file)
{
	if (file && pg_file_unref(file))
		file->ops->release(file);
}

void pg_file_free(struct pg_file *file)
{
	pg_path_put(file->path);
	pg_free(file);
}

/* ---- the reaper: closes handles nobody waits for, one after the other ---- */

static struct {
	struct pg_spinlock lock; /* guards the list and `running` */
	struct pg_file *first;
	bool running; /* the task is spawned, and not done */
	/* The task's own. */
	struct pg_task task;
	struct pg_async async;
	struct pg_file *file;
	struct pg_hypercall call;
} reaper;

static struct pg_file *next_file(void)
{
	struct pg_file *file;

	pg_spin_lock(&reaper.lock);
	file = reaper.first;
	if (file)
		reaper.first = file->next;
	pg_spin_unlock(&reaper.lock);
	return file;
}

PG_ASYNC static enum pg_poll reap(struct pg_future *future, struct pg_task *waker)
{
	PG_BEGIN(&reaper.async);
	while ((reaper.file = next_file())) {
		pg_hypercall_init(&reaper.call, PG_OP_CLOSE, reaper.file->handle);
		PG_AWAIT(&reaper.async, &reaper.call.future, waker);
		pg_file_free(reaper.file);
	}
	PG_END(&reaper.async);
}

static void reaped(struct pg_task *task);

static void spawn_reaper(void)
{
	static const struct pg_future_ops ops = { reap, pg_async_drop };

	pg_async_init(&reaper.async, &ops);
	pg_task_spawn(pg_port_executor(), &reaper.task, &reaper.async.future, reaped);
}

/* Files may have come after reap() saw none; the task's memory is ours again. */
static void reaped(struct pg_task *task)
{
	bool again;

	pg_spin_lock(&reaper.lock);
	again = reaper.first;
	reaper.running = again;
	pg_spin_unlock(&reaper.lock);
	if (again)
		spawn_reaper();
}

void pg_file_reap(struct pg_file *file)
{
	bool running;

	pg_spin_lock(&reaper.lock);
	file->next = reaper.first;
	reaper.first = file;
	running = reaper.running;
	reaper.running = true;
	pg_spin_unlock(&reaper.lock);
	if (!running)
		spawn_reaper();
}
