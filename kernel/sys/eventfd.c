/*
 * eventfd: a 64-bit counter to wait on. One lock; a reader waits while the counter is 0, a
 * writer while it has no room for what it adds. As in pipe.c, whoever was served wakes the
 * next one that can go on.
 */
#include "core/container.h"
#include "events.h"
#include "fd.h"
#include "io.h"
#include "linux.h"
#include "mm/heap.h"
#include "syscall.h"

#define EFD_SEMAPHORE 1u

/* The counter never gets higher; written values may be as high. */
#define COUNT_MAX (UINT64_MAX - 1)

struct eventfd {
	struct pg_file file;
	struct pg_spinlock lock;
	struct pg_waitq readers, writers; /* by `lock`, not their own */
	_Atomic uint64_t count;           /* relaxed: under the lock, or see events.h */
	bool semaphore;
};

static struct eventfd *eventfd_of(const struct pg_file *file)
{
	return pg_container_of(file, struct eventfd, file);
}

static uint64_t count_of(const struct eventfd *eventfd)
{
	return atomic_load_explicit(&eventfd->count, memory_order_relaxed);
}

/* What the counter allows now. The lock is held. */
static void changed(struct eventfd *eventfd, struct pg_task_list *wake)
{
	uint64_t count = count_of(eventfd);

	pg_events_changed_locked(&eventfd->file, wake);
	if (count && eventfd->readers.head)
		pg_waitq_notify_locked(&eventfd->readers, 1, PG_NOTIFIED_ONE, wake);
	/* It may need more room than there is: then it waits on. */
	if (count < COUNT_MAX && eventfd->writers.head)
		pg_waitq_notify_locked(&eventfd->writers, SIZE_MAX, PG_NOTIFIED_ALL, wake);
}

/* True if `*value` was taken out, or added. Otherwise the waiter is queued, unless `try`. */
static bool take_or_add(struct eventfd *eventfd, struct pg_io *io, uint64_t *value, bool try,
			struct pg_task *waker)
{
	struct pg_waitq *queue = io->write ? &eventfd->writers : &eventfd->readers;
	struct pg_task_list wake = { 0 };
	uint64_t count;
	bool can;

	pg_spin_lock(&eventfd->lock);
	count = count_of(eventfd);
	can = io->write ? *value <= COUNT_MAX - count : count > 0;
	pg_waitq_remove_locked(queue, &io->waiter);
	if (can) {
		if (!io->write)
			*value = eventfd->semaphore ? 1 : count;
		atomic_store_explicit(&eventfd->count, io->write ? count + *value : count - *value,
				      memory_order_relaxed);
		changed(eventfd, &wake);
	} else if (!try) {
		pg_waitq_add_locked(queue, &io->waiter, waker);
	}
	pg_spin_unlock(&eventfd->lock);
	pg_task_list_enqueue(&wake);
	if (can)
		pg_events_tell(&eventfd->file, io->write ? PG_POLLIN : PG_POLLOUT);
	return can;
}

static enum pg_poll read_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_io *io = pg_container_of(future, struct pg_io, async.future);
	bool try = pg_file_flags(io->file) & PG_O_NONBLOCK;
	uint64_t value;

	if (pg_io_bytes(io) < sizeof(value) && io->vector_count == 0) {
		io->result = -EINVAL;
	} else if (take_or_add(eventfd_of(io->file), io, &value, try, waker)) {
		int code = pg_io_copy(io, &value, sizeof(value));

		/* What was taken is lost then, as on Linux. */
		if (code)
			io->result = code;
	} else if (try) {
		io->result = -EAGAIN;
	} else {
		return PG_PENDING;
	}
	return PG_READY;
}

static enum pg_poll write_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_io *io = pg_container_of(future, struct pg_io, async.future);
	bool try = pg_file_flags(io->file) & PG_O_NONBLOCK;

	if (!io->sure) {
		int code = pg_io_copy(io, &io->asked, sizeof(io->asked));

		if (!code && io->asked == UINT64_MAX)
			code = -EINVAL;
		if (code) {
			io->result = code;
			return PG_READY;
		}
		io->sure = true; /* `asked` is the value */
	}
	/* Interrupted while it waits, it has done nothing, though the value was copied. */
	io->result = 0;
	if (take_or_add(eventfd_of(io->file), io, &io->asked, try, waker))
		io->result = sizeof(io->asked);
	else if (try)
		io->result = -EAGAIN;
	else
		return PG_PENDING;
	return PG_READY;
}

static void drop(struct pg_future *future)
{
	struct pg_io *io = pg_container_of(future, struct pg_io, async.future);
	struct eventfd *eventfd = eventfd_of(io->file);
	struct pg_task_list wake = { 0 };

	pg_spin_lock(&eventfd->lock);
	if (pg_waitq_remove_locked(io->write ? &eventfd->writers : &eventfd->readers, &io->waiter))
		changed(eventfd, &wake);
	pg_spin_unlock(&eventfd->lock);
	pg_task_list_enqueue(&wake);
}

static uint32_t events(struct pg_file *file)
{
	uint64_t count = count_of(eventfd_of(file));

	return (count ? PG_POLLIN : 0) | (count < COUNT_MAX ? PG_POLLOUT : 0);
}

static void release(struct pg_file *file)
{
	pg_free(eventfd_of(file));
}

static const struct pg_file_ops ops = {
	.read = { read_poll, drop },
	.write = { write_poll, drop },
	.ready = PG_EVENTS_READY,
	.stat = pg_events_stat,
	.seeks_to_0 = true,
	.release = release,
	.events = events,
};

static int64_t make_eventfd(uint32_t count, uint32_t flags)
{
	struct eventfd *eventfd;

	if (flags & ~(EFD_SEMAPHORE | PG_O_CLOEXEC | PG_O_NONBLOCK))
		return -EINVAL;
	eventfd = pg_alloc_zero(sizeof(*eventfd));
	if (!eventfd)
		return -ENOMEM;
	pg_file_init(&eventfd->file, &ops, PG_O_RDWR | (flags & PG_O_NONBLOCK));
	eventfd->file.lock = &eventfd->lock;
	pg_spin_init(&eventfd->lock);
	atomic_init(&eventfd->count, count);
	eventfd->semaphore = flags & EFD_SEMAPHORE;
	return pg_events_install(&eventfd->file, flags & PG_O_CLOEXEC);
}

PG_CALL(eventfd)
{
	return make_eventfd((uint32_t)arg[0], 0);
}

PG_CALL(eventfd2)
{
	return make_eventfd((uint32_t)arg[0], (uint32_t)arg[1]);
}
