/* access and its relatives. */
#include "device.h"
#include "linux.h"
#include "path.h"
#include "syscall.h"

struct access_frame {
	struct pg_path_buffer path;
	struct pg_hypercall call;
};

static void access_cleanup(struct pg_syscall *call)
{
	struct access_frame *frame = PG_FRAME(call, struct access_frame);

	pg_path_release(&frame->path);
}

/* 1: the loader is to be asked; or the call's result. */
static int64_t start(struct access_frame *frame, int dirfd, uint64_t path, uint32_t mode,
		     uint32_t flags)
{
	int code;

	if (mode & ~(uint32_t)(PG_R_OK | PG_W_OK | PG_X_OK))
		return -EINVAL;
	if (flags & ~(uint32_t)(PG_AT_EACCESS | PG_AT_SYMLINK_NOFOLLOW))
		return -EINVAL;
	code = pg_path_resolve(&frame->path, dirfd, path, false);
	if (code)
		return code;
	if (pg_device_find(frame->path.text))
		return mode & PG_X_OK ? -EACCES : 0;
	pg_hypercall_init(&frame->call, PG_OP_FACCESSAT, -1, (uintptr_t)frame->path.text,
			  frame->path.length, mode, flags);
	return 1;
}

PG_ASYNC static enum pg_poll check(struct pg_syscall *call, struct pg_task *waker, int dirfd,
				   uint64_t path, uint64_t mode, uint64_t flags)
{
	struct access_frame *frame = PG_FRAME(call, struct access_frame);
	int64_t code;

	PG_BEGIN(&call->async);
	call->cleanup = access_cleanup;
	code = start(frame, dirfd, path, (uint32_t)mode, (uint32_t)flags);
	if (code <= 0)
		PG_FINISH(call, code);
	PG_AWAIT(&call->async, &frame->call.future, waker);
	PG_FINISH(call, frame->call.result);
}

PG_WAITING_CALL(access, struct access_frame)
{
	return check(call, waker, PG_AT_FDCWD, call->arg[0], call->arg[1], 0);
}

PG_WAITING_CALL(faccessat, struct access_frame)
{
	return check(call, waker, (int)call->arg[0], call->arg[1], call->arg[2], 0);
}

PG_WAITING_CALL(faccessat2, struct access_frame)
{
	return check(call, waker, (int)call->arg[0], call->arg[1], call->arg[2], call->arg[3]);
}
