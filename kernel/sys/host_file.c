/* Files of the loader: every operation is a hypercall on their handle. */
#include "core/container.h"
#include "core/task.h"
#include "events.h"
#include "file.h"
#include "io.h"
#include "lib/errno.h"
#include "linux.h"
#include "pipe.h"

/* ---- transfers ---- */

static enum pg_seekable seekable(const struct pg_file *file)
{
	return atomic_load_explicit(&file->seekable, memory_order_relaxed);
}

static void found_seekable(struct pg_file *file, int64_t position)
{
	atomic_store_explicit(&file->seekable, position == -ESPIPE ? PG_STREAM : PG_SEEKABLE,
			      memory_order_relaxed);
}

/* O_APPEND that was set after opening: the host doesn't know. */
static bool must_append(const struct pg_io *io)
{
	return io->write && io->offset == PG_OFFSET_STREAM &&
	       (pg_file_flags(io->file) & ~io->file->opened & PG_O_APPEND);
}

/*
 * The operation was dropped, and has been settled. Cancelled, or interrupted in the host, it has
 * done nothing; otherwise its result is the last one there is.
 */
static bool take_dropped(struct pg_io *io)
{
	int64_t bytes = io->call.result;

	if (bytes == -ECANCELED || bytes == -EINTR || bytes == -EAGAIN)
		return false;
	if (bytes > 0)
		pg_io_advance(io, (uint64_t)bytes);
	else
		pg_io_end(io, bytes);
	if (bytes == -EPIPE)
		pg_pipe_broken(io->call.task);
	return true;
}

static void seek(struct pg_io *io, uint64_t whence)
{
	io->dropped = NULL;
	pg_hypercall_init(&io->call, PG_OP_LSEEK, io->file->handle, 0, whence);
}

static void ask_ready(struct pg_io *io)
{
	io->dropped = NULL;
	pg_hypercall_init(&io->call, PG_OP_POLL, io->file->handle,
			  io->write ? PG_POLLOUT : PG_POLLIN);
}

/* The next operation: what is left in the window, up to what one operation moves. */
static void prepare(struct pg_io *io)
{
	const struct pg_iovec *iov = io->iov + io->first;
	uint32_t count = io->count - io->first;

	io->dropped = take_dropped;
	io->asked = pg_io_bytes(io);
	if (io->asked > PG_IO_MAX)
		io->asked = PG_IO_MAX;
	if (count == 1)
		pg_hypercall_init(&io->call, io->write ? PG_OP_WRITE : PG_OP_READ, io->file->handle,
				  iov->base, io->asked, io->offset);
	else
		pg_hypercall_init(&io->call, io->write ? PG_OP_WRITEV : PG_OP_READV,
				  io->file->handle, (uintptr_t)iov, count, io->offset);
}

/* What a result means. */
enum next {
	END,
	MORE, /* another operation                */
	WAIT, /* it would block, and it shall     */
};

static enum next take_result(struct pg_io *io)
{
	int64_t bytes = io->call.result;
	bool nonblocking = pg_file_flags(io->file) & PG_O_NONBLOCK, whole;
	int code;

	/* The host's descriptor is O_NONBLOCK, and the program has taken that back. */
	if (bytes == -EAGAIN && !nonblocking && (io->write || io->result == 0))
		return WAIT;
	if (bytes < 0) {
		pg_io_end(io, bytes);
		return END;
	}
	whole = (uint64_t)bytes >= io->asked;
	pg_io_advance(io, (uint64_t)bytes);
	if (bytes == 0)
		return END;
	code = pg_io_refill(io);
	if (code <= 0) {
		pg_io_end(io, code);
		return END;
	}
	/* A write goes on until all is written, or an error says why it can't be. */
	if (io->write)
		return whole || !nonblocking ? MORE : END;
	/* A read goes on to the end of a file; a stream may have nothing more now. */
	io->only_file = true;
	return whole ? MORE : END;
}

static bool must_know_kind(const struct pg_io *io)
{
	return seekable(io->file) == PG_SEEKABLE_UNKNOWN &&
	       (io->only_file || (pg_file_flags(io->file) & PG_O_NONBLOCK));
}

/* O_NONBLOCK is for streams. Opened with it or not: the loader's may be set otherwise. */
static bool must_try(const struct pg_io *io)
{
	return !io->sure && seekable(io->file) == PG_STREAM &&
	       (pg_file_flags(io->file) & PG_O_NONBLOCK);
}

/*
 * Ask for the operation, and take that back at once: the loader takes entries in order, does
 * what it can without waiting, and only then finds the cancellation. False without room
 * on the ring: it has not even been asked.
 */
static bool try_once(struct pg_io *io, struct pg_task *waker)
{
	bool asked;

	/* It is new, so it can't be READY. */
	(void)!pg_future_poll(&io->call.future, waker);
	asked = io->call.state != PG_HYPERCALL_QUEUED;
	pg_future_drop(&io->call.future);
	pg_settle_init(&io->settle, &io->call);
	return asked;
}

PG_ASYNC static enum pg_poll transfer(struct pg_future *future, struct pg_task *waker)
{
	struct pg_io *io = pg_container_of(future, struct pg_io, async.future);
	enum next next;

	PG_BEGIN(&io->async);
	if (must_append(io)) {
		seek(io, PG_SEEK_END);
		PG_AWAIT(&io->async, &io->call.future, waker);
	}
	do {
		if (must_know_kind(io)) {
			seek(io, PG_SEEK_CUR);
			PG_AWAIT(&io->async, &io->call.future, waker);
			found_seekable(io->file, io->call.result);
		}
		if (io->only_file && seekable(io->file) == PG_STREAM)
			break;

		prepare(io);
		if (!must_try(io)) {
			io->sure = false;
			PG_AWAIT(&io->async, &io->call.future, waker);
		} else if (try_once(io, waker)) {
			PG_AWAIT(&io->async, &io->settle.future, waker);
			if (io->call.result == -ECANCELED) {
				/*
				 * Some host files (terminals) can't be tried without waiting. If
				 * this is one and it is ready, the plain operation will do.
				 */
				ask_ready(io);
				(void)try_once(io, waker);
				PG_AWAIT(&io->async, &io->settle.future, waker);
				io->sure = io->call.result > 0;
				next = MORE;
				if (io->sure)
					continue;
				io->call.result = -EAGAIN;
			}
		} else {
			PG_YIELD(&io->async, waker);
			next = MORE;
			continue;
		}

		if (io->call.result == -EPIPE)
			pg_pipe_broken(waker);
		next = take_result(io);
		if (next == WAIT) {
			ask_ready(io);
			PG_AWAIT(&io->async, &io->call.future, waker);
			if (io->call.result < 0)
				pg_io_end(io, io->call.result);
			next = io->call.result < 0 ? END : MORE;
		}
	} while (next == MORE);
	pg_events_touched(io->file);
	PG_END(&io->async);
}

/* ---- events ---- */

static enum pg_poll ready_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_ready *ready = pg_container_of(future, struct pg_ready, future);

	if (ready->call.state == PG_HYPERCALL_NEW)
		pg_hypercall_init(&ready->call, PG_OP_POLL, ready->file->handle, ready->events);
	if (pg_future_poll(&ready->call.future, waker) == PG_PENDING)
		return PG_PENDING;
	ready->revents = ready->call.result > 0 ? (uint32_t)ready->call.result : PG_POLLERR;
	return PG_READY;
}

static void ready_drop(struct pg_future *future)
{
	struct pg_ready *ready = pg_container_of(future, struct pg_ready, future);

	if (ready->call.state != PG_HYPERCALL_NEW)
		pg_future_drop(&ready->call.future);
}

/* ---- the end ---- */

static void release(struct pg_file *file)
{
	/* Without a handle: its open has not come to anything. */
	if (file->handle < 0)
		pg_file_free(file);
	else
		pg_file_reap(file);
}

const struct pg_file_ops pg_host_file_ops = {
	.read = { transfer, pg_async_drop },
	.write = { transfer, pg_async_drop },
	.ready = { ready_poll, ready_drop },
	.release = release,
};
