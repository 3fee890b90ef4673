/*
 * Channels: bounded queues of pointers between tasks, on any vCPUs. Any number of senders
 * and receivers.
 *
 * A channel holds at most `capacity` pointers, in an array of its owner's. A send waits
 * while it is full, a receive while it is empty: so a slow stage of a pipeline slows down
 * the one before it, and memory stays bounded.
 *
 * Each sender's items arrive in the order in which they were sent. Between several
 * waiting senders (or receivers) there is no order that could be relied on.
 *
 * Closing says that nothing more will come. Sends give -PG_EPIPE from then on, waiting
 * ones too. Receives drain what is there, and then give -PG_EPIPE.
 *
 * Cancellation loses nothing: a send that was dropped has not sent, a receive that was dropped
 * has not received, and a wake-up that one of them had got is passed on.
 *
 * One lock guards everything: both wait queues as well, whose own locks are not used.
 *
 * Lifetime. The memory may be reused once no send or receive is registered (all were READY or
 * dropped) and no call is under way: for instance when all tasks that use it are done.
 */
#ifndef PG_CORE_CHANNEL_H
#define PG_CORE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>

#include "future.h"
#include "spinlock.h"
#include "waitq.h"

/* Linux's numbers. */
#define PG_EAGAIN 11 /* it would have to wait        */
#define PG_EPIPE  32 /* the channel is closed        */

struct pg_channel {
	struct pg_spinlock lock;
	bool closed;
	void **slots; /* a ring: the oldest is at `first` */
	size_t capacity, first, count;
	struct pg_waitq senders, receivers;
};

/* `slots` has room for `capacity` (one or more) pointers, and lives as long as the channel. */
void pg_channel_init(struct pg_channel *channel, void **slots, size_t capacity);

/* Nothing more will be sent. More than once is fine. Any vCPU. */
void pg_channel_close(struct pg_channel *channel);

/*
 * Without waiting: 0, -PG_EAGAIN (full, empty) or -PG_EPIPE (closed). Any vCPU. try_receive sets
 * `*item` only if it returns 0.
 */
int pg_channel_try_send(struct pg_channel *channel, void *item);
int pg_channel_try_receive(struct pg_channel *channel, void **item);

/* READY when `item` is in the channel (result 0), or it is closed (-PG_EPIPE). */
struct pg_send {
	struct pg_future future;
	struct pg_channel *channel;
	struct pg_waiter waiter;
	void *item;
	int result;
};

void pg_send_init(struct pg_send *send, struct pg_channel *channel, void *item);

/* READY with `item` (result 0), or when the channel is closed and empty (-PG_EPIPE, item NULL). */
struct pg_receive {
	struct pg_future future;
	struct pg_channel *channel;
	struct pg_waiter waiter;
	void *item;
	int result;
};

void pg_receive_init(struct pg_receive *receive, struct pg_channel *channel);

#endif
