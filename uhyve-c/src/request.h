/*
 * A request: one operation of the guest, from the copy of its ring entry to its
 * completion.
 *
 *   free --take--> decoded --answered at once------------------------> completed --> free
 *                     |                                                  ^
 *                     +--deferred: backend or worker --> inbox/reap -----+
 *                           ^            |
 *                           +--again ----+   (ready now; or a rest is left to move)
 *
 * The engine thread owns a request, except between handing it to the backend or the
 * workers and getting it back; then only they touch it, and only the fields they need.
 * Requests are preallocated: as many as the guest may have outstanding.
 */
#ifndef UHYVE_REQUEST_H
#define UHYVE_REQUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "abi/layout.h"
#include "abi/ops.h"

/* Instead of a result: the operation would wait, and was prepared for deferral. */
#define UHYVE_PENDING INT64_MIN

/* PG_IO_MAX bytes in pages that lie anywhere, cut at every end of a guest's iovec. */
#define UHYVE_PIECES (PG_IO_MAX / PG_PAGE_SIZE + 2 * PG_IOV_MAX)

/* What a deferred request waits for. */
enum uhyve_step {
	UHYVE_STEP_WAIT,   /* backend: until `fd` has one of `events`; result: the events */
	UHYVE_STEP_RUN,    /* backend: the transfer or the fsync itself, however long */
	UHYVE_STEP_WORKER, /* a worker thread: an operation io_uring lacks       */
	UHYVE_STEP_ENGINE, /* the engine's own: a cancel                    */
};

struct uhyve_handle;
struct uhyve_work;

struct uhyve_request {
	/* List of who holds it: free list, queue of workers or poller, inbox. */
	struct uhyve_request *next, *prev;
	/* The engine's list of deferred requests. */
	struct uhyve_request *older, *newer;

	unsigned port;
	uint16_t op; /* enum pg_op, or garbage that is answered -ENOSYS     */
	uint64_t user_data;
	enum uhyve_step step;
	int64_t result; /* left by whoever finished a step                  */

	struct uhyve_handle *handle; /* a reference, or NULL                */
	int fd;                      /* the handle's                        */
	short events;                /* POLL*, for UHYVE_STEP_WAIT          */
	bool ready;                  /* the wait is over: a plain call should not block */
	bool cancelled;              /* by the guest: no further step              */
	bool moves_position;         /* counted in handle->movers while deferred    */
	int poll_slot;               /* threads backend: place in the poller's array, or -1 */

	uint64_t offset; /* reads, writes; also: fsync's, lseek's, cancel's argument */
	uint64_t length; /* ftruncate                                      */
	int64_t done;    /* bytes moved in earlier steps                    */

	struct uhyve_work *work; /* path and metadata operations; owned     */

	/* Guest-virtual buffers of a transfer, and the host memory behind what is left. */
	unsigned range_count;
	unsigned piece_first, piece_count;
	struct pg_iovec ranges[PG_IOV_MAX];
	struct iovec pieces[UHYVE_PIECES];
};

/* A list with two ends, linked through next/prev. Zeroed: empty. */
struct uhyve_queue {
	struct uhyve_request *first, *last;
};

static inline void uhyve_queue_add(struct uhyve_queue *queue, struct uhyve_request *request)
{
	request->next = NULL;
	request->prev = queue->last;
	*(queue->last ? &queue->last->next : &queue->first) = request;
	queue->last = request;
}

static inline void uhyve_queue_remove(struct uhyve_queue *queue, struct uhyve_request *request)
{
	*(request->prev ? &request->prev->next : &queue->first) = request->next;
	*(request->next ? &request->next->prev : &queue->last) = request->prev;
}

static inline bool uhyve_queue_has(const struct uhyve_queue *queue,
				   const struct uhyve_request *request)
{
	for (const struct uhyve_request *at = queue->first; at; at = at->next)
		if (at == request)
			return true;
	return false;
}

#endif
