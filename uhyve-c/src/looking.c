#include "looking.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine.h"

#define NEVER PG_LOOK_NEVER

#define DEADLINE_GAP 20000u   /* ns between pre-emptions of a vCPU for deadlines */
#define CONFIRM      1000000u /* ns                                         */

static uint64_t later(uint64_t now, uint64_t ns)
{
	return now > NEVER - ns ? NEVER : now + ns;
}

/* Only the engine thread writes: no locked instruction needed. */
static void count(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

int uhyve_looking_init(struct uhyve_looking *looking, const struct uhyve_engine_config *config)
{
	looking->config = config;
	looking->turn_ns = config->preempt ? config->turn_ns : 0;
	looking->count = config->port_count;
	looking->watches = calloc(config->port_count, sizeof(*looking->watches));
	if (!looking->watches)
		return -ENOMEM;
	for (unsigned i = 0; i < looking->count; i++)
		looking->watches[i].look = looking->watches[i].confirm = NEVER;
	return 0;
}

void uhyve_looking_free(struct uhyve_looking *looking)
{
	free(looking->watches);
	looking->watches = NULL;
}

/* ---- what is done for a vCPU ---- */

static bool wake(const struct uhyve_looking *looking, const struct uhyve_watch *watch)
{
	uint64_t one = 1;

	if (!pg_ring_claim_wake(watch->ring))
		return false;
	count(&looking->config->stats->interrupts);
	/* A full counter fails: then an interrupt is on its way already. */
	ssize_t ignored = write(watch->kick_fd, &one, sizeof(one));
	(void)ignored;
	return true;
}

/* False: too soon after the last one. */
static bool preempt(struct uhyve_looking *looking, unsigned index, uint64_t now, uint64_t gap)
{
	struct uhyve_watch *watch = &looking->watches[index];

	if (watch->preempted && now < later(watch->preempted, gap))
		return false;
	watch->preempted = now;
	count(&looking->config->stats->preemptions);
	looking->config->preempt(looking->config->context, index);
	return true;
}

/* One of the others that are parked, from the next one on. */
static bool wake_another(const struct uhyve_looking *looking, unsigned index)
{
	for (unsigned i = 1; i < looking->count; i++) {
		if (wake(looking, &looking->watches[(index + i) % looking->count])) {
			count(&looking->config->stats->balanced);
			return true;
		}
	}
	return false;
}

/* ---- deadlines ---- */

static void look_at_deadline(struct uhyve_looking *looking, unsigned index, uint64_t now)
{
	struct uhyve_watch *watch = &looking->watches[index];
	uint64_t value = pg_ring_deadline(watch->ring);

	if (value == watch->served) {
		if (now < watch->confirm)
			return;
		watch->confirm = NEVER;
		/* Neither parked nor gone on: the interrupt came where it could not be taken. */
		if (!wake(looking, watch) && looking->turn_ns &&
		    preempt(looking, index, now, DEADLINE_GAP))
			watch->confirm = later(now, CONFIRM);
		return;
	}
	watch->confirm = NEVER;
	if (value == 0 || value == NEVER || now < value)
		return;
	if (!wake(looking, watch)) {
		if (looking->turn_ns && !preempt(looking, index, now, DEADLINE_GAP))
			return;
		watch->confirm = later(now, CONFIRM);
	}
	watch->served = value;
}

/* When look_at_deadline() has something to do next. */
static uint64_t next_deadline(const struct uhyve_watch *watch)
{
	uint64_t value = pg_ring_deadline(watch->ring), allowed;

	if (value == watch->served)
		return watch->confirm;
	if (value == 0)
		return NEVER;
	allowed = watch->preempted ? later(watch->preempted, DEADLINE_GAP) : 0;
	return value > allowed ? value : allowed;
}

uint64_t uhyve_looking_deadline(const struct uhyve_looking *looking)
{
	uint64_t next = NEVER;

	for (unsigned i = 0; i < looking->count; i++) {
		uint64_t deadline = next_deadline(&looking->watches[i]);

		if (deadline < next)
			next = deadline;
	}
	return next;
}

/* ---- who runs ---- */

/* It has had the vCPU for a turn, and something waits. */
static void relieve(struct uhyve_looking *looking, unsigned index, uint64_t now)
{
	struct uhyve_watch *watch = &looking->watches[index];

	/* A waiting task may be taken by another vCPU; completions are for this one alone. */
	if (watch->contended && !watch->woke && wake_another(looking, index)) {
		watch->woke = true;
	} else if (!preempt(looking, index, now, looking->turn_ns / 4)) {
		/* A deadline has done it just now. */
		watch->look = later(watch->preempted, looking->turn_ns / 4);
		return;
	}
	watch->look = later(now, looking->turn_ns);
}

/* Relaxed: where it was some time ago is good enough; nothing of the guest's is read by it. */
static uint32_t consumed(const struct uhyve_watch *watch)
{
	return atomic_load_explicit(&watch->ring->cq_head, memory_order_relaxed);
}

static void look_at_turn(struct uhyve_looking *looking, unsigned index, uint64_t now)
{
	struct uhyve_watch *watch = &looking->watches[index];
	bool watched = watch->look != NEVER;

	if (watched && now < watch->look)
		return;

	bool contended = pg_ring_take_contended(watch->ring);
	/* After the flag: or what waits in one turn could be put down to the turn before. */
	uint32_t turn = pg_ring_turn(watch->ring), head = consumed(watch);
	bool waiting = head != *watch->cq_tail;

	/* After the flag, too: it is set for a vCPU that runs, and which has looked since. */
	if (atomic_load(&watch->ring->parked)) {
		watch->look = NEVER;
		return;
	}
	if (watched && turn == watch->turn &&
	    (watch->contended || (waiting && head == watch->cq_head))) {
		watch->contended |= contended;
		relieve(looking, index, now);
		return;
	}
	watch->look = contended || waiting ? later(now, looking->turn_ns) : NEVER;
	watch->contended = contended;
	watch->turn = turn;
	watch->cq_head = head;
	watch->woke = false;
}

/* What it was watched for is over, and nothing waits again. */
static bool over(const struct uhyve_watch *watch)
{
	uint32_t head = consumed(watch);

	if (atomic_load(&watch->ring->parked))
		return true;
	if (pg_ring_turn(watch->ring) == watch->turn &&
	    (watch->contended || head == watch->cq_head))
		return false;
	return !atomic_load(&watch->ring->contended) && head == *watch->cq_tail;
}

/* ---- all of it ---- */

void uhyve_looking_look(struct uhyve_looking *looking, uint64_t now)
{
	for (unsigned i = 0; i < looking->count; i++) {
		look_at_deadline(looking, i, now);
		if (looking->turn_ns)
			look_at_turn(looking, i, now);
	}
}

uint64_t uhyve_looking_next(struct uhyve_looking *looking)
{
	uint64_t next = uhyve_looking_deadline(looking);

	for (unsigned i = 0; i < looking->count; i++) {
		struct uhyve_watch *watch = &looking->watches[i];

		if (watch->look != NEVER && over(watch))
			watch->look = NEVER;
		if (watch->look < next)
			next = watch->look;
	}
	return next;
}

bool uhyve_looking_missed(const struct uhyve_looking *looking, uint64_t look_at)
{
	for (unsigned i = 0; i < looking->count; i++) {
		const struct uhyve_watch *watch = &looking->watches[i];

		if (next_deadline(watch) < look_at)
			return true;
		/* One that is watched is looked at soon enough. */
		if (looking->turn_ns && watch->look == NEVER &&
		    atomic_load(&watch->ring->contended))
			return true;
	}
	return false;
}
