/*
 * The guest's handles: small numbers for host descriptors. Only the engine thread
 * uses this table.
 *
 * A closed handle's number is free at once; its descriptor is closed when the last
 * operation in flight on it has completed, so no operation ever meets a descriptor
 * number that means something else by now.
 */
#ifndef UHYVE_HANDLES_H
#define UHYVE_HANDLES_H

#include <stdbool.h>
#include <stdint.h>

#define UHYVE_HANDLES_MAX     1024
#define UHYVE_CONSOLE_HANDLES 3 /* 0, 1, 2: never given out again           */

enum uhyve_kind {
	UHYVE_KIND_FILE, /* regular, or a device that never makes anyone wait */
	UHYVE_KIND_DIRECTORY,
	UHYVE_KIND_STREAM, /* pipe, FIFO, socket                          */
	UHYVE_KIND_TTY,
	UHYVE_KIND_PATH, /* opened with O_PATH: can only be asked about */
};

struct uhyve_handle {
	int fd;
	enum uhyve_kind kind;
	unsigned refs;    /* the table's, and one of every request in flight  */
	unsigned movers;  /* deferred requests that use the file's position   */
	bool owned;       /* close fd with the last reference                 */
	bool direct;      /* plain calls don't block: O_NONBLOCK, or memory only */
	bool nonblocking; /* the guest asked for O_NONBLOCK: it wants -EAGAIN */
	/* RWF_NOWAIT turned out not to be supported: for reads, for writes.  */
	bool no_nowait[2];
};

struct uhyve_handles {
	struct uhyve_handle *slot[UHYVE_HANDLES_MAX];
	int lowest; /* no free slot below                                     */
};

/* Fill slots 0..2. A console descriptor below 0 gives no handle. 0, -ENOMEM or -errno. */
int uhyve_handles_init(struct uhyve_handles *handles, const int console[UHYVE_CONSOLE_HANDLES]);

/* Close everything. No request may hold a reference any more. */
void uhyve_handles_free(struct uhyve_handles *handles);

/* True when a further handle can't be given out. */
bool uhyve_handles_full(const struct uhyve_handles *handles);

/*
 * Give out a handle for `fd`, opened for the guest with `flags` (those it asked for).
 * Takes the descriptor over, also on failure (-EMFILE, -ENOMEM).
 */
int uhyve_handles_add(struct uhyve_handles *handles, int fd, int flags);

/* The handle with a new reference, or NULL if there is none. */
struct uhyve_handle *uhyve_handles_get(const struct uhyve_handles *handles, int32_t number);
void uhyve_handle_put(struct uhyve_handle *handle);

/* 0, or -EBADF. */
int uhyve_handles_close(struct uhyve_handles *handles, int32_t number);

#endif
