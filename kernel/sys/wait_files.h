/*
 * Waiting for events on many files at once: what poll and select have in common, and what
 * an epoll does to see whether files of the loader are ready right now.
 *
 * There is a future for each file. All are polled, until one is ready or the time is over;
 * then the others are dropped. Those that had asked the loader are settled before anything is
 * told, since what came meanwhile counts too.
 *
 * With a deadline of 0 the loader is asked, and that is taken back at once: entries are taken in
 * order, so it has looked. What finds no room on the ring is asked in a second
 * round, so that nothing is left out. More files of the loader than PG_WAIT_ASKED are not
 * waited for on the ring at all, where they would leave no room for others: they are
 * asked in such rounds, every PG_WAIT_ROUND.
 */
#ifndef PG_WAIT_FILES_H
#define PG_WAIT_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "core/async.h"
#include "core/timer.h"
#include "file.h"

#define PG_WAIT_ASKED 64
#define PG_WAIT_ROUND 10000000ull /* ns */

struct pg_wait_file {
	bool asks;            /* its future is to be polled: it was not READY yet */
	bool waiting;         /* it was polled, and is neither READY nor dropped    */
	struct pg_file *file; /* a reference, or NULL: nothing is waited for        */
	uint32_t revents;     /* what there is; may be set beforehand             */
	struct pg_ready ready;
};

/* Zero, but for `deadline`, before pg_wait_files_alloc(). */
struct pg_wait_files {
	struct pg_async async;     /* READY: all `revents` are valid, nothing is outstanding */
	struct pg_future any;      /* READY when there is something to tell               */
	struct pg_wait_file *file; /* owned                                               */
	uint32_t count, next, loaders;
	bool at_once, again, rounds;
	uint64_t round_end; /* with `rounds`: when to ask again                        */
	uint64_t deadline;  /* CLOCK_MONOTONIC; 0: don't wait; PG_NEVER                  */
	struct pg_alarm alarm;
	struct pg_settle settle;
};

/* Room for `count` files. 0 or -ENOMEM. */
int pg_wait_files_alloc(struct pg_wait_files *wait, uint32_t count);

/*
 * Let entry `index` be about `file` and `events` (PG_POLL*; POLLERR and POLLHUP are told
 * always). Takes the reference over. A file that can't be waited for is always ready.
 */
void pg_wait_files_set(struct pg_wait_files *wait, uint32_t index, struct pg_file *file,
		       uint32_t events);

/* All are set: `async.future` may be polled. */
void pg_wait_files_start(struct pg_wait_files *wait);

/*
 * `async.future` was dropped, and all is settled: `revents` are what was found by then, also by
 * operations that were taken back.
 */
void pg_wait_files_dropped(struct pg_wait_files *wait);

/* Give everything back. All is settled. */
void pg_wait_files_free(struct pg_wait_files *wait);

#endif
