/*
 * Operations: from the copy of a ring entry to a result.
 *
 *   start   engine thread: check the copy, translate its addresses, answer it at once
 *           if that takes no waiting;
 *   run     any thread: the waiting part of a deferred request; it touches nothing of
 *           the guest but the host memory translated by `start`;
 *   resume  engine thread: after a step. Ends the request, or asks for one more.
 *
 * Everything here is testable without a ring, a thread or KVM.
 */
#ifndef UHYVE_OPERATION_H
#define UHYVE_OPERATION_H

#include "handles.h"
#include "mmu.h"
#include "request.h"
#include "abi/ring.h"

struct uhyve_mounts;

/* What a guest has; the engine thread's alone. */
struct uhyve_guest {
	struct uhyve_mmu *mmu;
	const struct uhyve_mounts *mounts;
	struct uhyve_handles handles;
	struct uhyve_request *deferred; /* newest first, linked by older/newer */
};

/*
 * Start what `entry` (a copy) says. Returns the result, or UHYVE_PENDING with
 * request->step set. CANCEL is the engine's own: UHYVE_STEP_ENGINE, its argument in
 * request->offset. Unknown operations: -ENOSYS. Engine thread; does not block.
 */
int64_t uhyve_operation_start(struct uhyve_guest *guest, struct uhyve_request *request,
			      const struct pg_sqe *entry);

/* Carry out a deferred request's step, however long it takes. Any thread. */
int64_t uhyve_operation_run(struct uhyve_request *request);

/*
 * A step has ended with request->result. Returns the operation's result, or
 * UHYVE_PENDING with request->step set anew. Engine thread; does not block.
 */
int64_t uhyve_operation_resume(struct uhyve_guest *guest, struct uhyve_request *request);

/* Drop what a request holds; it can then be used for another operation. Engine thread. */
void uhyve_operation_release(struct uhyve_request *request);

#endif
