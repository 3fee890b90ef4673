/* The rings of ring.h on their own: wrap-around, and the sleep and wake protocol. */
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "abi/ring.h"

struct rings {
	struct pg_ring ring;
	struct pg_sqe sq[PG_SQ_DEPTH];
	struct pg_cqe cq[PG_CQ_DEPTH];
};

static struct rings *rings_new(uint32_t sq_start, uint32_t cq_start)
{
	struct rings *rings = aligned_alloc(64, (sizeof(*rings) + 63) / 64 * 64);

	cr_assert(rings);
	*rings = (struct rings){ 0 };
	atomic_store(&rings->ring.sq_tail, sq_start);
	atomic_store(&rings->ring.sq_head, sq_start);
	atomic_store(&rings->ring.cq_tail, cq_start);
	atomic_store(&rings->ring.cq_head, cq_start);
	return rings;
}

Test(ring, indices_wrap_around)
{
	uint32_t head = UINT32_MAX - 300, tail = UINT32_MAX - 100;
	struct rings *r = rings_new(head, tail);
	struct pg_sqe entry;
	struct pg_cqe done;

	for (uint64_t i = 0; i < 1000; i++) {
		cr_assert_not(
			pg_sq_push(&r->ring, r->sq,
				   &(struct pg_sqe){ .op = 3, .user_data = i, .arg[5] = ~i }));
		cr_assert_eq(pg_sq_tail(&r->ring) - head, 1);
		pg_sq_copy(r->sq, head, &entry);
		pg_sq_release(&r->ring, ++head);
		cr_assert_eq(entry.user_data, i);
		cr_assert_eq(entry.arg[5], ~i);

		cr_assert_not(pg_cq_ready(&r->ring));
		pg_cq_push(&r->ring, r->cq, tail++, i, -(int64_t)i);
		cr_assert(pg_cq_ready(&r->ring));
		cr_assert(pg_cq_pop(&r->ring, r->cq, &done));
		cr_assert_eq(done.user_data, i);
		cr_assert_eq(done.result, -(int64_t)i);
		cr_assert_not(pg_cq_pop(&r->ring, r->cq, &done));
	}
	cr_assert_lt(head, 1000, "the index has wrapped");
	free(r);
}

Test(ring, is_full_at_its_depth_also_across_the_wrap)
{
	uint32_t head = UINT32_MAX - 5;
	struct rings *r = rings_new(head, 0);
	struct pg_sqe entry = { 0 };

	for (int i = 0; i < PG_SQ_DEPTH; i++) {
		cr_assert_not(pg_sq_full(&r->ring));
		entry.user_data = (uint64_t)i;
		pg_sq_push(&r->ring, r->sq, &entry);
	}
	cr_assert(pg_sq_full(&r->ring));
	for (int i = 0; i < PG_SQ_DEPTH; i++) {
		pg_sq_copy(r->sq, head, &entry);
		cr_assert_eq(entry.user_data, (uint64_t)i);
		pg_sq_release(&r->ring, ++head);
		cr_assert_not(pg_sq_full(&r->ring));
	}
	free(r);
}

Test(ring, flags_of_sleep)
{
	struct rings *r = rings_new(0, 0);
	struct pg_sqe entry = { 0 };

	pg_ring_server_sleep(&r->ring, PG_LOOK_NEVER);
	cr_assert(pg_sq_push(&r->ring, r->sq, &entry), "the doorbell is due");
	pg_ring_server_wake(&r->ring);
	cr_assert_not(pg_sq_push(&r->ring, r->sq, &entry));

	cr_assert_not(pg_ring_claim_wake(&r->ring));
	pg_ring_park(&r->ring);
	cr_assert(pg_ring_claim_wake(&r->ring));
	cr_assert_not(pg_ring_claim_wake(&r->ring), "one claim per park");
	pg_ring_park(&r->ring);
	pg_ring_unpark(&r->ring);
	cr_assert_not(pg_ring_claim_wake(&r->ring));
	free(r);
}

/* ---- two threads that sleep whenever they can ---- */

#define ROUNDS 20000

struct pair {
	struct rings *rings;
	int doorbell, kick;
};

static void signal_fd(int fd)
{
	uint64_t one = 1;

	cr_assert_eq(write(fd, &one, sizeof(one)), sizeof(one));
}

/* A wake-up that is lost shows as a wait that does not end. */
static void wait_fd(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	uint64_t value;

	cr_assert_eq(poll(&poll_fd, 1, 20000), 1, "a wake-up was lost");
	cr_assert_eq(read(fd, &value, sizeof(value)), sizeof(value));
}

/* The loader's side: answer every entry with its user_data + 1. */
static void *server(void *argument)
{
	struct pair *pair = argument;
	struct pg_ring *ring = &pair->rings->ring;
	uint32_t head = 0, tail = 0;

	while (head < ROUNDS) {
		struct pg_sqe entry;

		if (pg_sq_tail(ring) == head) {
			pg_ring_server_sleep(ring, PG_LOOK_NEVER);
			if (pg_sq_tail(ring) == head)
				wait_fd(pair->doorbell);
			pg_ring_server_wake(ring);
			continue;
		}
		pg_sq_copy(pair->rings->sq, head, &entry);
		pg_sq_release(ring, ++head);
		pg_cq_push(ring, pair->rings->cq, tail++, entry.user_data,
			   (int64_t)entry.user_data + 1);
		if (pg_ring_claim_wake(ring))
			signal_fd(pair->kick);
	}
	return NULL;
}

Test(ring, no_wake_up_is_lost, .timeout = 60)
{
	struct pair pair = { rings_new(0, 0), eventfd(0, 0), eventfd(0, 0) };
	struct pg_ring *ring = &pair.rings->ring;
	uint64_t sent = 0, received = 0;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, server, &pair), 0);
	while (received < ROUNDS) {
		struct pg_cqe done;
		/* Bursts of 1 to 7: both sides get to sleep at all sorts of moments. */
		uint64_t burst = 1 + sent % 7;

		while (sent < ROUNDS && burst-- && sent - received < PG_CQ_DEPTH &&
		       !pg_sq_full(ring)) {
			if (pg_sq_push(ring, pair.rings->sq, &(struct pg_sqe){ .user_data = sent }))
				signal_fd(pair.doorbell);
			sent++;
		}
		while (received < sent) {
			if (pg_cq_pop(ring, pair.rings->cq, &done)) {
				cr_assert_eq(done.user_data, received);
				cr_assert_eq(done.result, (int64_t)received + 1);
				received++;
				continue;
			}
			pg_ring_park(ring);
			if (!pg_cq_ready(ring))
				wait_fd(pair.kick);
			pg_ring_unpark(ring);
		}
	}
	pthread_join(thread, NULL);
	cr_assert_eq(received, ROUNDS);
	close(pair.doorbell);
	close(pair.kick);
	free(pair.rings);
}
