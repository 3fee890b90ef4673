#include "wait_files.h"

#include "core/container.h"
#include "core/port.h"
#include "core/task.h"
#include "lib/errno.h"
#include "linux.h"
#include "mm/heap.h"

/* Told whether asked for or not. */
#define ALWAYS (PG_POLLERR | PG_POLLHUP)

int pg_wait_files_alloc(struct pg_wait_files *wait, uint32_t count)
{
	if (!count)
		return 0;
	wait->file = pg_alloc_zero(count * sizeof(*wait->file));
	if (!wait->file)
		return -ENOMEM;
	wait->count = count;
	return 0;
}

void pg_wait_files_set(struct pg_wait_files *wait, uint32_t index, struct pg_file *file,
		       uint32_t events)
{
	struct pg_wait_file *entry = &wait->file[index];

	entry->file = file;
	events |= ALWAYS;
	if (!file->ops->ready.poll) {
		entry->revents = events & (PG_POLLIN | PG_POLLOUT | PG_POLLRDNORM | PG_POLLWRNORM);
		return;
	}
	entry->ready.future.ops = &file->ops->ready;
	entry->ready.file = file;
	entry->ready.events = events;
	entry->asks = true;
	wait->loaders += file->handle >= 0;
}

void pg_wait_files_free(struct pg_wait_files *wait)
{
	for (uint32_t i = 0; i < wait->count; i++)
		pg_file_put(wait->file[i].file);
	pg_free(wait->file);
	wait->file = NULL;
	wait->count = 0;
}

static bool is_loaders(const struct pg_wait_file *entry)
{
	return entry->file && entry->file->handle >= 0;
}

static bool found_any(const struct pg_wait_files *wait)
{
	for (uint32_t i = 0; i < wait->count; i++) {
		if (wait->file[i].revents)
			return true;
	}
	return false;
}

/* ---- waiting for any of them ---- */

static void any_drop(struct pg_future *future)
{
	struct pg_wait_files *wait = pg_container_of(future, struct pg_wait_files, any);

	for (uint32_t i = 0; i < wait->count; i++) {
		struct pg_wait_file *entry = &wait->file[i];

		if (entry->waiting)
			pg_future_drop(&entry->ready.future);
		entry->waiting = false;
	}
	pg_alarm_drop(&wait->alarm);
}

static void poll_entry(struct pg_wait_file *entry, struct pg_task *waker)
{
	entry->waiting = pg_future_poll(&entry->ready.future, waker) == PG_PENDING;
	if (!entry->waiting) {
		entry->asks = false;
		entry->revents = entry->ready.revents;
	}
}

/* With too many of the loader's: until the others are ready, or the next round is due. */
static uint64_t end_of_wait(const struct pg_wait_files *wait)
{
	if (wait->rounds && wait->round_end < wait->deadline)
		return wait->round_end;
	return wait->deadline;
}

static enum pg_poll any_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_wait_files *wait = pg_container_of(future, struct pg_wait_files, any);
	bool over = false;

	for (uint32_t i = 0; i < wait->count; i++) {
		struct pg_wait_file *entry = &wait->file[i];

		if (entry->asks && !(wait->rounds && is_loaders(entry)))
			poll_entry(entry, waker);
		over |= entry->revents != 0;
	}
	if (!over)
		over = pg_alarm_poll(&wait->alarm, end_of_wait(wait), waker) == PG_READY;
	if (!over)
		return PG_PENDING;
	any_drop(future);
	return PG_READY;
}

static const struct pg_future_ops any_ops = { any_poll, any_drop };

/* ---- asking all, without waiting ---- */

static void ask_at_once(struct pg_wait_files *wait, struct pg_task *waker)
{
	wait->again = false;
	for (uint32_t i = 0; i < wait->count; i++) {
		struct pg_wait_file *entry = &wait->file[i];

		if (!entry->asks)
			continue;
		poll_entry(entry, waker);
		if (!entry->waiting)
			continue;
		pg_future_drop(&entry->ready.future);
		entry->waiting = false;
		/* Without room on the ring the loader has not been asked: in the next round. */
		entry->asks = is_loaders(entry) && entry->ready.call.result == -ECANCELED &&
			      entry->ready.call.state == PG_HYPERCALL_COMPLETED;
		wait->again |= entry->asks;
		if (entry->asks)
			entry->ready.call.state = PG_HYPERCALL_NEW;
	}
}

/* Settled: the answer may have been on its way when it was dropped. */
static void take_answer(struct pg_wait_file *entry)
{
	const struct pg_hypercall *call = &entry->ready.call;

	if (is_loaders(entry) && entry->revents == 0 && call->state == PG_HYPERCALL_COMPLETED &&
	    call->result > 0)
		entry->revents = (uint32_t)call->result;
}

void pg_wait_files_dropped(struct pg_wait_files *wait)
{
	for (uint32_t i = 0; i < wait->count; i++)
		take_answer(&wait->file[i]);
}

/* Those that have not said anything may be asked anew. */
static void ask_again(struct pg_wait_files *wait)
{
	for (uint32_t i = 0; i < wait->count; i++) {
		struct pg_wait_file *entry = &wait->file[i];

		if (!entry->ready.future.ops || entry->revents)
			continue;
		entry->asks = true;
		entry->ready.call.state = PG_HYPERCALL_NEW;
	}
}

PG_ASYNC static enum pg_poll wait_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_wait_files *wait = pg_container_of(future, struct pg_wait_files, async.future);

	PG_BEGIN(&wait->async);
	for (;;) {
		if (wait->at_once) {
			do {
				ask_at_once(wait, waker);
				for (wait->next = 0; wait->next < wait->count; wait->next++) {
					pg_settle_init(&wait->settle,
						       &wait->file[wait->next].ready.call);
					PG_AWAIT(&wait->async, &wait->settle.future, waker);
					take_answer(&wait->file[wait->next]);
				}
				if (wait->again)
					PG_YIELD(&wait->async, waker);
			} while (wait->again);
			if (wait->deadline == 0 || found_any(wait) ||
			    pg_port_now() >= wait->deadline)
				break;
			ask_again(wait);
			wait->round_end = pg_port_now() + PG_WAIT_ROUND;
		}
		PG_AWAIT(&wait->async, &wait->any, waker);
		for (wait->next = 0; wait->next < wait->count; wait->next++) {
			pg_settle_init(&wait->settle, &wait->file[wait->next].ready.call);
			PG_AWAIT(&wait->async, &wait->settle.future, waker);
			take_answer(&wait->file[wait->next]);
		}
		if (!wait->at_once)
			break;
	}
	PG_END(&wait->async);
}

static const struct pg_future_ops wait_ops = { wait_poll, pg_async_drop };

void pg_wait_files_start(struct pg_wait_files *wait)
{
	pg_async_init(&wait->async, &wait_ops);
	wait->any.ops = &any_ops;
	wait->rounds = wait->loaders > PG_WAIT_ASKED;
	wait->at_once = wait->rounds || wait->deadline == 0;
}
