#include "timer.h"

#include "container.h"
#include "executor.h"
#include "port.h"
#include "task.h"

/* Join two heaps whose roots have no siblings. */
static struct pg_timer *meld(struct pg_timer *a, struct pg_timer *b)
{
	if (b->deadline < a->deadline) {
		struct pg_timer *earlier = b;

		b = a;
		a = earlier;
	}
	b->next = a->child;
	if (b->next)
		b->next->prev = b;
	b->prev = a;
	a->child = b;
	return a;
}

/* Join a list of siblings into one heap: in pairs, then the pairs from last to first. */
static struct pg_timer *meld_siblings(struct pg_timer *first)
{
	struct pg_timer *pairs = NULL;
	struct pg_timer *root = NULL;

	while (first) {
		struct pg_timer *a = first;
		struct pg_timer *b = a->next;

		first = b ? b->next : NULL;
		a->next = NULL;
		a->prev = NULL;
		if (b) {
			b->next = NULL;
			b->prev = NULL;
			a = meld(a, b);
		}
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct pg_timer *pair = pairs;

		pairs = pair->next;
		pair->next = NULL;
		root = root ? meld(root, pair) : pair;
	}
	return root;
}

void pg_timer_add(struct pg_timers *timers, struct pg_timer *timer)
{
	timer->child = NULL;
	timer->next = NULL;
	timer->prev = NULL;
	timer->armed = true;
	timers->first = timers->first ? meld(timers->first, timer) : timer;
}

void pg_timer_remove(struct pg_timers *timers, struct pg_timer *timer)
{
	struct pg_timer *orphans = meld_siblings(timer->child);

	timer->armed = false;
	if (timer == timers->first) {
		timers->first = orphans;
		return;
	}
	/* Cut it, with what lies below, out of its siblings. */
	if (timer->prev->child == timer)
		timer->prev->child = timer->next;
	else
		timer->prev->next = timer->next;
	if (timer->next)
		timer->next->prev = timer->prev;
	if (orphans)
		timers->first = meld(timers->first, orphans);
}

size_t pg_timers_expire(struct pg_timers *timers, uint64_t now)
{
	size_t fired = 0;

	while (timers->first && timers->first->deadline <= now &&
	       timers->first->deadline != PG_NEVER) {
		struct pg_timer *timer = timers->first;
		struct pg_task *task = timer->task;
		enum pg_wake wake;

		pg_timer_remove(timers, timer);
		/* Mark, unpin, enqueue: between mark and enqueue the task is ours, or is not looked at. */
		wake = pg_task_mark_queued(task);
		pg_task_unpin(task);
		if (wake == PG_WAKE_ENQUEUE)
			pg_executor_push_soon(task->executor, task);
		fired++;
	}
	return fired;
}

static enum pg_poll sleep_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_sleep *sleep = pg_container_of(future, struct pg_sleep, future);
	struct pg_timer *timer = &sleep->timer;

	/* Armed: neither due yet nor in need of anything. This poll is a spurious one. */
	if (timer->armed)
		return PG_PENDING;
	/* A task is there: the timer was armed, and has fired. */
	if (timer->task)
		return PG_READY;
	if (timer->deadline != PG_NEVER && timer->deadline <= pg_port_now())
		return PG_READY;
	timer->task = waker;
	pg_task_pin(waker);
	pg_timer_add(&waker->executor->timers, timer);
	return PG_PENDING;
}

static void sleep_drop(struct pg_future *future)
{
	struct pg_sleep *sleep = pg_container_of(future, struct pg_sleep, future);

	/* Armed, so the task is pinned, and this is its executor. */
	if (sleep->timer.armed) {
		pg_timer_remove(&sleep->timer.task->executor->timers, &sleep->timer);
		pg_task_unpin(sleep->timer.task);
	}
}

static const struct pg_future_ops sleep_ops = { sleep_poll, sleep_drop };

void pg_sleep_init(struct pg_sleep *sleep, uint64_t deadline)
{
	*sleep = (struct pg_sleep){ .future.ops = &sleep_ops, .timer.deadline = deadline };
}
