/* A file's position and length, and when its data are safe. */
#include "device.h"
#include "fd.h"
#include "file.h"
#include "linux.h"
#include "path.h"
#include "syscall.h"

struct position_frame {
	struct pg_file *file;
	struct pg_hypercall call;
};

static void put_file(struct pg_syscall *call)
{
	struct position_frame *frame = PG_FRAME(call, struct position_frame);

	pg_file_put(frame->file);
}

/* 0, or -EBADF; the file is in the frame, and put back by the cleanup. */
static int64_t get_file(struct pg_syscall *call, struct position_frame *frame)
{
	frame->file = pg_fd_get((int)call->arg[0]);
	if (!frame->file)
		return -EBADF;
	call->cleanup = put_file;
	return 0;
}

/* These have no position. */
static int64_t seek_in_kernel(const struct pg_file_ops *ops)
{
	return ops->seeks || ops->seeks_to_0 ? 0 : -ESPIPE;
}

PG_WAITING_CALL(lseek, struct position_frame)
{
	struct position_frame *frame = PG_FRAME(call, struct position_frame);
	int64_t code;

	PG_BEGIN(&call->async);
	code = get_file(call, frame);
	if (code)
		PG_FINISH(call, code);
	if ((uint32_t)call->arg[2] > PG_SEEK_HOLE)
		PG_FINISH(call, -EINVAL);
	if (frame->file->handle < 0)
		PG_FINISH(call, seek_in_kernel(frame->file->ops));
	pg_hypercall_init(&frame->call, PG_OP_LSEEK, frame->file->handle, call->arg[1],
			  (uint32_t)call->arg[2]);
	PG_AWAIT(&call->async, &frame->call.future, waker);
	PG_FINISH(call, frame->call.result);
}

PG_ASYNC static enum pg_poll sync_file(struct pg_syscall *call, struct pg_task *waker,
				       uint64_t data_only)
{
	struct position_frame *frame = PG_FRAME(call, struct position_frame);
	int64_t code;

	PG_BEGIN(&call->async);
	code = get_file(call, frame);
	if (code)
		PG_FINISH(call, code);
	if (frame->file->handle < 0)
		PG_FINISH(call, -EINVAL);
	/* Not interrupted, as on Linux: what was asked for is to be on the disk. */
	pg_hypercall_init(&frame->call, PG_OP_FSYNC, frame->file->handle, data_only);
	PG_AWAIT(&call->async, &frame->call.future, waker);
	PG_FINISH(call, frame->call.result);
}

PG_WAITING_CALL(fsync, struct position_frame)
{
	return sync_file(call, waker, 0);
}

PG_WAITING_CALL(fdatasync, struct position_frame)
{
	return sync_file(call, waker, 1);
}

PG_WAITING_CALL(ftruncate, struct position_frame)
{
	struct position_frame *frame = PG_FRAME(call, struct position_frame);
	int64_t code;

	PG_BEGIN(&call->async);
	if ((int64_t)call->arg[1] < 0)
		PG_FINISH(call, -EINVAL);
	code = get_file(call, frame);
	if (code)
		PG_FINISH(call, code);
	if (frame->file->handle < 0 || (pg_file_flags(frame->file) & PG_O_ACCMODE) == PG_O_RDONLY)
		PG_FINISH(call, -EINVAL);
	pg_hypercall_init(&frame->call, PG_OP_FTRUNCATE, frame->file->handle, call->arg[1]);
	PG_AWAIT(&call->async, &frame->call.future, waker);
	PG_FINISH(call, frame->call.result);
}

/* ---- truncate: opened for writing, cut, closed ---- */

struct truncate_frame {
	struct pg_path_buffer path;
	struct pg_file *file; /* while opening, and while it is open            */
	struct pg_hypercall open, call;
};

static void truncate_cleanup(struct pg_syscall *call)
{
	struct truncate_frame *frame = PG_FRAME(call, struct truncate_frame);

	pg_path_release(&frame->path);
	if (!frame->file)
		return;
	if (frame->open.state == PG_HYPERCALL_COMPLETED && frame->open.result >= 0)
		frame->file->handle = (int32_t)frame->open.result;
	/* Nobody waits for the close: it can't fail. */
	pg_file_put(frame->file);
}

static int64_t start_truncate(struct pg_syscall *call, struct truncate_frame *frame)
{
	int64_t code;

	if ((int64_t)call->arg[1] < 0)
		return -EINVAL;
	code = pg_path_resolve(&frame->path, PG_AT_FDCWD, call->arg[0], false);
	if (code)
		return code;
	if (pg_device_find(frame->path.text))
		return -EINVAL;
	frame->file = pg_file_new(&pg_host_file_ops, PG_O_WRONLY);
	if (!frame->file)
		return -ENOMEM;
	/* A FIFO without a reader gives -ENXIO instead of waiting for one. */
	pg_hypercall_init(&frame->open, PG_OP_OPENAT, 0, (uintptr_t)frame->path.text,
			  frame->path.length, PG_O_WRONLY | PG_O_NONBLOCK, 0);
	return 0;
}

PG_WAITING_CALL(truncate, struct truncate_frame)
{
	struct truncate_frame *frame = PG_FRAME(call, struct truncate_frame);
	int64_t code;

	PG_BEGIN(&call->async);
	call->cleanup = truncate_cleanup;
	code = start_truncate(call, frame);
	if (code)
		PG_FINISH(call, code);
	PG_AWAIT(&call->async, &frame->open.future, waker);
	if (frame->open.result < 0)
		PG_FINISH(call, frame->open.result);
	pg_hypercall_init(&frame->call, PG_OP_FTRUNCATE, (int32_t)frame->open.result, call->arg[1]);
	PG_AWAIT(&call->async, &frame->call.future, waker);
	PG_FINISH(call, frame->call.result);
}

/* Advice: heard, and that is all. */
PG_CALL(fadvise64)
{
	struct pg_file *file = pg_fd_get((int)arg[0]);

	if (!file)
		return -EBADF;
	pg_file_put(file);
	return arg[3] > 5 || (int64_t)arg[2] < 0 ? -EINVAL : 0;
}
