#include "semaphore.h"

#include "container.h"
#include "task.h"

void pg_semaphore_init(struct pg_semaphore *semaphore, size_t permits)
{
	pg_waitq_init(&semaphore->waiters);
	semaphore->permits = permits;
}

/* With the lock held. Nobody waits while permits are free, so nobody is overtaken. */
static bool take(struct pg_semaphore *semaphore)
{
	if (semaphore->permits == 0)
		return false;
	semaphore->permits--;
	return true;
}

bool pg_semaphore_try(struct pg_semaphore *semaphore)
{
	bool taken;

	pg_spin_lock(&semaphore->waiters.lock);
	taken = take(semaphore);
	pg_spin_unlock(&semaphore->waiters.lock);
	return taken;
}

void pg_semaphore_release(struct pg_semaphore *semaphore)
{
	struct pg_task_list wake = { 0 };

	pg_spin_lock(&semaphore->waiters.lock);
	/* The notification is the permit. */
	if (!pg_waitq_notify_locked(&semaphore->waiters, 1, PG_NOTIFIED_ONE, &wake))
		semaphore->permits++;
	pg_spin_unlock(&semaphore->waiters.lock);
	pg_task_list_enqueue(&wake);
}

static enum pg_poll acquire_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_acquire *acquire = pg_container_of(future, struct pg_acquire, future);
	struct pg_semaphore *semaphore = acquire->semaphore;
	enum pg_poll poll = PG_PENDING;

	pg_spin_lock(&semaphore->waiters.lock);
	if (acquire->waiter.notified == PG_NOTIFIED_ONE) {
		pg_waitq_remove_locked(&semaphore->waiters, &acquire->waiter);
		poll = PG_READY;
	} else if (!acquire->waiter.queued && take(semaphore)) {
		poll = PG_READY;
	} else {
		pg_waitq_add_locked(&semaphore->waiters, &acquire->waiter, waker);
	}
	pg_spin_unlock(&semaphore->waiters.lock);
	return poll;
}

static void acquire_drop(struct pg_future *future)
{
	struct pg_acquire *acquire = pg_container_of(future, struct pg_acquire, future);

	if (pg_waitq_remove(&acquire->semaphore->waiters, &acquire->waiter))
		pg_semaphore_release(acquire->semaphore);
}

void pg_acquire_init(struct pg_acquire *acquire, struct pg_semaphore *semaphore)
{
	static const struct pg_future_ops ops = { acquire_poll, acquire_drop };

	*acquire = (struct pg_acquire){ .future.ops = &ops, .semaphore = semaphore };
}
