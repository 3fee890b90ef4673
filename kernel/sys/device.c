#include "device.h"

#include "core/container.h"
#include "core/task.h"
#include "file.h"
#include "io.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "linux.h"
#include "random.h"
#include "user.h"

/* Moved before other tasks get their turn. */
#define BURST 65536

#define MEM_MAJOR 1

/* ---- paths ---- */

enum {
	DEV_NULL,
	DEV_ZERO,
	DEV_FULL,
	DEV_RANDOM,
	DEV_URANDOM,
	DEVICES
};

static const struct pg_device devices[DEVICES];

/* The next component of a path: its length; `*at` moves behind it. "." is left out. */
static size_t component(const char **at, const char **start)
{
	size_t length;

	do {
		while (**at == '/')
			(*at)++;
		*start = *at;
		while (**at && **at != '/')
			(*at)++;
		length = (size_t)(*at - *start);
	} while (length == 1 && **start == '.');
	return length;
}

const struct pg_device *pg_device_find(const char *path)
{
	const char *start;
	size_t length = component(&path, &start);

	if (length != 3 || memcmp(start, "dev", 3) != 0)
		return NULL;
	length = component(&path, &start);
	if (*path)
		return NULL;
	for (int i = DEV_NULL; i < DEVICES; i++) {
		if (strlen(devices[i].name) == length &&
		    memcmp(devices[i].name, start, length) == 0)
			return &devices[i];
	}
	return NULL;
}

void pg_device_stat(const struct pg_device *device, struct pg_statx *to)
{
	*to = (struct pg_statx){
		.mask = PG_STATX_BASIC_STATS,
		.blksize = 4096,
		.nlink = 1,
		.mode = PG_S_IFCHR | 0666,
		.ino = device->minor,
		.rdev_major = MEM_MAJOR,
		.rdev_minor = device->minor,
	};
}

/* ---- reading and writing ---- */

static struct pg_io *io_of(struct pg_future *future)
{
	return pg_container_of(future, struct pg_io, async.future);
}

static enum pg_poll read_nothing(struct pg_future *future, struct pg_task *waker)
{
	return PG_READY;
}

static enum pg_poll write_nothing(struct pg_future *future, struct pg_task *waker)
{
	struct pg_io *io = io_of(future);
	int code;

	while ((code = pg_io_refill(io)) > 0)
		pg_io_advance(io, pg_io_bytes(io));
	pg_io_end(io, code);
	return PG_READY;
}

static enum pg_poll write_full(struct pg_future *future, struct pg_task *waker)
{
	struct pg_io *io = io_of(future);

	/* Nothing to write is no error. */
	pg_io_end(io, pg_io_refill(io) > 0 ? -ENOSPC : 0);
	return PG_READY;
}

/* Some bytes at the beginning of the window: how many, or -EFAULT. */
static int64_t fill(struct pg_io *io, bool random)
{
	static const uint8_t zeros[4096];
	uint8_t bytes[512];
	const struct pg_iovec *iov = &io->iov[io->first];
	size_t room = random ? sizeof(bytes) : sizeof(zeros);
	size_t length = iov->length < room ? iov->length : room;

	if (random)
		pg_random(bytes, length);
	if (pg_user_write(iov->base, random ? bytes : zeros, length))
		return -EFAULT;
	return (int64_t)length;
}

/* True when the whole transfer is over. */
static bool fill_burst(struct pg_io *io, bool random)
{
	uint64_t moved = 0;

	while (moved < BURST) {
		int64_t bytes = pg_io_refill(io);

		if (bytes > 0)
			bytes = fill(io, random);
		if (bytes <= 0) {
			pg_io_end(io, bytes);
			return true;
		}
		pg_io_advance(io, (uint64_t)bytes);
		moved += (uint64_t)bytes;
	}
	return false;
}

static enum pg_poll read_bytes(struct pg_future *future, struct pg_task *waker, bool random)
{
	if (fill_burst(io_of(future), random))
		return PG_READY;
	pg_task_wake(waker);
	return PG_PENDING;
}

static enum pg_poll read_zero(struct pg_future *future, struct pg_task *waker)
{
	return read_bytes(future, waker, false);
}

static enum pg_poll read_random(struct pg_future *future, struct pg_task *waker)
{
	return read_bytes(future, waker, true);
}

/* ---- the kinds ---- */

static void release(struct pg_file *file)
{
	pg_file_free(file);
}

static void stat_file(struct pg_file *file, struct pg_statx *to)
{
	for (int i = DEV_NULL; i < DEVICES; i++) {
		if (devices[i].ops == file->ops)
			pg_device_stat(&devices[i], to);
	}
}

/* Its pool is never empty. What of it epoll can be told: the others can't be watched, as on Linux. */
static uint32_t random_events(struct pg_file *file)
{
	return PG_POLLIN | PG_POLLOUT | PG_POLLRDNORM | PG_POLLWRNORM;
}

#define DEVICE(read_, write_, ...)                                                                 \
	{                                                                                          \
		.read = { .poll = read_ }, .write = { .poll = write_ }, .stat = stat_file,         \
		.release = release, .seeks = true, __VA_ARGS__                                     \
	}

static const struct pg_file_ops null_ops = DEVICE(read_nothing, write_nothing);
static const struct pg_file_ops zero_ops = DEVICE(read_zero, write_nothing);
static const struct pg_file_ops full_ops = DEVICE(read_zero, write_full);
static const struct pg_file_ops random_ops =
	DEVICE(read_random, write_nothing, .events = random_events);
static const struct pg_file_ops urandom_ops = DEVICE(read_random, write_nothing);

static const struct pg_device devices[DEVICES] = {
	[DEV_NULL] = { "null", 3, &null_ops },          [DEV_ZERO] = { "zero", 5, &zero_ops },
	[DEV_FULL] = { "full", 7, &full_ops },          [DEV_RANDOM] = { "random", 8, &random_ops },
	[DEV_URANDOM] = { "urandom", 9, &urandom_ops },
};
