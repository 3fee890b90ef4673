/*
 * timerfd: nothing ever fires. A timer is the time of its first expiration that was not read
 * yet, and its interval; how often it has expired is computed when somebody asks. Those
 * that wait have an alarm of their own for that time, and are all woken when it changes.
 *
 * The clock is never set, so TFD_TIMER_CANCEL_ON_SET has nothing to cancel.
 */
#include "core/container.h"
#include "core/port.h"
#include "events.h"
#include "fd.h"
#include "io.h"
#include "linux.h"
#include "mm/heap.h"
#include "syscall.h"
#include "time.h"
#include "timespec.h"
#include "user.h"

#define CLOCK_REALTIME  0
#define CLOCK_MONOTONIC 1
#define CLOCK_BOOTTIME  7

#define TFD_TIMER_ABSTIME       1u
#define TFD_TIMER_CANCEL_ON_SET 2u

struct timerfd {
	struct pg_file file;
	struct pg_spinlock lock;
	struct pg_waitq readers; /* by `lock`, not its own */
	/* CLOCK_MONOTONIC, or PG_NEVER. Relaxed: under the lock, or see events.h. */
	_Atomic uint64_t expires;
	uint64_t interval; /* 0: once */
	uint32_t clock;
};

struct itimerspec {
	struct pg_timespec interval, value;
};

static const struct pg_file_ops ops;

static struct timerfd *timerfd_of(const struct pg_file *file)
{
	return pg_container_of(file, struct timerfd, file);
}

static uint64_t expires(struct pg_file *file)
{
	return atomic_load_explicit(&timerfd_of(file)->expires, memory_order_relaxed);
}

static void set_expires(struct timerfd *timer, uint64_t time)
{
	atomic_store_explicit(&timer->expires, time, memory_order_relaxed);
}

/* Expirations between `first` and now, which is not before it; and when the next one is. */
static uint64_t count(const struct timerfd *timer, uint64_t first, uint64_t now, uint64_t *next)
{
	uint64_t times;

	*next = PG_NEVER;
	if (!timer->interval)
		return 1;
	times = 1 + (now - first) / timer->interval;
	/* Not beyond `now` by more than an interval, but that may be long. */
	if (__builtin_mul_overflow(times, timer->interval, next) ||
	    __builtin_add_overflow(*next, first, next))
		*next = PG_NEVER;
	return times;
}

/* ---- reading ---- */

/* The expirations since the last time; 0: none. The lock is held. */
static uint64_t take(struct timerfd *timer)
{
	uint64_t first = expires(&timer->file), now = pg_port_now(), next, times;

	if (first == PG_NEVER || first > now)
		return 0;
	times = count(timer, first, now, &next);
	set_expires(timer, next);
	return times;
}

static enum pg_poll read_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_io *io = pg_container_of(future, struct pg_io, async.future);
	struct timerfd *timer = timerfd_of(io->file);
	struct pg_task_list wake = { 0 };
	uint64_t times, next;

	if (pg_io_bytes(io) < sizeof(times) && io->vector_count == 0) {
		io->result = -EINVAL;
		return PG_READY;
	}
	do {
		pg_spin_lock(&timer->lock);
		times = take(timer);
		next = expires(&timer->file);
		if (times) {
			pg_waitq_remove_locked(&timer->readers, &io->waiter);
			/* There is another time to wait for. */
			pg_waitq_notify_locked(&timer->readers, SIZE_MAX, PG_NOTIFIED_ALL, &wake);
			pg_events_changed_locked(&timer->file, &wake);
		} else {
			pg_waitq_add_locked(&timer->readers, &io->waiter, waker);
		}
		pg_spin_unlock(&timer->lock);
	} while (!times && !(pg_file_flags(io->file) & PG_O_NONBLOCK) &&
		 pg_alarm_poll(&io->alarm, next, waker) == PG_READY);
	pg_task_list_enqueue(&wake);
	if (times) {
		int code;

		pg_alarm_drop(&io->alarm);
		pg_events_tell(&timer->file, 0);
		code = pg_io_copy(io, &times, sizeof(times));
		if (code)
			io->result = code;
		return PG_READY;
	}
	if (!(pg_file_flags(io->file) & PG_O_NONBLOCK))
		return PG_PENDING;
	future->ops->drop(future);
	io->result = -EAGAIN;
	return PG_READY;
}

static void read_drop(struct pg_future *future)
{
	struct pg_io *io = pg_container_of(future, struct pg_io, async.future);
	struct timerfd *timer = timerfd_of(io->file);

	pg_alarm_drop(&io->alarm);
	pg_spin_lock(&timer->lock);
	pg_waitq_remove_locked(&timer->readers, &io->waiter);
	pg_spin_unlock(&timer->lock);
}

/* ---- the file ---- */

static uint32_t events(struct pg_file *file)
{
	uint64_t first = expires(file);

	return first != PG_NEVER && first <= pg_port_now() ? PG_POLLIN : 0;
}

static void release(struct pg_file *file)
{
	pg_free(timerfd_of(file));
}

static const struct pg_file_ops ops = {
	.read = { read_poll, read_drop },
	.ready = PG_EVENTS_READY,
	.stat = pg_events_stat,
	.seeks_to_0 = true,
	.release = release,
	.events = events,
	.expires = expires,
};

/* ---- the calls ---- */

PG_CALL(timerfd_create)
{
	uint32_t clock = (uint32_t)arg[0], flags = (uint32_t)arg[1];
	struct timerfd *timer;

	if (flags & ~(uint32_t)(PG_O_CLOEXEC | PG_O_NONBLOCK) ||
	    (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME))
		return -EINVAL;
	timer = pg_alloc_zero(sizeof(*timer));
	if (!timer)
		return -ENOMEM;
	pg_file_init(&timer->file, &ops, PG_O_RDWR | (flags & PG_O_NONBLOCK));
	timer->file.lock = &timer->lock;
	pg_spin_init(&timer->lock);
	atomic_init(&timer->expires, PG_NEVER);
	timer->clock = clock;
	return pg_events_install(&timer->file, flags & PG_O_CLOEXEC);
}

/* The timer of a descriptor, with a reference to its file; NULL, and -errno in `code`. */
static struct timerfd *get_timer(uint64_t fd, int64_t *code)
{
	struct pg_file *file = pg_fd_get((int)fd);

	*code = file ? -EINVAL : -EBADF;
	if (!file || file->ops != &ops) {
		pg_file_put(file);
		return NULL;
	}
	return timerfd_of(file);
}

/* The lock is held. */
static struct itimerspec left(const struct timerfd *timer)
{
	uint64_t now = pg_port_now(), next = expires((struct pg_file *)&timer->file);

	if (next != PG_NEVER && next <= now)
		(void)count(timer, next, now, &next);
	return (struct itimerspec){
		.interval = pg_timespec_of(timer->interval),
		.value = pg_timespec_of(next == PG_NEVER ? 0 : next - now),
	};
}

/* The point in time at which the timer is to expire. */
static uint64_t first_of(const struct timerfd *timer, const struct pg_timespec *value,
			 bool absolute)
{
	uint64_t ns = pg_timespec_ns(value);

	if (!value->seconds && !value->nanoseconds)
		return PG_NEVER;
	if (!absolute)
		return pg_time_after(ns);
	return timer->clock == CLOCK_REALTIME ? pg_time_from_realtime(ns) : ns;
}

static struct itimerspec set(struct timerfd *timer, const struct itimerspec *to, uint64_t first)
{
	struct pg_task_list wake = { 0 };
	struct itimerspec old;

	pg_spin_lock(&timer->lock);
	old = left(timer);
	set_expires(timer, first);
	timer->interval = pg_timespec_ns(&to->interval);
	pg_waitq_notify_locked(&timer->readers, SIZE_MAX, PG_NOTIFIED_ALL, &wake);
	pg_events_changed_locked(&timer->file, &wake);
	pg_spin_unlock(&timer->lock);
	pg_task_list_enqueue(&wake);
	pg_events_tell(&timer->file, 0);
	return old;
}

PG_CALL(timerfd_settime)
{
	uint32_t flags = (uint32_t)arg[1];
	struct itimerspec to, old;
	struct timerfd *timer;
	int64_t code;

	if (pg_user_read(&to, arg[2], sizeof(to)))
		return -EFAULT;
	if (flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) ||
	    !pg_timespec_valid(&to.value) || !pg_timespec_valid(&to.interval))
		return -EINVAL;
	timer = get_timer(arg[0], &code);
	if (!timer)
		return code;
	old = set(timer, &to, first_of(timer, &to.value, flags & TFD_TIMER_ABSTIME));
	pg_file_put(&timer->file);
	return arg[3] ? pg_user_write(arg[3], &old, sizeof(old)) : 0;
}

PG_CALL(timerfd_gettime)
{
	struct itimerspec now;
	int64_t code;
	struct timerfd *timer = get_timer(arg[0], &code);

	if (!timer)
		return code;
	pg_spin_lock(&timer->lock);
	now = left(timer);
	pg_spin_unlock(&timer->lock);
	pg_file_put(&timer->file);
	return pg_user_write(arg[1], &now, sizeof(now));
}
