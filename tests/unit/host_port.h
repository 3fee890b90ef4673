/*
 * The core's port for the host: a vCPU is a thread, parking is a condition variable, and
 * a small loader answers the ring on the vCPU's own thread, whenever the doorbell rings.
 */
#ifndef HOST_PORT_H
#define HOST_PORT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/executor.h"

struct host_vcpu {
	struct pg_executor executor;
	struct pg_ring ring;
	struct pg_sqe sq[PG_SQ_DEPTH];
	struct pg_cqe cq[PG_CQ_DEPTH];
	struct pg_counters counters;

	/* The loader. NOP gives 0; CANCEL finds nothing. */
	bool manual; /* the test answers the ring itself */
	uint32_t sq_head, cq_tail;
	unsigned doorbells;
	void (*on_doorbell)(struct host_vcpu *vcpu); /* manual: called instead, or NULL */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool kicked;
	_Atomic unsigned kicks;
};

/* With `spin_ns` as the executor's budget. Any thread; it isn't entered yet. */
void host_vcpu_init(struct host_vcpu *vcpu, uint64_t spin_ns);

/* This thread is that vCPU from now on (NULL: none). */
void host_enter(struct host_vcpu *vcpu);

/* Freeze the clock at `now`; 0: the real clock. */
void host_set_clock(uint64_t now);

/* Step until nothing is runnable. */
void host_settle(struct host_vcpu *vcpu);

/* Loader side, for manual vCPUs: take the next entry; false if there is none. Complete one. */
bool host_take(struct host_vcpu *vcpu, struct pg_sqe *entry);
void host_complete(struct host_vcpu *vcpu, uint64_t user_data, int64_t result);

#endif
