/* stat and its relatives: all of them are a statx of the loader, or of a device. */
#include "device.h"
#include "fd.h"
#include "file.h"
#include "linux.h"
#include "path.h"
#include "syscall.h"
#include "user.h"

struct stat_frame {
	struct pg_path_buffer path;
	struct pg_file *file;
	struct pg_path *cwd;
	struct pg_hypercall call;
	struct pg_statx statx; /* the loader writes here */
};

static void stat_cleanup(struct pg_syscall *call)
{
	struct stat_frame *frame = PG_FRAME(call, struct stat_frame);

	pg_path_release(&frame->path);
	pg_path_put(frame->cwd);
	pg_file_put(frame->file);
}

/* Linux's 32-bit device number (new_encode_dev). */
static uint64_t device_number(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xffu) << 12;
}

static int write_stat(uint64_t to, const struct pg_statx *from)
{
	const struct pg_stat stat = {
		.dev = device_number(from->dev_major, from->dev_minor),
		.ino = from->ino,
		.nlink = from->nlink,
		.mode = from->mode,
		.uid = from->uid,
		.gid = from->gid,
		.rdev = device_number(from->rdev_major, from->rdev_minor),
		.size = (int64_t)from->size,
		.blksize = from->blksize,
		.blocks = (int64_t)from->blocks,
		.atime = from->atime.seconds,
		.atime_ns = from->atime.nanoseconds,
		.mtime = from->mtime.seconds,
		.mtime_ns = from->mtime.nanoseconds,
		.ctime = from->ctime.seconds,
		.ctime_ns = from->ctime.nanoseconds,
	};

	return pg_user_write(to, &stat, sizeof(stat));
}

static void ask(struct stat_frame *frame, int32_t handle, const char *path, uint32_t length,
		uint64_t flags, uint64_t mask)
{
	pg_hypercall_init(&frame->call, PG_OP_STATX, handle, (uintptr_t)path, length,
			  (uintptr_t)&frame->statx,
			  flags & (PG_AT_SYMLINK_NOFOLLOW | PG_AT_NO_AUTOMOUNT |
				   PG_AT_STATX_SYNC_TYPE),
			  mask);
}

/* An empty path: what `dirfd` itself is. */
static int64_t start_on_fd(struct stat_frame *frame, int dirfd, uint64_t flags, uint64_t mask)
{
	if (dirfd == PG_AT_FDCWD) {
		frame->cwd = pg_cwd();
		ask(frame, -1, frame->cwd->text, frame->cwd->length, flags, mask);
		return 1;
	}
	frame->file = pg_fd_get_any(dirfd);
	if (!frame->file)
		return -EBADF;
	if (frame->file->handle < 0) {
		frame->file->ops->stat(frame->file, &frame->statx);
		return 0;
	}
	ask(frame, frame->file->handle, NULL, 0, flags & ~(uint64_t)PG_AT_SYMLINK_NOFOLLOW, mask);
	return 1;
}

/* 1: the loader is to be asked; 0: frame->statx is there; or -errno. */
static int64_t start(struct stat_frame *frame, int dirfd, uint64_t path, uint64_t flags,
		     uint64_t mask)
{
	const struct pg_device *device;
	int code = pg_path_resolve(&frame->path, dirfd, path, flags & PG_AT_EMPTY_PATH);

	if (code)
		return code;
	if (frame->path.length == 0)
		return start_on_fd(frame, dirfd, flags, mask);
	device = pg_device_find(frame->path.text);
	if (device) {
		pg_device_stat(device, &frame->statx);
		return 0;
	}
	ask(frame, -1, frame->path.text, frame->path.length, flags, mask);
	return 1;
}

/* Look at what (dirfd, path, flags) names; the answer goes to `to` as a stat, or whole. */
PG_ASYNC static enum pg_poll look(struct pg_syscall *call, struct pg_task *waker, int dirfd,
				  uint64_t path, uint64_t flags, uint64_t mask, uint64_t to,
				  bool whole)
{
	struct stat_frame *frame = PG_FRAME(call, struct stat_frame);
	int64_t result;

	PG_BEGIN(&call->async);
	call->cleanup = stat_cleanup;
	result = start(frame, dirfd, path, flags, mask);
	if (result < 0)
		PG_FINISH(call, result);
	if (result > 0) {
		PG_AWAIT(&call->async, &frame->call.future, waker);
		if (frame->call.result < 0)
			PG_FINISH(call, frame->call.result);
	}
	PG_FINISH(call, whole ? pg_user_write(to, &frame->statx, sizeof(frame->statx))
			      : write_stat(to, &frame->statx));
}

PG_WAITING_CALL(stat, struct stat_frame)
{
	return look(call, waker, PG_AT_FDCWD, call->arg[0], 0, PG_STATX_BASIC_STATS, call->arg[1],
		    false);
}

PG_WAITING_CALL(lstat, struct stat_frame)
{
	return look(call, waker, PG_AT_FDCWD, call->arg[0], PG_AT_SYMLINK_NOFOLLOW,
		    PG_STATX_BASIC_STATS, call->arg[1], false);
}

PG_WAITING_CALL(fstat, struct stat_frame)
{
	/* A null path: the descriptor itself. PG_AT_FDCWD is no descriptor here. */
	int fd = (int)call->arg[0] < 0 ? -1 : (int)call->arg[0];

	return look(call, waker, fd, 0, PG_AT_EMPTY_PATH, PG_STATX_BASIC_STATS, call->arg[1],
		    false);
}

PG_WAITING_CALL(newfstatat, struct stat_frame)
{
	const uint64_t *arg = call->arg;
	uint64_t flags = (uint32_t)arg[3];

	if (flags & ~(uint64_t)(PG_AT_SYMLINK_NOFOLLOW | PG_AT_NO_AUTOMOUNT | PG_AT_EMPTY_PATH))
		PG_FINISH(call, -EINVAL);
	return look(call, waker, (int)arg[0], arg[1], flags, PG_STATX_BASIC_STATS, arg[2], false);
}

PG_WAITING_CALL(statx, struct stat_frame)
{
	const uint64_t *arg = call->arg;
	uint64_t flags = (uint32_t)arg[2], mask = (uint32_t)arg[3];

	if (flags & ~(uint64_t)(PG_AT_SYMLINK_NOFOLLOW | PG_AT_NO_AUTOMOUNT | PG_AT_EMPTY_PATH |
				PG_AT_STATX_SYNC_TYPE) ||
	    (flags & PG_AT_STATX_SYNC_TYPE) == PG_AT_STATX_SYNC_TYPE || (mask & PG_STATX_RESERVED))
		PG_FINISH(call, -EINVAL);
	return look(call, waker, (int)arg[0], arg[1], flags, mask, arg[4], true);
}
