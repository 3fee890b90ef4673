/*
 * Looking at what the vCPUs need at a point in time: the loader's part of "Looking" in
 * abi/ring.h. No thread, no clock, no sleep of its own: the engine says what time it is.
 *
 * Deadlines. Each value is served once, when it is reached: a parked vCPU is woken, a running
 * one is pre-empted.
 *
 *   none, or served --- the value changes ---> pending --- reached, parked: wake ----> served
 *                                                 |                                     ^
 *                                  reached, runs: pre-empt (if there is pre-emption)    |
 *                                                 v                                     |
 *                                             confirm --- 1 ms: if parked, wake --------'
 *                                                 ^ |
 *                                                 '-' 1 ms: runs, same value: pre-empt
 *
 * A vCPU parks first and reads its clock then, the loader reads the clock first and `parked`
 * then: so either one sees the other. Only, processors read their TSC a little early. That is
 * one thing the confirmation is for. The other one: an interrupt may come just before the
 * kernel enters user code, where it can't be taken any more. A kernel that has taken it puts
 * another value there, before it runs user code again.
 *
 * Who runs. A vCPU is watched while something waits for it: a task that was queued there
 * (`contended`), or completions that it doesn't consume. Never while it is parked.
 *
 *                    contended, or completions            1st look
 *   not watched ----------------------------------------> watched, `turn` is remembered
 *        ^                                                   |
 *        |  turn is another one, nothing waits again;        |  a turn later: the same turn
 *        |  or it is parked                                  v
 *        +--------------------------------------------- 2nd look: wake a parked vCPU, which
 *        ^                                               may take the work; none there, or
 *        |                                               completions only: pre-empt
 *        |                                                   |
 *        |                                                   |  a turn later: the same turn
 *        |                                                   v
 *        +--------------------------------------------- 3rd look, and all that follow:
 *                                                        pre-empt
 *
 * Bound. Looks of one vCPU are a turn apart, and the first one comes at most a turn after
 * `contended` was set (the guest rings the doorbell if it would be later). So what waits for
 * a vCPU runs, there or elsewhere, or interrupts it, after three turns at most, and the time
 * the host takes to run the engine's thread.
 *
 * A guest decides when its VM is looked at, and can't make the loader do more than this: for
 * each vCPU one look per turn, and one pre-emption per quarter of a turn; but for deadlines
 * one pre-emption per 20 us. Wakes need a vCPU that has parked again.
 */
#ifndef UHYVE_LOOKING_H
#define UHYVE_LOOKING_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/ring.h"

struct uhyve_engine_config;

/* One vCPU. The engine fills in the first fields; the rest belongs to looking.c. */
struct uhyve_watch {
	struct pg_ring *ring;
	const uint32_t *cq_tail; /* the engine's own copy: completions published */
	int kick_fd;

	uint64_t served;    /* the value of `deadline` that was served last  */
	uint64_t confirm;   /* when to look once more; NEVER: it is confirmed */
	uint64_t preempted; /* when it was pre-empted last; 0: not yet       */

	uint64_t look;          /* the next look; NEVER: not watched         */
	uint32_t turn, cq_head; /* at the last look                         */
	bool contended;         /* a task waits, not only completions       */
	bool woke;              /* another vCPU has been woken for this turn */
};

struct uhyve_looking {
	const struct uhyve_engine_config *config; /* turn_ns, preempt, stats */
	uint64_t turn_ns;                         /* 0: there is no pre-emption */
	unsigned count;
	struct uhyve_watch *watches; /* owned                               */
};

/* All calls on the engine's thread, or before it starts. Times: the engine's clock, ns. */

/* `config` must outlive it. 0 or -ENOMEM. The caller fills in the watches' first fields. */
int uhyve_looking_init(struct uhyve_looking *looking, const struct uhyve_engine_config *config);
void uhyve_looking_free(struct uhyve_looking *looking);

/* Look at everything that is due. Cheap where nothing is: to be called while spinning. */
void uhyve_looking_look(struct uhyve_looking *looking, uint64_t now);

/* The next deadline that is not served, or PG_LOOK_NEVER. */
uint64_t uhyve_looking_deadline(const struct uhyve_looking *looking);

/*
 * When to look next: deadlines and watches. Watches that are over are dropped before, so
 * that nobody is woken for them. Then: pg_ring_server_sleep() on all rings, and
 */
uint64_t uhyve_looking_next(struct uhyve_looking *looking);

/* ... true if something has come up since that needs a look before `look_at`. */
bool uhyve_looking_missed(const struct uhyve_looking *looking, uint64_t look_at);

#endif
