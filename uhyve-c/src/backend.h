/*
 * The backend: who waits for what could not be answered at once. Two of them, behind
 * one interface; the engine does not know which one it has.
 *
 *   step             io_uring            threads
 *   UHYVE_STEP_WAIT  poll                one thread in ppoll(2) for all of them
 *   UHYVE_STEP_RUN   readv, writev, fsync  a worker
 *
 * All functions are called on the engine thread. A finished request, with its result,
 * comes back through reap() or through the inbox, whichever suits the backend.
 */
#ifndef UHYVE_BACKEND_H
#define UHYVE_BACKEND_H

#include <stdbool.h>

#include "error.h"
#include "inbox.h"
#include "workers.h"

struct uhyve_io;

struct uhyve_io_ops {
	const char *name;

	/* Take a request over. It is on its way after flush() at the latest. */
	void (*submit)(struct uhyve_io *io, struct uhyve_request *request);
	void (*flush)(struct uhyve_io *io);

	/* Finished requests, linked by next, or NULL. */
	struct uhyve_request *(*reap)(struct uhyve_io *io);

	/*
	 * Cancel `target`, which was submitted. The target comes back in any case, with
	 * -ECANCELED or with a result of its own. Returns 0, -EALREADY (too late), or
	 * UHYVE_PENDING: then `canceller` comes back with one of these as its result.
	 */
	int64_t (*cancel)(struct uhyve_io *io, struct uhyve_request *target,
			  struct uhyve_request *canceller);

	/*
	 * Cancel everything, wait until the host touches no buffer any more (the workers
	 * still may), put all requests into the inbox, and free.
	 */
	void (*stop)(struct uhyve_io *io);
};

struct uhyve_io {
	const struct uhyve_io_ops *ops;
	int fd; /* readable when reap() has something to give; -1: never     */
};

/* `requests`: how many may be in flight. On failure: a negative errno and a sentence. */
int uhyve_uring_start(struct uhyve_io **io, struct uhyve_inbox *inbox, unsigned requests,
		      struct uhyve_error *error);
int uhyve_threads_start(struct uhyve_io **io, struct uhyve_inbox *inbox,
			struct uhyve_workers *workers, unsigned requests,
			struct uhyve_error *error);

#endif
