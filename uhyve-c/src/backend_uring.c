/* The backend on io_uring. The ring is created by one thread, and used by the engine's only. */
#include "backend.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#define STOP_PERIOD_NS 10000000

struct uring {
	struct uhyve_io io;
	struct io_uring ring;
	struct uhyve_inbox *inbox;
	struct uhyve_queue held; /* requests the host has, cancellers included */
};

static struct uring *uring_of(struct uhyve_io *io)
{
	return (struct uring *)io;
}

/*
 * The submission queue is as long as there can be requests, so it has room for each one
 * even while the host takes none.
 */
static struct io_uring_sqe *next_sqe(struct uring *uring, struct uhyve_request *request)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

	uhyve_queue_add(&uring->held, request);
	return sqe;
}

static void uring_submit(struct uhyve_io *io, struct uhyve_request *request)
{
	struct io_uring_sqe *sqe = next_sqe(uring_of(io), request);
	const struct iovec *pieces = request->pieces + request->piece_first;

	if (request->step == UHYVE_STEP_WAIT)
		io_uring_prep_poll_add(sqe, request->fd, (unsigned short)request->events);
	else if (request->op == PG_OP_FSYNC)
		io_uring_prep_fsync(sqe, request->fd, request->offset ? IORING_FSYNC_DATASYNC : 0);
	else if (request->op == PG_OP_READ || request->op == PG_OP_READV)
		io_uring_prep_readv(sqe, request->fd, pieces, request->piece_count,
				    request->offset);
	else
		io_uring_prep_writev(sqe, request->fd, pieces, request->piece_count,
				     request->offset);
	io_uring_sqe_set_data(sqe, request);
}

static void uring_flush(struct uhyve_io *io)
{
	struct uring *uring = uring_of(io);

	/* What the host does not take now stays in the queue until the next time. */
	if (io_uring_sq_ready(&uring->ring))
		io_uring_submit(&uring->ring);
}

static struct uhyve_request *uring_reap(struct uhyve_io *io)
{
	struct uring *uring = uring_of(io);
	struct uhyve_request *first = NULL, **end = &first;
	struct io_uring_cqe *cqe;

	/* A system call only if the host has flagged work for it to finish. */
	while (uring->held.first && io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
		struct uhyve_request *request = io_uring_cqe_get_data(cqe);

		if (request) {
			request->result = cqe->res;
			uhyve_queue_remove(&uring->held, request);
			request->next = NULL;
			*end = request;
			end = &request->next;
		}
		io_uring_cqe_seen(&uring->ring, cqe);
	}
	return first;
}

static int64_t uring_cancel(struct uhyve_io *io, struct uhyve_request *target,
			    struct uhyve_request *canceller)
{
	struct io_uring_sqe *sqe = next_sqe(uring_of(io), canceller);

	/* `target` is not used anew before the next flush() and reap(), in this order. */
	io_uring_prep_cancel(sqe, target, 0);
	io_uring_sqe_set_data(sqe, canceller);
	return UHYVE_PENDING;
}

static void cancel_all(struct uring *uring)
{
	for (struct uhyve_request *at = uring->held.first; at; at = at->next) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

		if (!sqe)
			break;
		io_uring_prep_cancel(sqe, at, 0);
		io_uring_sqe_set_data(sqe, NULL);
	}
	io_uring_submit(&uring->ring);
}

static void uring_stop(struct uhyve_io *io)
{
	struct uring *uring = uring_of(io);

	/* Again and again: a request that is just being started can't be cancelled. */
	while (uring->held.first) {
		struct __kernel_timespec period = { .tv_nsec = STOP_PERIOD_NS };
		struct io_uring_cqe *cqe;
		struct uhyve_request *request;

		uring_flush(io);
		cancel_all(uring);
		(void)io_uring_wait_cqe_timeout(&uring->ring, &cqe, &period);
		request = uring_reap(io);
		while (request) {
			struct uhyve_request *next = request->next;

			uhyve_inbox_put(uring->inbox, request);
			request = next;
		}
	}
	io_uring_queue_exit(&uring->ring);
	free(uring);
}

static const struct uhyve_io_ops uring_ops = {
	.name = "io_uring",
	.submit = uring_submit,
	.flush = uring_flush,
	.reap = uring_reap,
	.cancel = uring_cancel,
	.stop = uring_stop,
};

/* With the flags that spare the engine an interrupt per completion, if the host has them. */
static int ring_init(struct io_uring *ring, unsigned entries)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_CLAMP | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
	};
	int code = io_uring_queue_init_params(entries, ring, &params);

	if (code == -EINVAL) {
		params = (struct io_uring_params){ .flags = IORING_SETUP_CLAMP };
		code = io_uring_queue_init_params(entries, ring, &params);
	}
	if (code)
		return code;
	/* No completion lost, positions of streams, buffers described at submission only. */
	if ((params.features & IORING_FEAT_NODROP) && (params.features & IORING_FEAT_RW_CUR_POS) &&
	    (params.features & IORING_FEAT_SUBMIT_STABLE))
		return 0;
	io_uring_queue_exit(ring);
	return -ENOSYS;
}

int uhyve_uring_start(struct uhyve_io **io, struct uhyve_inbox *inbox, unsigned requests,
		      struct uhyve_error *error)
{
	struct uring *uring = calloc(1, sizeof(*uring));
	int code;

	if (!uring)
		return uhyve_fail(error, -ENOMEM, "out of memory");
	code = ring_init(&uring->ring, requests);
	if (code) {
		free(uring);
		return uhyve_fail(error, code,
				  "io_uring is not available (%s): permit it, or choose the "
				  "threads backend",
				  strerror(-code));
	}
	uring->io.ops = &uring_ops;
	uring->io.fd = uring->ring.ring_fd;
	uring->inbox = inbox;
	*io = &uring->io;
	return 0;
}
