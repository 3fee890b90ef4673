#include "pipe.h"

#include "core/container.h"
#include "core/spinlock.h"
#include "events.h"
#include "fd.h"
#include "io.h"
#include "linux.h"
#include "mm/heap.h"
#include "syscall.h"
#include "user.h"

#define FIONREAD 0x541b

/* Moved before other tasks get their turn. */
#define BURST 65536

#define READABLE (PG_POLLIN | PG_POLLRDNORM)
#define WRITABLE (PG_POLLOUT | PG_POLLWRNORM)

enum {
	READ_END,
	WRITE_END
};

/* Freed with its second end. Fields are guarded by `lock`; atomic ones are read without, too. */
struct pipe {
	struct pg_file end[2];
	struct pg_spinlock lock;
	struct pg_waitq readers, writers; /* by `lock`, not their own */
	uint8_t *ring;
	_Atomic uint32_t size; /* a power of two, pages                     */
	_Atomic uint32_t used; /* bytes in it                               */
	uint32_t head;         /* where the first one lies                  */
	_Atomic bool open[2];
	uint64_t ino;
};

static _Atomic uint64_t next_ino = 1;

static struct pipe *pipe_of(const struct pg_file *file);

/* Relaxed: under the lock, or a look that will be repeated (events.h). */
#define LOAD(field)         atomic_load_explicit(&(field), memory_order_relaxed)
#define STORE(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

static uint32_t room_in(const struct pipe *pipe)
{
	return LOAD(pipe->size) - LOAD(pipe->used);
}

/* ---- moving bytes ---- */

/*
 * Up to `length` bytes between the program's pieces and the ring, from `at` bytes behind
 * the first one on. How many; or -errno if none. The lock is held.
 */
static int64_t copy(struct pipe *pipe, struct pg_io *io, uint32_t at, uint32_t length)
{
	uint32_t size = LOAD(pipe->size), done = 0;

	while (done < length) {
		uint32_t offset = (pipe->head + at + done) & (size - 1);
		uint32_t part = length - done < size - offset ? length - done : size - offset;
		const struct pg_iovec *iov;
		int code = pg_io_refill(io);

		if (code == 0)
			break;
		iov = &io->iov[io->first];
		if (code > 0) {
			if (iov->length < part)
				part = (uint32_t)iov->length;
			code = io->write ? pg_user_read(pipe->ring + offset, iov->base, part)
					 : pg_user_write(iov->base, pipe->ring + offset, part);
		}
		if (code < 0)
			return done ? (int64_t)done : code;
		pg_io_advance(io, part);
		done += part;
	}
	return done;
}

/* Wake the next one that can go on. The lock is held. */
static void wake_reader(struct pipe *pipe, struct pg_task_list *wake)
{
	if (pipe->readers.head && (LOAD(pipe->used) || !LOAD(pipe->open[WRITE_END])))
		pg_waitq_notify_locked(&pipe->readers, 1, PG_NOTIFIED_ONE, wake);
}

static void wake_writer(struct pipe *pipe, struct pg_task_list *wake)
{
	/* Any write has enough room then. Woken for less, it would be woken too often. */
	if (pipe->writers.head && (room_in(pipe) >= PG_PIPE_BUF || !LOAD(pipe->open[READ_END])))
		pg_waitq_notify_locked(&pipe->writers, 1, PG_NOTIFIED_ONE, wake);
}

/* Some bytes were read, or written. The lock is held. */
static void moved(struct pipe *pipe, struct pg_task_list *wake)
{
	if (LOAD(pipe->used))
		pg_events_changed_locked(&pipe->end[READ_END], wake);
	if (room_in(pipe) >= PG_PIPE_BUF)
		pg_events_changed_locked(&pipe->end[WRITE_END], wake);
	wake_reader(pipe, wake);
	wake_writer(pipe, wake);
}

enum step {
	STEP_DONE,  /* the call is over       */
	STEP_WAIT,  /* it waits, and is queued */
	STEP_LAST,  /* the same, and some bytes were moved */
	STEP_AGAIN, /* bytes were moved, and there may be more */
};

static void end_wait(struct pipe *pipe, struct pg_io *io)
{
	/* Chosen or not: we take our turn now, and wake the next one when we have. */
	pg_waitq_remove_locked(io->write ? &pipe->writers : &pipe->readers, &io->waiter);
}

static enum step wait_or_fail(struct pipe *pipe, struct pg_io *io, struct pg_task *waker)
{
	if (pg_file_flags(io->file) & PG_O_NONBLOCK) {
		pg_io_end(io, -EAGAIN);
		return STEP_DONE;
	}
	pg_waitq_add_locked(io->write ? &pipe->writers : &pipe->readers, &io->waiter, waker);
	return STEP_WAIT;
}

/* The lock is held. `news`: epolls are to be told of it. */
static enum step read_step(struct pipe *pipe, struct pg_io *io, struct pg_task *waker, bool *news)
{
	uint32_t used = LOAD(pipe->used), room = room_in(pipe);
	int64_t count;

	end_wait(pipe, io);
	if (!used) {
		/* What was read until now is all there was; or the end of the file. */
		if (io->result || !LOAD(pipe->open[WRITE_END]))
			return STEP_DONE;
		return wait_or_fail(pipe, io, waker);
	}
	count = copy(pipe, io, 0, used < PG_PIPE_BUF ? used : PG_PIPE_BUF);
	if (count <= 0) {
		pg_io_end(io, count);
		return STEP_DONE;
	}
	pipe->head = (pipe->head + (uint32_t)count) & (LOAD(pipe->size) - 1);
	STORE(pipe->used, used - (uint32_t)count);
	/* There was no room, and now there is. */
	*news = room < PG_PIPE_BUF && room_in(pipe) >= PG_PIPE_BUF;
	return count == used ? STEP_LAST : STEP_AGAIN;
}

/* `io->asked` is how many bytes are to be written at once, at least. The lock is held. */
static enum step write_step(struct pipe *pipe, struct pg_io *io, struct pg_task *waker, bool *news)
{
	uint32_t used = LOAD(pipe->used), room = room_in(pipe);
	int64_t count;

	end_wait(pipe, io);
	if (!LOAD(pipe->open[READ_END])) {
		pg_io_end(io, -EPIPE);
		io->sure = true;
		return STEP_DONE;
	}
	if (room < io->asked)
		return wait_or_fail(pipe, io, waker);
	count = copy(pipe, io, used, room < PG_PIPE_BUF ? room : PG_PIPE_BUF);
	if (count > 0 && io->asked > 1 && (uint64_t)count < io->asked) {
		/* A part that can't be read: all or nothing. */
		io->result = 0;
		count = -EFAULT;
	}
	if (count <= 0) {
		pg_io_end(io, count);
		return STEP_DONE;
	}
	STORE(pipe->used, used + (uint32_t)count);
	/* Also if there were some before: each write is an edge, as on Linux. */
	*news = true;
	return STEP_AGAIN;
}

static enum pg_poll transfer(struct pipe *pipe, struct pg_io *io, struct pg_task *waker)
{
	int64_t limit = io->result + BURST;

	for (;;) {
		struct pg_task_list wake = { 0 };
		bool news = false;
		enum step step;
		int code;

		pg_spin_lock(&pipe->lock);
		step = io->write ? write_step(pipe, io, waker, &news)
				 : read_step(pipe, io, waker, &news);
		/* If it is over without a byte: we may have been chosen for those there are. */
		if (step != STEP_WAIT)
			moved(pipe, &wake);
		pg_spin_unlock(&pipe->lock);
		pg_task_list_enqueue(&wake);
		if (news)
			pg_events_tell(&pipe->end[io->write ? READ_END : WRITE_END],
				       io->write ? READABLE : WRITABLE);

		if (step == STEP_WAIT)
			return PG_PENDING;
		if (step != STEP_AGAIN)
			return PG_READY;
		code = pg_io_refill(io);
		if (code <= 0) {
			pg_io_end(io, code);
			return PG_READY;
		}
		if (io->result >= limit) {
			pg_task_wake(waker);
			return PG_PENDING;
		}
	}
}

/* Bytes in all pieces, up to a few more than PG_PIPE_BUF; what can't be read counts as many. */
static uint64_t count_bytes(const struct pg_io *io)
{
	uint64_t bytes = pg_io_bytes(io);

	for (uint32_t i = 0; i < io->vector_count && bytes <= PG_PIPE_BUF; i++) {
		struct pg_iovec iov;

		if (pg_user_read(&iov, io->vector + i * sizeof(iov), sizeof(iov)) ||
		    iov.length > PG_PIPE_BUF)
			return PG_PIPE_BUF + 1;
		bytes += iov.length;
	}
	return bytes;
}

static enum pg_poll read_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_io *io = pg_container_of(future, struct pg_io, async.future);

	if (!io->only_file) {
		io->only_file = true; /* looked at already */
		if (pg_io_refill(io) == 0)
			return PG_READY;
	}
	return transfer(pipe_of(io->file), io, waker);
}

static enum pg_poll write_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_io *io = pg_container_of(future, struct pg_io, async.future);
	enum pg_poll poll;

	if (!io->asked) {
		io->asked = count_bytes(io);
		if (io->asked == 0)
			return PG_READY;
		if (io->asked > PG_PIPE_BUF)
			io->asked = 1;
	}
	poll = transfer(pipe_of(io->file), io, waker);
	/* Even if some bytes were written before. */
	if (poll == PG_READY && io->sure)
		pg_pipe_broken(waker);
	return poll;
}

static void drop(struct pg_future *future)
{
	struct pg_io *io = pg_container_of(future, struct pg_io, async.future);
	struct pipe *pipe = pipe_of(io->file);
	struct pg_task_list wake = { 0 };

	pg_spin_lock(&pipe->lock);
	if (io->write) {
		if (pg_waitq_remove_locked(&pipe->writers, &io->waiter))
			wake_writer(pipe, &wake);
	} else if (pg_waitq_remove_locked(&pipe->readers, &io->waiter)) {
		wake_reader(pipe, &wake);
	}
	pg_spin_unlock(&pipe->lock);
	pg_task_list_enqueue(&wake);
}

/* ---- what else can be done to it ---- */

static uint32_t read_events(struct pg_file *file)
{
	const struct pipe *pipe = pipe_of(file);

	return (LOAD(pipe->used) ? READABLE : 0) | (LOAD(pipe->open[WRITE_END]) ? 0 : PG_POLLHUP);
}

static uint32_t write_events(struct pg_file *file)
{
	const struct pipe *pipe = pipe_of(file);

	return (room_in(pipe) >= PG_PIPE_BUF ? WRITABLE : 0) |
	       (LOAD(pipe->open[READ_END]) ? 0 : PG_POLLERR);
}

static void stat_pipe(struct pg_file *file, struct pg_statx *to)
{
	*to = (struct pg_statx){
		.mask = PG_STATX_BASIC_STATS,
		.blksize = 4096,
		.nlink = 1,
		.mode = PG_S_IFIFO | 0600,
		.ino = pipe_of(file)->ino,
	};
}

static int64_t ioctl(struct pg_file *file, uint32_t request, uint64_t argument)
{
	const int32_t used = (int32_t)LOAD(pipe_of(file)->used);

	if (request != FIONREAD)
		return -ENOTTY;
	return pg_user_write(argument, &used, sizeof(used));
}

static void release(struct pg_file *file)
{
	struct pipe *pipe = pipe_of(file);
	struct pg_task_list wake = { 0 };
	int end = file == &pipe->end[WRITE_END], other = !end;
	bool last;

	pg_spin_lock(&pipe->lock);
	STORE(pipe->open[end], false);
	last = !LOAD(pipe->open[other]);
	if (!last) {
		pg_events_changed_locked(&pipe->end[other], &wake);
		pg_waitq_notify_locked(&pipe->readers, SIZE_MAX, PG_NOTIFIED_ALL, &wake);
		pg_waitq_notify_locked(&pipe->writers, SIZE_MAX, PG_NOTIFIED_ALL, &wake);
		/*
		 * The other end may be released from now on, and the pipe freed with it:
		 * this reference keeps it, if there still is one to be had.
		 */
		last = false;
		if (!pg_file_try_ref(&pipe->end[other]))
			file = NULL;
	}
	pg_spin_unlock(&pipe->lock);
	pg_task_list_enqueue(&wake);
	if (last) {
		pg_free(pipe->ring);
		pg_free(pipe);
	} else if (file) {
		pg_events_tell(&pipe->end[other], end == WRITE_END ? PG_POLLHUP : PG_POLLERR);
		pg_file_put(&pipe->end[other]);
	}
}

static const struct pg_file_ops ops[2] = {
	[READ_END] = { .read = { read_poll, drop },
		       .ready = PG_EVENTS_READY,
		       .stat = stat_pipe,
		       .release = release,
		       .events = read_events,
		       .ioctl = ioctl },
	[WRITE_END] = { .write = { write_poll, drop },
			.ready = PG_EVENTS_READY,
			.stat = stat_pipe,
			.release = release,
			.events = write_events,
			.ioctl = ioctl },
};

static struct pipe *pipe_of(const struct pg_file *file)
{
	if (file->ops == &ops[READ_END])
		return pg_container_of(file, struct pipe, end[READ_END]);
	return pg_container_of(file, struct pipe, end[WRITE_END]);
}

static bool is_pipe(const struct pg_file *file)
{
	return file->ops == &ops[READ_END] || file->ops == &ops[WRITE_END];
}

int64_t pg_pipe_size(struct pg_file *file)
{
	return is_pipe(file) ? (int64_t)LOAD(pipe_of(file)->size) : -EBADF;
}

/* What is in the pipe moves to the beginning of `ring`. False: it doesn't fit. */
static bool exchange_ring(struct pipe *pipe, uint8_t **ring, uint32_t size)
{
	uint32_t used = LOAD(pipe->used), old = LOAD(pipe->size);
	uint32_t first = used < old - pipe->head ? used : old - pipe->head;
	uint8_t *bytes = pipe->ring;

	if (used > size)
		return false;
	memcpy(*ring, bytes + pipe->head, first);
	memcpy(*ring + first, bytes, used - first);
	pipe->ring = *ring;
	pipe->head = 0;
	STORE(pipe->size, size);
	*ring = bytes;
	return true;
}

int64_t pg_pipe_set_size(struct pg_file *file, uint64_t wanted)
{
	struct pg_task_list wake = { 0 };
	uint32_t size = PG_PIPE_BUF;
	struct pipe *pipe;
	uint8_t *ring;
	bool fits;

	if (!is_pipe(file))
		return -EBADF;
	pipe = pipe_of(file);
	wanted = (uint32_t)wanted;
	if (wanted > 1u << 31)
		return -EINVAL;
	if (wanted > PG_PIPE_MAX)
		return -EPERM;
	while (size < wanted)
		size *= 2;
	ring = pg_alloc(size);
	if (!ring)
		return -ENOMEM;
	pg_spin_lock(&pipe->lock);
	fits = exchange_ring(pipe, &ring, size);
	moved(pipe, &wake);
	pg_spin_unlock(&pipe->lock);
	pg_task_list_enqueue(&wake);
	pg_events_tell(&pipe->end[WRITE_END], WRITABLE);
	pg_free(ring);
	return fits ? (int64_t)size : -EBUSY;
}

/* ---- making one ---- */

static struct pipe *new_pipe(uint32_t flags)
{
	struct pipe *pipe = pg_alloc_zero(sizeof(*pipe));

	if (!pipe)
		return NULL;
	pipe->ring = pg_alloc(PG_PIPE_DEFAULT);
	if (!pipe->ring) {
		pg_free(pipe);
		return NULL;
	}
	pg_spin_init(&pipe->lock);
	pg_file_init(&pipe->end[READ_END], &ops[READ_END], flags | PG_O_RDONLY);
	pg_file_init(&pipe->end[WRITE_END], &ops[WRITE_END], flags | PG_O_WRONLY);
	for (int end = READ_END; end <= WRITE_END; end++) {
		pipe->end[end].lock = &pipe->lock;
		atomic_init(&pipe->open[end], true);
	}
	atomic_init(&pipe->size, PG_PIPE_DEFAULT);
	/* Relaxed: any order of numbers is right. */
	pipe->ino = atomic_fetch_add_explicit(&next_ino, 1, memory_order_relaxed);
	return pipe;
}

static int64_t make_pipe(uint64_t address, uint32_t flags)
{
	bool cloexec = flags & PG_O_CLOEXEC;
	struct pipe *pipe;
	int32_t fd[2];

	if (flags & ~(uint32_t)(PG_O_CLOEXEC | PG_O_NONBLOCK))
		return -EINVAL;
	fd[READ_END] = pg_fd_reserve(0, cloexec);
	if (fd[READ_END] < 0)
		return fd[READ_END];
	fd[WRITE_END] = pg_fd_reserve(0, cloexec);
	if (fd[WRITE_END] < 0) {
		pg_fd_unreserve(fd[READ_END]);
		return fd[WRITE_END];
	}
	pipe = new_pipe(flags & PG_O_NONBLOCK);
	if (!pipe || pg_user_write(address, fd, sizeof(fd))) {
		pg_fd_unreserve(fd[READ_END]);
		pg_fd_unreserve(fd[WRITE_END]);
		if (!pipe)
			return -ENOMEM;
		pg_file_put(&pipe->end[READ_END]);
		pg_file_put(&pipe->end[WRITE_END]);
		return -EFAULT;
	}
	pg_fd_install(fd[READ_END], &pipe->end[READ_END]);
	pg_fd_install(fd[WRITE_END], &pipe->end[WRITE_END]);
	return 0;
}

PG_CALL(pipe)
{
	return make_pipe(arg[0], 0);
}

PG_CALL(pipe2)
{
	return make_pipe(arg[0], (uint32_t)arg[1]);
}
