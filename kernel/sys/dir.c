/* Directories: what is in them, and changing it. One hypercall each, on paths made absolute. */
#include "device.h"
#include "fd.h"
#include "file.h"
#include "linux.h"
#include "path.h"
#include "syscall.h"
#include "umask.h"
#include "user.h"

struct dir_frame {
	struct pg_path_buffer path, other; /* `other`: the new name, or a link's text */
	struct pg_file *file;
	struct pg_hypercall call;
};

static void dir_cleanup(struct pg_syscall *call)
{
	struct dir_frame *frame = PG_FRAME(call, struct dir_frame);

	pg_path_release(&frame->path);
	pg_path_release(&frame->other);
	pg_file_put(frame->file);
}

/*
 * All calls but getdents64 are this: `start` (which is 0, or the call's -errno) has
 * prepared frame->call.
 */
PG_ASYNC static enum pg_poll ask(struct pg_syscall *call, struct pg_task *waker,
				 int64_t (*start)(struct dir_frame *frame, const uint64_t *arg))
{
	struct dir_frame *frame = PG_FRAME(call, struct dir_frame);
	int64_t code;

	PG_BEGIN(&call->async);
	call->cleanup = dir_cleanup;
	code = start(frame, call->arg);
	if (code)
		PG_FINISH(call, code);
	PG_AWAIT(&call->async, &frame->call.future, waker);
	PG_FINISH(call, frame->call.result);
}

/* An operation on frame->path, with two more arguments. */
static int64_t on_path(struct dir_frame *frame, enum pg_op op, int dirfd, uint64_t path,
		       uint64_t first, uint64_t second)
{
	int code = pg_path_resolve(&frame->path, dirfd, path, false);

	if (code)
		return code;
	pg_hypercall_init(&frame->call, op, -1, (uintptr_t)frame->path.text, frame->path.length,
			  first, second);
	return 0;
}

/* ---- reading ---- */

static int64_t start_getdents64(struct dir_frame *frame, const uint64_t *arg)
{
	frame->file = pg_fd_get((int)arg[0]);
	if (!frame->file)
		return -EBADF;
	if (frame->file->handle < 0)
		return -ENOTDIR;
	pg_hypercall_init(&frame->call, PG_OP_GETDENTS, frame->file->handle, arg[1],
			  (uint32_t)arg[2]);
	return 0;
}

PG_WAITING_CALL(getdents64, struct dir_frame)
{
	return ask(call, waker, start_getdents64);
}

static int64_t readlink_at(struct dir_frame *frame, int dirfd, uint64_t path, uint64_t buffer,
			   uint64_t size)
{
	int64_t code;

	if ((int)size <= 0)
		return -EINVAL;
	code = on_path(frame, PG_OP_READLINKAT, dirfd, path, buffer, (uint32_t)size);
	if (code)
		return code;
	return pg_device_find(frame->path.text) ? -EINVAL : 0;
}

static int64_t start_readlink(struct dir_frame *frame, const uint64_t *arg)
{
	return readlink_at(frame, PG_AT_FDCWD, arg[0], arg[1], arg[2]);
}

static int64_t start_readlinkat(struct dir_frame *frame, const uint64_t *arg)
{
	return readlink_at(frame, (int)arg[0], arg[1], arg[2], arg[3]);
}

PG_WAITING_CALL(readlink, struct dir_frame)
{
	return ask(call, waker, start_readlink);
}

PG_WAITING_CALL(readlinkat, struct dir_frame)
{
	return ask(call, waker, start_readlinkat);
}

/* ---- making and removing ---- */

static int64_t mkdir_at(struct dir_frame *frame, int dirfd, uint64_t path, uint64_t mode)
{
	return on_path(frame, PG_OP_MKDIRAT, dirfd, path, mode & 01777 & ~pg_umask(), 0);
}

static int64_t start_mkdir(struct dir_frame *frame, const uint64_t *arg)
{
	return mkdir_at(frame, PG_AT_FDCWD, arg[0], arg[1]);
}

static int64_t start_mkdirat(struct dir_frame *frame, const uint64_t *arg)
{
	return mkdir_at(frame, (int)arg[0], arg[1], arg[2]);
}

PG_WAITING_CALL(mkdir, struct dir_frame)
{
	return ask(call, waker, start_mkdir);
}

PG_WAITING_CALL(mkdirat, struct dir_frame)
{
	return ask(call, waker, start_mkdirat);
}

static int64_t start_rmdir(struct dir_frame *frame, const uint64_t *arg)
{
	return on_path(frame, PG_OP_UNLINKAT, PG_AT_FDCWD, arg[0], PG_AT_REMOVEDIR, 0);
}

static int64_t start_unlink(struct dir_frame *frame, const uint64_t *arg)
{
	return on_path(frame, PG_OP_UNLINKAT, PG_AT_FDCWD, arg[0], 0, 0);
}

static int64_t start_unlinkat(struct dir_frame *frame, const uint64_t *arg)
{
	uint32_t flags = (uint32_t)arg[2];

	if (flags & ~(uint32_t)PG_AT_REMOVEDIR)
		return -EINVAL;
	return on_path(frame, PG_OP_UNLINKAT, (int)arg[0], arg[1], flags, 0);
}

PG_WAITING_CALL(rmdir, struct dir_frame)
{
	return ask(call, waker, start_rmdir);
}

PG_WAITING_CALL(unlink, struct dir_frame)
{
	return ask(call, waker, start_unlink);
}

PG_WAITING_CALL(unlinkat, struct dir_frame)
{
	return ask(call, waker, start_unlinkat);
}

static int64_t symlink_at(struct dir_frame *frame, uint64_t target, int dirfd, uint64_t path)
{
	int code = pg_path_copy(&frame->other, target);

	if (!code)
		code = pg_path_resolve(&frame->path, dirfd, path, false);
	if (code)
		return code;
	pg_hypercall_init(&frame->call, PG_OP_SYMLINKAT, -1, (uintptr_t)frame->other.text,
			  frame->other.length, (uintptr_t)frame->path.text, frame->path.length);
	return 0;
}

static int64_t start_symlink(struct dir_frame *frame, const uint64_t *arg)
{
	return symlink_at(frame, arg[0], PG_AT_FDCWD, arg[1]);
}

static int64_t start_symlinkat(struct dir_frame *frame, const uint64_t *arg)
{
	return symlink_at(frame, arg[0], (int)arg[1], arg[2]);
}

PG_WAITING_CALL(symlink, struct dir_frame)
{
	return ask(call, waker, start_symlink);
}

PG_WAITING_CALL(symlinkat, struct dir_frame)
{
	return ask(call, waker, start_symlinkat);
}

/* ---- renaming ---- */

static int64_t rename_at(struct dir_frame *frame, int old_dirfd, uint64_t old, int new_dirfd,
			 uint64_t new, uint32_t flags)
{
	int code;

	if (flags & ~(uint32_t)(PG_RENAME_NOREPLACE | PG_RENAME_EXCHANGE | PG_RENAME_WHITEOUT))
		return -EINVAL;
	if ((flags & PG_RENAME_EXCHANGE) && (flags & (PG_RENAME_NOREPLACE | PG_RENAME_WHITEOUT)))
		return -EINVAL;
	code = pg_path_resolve(&frame->path, old_dirfd, old, false);
	if (!code)
		code = pg_path_resolve(&frame->other, new_dirfd, new, false);
	if (code)
		return code;
	pg_hypercall_init(&frame->call, PG_OP_RENAMEAT, -1, (uintptr_t)frame->path.text,
			  frame->path.length, (uintptr_t)frame->other.text, frame->other.length,
			  flags);
	return 0;
}

static int64_t start_rename(struct dir_frame *frame, const uint64_t *arg)
{
	return rename_at(frame, PG_AT_FDCWD, arg[0], PG_AT_FDCWD, arg[1], 0);
}

static int64_t start_renameat(struct dir_frame *frame, const uint64_t *arg)
{
	return rename_at(frame, (int)arg[0], arg[1], (int)arg[2], arg[3], 0);
}

static int64_t start_renameat2(struct dir_frame *frame, const uint64_t *arg)
{
	return rename_at(frame, (int)arg[0], arg[1], (int)arg[2], arg[3], (uint32_t)arg[4]);
}

PG_WAITING_CALL(rename, struct dir_frame)
{
	return ask(call, waker, start_rename);
}

PG_WAITING_CALL(renameat, struct dir_frame)
{
	return ask(call, waker, start_renameat);
}

PG_WAITING_CALL(renameat2, struct dir_frame)
{
	return ask(call, waker, start_renameat2);
}
