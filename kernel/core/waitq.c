#include "waitq.h"

#include <stdint.h>

#include "container.h"
#include "task.h"

static void unlink_waiter(struct pg_waitq *queue, struct pg_waiter *waiter)
{
	if (waiter->prev)
		waiter->prev->next = waiter->next;
	else
		queue->head = waiter->next;
	if (waiter->next)
		waiter->next->prev = waiter->prev;
	else
		queue->tail = waiter->prev;
	waiter->next = NULL;
	waiter->prev = NULL;
	waiter->queued = false;
}

void pg_waitq_add_locked(struct pg_waitq *queue, struct pg_waiter *waiter, struct pg_task *task)
{
	if (waiter->queued)
		return;
	waiter->task = task;
	waiter->notified = PG_NOT_NOTIFIED;
	waiter->queued = true;
	waiter->next = NULL;
	waiter->prev = queue->tail;
	if (queue->tail)
		queue->tail->next = waiter;
	else
		queue->head = waiter;
	queue->tail = waiter;
}

bool pg_waitq_remove_locked(struct pg_waitq *queue, struct pg_waiter *waiter)
{
	bool chosen = waiter->notified == PG_NOTIFIED_ONE;

	if (waiter->queued)
		unlink_waiter(queue, waiter);
	waiter->notified = PG_NOT_NOTIFIED;
	waiter->task = NULL;
	return chosen;
}

size_t pg_waitq_notify_locked(struct pg_waitq *queue, size_t count, enum pg_notified how,
			      struct pg_task_list *wake)
{
	size_t notified = 0;

	for (; notified < count && queue->head; notified++) {
		struct pg_waiter *waiter = queue->head;

		unlink_waiter(queue, waiter);
		waiter->notified = how;
		if (pg_task_mark_queued(waiter->task) == PG_WAKE_ENQUEUE)
			pg_task_list_append(wake, waiter->task);
	}
	return notified;
}

void pg_waitq_add(struct pg_waitq *queue, struct pg_waiter *waiter, struct pg_task *task)
{
	pg_spin_lock(&queue->lock);
	pg_waitq_add_locked(queue, waiter, task);
	pg_spin_unlock(&queue->lock);
}

bool pg_waitq_remove(struct pg_waitq *queue, struct pg_waiter *waiter)
{
	bool chosen;

	/* Ours alone until it is added: no lock. */
	if (!waiter->task)
		return false;
	pg_spin_lock(&queue->lock);
	chosen = pg_waitq_remove_locked(queue, waiter);
	pg_spin_unlock(&queue->lock);
	return chosen;
}

static size_t wake(struct pg_waitq *queue, size_t count, enum pg_notified how)
{
	struct pg_task_list list = { 0 };
	size_t notified;

	pg_spin_lock(&queue->lock);
	notified = pg_waitq_notify_locked(queue, count, how, &list);
	pg_spin_unlock(&queue->lock);
	pg_task_list_enqueue(&list);
	return notified;
}

size_t pg_waitq_wake_n(struct pg_waitq *queue, size_t count)
{
	return wake(queue, count, PG_NOTIFIED_ONE);
}

size_t pg_waitq_wake_one(struct pg_waitq *queue)
{
	return wake(queue, 1, PG_NOTIFIED_ONE);
}

size_t pg_waitq_wake_all(struct pg_waitq *queue)
{
	return wake(queue, SIZE_MAX, PG_NOTIFIED_ALL);
}

static enum pg_poll wait_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_wait *wait = pg_container_of(future, struct pg_wait, future);
	enum pg_poll poll = PG_PENDING;

	/* The lock also makes sure that whoever notified us is through with the waiter. */
	pg_spin_lock(&wait->queue->lock);
	if (wait->waiter.notified != PG_NOT_NOTIFIED) {
		pg_waitq_remove_locked(wait->queue, &wait->waiter);
		poll = PG_READY;
	} else {
		pg_waitq_add_locked(wait->queue, &wait->waiter, waker);
	}
	pg_spin_unlock(&wait->queue->lock);
	return poll;
}

static void wait_drop(struct pg_future *future)
{
	struct pg_wait *wait = pg_container_of(future, struct pg_wait, future);

	if (pg_waitq_remove(wait->queue, &wait->waiter))
		pg_waitq_wake_one(wait->queue);
}

static const struct pg_future_ops wait_ops = { wait_poll, wait_drop };

void pg_wait_init(struct pg_wait *wait, struct pg_waitq *queue)
{
	wait->future.ops = &wait_ops;
	wait->queue = queue;
	pg_waiter_init(&wait->waiter);
}

void pg_wait_start(struct pg_wait *wait, struct pg_task *waker)
{
	pg_waitq_add(wait->queue, &wait->waiter, waker);
}

static enum pg_poll wait_until_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_wait_until *wait = pg_container_of(future, struct pg_wait_until, future);

	if (!wait->ready(wait->argument)) {
		pg_waitq_add(wait->queue, &wait->waiter, waker);
		if (!wait->ready(wait->argument))
			return PG_PENDING;
	}
	/* A notification that came as well was for what we have just taken. */
	pg_waitq_remove(wait->queue, &wait->waiter);
	return PG_READY;
}

static void wait_until_drop(struct pg_future *future)
{
	struct pg_wait_until *wait = pg_container_of(future, struct pg_wait_until, future);

	if (pg_waitq_remove(wait->queue, &wait->waiter))
		pg_waitq_wake_one(wait->queue);
}

static const struct pg_future_ops wait_until_ops = { wait_until_poll, wait_until_drop };

void pg_wait_until_init(struct pg_wait_until *wait, struct pg_waitq *queue,
			bool (*ready)(void *argument), void *argument)
{
	wait->future.ops = &wait_until_ops;
	wait->queue = queue;
	pg_waiter_init(&wait->waiter);
	wait->ready = ready;
	wait->argument = argument;
}
