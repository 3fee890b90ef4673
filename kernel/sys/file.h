/*
 * Open files: what descriptors point at (Linux's "open file descriptions").
 *
 * A file is counted: one reference for every descriptor, and one for every call under way,
 * so another thread's close never takes a file away from a call. The last one may be
 * given back anywhere, also where nobody can wait (a dropped call, dup2): a file of
 * the loader is then handed to the reaper, a task that closes its handle.
 *
 * Kinds of files differ by their operations. The position of a loader's file is the
 * host's, so descriptors made by dup share it.
 */
#ifndef PG_FILE_H
#define PG_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "alarm.h"
#include "core/async.h"
#include "core/hypercall.h"
#include "core/waitq.h"

struct pg_file;
struct pg_path;
struct pg_task_list;
struct pg_watch;
struct pg_statx;

struct pg_file_ops {
	/*
	 * What moves data, on a struct pg_io (io.h), and what waits for events, on a struct
	 * pg_ready. Without a poll function: such files can't (-EINVAL; poll(2): always ready).
	 */
	struct pg_future_ops read, write, ready;
	/* Fill in what fstat tells; `to` is zero. NULL: the loader is asked. */
	void (*stat)(struct pg_file *file, struct pg_statx *to);
	/* The last reference is gone: free it. Any vCPU; never waits. */
	void (*release)(struct pg_file *file);

	/* The rest is for files that live in the kernel; NULL: there is no such thing. */

	/*
	 * What there is now, PG_POLL*. With file->lock held, or in epoll.c: see events.h. Of a file
	 * without a lock it never changes.
	 */
	uint32_t (*events)(struct pg_file *file);
	/* When `events` will change by itself, or PG_NEVER. As for `events`. */
	uint64_t (*expires)(struct pg_file *file);
	/* ioctl: the result, or -ENOTTY. */
	int64_t (*ioctl)(struct pg_file *file, uint32_t request, uint64_t argument);
	bool seeks;      /* kept in the kernel: lseek and pread are allowed (and do nothing) */
	bool seeks_to_0; /* the same, but of lseek only                                     */
};

/* Whether a loader's file has a position. */
enum pg_seekable {
	PG_SEEKABLE_UNKNOWN,
	PG_SEEKABLE,
	PG_STREAM,
};

struct pg_file {
	const struct pg_file_ops *ops;
	_Atomic uint32_t refs;
	_Atomic uint32_t flags; /* PG_O_*: access mode and status. Relaxed: a setting */
	uint32_t opened;        /* the same as the host has them; never changes  */
	int32_t handle;         /* the loader's, or -1: it lives in the kernel      */
	/* Relaxed: whoever finds out writes the same. */
	_Atomic uint8_t seekable;
	struct pg_path *path; /* owned; NULL unless it may be a directory      */
	struct pg_file *next; /* the reaper's                                  */

	/* Lives in the kernel and has events (events.h): the lock that guards its state. */
	struct pg_spinlock *lock;
	struct pg_waitq pollers;  /* who polls; guarded by `lock`, not by its own   */
	struct pg_watch *watches; /* the epolls it is in; epoll.c's                 */
	_Atomic bool watched;     /* there are any: see pg_events_tell()            */
};

/* Waiting for events on a file. `file` is borrowed. */
struct pg_ready {
	struct pg_future future;
	struct pg_file *file;
	uint32_t events;          /* PG_POLL*: asked for                          */
	uint32_t revents;         /* READY: what there is, never 0                */
	struct pg_hypercall call; /* loader's files; to be settled if it is dropped */
	struct pg_waiter waiter;  /* others                                       */
	struct pg_alarm alarm;
};

extern const struct pg_file_ops pg_host_file_ops;

/* Initialize a file that is part of something larger: one reference, no handle, no path. */
void pg_file_init(struct pg_file *file, const struct pg_file_ops *ops, uint32_t flags);

/* One reference, the caller's; no handle, no path. NULL: no memory. */
struct pg_file *pg_file_new(const struct pg_file_ops *ops, uint32_t flags);

struct pg_file *pg_file_ref(struct pg_file *file);

/* The same for one who has no reference, but knows that the memory is there: false if it ends. */
__attribute__((warn_unused_result)) bool pg_file_try_ref(struct pg_file *file);

/* Give a reference back. Never waits. NULL is fine. Any vCPU. */
void pg_file_put(struct pg_file *file);

/* The same, but true if it was the last one: then the caller owns the file, and ends it. */
__attribute__((warn_unused_result)) bool pg_file_unref(struct pg_file *file);

/* Free the struct and its path; nobody has it any more, and its handle is closed. */
void pg_file_free(struct pg_file *file);

/* Close the handle of a file that is the caller's alone, and free it, some time. Any vCPU. */
void pg_file_reap(struct pg_file *file);

/* Relaxed, see above. */
static inline uint32_t pg_file_flags(const struct pg_file *file)
{
	return atomic_load_explicit(&file->flags, memory_order_relaxed);
}

#endif
