/*
 * What the core needs from the machine. Implemented once for the guest, and once
 * for the unit tests, where a vCPU is a thread. Nothing here fails.
 */
#ifndef PG_CORE_PORT_H
#define PG_CORE_PORT_H

#include <stdint.h>

struct pg_executor;
struct pg_task;

/* CLOCK_MONOTONIC in nanoseconds. Never goes back on one vCPU. */
uint64_t pg_port_now(void);

/* A counter for traces: the TSC, where there is one. */
uint64_t pg_port_ticks(void);

/* The executor of the vCPU we are on; NULL where there is none (a foreign thread in tests). */
struct pg_executor *pg_port_executor(void);

/*
 * Halt this vCPU until an interrupt: for the executor alone, nothing else in the kernel
 * waits. It has called pg_ring_park() on its ring. Returns at once if a wake has arrived since; may return for no reason.
 */
void pg_port_park(struct pg_executor *executor);

/* Interrupt the vCPU of `target`, from any vCPU, after pg_ring_claim_wake() on its ring. */
void pg_port_kick(struct pg_executor *target);

/* Wake the loader's engine: it slept when this vCPU submitted an entry. */
void pg_port_doorbell(struct pg_executor *executor);

/*
 * A USER task of `here` is about to be queued again, with others before it maybe. Gives up what
 * keeps it on this vCPU, if that is worth while; returns the executor it goes to, which is
 * another one only if the task is not pinned any more.
 */
struct pg_executor *pg_port_yield(struct pg_executor *here, struct pg_task *task);

/* Tell the processor that we spin. */
void pg_port_relax(void);

#endif
