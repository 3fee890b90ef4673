/*
 * Wait queues: any number of tasks that wait for the same thing, on any vCPUs.
 *
 * To wait for a condition without losing a wake-up, inside poll():
 *
 *	1. pg_waitq_add(queue, &waiter, waker);
 *	2. look at the condition;
 *	3. if it holds: pg_waitq_remove(queue, &waiter), and go on; else PENDING.
 *
 * and to wake: make the condition true, then call pg_waitq_wake_*(). Both calls take
 * the queue's lock: either the waker comes second and finds the waiter, or the
 * waiter comes second and, by the order the lock gives, finds the condition true.
 * Looking before adding as well is only a shortcut. struct pg_wait_until does all this.
 *
 * A wake-up for one is not lost with its receiver: a waiter that was chosen by
 * pg_waitq_wake_one() and is dropped before it was polled passes it on.
 *
 * Lifetime. A waiter points at its task, and a task removes its waiters before it
 * is done. So under the lock every queued waiter's task is alive. Wakers use it
 * under the lock, and what they have to enqueue, they own: a task that is marked as
 * queued and in no queue yet can't run, and so can't end (see task.h). Tasks are
 * enqueued, and vCPUs kicked, after the lock was released.
 */
#ifndef PG_CORE_WAITQ_H
#define PG_CORE_WAITQ_H

#include <stdbool.h>
#include <stddef.h>

#include "future.h"
#include "spinlock.h"

struct pg_task_list;

enum pg_notified {
	PG_NOT_NOTIFIED,
	PG_NOTIFIED_ONE, /* chosen among the waiters: passes on what it doesn't use */
	PG_NOTIFIED_ALL,
};

/* Owned by the waiting future. While queued, fields change under the queue's lock only. */
struct pg_waiter {
	struct pg_task *task; /* changed by the owner only; NULL: not added    */
	struct pg_waiter *next;
	struct pg_waiter *prev;
	bool queued;
	enum pg_notified notified;
};

struct pg_waitq {
	struct pg_spinlock lock;
	struct pg_waiter *head; /* waits longest */
	struct pg_waiter *tail;
};

static inline void pg_waitq_init(struct pg_waitq *queue)
{
	pg_spin_init(&queue->lock);
	queue->head = NULL;
	queue->tail = NULL;
}

static inline void pg_waiter_init(struct pg_waiter *waiter)
{
	*waiter = (struct pg_waiter){ 0 };
}

/*
 * Queue `waiter` at the end for `task`, and forget an earlier notification; no
 * change if it is queued already. On the vCPU of the task.
 */
void pg_waitq_add(struct pg_waitq *queue, struct pg_waiter *waiter, struct pg_task *task);

/*
 * Take `waiter` out, wherever it is; allowed if it never was added. Returns true
 * when it had been chosen by wake_one or wake_n: a caller that makes no use of that
 * wakes another one. On the vCPU of the task.
 */
bool pg_waitq_remove(struct pg_waitq *queue, struct pg_waiter *waiter);

/* Wake up to `count` waiters, the longest waiting first. Returns how many. Any vCPU. */
size_t pg_waitq_wake_n(struct pg_waitq *queue, size_t count);
size_t pg_waitq_wake_one(struct pg_waitq *queue);
size_t pg_waitq_wake_all(struct pg_waitq *queue);

/* For callers that hold the lock, in order to look at a condition it guards as well. */
void pg_waitq_add_locked(struct pg_waitq *queue, struct pg_waiter *waiter, struct pg_task *task);
bool pg_waitq_remove_locked(struct pg_waitq *queue, struct pg_waiter *waiter);

/*
 * Notify up to `count` waiters. The tasks that have to be enqueued are appended to
 * `wake`: give it to pg_task_list_enqueue() after the lock was released.
 */
size_t pg_waitq_notify_locked(struct pg_waitq *queue, size_t count, enum pg_notified how,
			      struct pg_task_list *wake);

/*
 * READY when notified. It waits from its first poll, or from pg_wait_start(), which
 * lets the caller look at a condition before it polls (drop it if the condition holds).
 */
struct pg_wait {
	struct pg_future future;
	struct pg_waitq *queue;
	struct pg_waiter waiter;
};

void pg_wait_init(struct pg_wait *wait, struct pg_waitq *queue);
void pg_wait_start(struct pg_wait *wait, struct pg_task *waker);

/*
 * READY when ready(argument) is true: looked at on each poll. ready() may take what
 * it finds (a lock, an item): after it returned true it is not called again. It runs without
 * the queue's lock held.
 */
struct pg_wait_until {
	struct pg_future future;
	struct pg_waitq *queue;
	struct pg_waiter waiter;
	bool (*ready)(void *argument);
	void *argument;
};

void pg_wait_until_init(struct pg_wait_until *wait, struct pg_waitq *queue,
			bool (*ready)(void *argument), void *argument);

#endif
