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
 *   if server_asleep: doorbell              sq_head = head + 1
 *                                           ... carry the operation out ...
 *   read cqe[head]          <----------     write cqe[tail], cq_tail = tail + 1
 *   cq_head = head + 1                      if parked was set, and we cleared it:
 *                                             completion interrupt
 *
 * Sleeping. Either side publishes that it is going to sleep (`server_asleep`,
 * `parked`), and only then looks at the queue a last time. The other side
 * publishes its entry, and only then looks at the flag. Both pairs are
 * sequentially consistent (an `xchg` on x86), so at least one of the two sees
 * the other: no wake-up is lost. TSan follows these; it does not follow fences.
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
	_Atomic uint32_t server_asleep; /* 1: ring the doorbell after submitting */
	_Alignas(64) _Atomic uint32_t cq_tail;
	/*
	 * 1: the vCPU is (about to be) parked. The guest sets it; whoever changes
	 * it from 1 to 0 owes the vCPU an interrupt, unless it is the vCPU itself.
	 */
	_Alignas(64) _Atomic uint32_t parked;
	uint32_t reserved[15];
};

_Static_assert(sizeof(struct pg_sqe) == 64, "one cache line");
_Static_assert(sizeof(struct pg_cqe) == 16, "four to a cache line");
_Static_assert(sizeof(struct pg_ring) == 320, "five cache lines");
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
	/* Sequentially consistent: ordered before the look at server_asleep. */
	atomic_exchange(&ring->sq_tail, tail + 1);
	return atomic_load(&ring->server_asleep) != 0;
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

/* Announce sleep; look at every queue a last time afterwards. */
static inline void pg_ring_server_sleep(struct pg_ring *ring)
{
	atomic_exchange(&ring->server_asleep, 1);
}

static inline void pg_ring_server_wake(struct pg_ring *ring)
{
	atomic_store(&ring->server_asleep, 0);
}

#endif
