/* The working directory: kept here by name, checked by the loader. */
#include "fd.h"
#include "file.h"
#include "linux.h"
#include "path.h"
#include "syscall.h"
#include "user.h"

struct cwd_frame {
	struct pg_path *path; /* what is to be the working directory */
	struct pg_hypercall call;
	struct pg_statx statx;
};

static void cwd_cleanup(struct pg_syscall *call)
{
	struct cwd_frame *frame = PG_FRAME(call, struct cwd_frame);

	pg_path_put(frame->path);
}

/* Go to frame->path if that is a directory. */
PG_ASYNC static enum pg_poll go(struct pg_syscall *call, struct pg_task *waker,
				int64_t (*start)(struct cwd_frame *frame, const uint64_t *arg))
{
	struct cwd_frame *frame = PG_FRAME(call, struct cwd_frame);
	int64_t code;

	PG_BEGIN(&call->async);
	call->cleanup = cwd_cleanup;
	code = start(frame, call->arg);
	if (code)
		PG_FINISH(call, code);
	/* The root is always there, also if nothing is mapped there. */
	if (frame->path->length > 1) {
		pg_hypercall_init(&frame->call, PG_OP_STATX, -1, (uintptr_t)frame->path->text,
				  frame->path->length, (uintptr_t)&frame->statx, 0,
				  PG_STATX_BASIC_STATS);
		PG_AWAIT(&call->async, &frame->call.future, waker);
		if (frame->call.result < 0)
			PG_FINISH(call, frame->call.result);
		if ((frame->statx.mode & PG_S_IFMT) != PG_S_IFDIR)
			PG_FINISH(call, -ENOTDIR);
	}
	pg_cwd_set(pg_path_ref(frame->path));
	PG_FINISH(call, 0);
}

static int64_t start_chdir(struct cwd_frame *frame, const uint64_t *arg)
{
	struct pg_path_buffer buffer;
	int code;

	buffer.text = NULL;
	code = pg_path_resolve(&buffer, PG_AT_FDCWD, arg[0], false);
	if (!code) {
		frame->path = pg_path_new(buffer.text, buffer.length);
		if (!frame->path)
			code = -ENOMEM;
	}
	pg_path_release(&buffer);
	return code;
}

static int64_t start_fchdir(struct cwd_frame *frame, const uint64_t *arg)
{
	struct pg_file *file = pg_fd_get_any((int)arg[0]);

	if (!file)
		return -EBADF;
	if (file->path)
		frame->path = pg_path_ref(file->path);
	pg_file_put(file);
	return frame->path ? 0 : -ENOTDIR;
}

PG_WAITING_CALL(chdir, struct cwd_frame)
{
	return go(call, waker, start_chdir);
}

PG_WAITING_CALL(fchdir, struct cwd_frame)
{
	return go(call, waker, start_fchdir);
}

PG_CALL(getcwd)
{
	struct pg_path *path = pg_cwd();
	uint32_t size = path->length + 1;
	int64_t result = -ERANGE;

	if (size <= arg[1])
		result = pg_user_write(arg[0], path->text, size);
	if (result == 0)
		result = size;
	pg_path_put(path);
	return result;
}
