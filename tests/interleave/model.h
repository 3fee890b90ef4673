/*
 * The core's port for the interleaving tester: a vCPU is one of its threads, halting is
 * interleave_take(), and time stands still. And a small loader, which uses the ring as
 * the real one does.
 */
#ifndef INTERLEAVE_MODEL_H
#define INTERLEAVE_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/executor.h"
#include "interleave.h"

#define MODEL_VCPUS 3

struct model_vcpu {
	struct pg_executor executor;
	struct pg_ring ring;
	struct pg_sqe sq[PG_SQ_DEPTH];
	struct pg_cqe cq[PG_CQ_DEPTH];
	struct pg_counters counters;
	_Atomic uint32_t kicked; /* the interrupt that ends a halt */
};

extern struct model_vcpu model_vcpus[MODEL_VCPUS];

/* Whom the loader's doorbell wakes: it serves vCPU 0. */
struct model_loader {
	_Atomic uint32_t doorbell;
	uint32_t sq_head, cq_tail;
	unsigned served;
	uint64_t deadline;  /* what it saw last         */
	unsigned contended; /* how often it was told so */
};

extern struct model_loader model_loader;

/*
 * For setup(): `count` vCPUs, anew. `grouped`: they are each other's peers. The loader is
 * asleep until a doorbell if `loader_sleeps`, else taken to look all the time.
 */
void model_reset(unsigned count, bool grouped, bool loader_sleeps);

/* From here on, this thread (in setup(): the host) is this vCPU; NULL: none. */
void model_enter(struct model_vcpu *vcpu);

/* For setup(): poll what is runnable there. */
void model_settle(struct model_vcpu *vcpu);

/* Threads of a scenario: a vCPU (argument: struct model_vcpu), and the loader (a daemon). */
void model_run_vcpu(void *vcpu);
void model_run_loader(void *unused);

/* Stop `count` vCPUs. */
void model_stop(unsigned count);

/*
 * A future that counts its polls, and is READY once `ready(argument)`; `drops` counts too. It
 * fails the search when it is polled twice at once, or after it was READY or dropped.
 */
struct model_future {
	struct pg_future future;
	bool (*ready)(struct model_future *self, struct pg_task *waker);
	void (*dropped)(struct model_future *self);
	unsigned polls;
	bool polled, over;
};

void model_future_init(struct model_future *future,
		       bool (*ready)(struct model_future *self, struct pg_task *waker));

/* Wraps another one: READY when it is. */
struct model_wrap {
	struct model_future model;
	struct pg_future *inner;
};

void model_wrap_init(struct model_wrap *wrap, struct pg_future *inner);

#endif
