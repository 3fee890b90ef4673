/* open, close and their relatives. */
#include "device.h"
#include "fd.h"
#include "file.h"
#include "linux.h"
#include "path.h"
#include "syscall.h"
#include "umask.h"

/* What open(2) knows; other bits it ignores. The loader has no use for the second group. */
#define OPEN_KNOWN                                                                                 \
	(PG_O_ACCMODE | PG_O_CREAT | PG_O_EXCL | PG_O_TRUNC | PG_O_APPEND | PG_O_NONBLOCK |        \
	 PG_O_SYNC | PG_O_DSYNC | PG_O_DIRECTORY | PG_O_NOFOLLOW | PG_O_PATH | PG_O_TMPFILE |      \
	 PG_O_NOATIME)
#define OPEN_OURS (PG_O_CLOEXEC | PG_O_NOCTTY | PG_O_LARGEFILE | PG_O_DIRECT)

/* What F_GETFL tells. */
#define OPEN_STATUS                                                                                \
	(PG_O_ACCMODE | PG_O_APPEND | PG_O_NONBLOCK | PG_O_SYNC | PG_O_DIRECT | PG_O_LARGEFILE |   \
	 PG_O_DIRECTORY | PG_O_NOFOLLOW | PG_O_NOATIME | PG_O_PATH)

struct open_frame {
	struct pg_path_buffer path;
	struct pg_file *file; /* until it is installed                          */
	int fd;               /* reserved; -1: none, or installed                */
	struct pg_hypercall call;
};

static void open_cleanup(struct pg_syscall *call)
{
	struct open_frame *frame = PG_FRAME(call, struct open_frame);

	pg_path_release(&frame->path);
	if (frame->file) {
		/* Dropped, but the loader had opened it already: that has to be closed. */
		if (frame->call.state == PG_HYPERCALL_COMPLETED && frame->call.result >= 0)
			frame->file->handle = (int32_t)frame->call.result;
		pg_file_put(frame->file);
	}
	if (frame->fd >= 0)
		pg_fd_unreserve(frame->fd);
}

/* The file gets its descriptor. */
static int64_t install(struct open_frame *frame)
{
	int fd = frame->fd;

	pg_fd_install(fd, frame->file);
	frame->file = NULL;
	frame->fd = -1;
	return fd;
}

static int64_t open_device(const struct pg_device *device, struct open_frame *frame, uint64_t flags)
{
	if ((flags & (PG_O_CREAT | PG_O_EXCL)) == (PG_O_CREAT | PG_O_EXCL))
		return -EEXIST;
	if (flags & PG_O_DIRECTORY)
		return -ENOTDIR;
	frame->file = pg_file_new(device->ops, (uint32_t)(flags & OPEN_STATUS));
	return frame->file ? install(frame) : -ENOMEM;
}

/* A descriptor or -errno; or `*ask` is set, and the loader is to be asked. */
static int64_t start(struct open_frame *frame, int dirfd, uint64_t path, uint64_t flags,
		     uint64_t mode, bool *ask)
{
	const struct pg_device *device;
	struct pg_file *file;
	int code;

	code = pg_path_resolve(&frame->path, dirfd, path, false);
	if (code)
		return code;
	/* Reserved first: without a descriptor no file is created. */
	frame->fd = pg_fd_reserve(0, flags & PG_O_CLOEXEC);
	if (frame->fd < 0)
		return frame->fd;
	device = pg_device_find(frame->path.text);
	if (device)
		return open_device(device, frame, flags);

	file = pg_file_new(&pg_host_file_ops, (uint32_t)(flags & OPEN_STATUS));
	if (!file)
		return -ENOMEM;
	frame->file = file;
	/* It may be a directory: then paths may be relative to it. */
	if ((flags & PG_O_ACCMODE) == PG_O_RDONLY || (flags & PG_O_PATH)) {
		file->path = pg_path_new(frame->path.text, frame->path.length);
		if (!file->path)
			return -ENOMEM;
	}
	pg_hypercall_init(&frame->call, PG_OP_OPENAT, 0, (uintptr_t)frame->path.text,
			  frame->path.length, flags & OPEN_KNOWN, mode & 07777 & ~pg_umask());
	*ask = true;
	return 0;
}

PG_ASYNC static enum pg_poll open_file(struct pg_syscall *call, struct pg_task *waker, int dirfd,
				       uint64_t path, uint64_t flags, uint64_t mode)
{
	struct open_frame *frame = PG_FRAME(call, struct open_frame);
	bool ask = false;
	int64_t result;

	PG_BEGIN(&call->async);
	frame->fd = -1;
	call->cleanup = open_cleanup;
	flags = (flags & (OPEN_KNOWN | OPEN_OURS)) | PG_O_LARGEFILE;
	result = start(frame, dirfd, path, flags, mode, &ask);
	if (!ask)
		PG_FINISH(call, result);
	/*
	 * Not interrupted, though a FIFO without another end may take for ever: the loader can't
	 * take an open back once a worker has begun it.
	 */
	PG_AWAIT(&call->async, &frame->call.future, waker);
	if (frame->call.result < 0)
		PG_FINISH(call, frame->call.result);
	frame->file->handle = (int32_t)frame->call.result;
	PG_FINISH(call, install(frame));
}

PG_WAITING_CALL(open, struct open_frame)
{
	const uint64_t *arg = call->arg;

	return open_file(call, waker, PG_AT_FDCWD, arg[0], arg[1], arg[2]);
}

PG_WAITING_CALL(openat, struct open_frame)
{
	const uint64_t *arg = call->arg;

	return open_file(call, waker, (int)arg[0], arg[1], arg[2], arg[3]);
}

PG_WAITING_CALL(creat, struct open_frame)
{
	const uint64_t *arg = call->arg;

	return open_file(call, waker, PG_AT_FDCWD, arg[0], PG_O_CREAT | PG_O_WRONLY | PG_O_TRUNC,
			 arg[1]);
}

/* ---- close ---- */

struct close_frame {
	struct pg_file *file; /* ours alone */
	struct pg_hypercall call;
};

static void close_cleanup(struct pg_syscall *call)
{
	struct close_frame *frame = PG_FRAME(call, struct close_frame);

	/* Dropped before the loader was told. It never cancels a close it has begun. */
	if (frame->call.result == -ECANCELED)
		pg_file_reap(frame->file);
	else
		pg_file_free(frame->file);
}

/* True if the loader has to be told; `result` otherwise. */
static bool start_close(struct pg_syscall *call, struct close_frame *frame, int64_t *result)
{
	struct pg_file *file = pg_fd_remove((int)call->arg[0]);

	*result = file ? 0 : -EBADF;
	if (!file || !pg_file_unref(file))
		return false;
	if (file->handle < 0) {
		file->ops->release(file);
		return false;
	}
	frame->file = file;
	call->cleanup = close_cleanup;
	pg_hypercall_init(&frame->call, PG_OP_CLOSE, file->handle);
	return true;
}

PG_WAITING_CALL(close, struct close_frame)
{
	struct close_frame *frame = PG_FRAME(call, struct close_frame);
	int64_t result;

	PG_BEGIN(&call->async);
	if (!start_close(call, frame, &result))
		PG_FINISH(call, result);
	PG_AWAIT(&call->async, &frame->call.future, waker);
	PG_FINISH(call, frame->call.result);
}
