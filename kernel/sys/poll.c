/*
 * poll and ppoll: a future for each file, all of them polled, until one is ready or the time
 * is over. Then the others are dropped; those that had asked the loader are settled before
 * anything is told, since what came meanwhile counts too. With a timeout of 0 this asks the
 * loader, and takes that back at once: entries are taken in order, so it has looked.
 */
#include "core/container.h"
#include "core/port.h"
#include "core/timer.h"
#include "fd.h"
#include "file.h"
#include "linux.h"
#include "mm/heap.h"
#include "syscall.h"
#include "time.h"
#include "user.h"

/*
 * At most so many descriptors, since every file of the loader takes room on the ring.
 * More than fit there at a time wait, and are not seen to be ready before there is room.
 */
#define POLL_MAX 64

#define SECOND 1000000000ull

/* Told whether asked for or not. */
#define ALWAYS (PG_POLLERR | 0x010 /* POLLHUP */)

struct entry {
	struct pg_pollfd pollfd;
	bool waiting; /* `ready` is neither READY nor dropped */
	struct pg_file *file;
	struct pg_ready ready;
};

/* `entries` and their files belong to the frame. */
struct poll_frame {
	struct pg_future any; /* READY when there is something to tell */
	struct entry *entries;
	uint32_t count, next;
	bool timed, at_once;
	uint64_t deadline; /* 0: don't wait; PG_NEVER                        */
	struct pg_sleep sleep;
	struct pg_settle settle;
};

static void poll_cleanup(struct pg_syscall *call)
{
	struct poll_frame *frame = PG_FRAME(call, struct poll_frame);

	for (uint32_t i = 0; i < frame->count; i++)
		pg_file_put(frame->entries[i].file);
	pg_free(frame->entries);
}

/* ---- waiting ---- */

static void any_drop(struct pg_future *future)
{
	struct poll_frame *frame = pg_container_of(future, struct poll_frame, any);

	for (uint32_t i = 0; i < frame->count; i++) {
		struct entry *entry = &frame->entries[i];

		if (entry->waiting)
			pg_future_drop(&entry->ready.future);
		entry->waiting = false;
	}
	if (frame->timed)
		pg_future_drop(&frame->sleep.future);
	frame->timed = false;
}

static enum pg_poll any_poll(struct pg_future *future, struct pg_task *waker)
{
	struct poll_frame *frame = pg_container_of(future, struct poll_frame, any);
	bool over = frame->at_once;

	for (uint32_t i = 0; i < frame->count; i++) {
		struct entry *entry = &frame->entries[i];

		if (entry->waiting && pg_future_poll(&entry->ready.future, waker) == PG_READY) {
			entry->waiting = false;
			entry->pollfd.revents = (int16_t)entry->ready.revents;
		}
		over |= entry->pollfd.revents != 0;
	}
	if (frame->timed && pg_future_poll(&frame->sleep.future, waker) == PG_READY) {
		frame->timed = false;
		over = true;
	}
	if (!over)
		return PG_PENDING;
	any_drop(future);
	return PG_READY;
}

static const struct pg_future_ops any_ops = { any_poll, any_drop };

/* ---- start and end ---- */

/* What one descriptor is waited for; or what can be said of it already. */
static void start_entry(struct entry *entry)
{
	struct pg_pollfd *pollfd = &entry->pollfd;
	uint32_t events = (uint16_t)pollfd->events | ALWAYS;

	pollfd->revents = 0;
	if (pollfd->fd < 0)
		return;
	entry->file = pg_fd_get(pollfd->fd);
	if (!entry->file) {
		pollfd->revents = PG_POLLNVAL;
		return;
	}
	if (!entry->file->ops->ready.poll) {
		pollfd->revents = (int16_t)(events & (PG_POLLIN | PG_POLLOUT | PG_POLLRDNORM |
						      PG_POLLWRNORM));
		return;
	}
	entry->ready.future.ops = &entry->file->ops->ready;
	entry->ready.file = entry->file;
	entry->ready.events = events;
	entry->waiting = true;
}

static int64_t start(struct pg_syscall *call, struct poll_frame *frame)
{
	uint64_t address = call->arg[0];
	uint32_t count = (uint32_t)call->arg[1];

	if (count > POLL_MAX)
		return -EINVAL;
	if (count) {
		frame->entries = pg_alloc_zero(count * sizeof(*frame->entries));
		if (!frame->entries)
			return -ENOMEM;
	}
	call->cleanup = poll_cleanup;
	for (uint32_t i = 0; i < count; i++) {
		if (pg_user_read(&frame->entries[i].pollfd, address, sizeof(struct pg_pollfd)))
			return -EFAULT;
		address += sizeof(struct pg_pollfd);
	}
	frame->count = count;
	for (uint32_t i = 0; i < count; i++)
		start_entry(&frame->entries[i]);
	frame->any.ops = &any_ops;
	frame->at_once = frame->deadline == 0;
	frame->timed = frame->deadline != 0 && frame->deadline != PG_NEVER;
	if (frame->timed)
		pg_sleep_init(&frame->sleep, frame->deadline);
	return 0;
}

/* Everything is settled. The number of descriptors with events, which go to the program. */
static int64_t finish(struct pg_syscall *call, struct poll_frame *frame)
{
	uint64_t address = call->arg[0] + offsetof(struct pg_pollfd, revents);
	int64_t found = 0;

	for (uint32_t i = 0; i < frame->count; i++) {
		struct entry *entry = &frame->entries[i];
		const struct pg_hypercall *call_made = &entry->ready.call;
		int16_t *revents = &entry->pollfd.revents;

		/* Dropped, but the answer was on its way. */
		if (*revents == 0 && call_made->state == PG_HYPERCALL_COMPLETED &&
		    call_made->result > 0)
			*revents = (int16_t)call_made->result;
		if (pg_user_write(address, revents, sizeof(*revents)))
			return -EFAULT;
		found += *revents != 0;
		address += sizeof(struct pg_pollfd);
	}
	return found;
}

/*
 * A signal has interrupted it, and all is settled: what was found by then is told, since events
 * that a dropped operation has reported may not be reported again.
 */
static int64_t poll_interrupt(struct pg_syscall *call)
{
	int64_t found = finish(call, PG_FRAME(call, struct poll_frame));

	return found ? found : -EINTR;
}

/* frame->deadline is set. */
PG_ASYNC static enum pg_poll wait_for(struct pg_syscall *call, struct pg_task *waker)
{
	struct poll_frame *frame = PG_FRAME(call, struct poll_frame);
	int64_t code;

	PG_BEGIN(&call->async);
	code = start(call, frame);
	if (code)
		PG_FINISH(call, code);
	if (!call->interrupt)
		call->interrupt = poll_interrupt;
	PG_AWAIT(&call->async, &frame->any, waker);
	for (; frame->next < frame->count; frame->next++) {
		pg_settle_init(&frame->settle, &frame->entries[frame->next].ready.call);
		PG_AWAIT(&call->async, &frame->settle.future, waker);
	}
	PG_FINISH(call, finish(call, frame));
}

static bool first_poll(const struct pg_syscall *call)
{
	return !call->async.resume;
}

PG_WAITING_CALL(poll, struct poll_frame)
{
	struct poll_frame *frame = PG_FRAME(call, struct poll_frame);
	int32_t timeout = (int32_t)call->arg[2];

	if (first_poll(call) && timeout < 0)
		frame->deadline = PG_NEVER;
	else if (first_poll(call) && timeout > 0)
		frame->deadline = pg_time_after((uint64_t)timeout * 1000000);
	return wait_for(call, waker);
}

/* ---- ppoll ---- */

struct timespec {
	int64_t seconds, nanoseconds;
};

static int read_timeout(uint64_t address, uint64_t *deadline)
{
	struct timespec time;

	*deadline = PG_NEVER;
	if (!address)
		return 0;
	if (pg_user_read(&time, address, sizeof(time)))
		return -EFAULT;
	if (time.seconds < 0 || time.nanoseconds < 0 || time.nanoseconds >= (int64_t)SECOND)
		return -EINVAL;
	*deadline = 0;
	if (time.seconds || time.nanoseconds)
		*deadline = pg_time_after(
			pg_time_add((uint64_t)time.seconds, (uint64_t)time.nanoseconds));
	return 0;
}

/* As Linux does; that the program's timeout may be read-only is no error. */
static void write_time_left(uint64_t address, uint64_t deadline)
{
	uint64_t now = pg_port_now();
	uint64_t left = deadline > now ? deadline - now : 0;
	const struct timespec time = { (int64_t)(left / SECOND), (int64_t)(left % SECOND) };

	(void)pg_user_write(address, &time, sizeof(time));
}

static int64_t ppoll_interrupt(struct pg_syscall *call)
{
	struct poll_frame *frame = PG_FRAME(call, struct poll_frame);

	if (frame->deadline != PG_NEVER)
		write_time_left(call->arg[2], frame->deadline);
	return poll_interrupt(call);
}

/* ppoll(descriptors, count, timeout, mask, size of a mask) */
PG_WAITING_CALL(ppoll, struct poll_frame)
{
	struct poll_frame *frame = PG_FRAME(call, struct poll_frame);

	if (first_poll(call)) {
		int code = read_timeout(call->arg[2], &frame->deadline);

		if (!code && call->arg[3])
			code = pg_signal_mask_during(call, call->arg[3], call->arg[4]);
		if (code)
			PG_FINISH(call, code);
		call->interrupt = ppoll_interrupt;
	}
	if (wait_for(call, waker) == PG_PENDING)
		return PG_PENDING;
	if (frame->deadline != PG_NEVER)
		write_time_left(call->arg[2], frame->deadline);
	return PG_READY;
}
