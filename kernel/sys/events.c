#include "events.h"

#include "core/container.h"
#include "fd.h"
#include "linux.h"

enum pg_poll pg_events_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_ready *ready = pg_container_of(future, struct pg_ready, future);
	struct pg_file *file = ready->file;
	const struct pg_file_ops *ops = file->ops;
	uint64_t expires = PG_NEVER;

	do {
		pg_spin_lock(file->lock);
		ready->revents = ops->events(file) & ready->events;
		if (ready->revents) {
			pg_waitq_remove_locked(&file->pollers, &ready->waiter);
		} else {
			pg_waitq_add_locked(&file->pollers, &ready->waiter, waker);
			if (ops->expires)
				expires = ops->expires(file);
		}
		pg_spin_unlock(file->lock);
		if (ready->revents) {
			pg_alarm_drop(&ready->alarm);
			return PG_READY;
		}
	} while (pg_alarm_poll(&ready->alarm, expires, waker) == PG_READY);
	return PG_PENDING;
}

void pg_events_drop(struct pg_future *future)
{
	struct pg_ready *ready = pg_container_of(future, struct pg_ready, future);

	pg_alarm_drop(&ready->alarm);
	pg_spin_lock(ready->file->lock);
	pg_waitq_remove_locked(&ready->file->pollers, &ready->waiter);
	pg_spin_unlock(ready->file->lock);
}

/* As Linux has it for its "anonymous inodes": one for all, and no type. */
void pg_events_stat(struct pg_file *file, struct pg_statx *to)
{
	*to = (struct pg_statx){
		.mask = PG_STATX_BASIC_STATS,
		.blksize = 4096,
		.nlink = 1,
		.mode = 0600,
		.ino = 1,
	};
}

int64_t pg_events_install(struct pg_file *file, bool cloexec)
{
	int fd = pg_fd_reserve(0, cloexec);

	if (fd < 0)
		pg_file_put(file);
	else
		pg_fd_install(fd, file);
	return fd;
}
