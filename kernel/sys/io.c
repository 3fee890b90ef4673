#include "io.h"

#include "events.h"
#include "fd.h"
#include "file.h"
#include "linux.h"
#include "syscall.h"
#include "user.h"

struct io_frame {
	struct pg_file *file; /* a reference; NULL: not yet */
	struct pg_io io;
};

/* ---- the pieces ---- */

uint64_t pg_io_bytes(const struct pg_io *io)
{
	uint64_t bytes = 0;

	for (uint32_t i = io->first; i < io->count; i++)
		bytes += io->iov[i].length;
	return bytes;
}

static void skip_empty(struct pg_io *io)
{
	while (io->first < io->count && io->iov[io->first].length == 0)
		io->first++;
}

void pg_io_advance(struct pg_io *io, uint64_t bytes)
{
	io->result += (int64_t)bytes;
	if (io->offset != PG_OFFSET_STREAM)
		io->offset += bytes;
	while (bytes) {
		struct pg_iovec *iov = &io->iov[io->first];
		uint64_t part = bytes < iov->length ? bytes : iov->length;

		iov->base += part;
		iov->length -= part;
		bytes -= part;
		skip_empty(io);
	}
}

/* The next iovecs of the program become the window. */
static int load_window(struct pg_io *io)
{
	uint32_t count = io->vector_count < PG_IO_WINDOW ? io->vector_count : PG_IO_WINDOW;

	io->first = 0;
	io->count = 0;
	if (pg_user_read(io->iov, io->vector, count * sizeof(*io->iov)))
		return -EFAULT;
	for (uint32_t i = 0; i < count; i++) {
		if ((int64_t)io->iov[i].length < 0)
			return -EINVAL;
		if (io->iov[i].length > io->left)
			io->iov[i].length = io->left;
		io->left -= io->iov[i].length;
	}
	io->vector += count * sizeof(*io->iov);
	io->vector_count -= count;
	io->count = count;
	return 0;
}

int pg_io_refill(struct pg_io *io)
{
	for (;;) {
		int code;

		skip_empty(io);
		if (io->first < io->count)
			return 1;
		if (io->vector_count == 0)
			return 0;
		code = load_window(io);
		if (code)
			return code;
	}
}

int pg_io_copy(struct pg_io *io, void *bytes, uint64_t length)
{
	uint8_t *at = bytes;

	while (length) {
		int code = pg_io_refill(io);
		const struct pg_iovec *iov = &io->iov[io->first];
		uint64_t part;

		if (code <= 0)
			return code ? code : -EINVAL;
		part = iov->length < length ? iov->length : length;
		if (io->write ? pg_user_read(at, iov->base, part)
			      : pg_user_write(iov->base, at, part))
			return -EFAULT;
		pg_io_advance(io, part);
		at += part;
		length -= part;
	}
	return 0;
}

/* All lengths must be valid before anything is moved: look at those beyond the window. */
static int check_rest(uint64_t vector, uint32_t count)
{
	struct pg_iovec iov[PG_IO_WINDOW];

	while (count) {
		uint32_t some = count < PG_IO_WINDOW ? count : PG_IO_WINDOW;

		if (pg_user_read(iov, vector, some * sizeof(*iov)))
			return -EFAULT;
		for (uint32_t i = 0; i < some; i++) {
			if ((int64_t)iov[i].length < 0)
				return -EINVAL;
		}
		vector += some * sizeof(*iov);
		count -= some;
	}
	return 0;
}

static int set_buffer(struct pg_io *io, uint64_t base, uint64_t length)
{
	io->iov[0] = (struct pg_iovec){ base, length < PG_RW_MAX ? length : PG_RW_MAX };
	io->count = 1;
	return 0;
}

static int set_vector(struct pg_io *io, uint64_t vector, uint64_t count)
{
	int code;

	if (count > PG_UIO_MAXIOV)
		return -EINVAL;
	io->vector = vector;
	io->vector_count = (uint32_t)count;
	io->left = PG_RW_MAX;
	code = load_window(io);
	return code ? code : check_rest(io->vector, io->vector_count);
}

/* ---- the calls ---- */

static void io_cleanup(struct pg_syscall *call)
{
	struct io_frame *frame = PG_FRAME(call, struct io_frame);

	pg_file_put(frame->file);
}

/* A signal has interrupted it: what has been moved by then counts. */
static int64_t io_interrupt(struct pg_syscall *call)
{
	struct pg_io *io = &PG_FRAME(call, struct io_frame)->io;

	/* Moved or not: nobody else tells epolls of it. */
	if (io->file->handle >= 0)
		pg_events_touched(io->file);
	if ((io->dropped && io->dropped(io)) || io->result)
		return io->result;
	return PG_RESTART;
}

/* What a call asks for. */
enum {
	READ = 0,
	WRITE = 1,
	VECTOR = 2, /* arg[1] and arg[2] are iovecs, not a buffer */
	AT = 4,     /* arg[3] is the offset                        */
	STREAM = 8, /* with AT: offset -1 is the position           */
	FLAGS = 16, /* arg[5] are RWF_*: none is known              */
};

/* 0, and frame->io is ready to be polled; or -errno. */
static int64_t start(struct pg_syscall *call, struct io_frame *frame, unsigned how)
{
	const uint64_t *arg = call->arg;
	struct pg_io *io = &frame->io;
	const struct pg_future_ops *ops;
	struct pg_file *file;
	uint32_t mode;
	int code;

	io->write = how & WRITE;
	io->offset = how & AT ? arg[3] : PG_OFFSET_STREAM;
	if ((how & AT) && (int64_t)io->offset < 0 &&
	    !((how & STREAM) && io->offset == PG_OFFSET_STREAM))
		return -EINVAL;
	file = pg_fd_get((int)arg[0]);
	if (!file)
		return -EBADF;
	frame->file = file;
	call->cleanup = io_cleanup;
	mode = pg_file_flags(file) & PG_O_ACCMODE;
	if (mode == (io->write ? PG_O_RDONLY : PG_O_WRONLY) || mode == PG_O_ACCMODE)
		return -EBADF;
	if (io->offset != PG_OFFSET_STREAM && file->handle < 0 && !file->ops->seeks)
		return -ESPIPE;
	if ((how & FLAGS) && arg[5])
		return -EOPNOTSUPP;
	ops = io->write ? &file->ops->write : &file->ops->read;
	if (!ops->poll)
		return -EINVAL;
	io->file = file;
	pg_async_init(&io->async, ops);
	code = how & VECTOR ? set_vector(io, arg[1], arg[2]) : set_buffer(io, arg[1], arg[2]);
	if (!code)
		code = pg_io_refill(io);
	/* With nothing to move, too, the kind has its say. */
	return code < 0 ? code : 0;
}

PG_ASYNC static enum pg_poll transfer(struct pg_syscall *call, struct pg_task *waker, unsigned how)
{
	struct io_frame *frame = PG_FRAME(call, struct io_frame);
	int64_t code;

	PG_BEGIN(&call->async);
	code = start(call, frame, how);
	if (code)
		PG_FINISH(call, code);
	call->interrupt = io_interrupt;
	PG_AWAIT(&call->async, &frame->io.async.future, waker);
	PG_FINISH(call, frame->io.result);
}

PG_WAITING_CALL(read, struct io_frame)
{
	return transfer(call, waker, READ);
}

PG_WAITING_CALL(write, struct io_frame)
{
	return transfer(call, waker, WRITE);
}

PG_WAITING_CALL(pread64, struct io_frame)
{
	return transfer(call, waker, READ | AT);
}

PG_WAITING_CALL(pwrite64, struct io_frame)
{
	return transfer(call, waker, WRITE | AT);
}

PG_WAITING_CALL(readv, struct io_frame)
{
	return transfer(call, waker, READ | VECTOR);
}

PG_WAITING_CALL(writev, struct io_frame)
{
	return transfer(call, waker, WRITE | VECTOR);
}

PG_WAITING_CALL(preadv, struct io_frame)
{
	return transfer(call, waker, READ | VECTOR | AT);
}

PG_WAITING_CALL(pwritev, struct io_frame)
{
	return transfer(call, waker, WRITE | VECTOR | AT);
}

PG_WAITING_CALL(preadv2, struct io_frame)
{
	return transfer(call, waker, READ | VECTOR | AT | STREAM | FLAGS);
}

PG_WAITING_CALL(pwritev2, struct io_frame)
{
	return transfer(call, waker, WRITE | VECTOR | AT | STREAM | FLAGS);
}
