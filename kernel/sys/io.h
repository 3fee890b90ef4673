/*
 * Transfers: the future behind read, write and their relatives.
 *
 * io.c checks the call, describes the transfer as pieces of the program's memory, and polls
 * the future that the file's kind has for it; it does not know the kinds. A kind moves as
 * much as Linux would, using the helpers below, and leaves bytes or -errno in `result`.
 */
#ifndef PG_IO_H
#define PG_IO_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/ops.h"
#include "alarm.h"
#include "core/async.h"
#include "core/hypercall.h"
#include "core/waitq.h"

struct pg_file;

/* Pieces that are looked at together: a transfer of more goes on with the next ones. */
#define PG_IO_WINDOW 32

_Static_assert(PG_IO_WINDOW <= PG_IOV_MAX, "one operation takes them");

/* All fields but the kind's are set by io.c. */
struct pg_io {
	struct pg_async async;
	struct pg_file *file; /* borrowed */
	bool write;
	uint64_t offset;       /* PG_OFFSET_STREAM: the file's position          */
	int64_t result;        /* bytes moved so far; when READY: or -errno      */
	uint64_t left;         /* bytes that may still come after the window     */
	uint64_t vector;       /* user address of the iovecs after the window ... */
	uint32_t vector_count; /* ... and how many                               */
	uint32_t first, count; /* iov[first .. count) is still to be moved       */
	struct pg_iovec iov[PG_IO_WINDOW];

	/*
	 * The kind's. `dropped`, if not NULL: the transfer was dropped by a signal while it
	 * waited, and is settled; true if that came to an end all the same, with `result` as
	 * for READY. Otherwise `result` bytes have been moved, and no more.
	 */
	bool (*dropped)(struct pg_io *io);
	uint64_t asked;
	bool only_file, sure;
	union {
		struct pg_hypercall call;
		struct {
			struct pg_waiter waiter;
			struct pg_alarm alarm;
		};
	};
	struct pg_settle settle;
};

/* Bytes left in the window. */
uint64_t pg_io_bytes(const struct pg_io *io);

/* `bytes`, of those, were moved. */
void pg_io_advance(struct pg_io *io, uint64_t bytes);

/*
 * Make sure that the window has bytes: 1; 0 when all is moved. -EFAULT or -EINVAL if the
 * next pieces can't be read or are not valid (any more).
 */
int pg_io_refill(struct pg_io *io);

/*
 * Copy `length` bytes to (for a write: from) the program's pieces, and advance. -EFAULT,
 * -EINVAL, or 0: there were at least so many bytes of room.
 */
int pg_io_copy(struct pg_io *io, void *bytes, uint64_t length);

/* The end: `error` (or 0) counts only if nothing was moved. */
static inline void pg_io_end(struct pg_io *io, int64_t error)
{
	if (error < 0 && io->result == 0)
		io->result = error;
}

#endif
