/*
 * The engine: one thread that serves the rings of a VM.
 *
 *            doorbell (ioeventfd)                       kick (irqfd)
 *   vCPU i  ----------------------> engine thread  ----------------------> vCPU i
 *   ring i  <--- completions ------  |  ready at once: answered at once
 *                                    |  else: backend (io_uring, or worker threads)
 *
 * The engine copies an entry, validates the copy, tries to carry it out without
 * waiting, and hands it to the backend otherwise; so no operation delays another.
 * It spins for a while (in nanoseconds, adaptively) before it announces sleep.
 *
 * It also looks at the clock for the vCPUs: it wakes or pre-empts them at their deadlines,
 * and when something waits for a vCPU that one task keeps for longer than a turn. While it
 * spins it looks each time it reads the clock; before it sleeps it tells the guest when it
 * will look next, and sleeps no longer than that. What waits for a vCPU has waited for three
 * turns at most when it runs, or interrupts: looking.h has the states and the reason.
 */
#ifndef UHYVE_ENGINE_H
#define UHYVE_ENGINE_H

#include <stdatomic.h>
#include <stdint.h>

#include "error.h"
#include "mmu.h"
#include "abi/ring.h"

struct uhyve_mounts;
struct uhyve_engine;

/* One vCPU's rings, in host memory; kick_fd is an eventfd bound to an irqfd. */
struct uhyve_port {
	struct pg_ring *ring;
	struct pg_sqe *sq;
	struct pg_cqe *cq;
	int kick_fd;
};

enum uhyve_backend {
	UHYVE_BACKEND_AUTO, /* io_uring where the host permits it, else threads */
	UHYVE_BACKEND_URING,
	UHYVE_BACKEND_THREADS,
};

/* Written by the engine thread (relaxed atomics); read by anyone at any time. */
struct uhyve_engine_stats {
	_Atomic uint64_t operations;  /* entries taken                       */
	_Atomic uint64_t inline_done; /* answered at once                    */
	_Atomic uint64_t deferred;    /* handed to the backend               */
	_Atomic uint64_t completions;
	_Atomic uint64_t interrupts; /* wake interrupts sent                */
	_Atomic uint64_t doorbells;  /* times a doorbell woke the engine    */
	_Atomic uint64_t sleeps;
	_Atomic uint64_t cancelled;
	_Atomic uint64_t looks;       /* times the clock woke the engine      */
	_Atomic uint64_t preemptions; /* sent                                */
	_Atomic uint64_t balanced;    /* parked vCPUs woken to take work from another one */
	_Atomic uint64_t by_op[64];   /* entries taken, by enum pg_op        */
};

struct uhyve_engine_config {
	struct uhyve_mmu *mmu;
	const struct uhyve_mounts *mounts;
	const struct uhyve_port *ports;
	unsigned port_count;
	int doorbell_fd;  /* eventfd the guest's doorbells signal       */
	int console[3];   /* handles 0, 1, 2; not owned                 */
	uint64_t spin_ns; /* longest spin before sleeping; 0: never spin */
	enum uhyve_backend backend;
	/*
	 * Called on the engine thread when a guest breaks the ring's rules; the
	 * engine serves that guest no more. Must not call back into the engine.
	 */
	void (*violation)(void *context, const char *reason);
	/*
	 * How long a task has a vCPU while something waits for it, ns; 0: for ever. `preempt`
	 * interrupts a vCPU with PG_VECTOR_PREEMPT, on the engine thread; NULL: as turn_ns 0.
	 */
	uint64_t turn_ns;
	void (*preempt)(void *context, unsigned port);
	/*
	 * CLOCK_MONOTONIC in ns as the guest reads it: a vCPU that was woken at its deadline must
	 * find that it is reached, or it would park with one that was served. Only on the engine
	 * thread. NULL: the host's own.
	 */
	uint64_t (*now)(void *context);
	/* Called on the engine thread now and then (at most once a second while it works). */
	void (*tick)(void *context);
	void *context;
	struct uhyve_engine_stats *stats; /* counted there; outlives the engine; not owned */
};

/*
 * Start the thread. The config is copied; what it points at must outlive the
 * engine. Returns 0, or a negative errno with a sentence in `error`.
 */
int uhyve_engine_start(struct uhyve_engine **engine, const struct uhyve_engine_config *config,
		       struct uhyve_error *error);

/*
 * Stop serving, cancel what is in flight, wait until no operation can touch guest
 * memory any more, close the guest's handles, free. NULL is allowed. Must not be
 * called on the engine thread. Doesn't wait for a slow pipe or terminal.
 */
void uhyve_engine_stop(struct uhyve_engine *engine);

const char *uhyve_engine_backend(const struct uhyve_engine *engine); /* "io_uring" or "threads" */

#endif
