/*
 * The rings: how kernel and loader talk.
 *
 * Each vCPU has one submission queue (guest writes, loader reads) and one
 * completion queue (loader writes, guest reads) in shared memory. Indices run
 * freely modulo 2^32; `index & (DEPTH - 1)` is the slot.
 *
 *   guest                                   loader
 *   -----                                   ------
 *   write sqe[tail]                         read sq_tail
 *   sq_tail = tail + 1      ---------->     copy sqe[head], validate the copy
 *   if look_at: doorbell                    sq_head = head + 1
 *                                           ... carry the operation out ...
 *   read cqe[head]          <----------     write cqe[tail], cq_tail = tail + 1
 *   cq_head = head + 1                      if parked was set, and we cleared it:
 *                                             completion interrupt
 *
 * Sleeping. Either side publishes that it is going to sleep (`look_at`,
 * `parked`), and only then looks at the queue a last time. The other side
 * publishes its entry, and only then looks at the flag. Both pairs are
 * sequentially consistent (an `xchg` on x86), so at least one of the two sees
 * the other: no wake-up is lost. TSan follows these; it does not follow fences.
 *
 * Looking. What the vCPU needs at a point in time, it leaves here and asks for no
 * interrupt. `look_at` says when the loader will look next, by itself: 0 while it is
 * awake, PG_LOOK_NEVER if only a doorbell makes it look. Whoever needs a look earlier
 * publishes the need first, reads `look_at` then, and rings the doorbell; the loader
 * publishes `look_at` first, and reads all needs then. There are two needs:
 *
 *   deadline    At this time the vCPU wants to be woken if it is parked, or pre-empted if
 *               it runs. The loader serves each value once.
 *   contended   Something waits for this vCPU: since the loader's last look a task was
 *               queued there. The loader clears it when it looks. If it finds `turn`
 *               unchanged at the next look, a turn's length later, one task has had the
 *               vCPU all that time: it wakes a parked vCPU, which may take the work,
 *               or pre-empts this one. The same goes for completions nobody consumes.
 *
 * Bounds. The guest has at most PG_CQ_DEPTH operations outstanding (submitted
 * and their completion not consumed), so the completion queue can't overflow.
 * The loader does not rely on it: it keeps its own copies of its own indices and of
 * the count, and a guest that breaks the rule is ended with a reason.
 *
 * Each field names its only writer. Fields of different writers are in
 * different cache lines.
 */
#ifndef PG_ABI_RING_H
#define PG_ABI_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PG_SQ_DEPTH 128
#define PG_CQ_DEPTH 256

#define PG_LOOK_NEVER UINT64_MAX

/* A submission entry. Meaning of `handle` and `arg` by operation: ops.h. */
struct pg_sqe {
	uint16_t op;        /* enum pg_op                                      */
	uint16_t flags;     /* 0 unless the operation says otherwise           */
	int32_t handle;     /* a loader handle                                 */
	uint64_t user_data; /* comes back in the completion                    */
	uint64_t arg[6];
};

struct pg_cqe {
	uint64_t user_data;
	int64_t result; /* >= 0, or a negative errno (Linux x86-64 numbers)    */
};

struct pg_ring {
	/* Guest writes. */
	_Alignas(64) _Atomic uint32_t sq_tail;
	_Alignas(64) _Atomic uint32_t cq_head;
	/* Loader writes. */
	_Alignas(64) _Atomic uint32_t sq_head;
	_Atomic uint64_t look_at; /* CLOCK_MONOTONIC ns, 0 or PG_LOOK_NEVER: see Looking */
	_Alignas(64) _Atomic uint32_t cq_tail;
	/*
	 * 1: the vCPU is (about to be) parked. The guest sets it; whoever changes
	 * it from 1 to 0 owes the vCPU an interrupt, unless it is the vCPU itself.
	 */
	_Alignas(64) _Atomic uint32_t parked;
	/* Guest writes; but `contended`, which any vCPU sets and the loader clears. */
	_Alignas(64) _Atomic uint32_t turn; /* counts: batches, and entries of user code */
	_Atomic uint32_t contended;
	_Atomic uint64_t deadline; /* CLOCK_MONOTONIC ns; 0 or PG_LOOK_NEVER: none */
	uint64_t reserved[6];
};

_Static_assert(sizeof(struct pg_sqe) == 64, "one cache line");
_Static_assert(sizeof(struct pg_cqe) == 16, "four to a cache line");
_Static_assert(sizeof(struct pg_ring) == 384, "six cache lines");
_Static_assert((PG_SQ_DEPTH & (PG_SQ_DEPTH - 1)) == 0, "power of two");
_Static_assert((PG_CQ_DEPTH & (PG_CQ_DEPTH - 1)) == 0, "power of two");
_Static_assert(PG_SQ_DEPTH * sizeof(struct pg_sqe) == 8192, "two pages");
_Static_assert(PG_CQ_DEPTH * sizeof(struct pg_cqe) == 4096, "one page");

/* ---- guest side: only the vCPU that owns the ring may call these ---- */

/* True when a further entry would overwrite one the loader has not taken. */
static inline bool pg_sq_full(struct pg_ring *ring)
{
	uint32_t tail = atomic_load_explicit(&ring->sq_tail, memory_order_relaxed);
	/* Acquire: the slot is ours again only after the loader's copy of it. */
	uint32_t head = atomic_load_explicit(&ring->sq_head, memory_order_acquire);

	return tail - head >= PG_SQ_DEPTH;
}

/*
 * Publish one entry. The queue must not be full. Returns true when the loader
 * sleeps and the caller must ring the doorbell.
 */
static inline bool pg_sq_push(struct pg_ring *ring, struct pg_sqe *slots,
			      const struct pg_sqe *entry)
{
	uint32_t tail = atomic_load_explicit(&ring->sq_tail, memory_order_relaxed);

	slots[tail & (PG_SQ_DEPTH - 1)] = *entry;
	/* Sequentially consistent: ordered before the look at look_at. */
	atomic_exchange(&ring->sq_tail, tail + 1);
	return atomic_load(&ring->look_at) != 0;
}

/* Leave a deadline with the loader. True when it would look too late: ring the doorbell. */
static inline bool pg_ring_set_deadline(struct pg_ring *ring, uint64_t deadline)
{
	atomic_exchange(&ring->deadline, deadline);
	return deadline < atomic_load(&ring->look_at);
}

/*
 * Say that something waits for this ring's vCPU. Any vCPU, after it has queued it. Returns
 * when the loader will look (0: it is awake, or knew already): if that is later than a turn
 * from now, ring the doorbell.
 */
static inline uint64_t pg_ring_contend(struct pg_ring *ring)
{
	/* Relaxed: set means that the loader still has to look, and will. */
	if (atomic_load_explicit(&ring->contended, memory_order_relaxed) ||
	    atomic_exchange(&ring->contended, 1))
		return 0;
	return atomic_load(&ring->look_at);
}

/* A new turn: what was contended before has had its chance. The vCPU itself. */
static inline void pg_ring_next_turn(struct pg_ring *ring)
{
	uint32_t turn = atomic_load_explicit(&ring->turn, memory_order_relaxed);

	/* Relaxed: it only has to be seen some time. */
	atomic_store_explicit(&ring->turn, turn + 1, memory_order_relaxed);
}

/*
 * The same, for a turn that may be long. Look at what waits for this vCPU only afterwards
 * (sequentially consistent loads; pg_ring_contend()): whoever queues something later, or finds
 * `contended` set, is heard by a loader that sees this turn, and not the one before.
 */
static inline void pg_ring_begin_turn(struct pg_ring *ring)
{
	uint32_t turn = atomic_load_explicit(&ring->turn, memory_order_relaxed);

	atomic_exchange(&ring->turn, turn + 1);
}

/* True when a completion is waiting. */
static inline bool pg_cq_ready(struct pg_ring *ring)
{
	uint32_t head = atomic_load_explicit(&ring->cq_head, memory_order_relaxed);

	return atomic_load_explicit(&ring->cq_tail, memory_order_acquire) != head;
}

/* Take one completion; false when there is none. */
static inline bool pg_cq_pop(struct pg_ring *ring, const struct pg_cqe *slots, struct pg_cqe *out)
{
	uint32_t head = atomic_load_explicit(&ring->cq_head, memory_order_relaxed);

	if (atomic_load_explicit(&ring->cq_tail, memory_order_acquire) == head)
		return false;
	*out = slots[head & (PG_CQ_DEPTH - 1)];
	atomic_store_explicit(&ring->cq_head, head + 1, memory_order_release);
	return true;
}

/*
 * Announce that the vCPU parks. The caller then looks for work a last time
 * (sequentially consistent loads), and calls pg_ring_unpark() if it found some.
 */
static inline void pg_ring_park(struct pg_ring *ring)
{
	atomic_exchange(&ring->parked, 1);
}

static inline void pg_ring_unpark(struct pg_ring *ring)
{
	atomic_store(&ring->parked, 0);
}

/*
 * Claim the duty to interrupt a parked vCPU: true for exactly one caller per
 * park. Either side calls it, after it has published what the vCPU shall see.
 */
static inline bool pg_ring_claim_wake(struct pg_ring *ring)
{
	/* The load keeps the line shared while the vCPU runs: the common case. */
	return atomic_load(&ring->parked) != 0 && atomic_exchange(&ring->parked, 0) != 0;
}

/* ---- loader side: `head`/`tail` are the loader's private copies ---- */

/* The guest's word on how much it has submitted; check `tail - head` before use. */
static inline uint32_t pg_sq_tail(struct pg_ring *ring)
{
	return atomic_load(&ring->sq_tail);
}

/*
 * Copy the entry at `head` out, once: the guest may change it meanwhile, so
 * each word is read exactly once and only the copy is looked at.
 */
static inline void pg_sq_copy(const struct pg_sqe *slots, uint32_t head, struct pg_sqe *out)
{
	const volatile uint64_t *from = (const volatile uint64_t *)&slots[head & (PG_SQ_DEPTH - 1)];
	union {
		uint64_t word[sizeof(struct pg_sqe) / sizeof(uint64_t)];
		struct pg_sqe entry;
	} copy;

	for (size_t i = 0; i < sizeof(copy) / sizeof(uint64_t); i++)
		copy.word[i] = from[i];
	*out = copy.entry;
}

static inline void pg_sq_release(struct pg_ring *ring, uint32_t head)
{
	atomic_store_explicit(&ring->sq_head, head, memory_order_release);
}

/*
 * Publish a completion at the loader's `tail`. The caller advances its copy,
 * and afterwards asks pg_ring_claim_wake() whether to interrupt.
 */
static inline void pg_cq_push(struct pg_ring *ring, struct pg_cqe *slots, uint32_t tail,
			      uint64_t user_data, int64_t result)
{
	slots[tail & (PG_CQ_DEPTH - 1)] = (struct pg_cqe){ user_data, result };
	/* Sequentially consistent: ordered before the look at `parked`. */
	atomic_exchange(&ring->cq_tail, tail + 1);
}

/*
 * Announce sleep until `look_at` (ns, not 0) or a doorbell. Look at every queue, deadline
 * and `contended` a last time afterwards.
 */
static inline void pg_ring_server_sleep(struct pg_ring *ring, uint64_t look_at)
{
	atomic_exchange(&ring->look_at, look_at);
}

static inline void pg_ring_server_wake(struct pg_ring *ring)
{
	atomic_store(&ring->look_at, 0);
}

/* When the vCPU wants to be woken or pre-empted. */
static inline uint64_t pg_ring_deadline(struct pg_ring *ring)
{
	return atomic_load(&ring->deadline);
}

/* Take the need to look at who runs: true if there was one. */
static inline bool pg_ring_take_contended(struct pg_ring *ring)
{
	/* The load keeps the line the vCPU's while there is none: the common case. */
	return atomic_load(&ring->contended) != 0 && atomic_exchange(&ring->contended, 0) != 0;
}

static inline uint32_t pg_ring_turn(struct pg_ring *ring)
{
	return atomic_load_explicit(&ring->turn, memory_order_relaxed);
}

#endif
