#include "operation.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "files.h"

static bool is_transfer(uint16_t op)
{
	return op == PG_OP_READ || op == PG_OP_WRITE || op == PG_OP_READV || op == PG_OP_WRITEV;
}

static bool is_write(uint16_t op)
{
	return op == PG_OP_WRITE || op == PG_OP_WRITEV;
}

static int64_t defer(struct uhyve_request *request, enum uhyve_step step)
{
	request->step = step;
	return UHYVE_PENDING;
}

/* ---- reads and writes ---- */

/* Host memory for one guest range; -EFAULT unless all of it is there. */
static int add_range(struct uhyve_guest *guest, struct uhyve_request *request, uint64_t base,
		     uint64_t length)
{
	uint32_t prot = is_write(request->op) ? PG_PROT_READ : PG_PROT_WRITE;
	int count;

	if (length == 0)
		return 0;
	count = uhyve_mmu_buffer(guest->mmu, (uhyve_gva){ base }, length, prot,
				 request->pieces + request->piece_count,
				 (int)(UHYVE_PIECES - request->piece_count), NULL);
	if (count < 0)
		return count;
	request->ranges[request->range_count++] = (struct pg_iovec){ base, length };
	request->piece_count += (unsigned)count;
	return 0;
}

/* The guest's iovecs, at most PG_IO_MAX bytes: up to the first bad one, as on Linux. */
static int add_ranges(struct uhyve_guest *guest, struct uhyve_request *request, uint64_t address,
		      uint64_t count)
{
	struct pg_iovec list[PG_IOV_MAX];
	uint64_t room = PG_IO_MAX;
	int code;

	if (count > PG_IOV_MAX)
		return -EINVAL;
	code = uhyve_mmu_copy_from(guest->mmu, list, (uhyve_gva){ address }, count * sizeof(*list));
	if (code)
		return code;
	for (uint64_t i = 0; i < count && room; i++) {
		uint64_t length = list[i].length < room ? list[i].length : room;

		code = add_range(guest, request, list[i].base, length);
		if (code)
			return request->piece_count ? 0 : code;
		room -= length;
	}
	return 0;
}

static uint64_t bytes_left(const struct uhyve_request *request)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < request->piece_count; i++)
		bytes += request->pieces[request->piece_first + i].iov_len;
	return bytes;
}

/* `bytes` were moved: the rest begins behind them. */
static void advance(struct uhyve_request *request, uint64_t bytes)
{
	request->done += (int64_t)bytes;
	if (request->offset != PG_OFFSET_STREAM)
		request->offset += bytes;
	while (bytes) {
		struct iovec *piece = &request->pieces[request->piece_first];

		if (piece->iov_len > bytes) {
			piece->iov_base = (char *)piece->iov_base + bytes;
			piece->iov_len -= bytes;
			return;
		}
		bytes -= piece->iov_len;
		request->piece_first++;
		request->piece_count--;
	}
}

static int64_t transfer_host(const struct uhyve_request *request, int flags)
{
	const struct iovec *pieces = request->pieces + request->piece_first;
	int count = (int)request->piece_count;
	off_t offset = (off_t)request->offset;
	ssize_t bytes = is_write(request->op) ? pwritev2(request->fd, pieces, count, offset, flags)
					      : preadv2(request->fd, pieces, count, offset, flags);

	return bytes < 0 ? -errno : bytes;
}

/* Errors after some bytes have moved are found again by the guest's next attempt. */
static int64_t transfer_end(const struct uhyve_request *request, int64_t result)
{
	if (result >= 0)
		return request->done + result;
	return request->done ? request->done : result;
}

/* The attempt did not move everything, or was not possible: what to wait for. */
static int64_t transfer_defer(struct uhyve_request *request, bool blocked)
{
	struct uhyve_handle *handle = request->handle;

	if (handle->kind == UHYVE_KIND_FILE) {
		if (request->offset != PG_OFFSET_STREAM)
			return defer(request, UHYVE_STEP_RUN);
		/* io_uring does not lock the position, as read(2) and write(2) do. */
		request->moves_position = true;
		handle->movers++;
		return defer(request, UHYVE_STEP_WORKER);
	}
	if (request->ready && !blocked) {
		request->ready = false;
		return defer(request, UHYVE_STEP_RUN);
	}
	request->events = is_write(request->op) ? POLLOUT : POLLIN;
	return defer(request, UHYVE_STEP_WAIT);
}

/*
 * Move what can be moved without waiting. A file's transfer goes on to the end of the
 * buffer or of the file, as on Linux: a part of it that is not cached makes no short read.
 */
static int64_t transfer(struct uhyve_request *request)
{
	struct uhyve_handle *handle = request->handle;
	bool *no_nowait = &handle->no_nowait[is_write(request->op)];
	bool file = handle->kind == UHYVE_KIND_FILE;

	/* The host's lock on the position may be held by a worker that waits. */
	if (handle->movers && file && request->offset == PG_OFFSET_STREAM)
		return transfer_defer(request, false);

	for (;;) {
		if (!handle->direct && *no_nowait)
			return transfer_defer(request, false);

		int64_t result = transfer_host(request, handle->direct ? 0 : RWF_NOWAIT);

		if (result == -EOPNOTSUPP && !handle->direct) {
			*no_nowait = true;
			continue;
		}
		if (result == -EAGAIN && !handle->nonblocking)
			return transfer_defer(request, true);
		if (!file || result <= 0 || (uint64_t)result == bytes_left(request))
			return transfer_end(request, result);
		advance(request, (uint64_t)result);
	}
}

static int64_t start_transfer(struct uhyve_guest *guest, struct uhyve_request *request,
			      const struct pg_sqe *entry)
{
	uint64_t length = entry->arg[1];
	int code;

	request->handle = uhyve_handles_get(&guest->handles, entry->handle);
	if (!request->handle || request->handle->kind == UHYVE_KIND_PATH)
		return -EBADF;
	if (request->handle->kind == UHYVE_KIND_DIRECTORY)
		return is_write(request->op) ? -EBADF : -EISDIR;
	request->fd = request->handle->fd;
	request->offset = entry->arg[2];
	if (request->offset != PG_OFFSET_STREAM) {
		if (request->handle->kind != UHYVE_KIND_FILE)
			return -ESPIPE;
		if (request->offset > INT64_MAX)
			return -EINVAL;
	}

	if (request->op == PG_OP_READ || request->op == PG_OP_WRITE)
		code = add_range(guest, request, entry->arg[0],
				 length < PG_IO_MAX ? length : PG_IO_MAX);
	else
		code = add_ranges(guest, request, entry->arg[0], length);
	if (code)
		return code;
	return transfer(request);
}

static int64_t resume_transfer(struct uhyve_request *request)
{
	int64_t result = request->result;

	if (request->moves_position) {
		request->moves_position = false;
		request->handle->movers--;
	}
	if (request->step == UHYVE_STEP_WAIT) {
		if (result < 0)
			return transfer_end(request, result);
		request->ready = true;
		return transfer(request);
	}
	if (request->handle->kind != UHYVE_KIND_FILE) {
		/* Somebody else was quicker, or the descriptor is O_NONBLOCK. */
		if (result == -EAGAIN)
			return transfer_defer(request, true);
		return transfer_end(request, result);
	}
	if (result <= 0 || (uint64_t)result == bytes_left(request))
		return transfer_end(request, result);
	advance(request, (uint64_t)result);
	return transfer(request);
}

/* ---- memory ---- */

static bool overlaps(const struct uhyve_request *request, uint64_t start, uint64_t length)
{
	for (unsigned i = 0; i < request->range_count; i++)
		if (request->ranges[i].base < start + length &&
		    start < request->ranges[i].base + request->ranges[i].length)
			return true;
	return false;
}

/*
 * Whether an operation in flight uses memory in the range. Its frames must then not
 * come to back anything else, and not become executable: the host may still write there.
 */
static bool in_use(const struct uhyve_guest *guest, uint64_t start, uint64_t length)
{
	for (const struct uhyve_request *at = guest->deferred; at; at = at->older)
		if (overlaps(at, start, length))
			return true;
	return false;
}

static int64_t memory(struct uhyve_guest *guest, const struct pg_sqe *entry)
{
	uint64_t start = entry->arg[0], length = entry->arg[1], prot = entry->arg[2];
	uhyve_gva va = { start };
	uint32_t hint = 0;

	if ((start | length) & (PG_PAGE_SIZE - 1) || length == 0)
		return -EINVAL;
	if (start < PG_VA_MIN || start >= PG_VA_USER_END || length > PG_VA_USER_END - start)
		return -EINVAL;
	if (entry->op == PG_OP_MAP && (prot & PG_PROT_GROWSDOWN)) {
		prot ^= PG_PROT_GROWSDOWN;
		hint = UHYVE_PROT_GROWSDOWN;
	}
	if (entry->op == PG_OP_MAP || entry->op == PG_OP_PROTECT) {
		if (prot & ~(uint64_t)(PG_PROT_READ | PG_PROT_WRITE | PG_PROT_EXEC))
			return -EINVAL;
		if ((prot & PG_PROT_WRITE) && (prot & PG_PROT_EXEC))
			return -EACCES;
	}

	switch (entry->op) {
	case PG_OP_MAP:
		return uhyve_mmu_map(guest->mmu, va, length, (uint32_t)prot | hint);
	case PG_OP_PROTECT:
		if ((prot & PG_PROT_EXEC) && in_use(guest, start, length))
			return -EBUSY;
		return uhyve_mmu_protect(guest->mmu, va, length, (uint32_t)prot);
	case PG_OP_UNMAP:
		if (in_use(guest, start, length))
			return -EBUSY;
		return uhyve_mmu_unmap(guest->mmu, va, length);
	default:
		return uhyve_mmu_discard(guest->mmu, va, length);
	}
}

/* ---- the rest of what needs a handle ---- */

static int64_t start_poll(struct uhyve_request *request, const struct pg_sqe *entry)
{
	struct pollfd fd = { .fd = request->fd, .events = (short)entry->arg[0] };

	if (poll(&fd, 1, 0) > 0)
		return fd.revents;
	request->events = fd.events;
	return defer(request, UHYVE_STEP_WAIT);
}

static int64_t start_seek(struct uhyve_request *request, const struct pg_sqe *entry)
{
	uint64_t whence = entry->arg[1];

	if (whence > SEEK_HOLE)
		return -EINVAL;
	if (request->handle->kind == UHYVE_KIND_STREAM || request->handle->kind == UHYVE_KIND_TTY)
		return -ESPIPE;
	request->offset = entry->arg[0];
	request->length = whence;
	/* Looking for data or holes may read from the disk; a mover holds the position's lock. */
	if (whence == SEEK_DATA || whence == SEEK_HOLE || request->handle->movers) {
		request->moves_position = true;
		request->handle->movers++;
		return defer(request, UHYVE_STEP_WORKER);
	}
	return uhyve_operation_run(request);
}

static int64_t window_size(struct uhyve_guest *guest, struct uhyve_request *request,
			   const struct pg_sqe *entry)
{
	struct winsize size;

	if (request->handle->kind != UHYVE_KIND_TTY)
		return -ENOTTY;
	if (ioctl(request->fd, TIOCGWINSZ, &size) < 0)
		return -errno;
	return uhyve_mmu_copy_to(guest->mmu, (uhyve_gva){ entry->arg[0] }, &size, sizeof(size));
}

static int64_t start_on_handle(struct uhyve_guest *guest, struct uhyve_request *request,
			       const struct pg_sqe *entry)
{
	request->handle = uhyve_handles_get(&guest->handles, entry->handle);
	if (!request->handle)
		return -EBADF;
	request->fd = request->handle->fd;
	if (request->op == PG_OP_ISATTY)
		return request->handle->kind == UHYVE_KIND_TTY;
	if (request->handle->kind == UHYVE_KIND_PATH)
		return -EBADF;

	switch (request->op) {
	case PG_OP_GETDENTS:
		return uhyve_files_start_getdents(guest, request, entry);
	case PG_OP_FSYNC:
		request->offset = entry->arg[0];
		return entry->arg[0] > 1 ? -EINVAL : defer(request, UHYVE_STEP_RUN);
	case PG_OP_FTRUNCATE:
		request->length = entry->arg[0];
		return defer(request, UHYVE_STEP_WORKER);
	case PG_OP_LSEEK:
		return start_seek(request, entry);
	case PG_OP_POLL:
		return start_poll(request, entry);
	default:
		return window_size(guest, request, entry);
	}
}

/* ---- the three entries of this file ---- */

int64_t uhyve_operation_start(struct uhyve_guest *guest, struct uhyve_request *request,
			      const struct pg_sqe *entry)
{
	request->op = entry->op;
	request->user_data = entry->user_data;
	request->handle = NULL;
	request->fd = -1;
	request->work = NULL;
	request->ready = false;
	request->cancelled = false;
	request->moves_position = false;
	request->done = 0;
	request->range_count = 0;
	request->piece_first = 0;
	request->piece_count = 0;

	/* No operation has flags yet: refused, so that a later version can give them a meaning. */
	if (entry->flags)
		return -EINVAL;

	switch (entry->op) {
	case PG_OP_NOP:
		return 0;
	case PG_OP_READ:
	case PG_OP_WRITE:
	case PG_OP_READV:
	case PG_OP_WRITEV:
		return start_transfer(guest, request, entry);
	case PG_OP_CLOSE:
		return uhyve_handles_close(&guest->handles, entry->handle);
	case PG_OP_OPENAT:
	case PG_OP_STATX:
	case PG_OP_UNLINKAT:
	case PG_OP_MKDIRAT:
	case PG_OP_RENAMEAT:
	case PG_OP_READLINKAT:
	case PG_OP_FACCESSAT:
	case PG_OP_SYMLINKAT:
		return uhyve_files_start(guest, request, entry);
	case PG_OP_MAP:
	case PG_OP_PROTECT:
	case PG_OP_UNMAP:
	case PG_OP_DISCARD:
		return memory(guest, entry);
	case PG_OP_GETDENTS:
	case PG_OP_FSYNC:
	case PG_OP_FTRUNCATE:
	case PG_OP_LSEEK:
	case PG_OP_POLL:
	case PG_OP_ISATTY:
	case PG_OP_WINSIZE:
		return start_on_handle(guest, request, entry);
	case PG_OP_CANCEL:
		request->offset = entry->arg[0];
		return defer(request, UHYVE_STEP_ENGINE);
	default:
		return -ENOSYS;
	}
}

int64_t uhyve_operation_run(struct uhyve_request *request)
{
	int64_t result;

	switch (request->op) {
	case PG_OP_READ:
	case PG_OP_WRITE:
	case PG_OP_READV:
	case PG_OP_WRITEV:
		return transfer_host(request, 0);
	case PG_OP_FSYNC:
		result = request->offset ? fdatasync(request->fd) : fsync(request->fd);
		break;
	case PG_OP_FTRUNCATE:
		result = ftruncate(request->fd, (off_t)request->length);
		break;
	case PG_OP_LSEEK:
		result = lseek(request->fd, (off_t)request->offset, (int)request->length);
		break;
	default:
		return uhyve_files_run(request);
	}
	return result < 0 ? -errno : result;
}

int64_t uhyve_operation_resume(struct uhyve_guest *guest, struct uhyve_request *request)
{
	if (is_transfer(request->op)) {
		int64_t result = resume_transfer(request);

		/* A cancel came between two steps: it has found nothing to stop, so stop here. */
		if (result == UHYVE_PENDING && request->cancelled)
			return transfer_end(request, -ECANCELED);
		return result;
	}
	if (request->work)
		return uhyve_files_finish(guest, request, request->result);
	return request->result;
}

void uhyve_operation_release(struct uhyve_request *request)
{
	if (request->handle) {
		if (request->moves_position)
			request->handle->movers--;
		uhyve_handle_put(request->handle);
		request->handle = NULL;
	}
	free(request->work);
	request->work = NULL;
}
