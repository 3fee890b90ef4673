#include "combine.h"

#include "container.h"

static enum pg_poll all_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_all *all = pg_container_of(future, struct pg_all, future);
	enum pg_poll poll = PG_READY;

	for (size_t i = 0; i < all->count; i++) {
		if (!all->children[i])
			continue;
		if (pg_future_poll(all->children[i], waker) == PG_READY)
			all->children[i] = NULL;
		else
			poll = PG_PENDING;
	}
	return poll;
}

static void all_drop(struct pg_future *future)
{
	struct pg_all *all = pg_container_of(future, struct pg_all, future);

	for (size_t i = 0; i < all->count; i++) {
		if (all->children[i])
			pg_future_drop(all->children[i]);
	}
}

static const struct pg_future_ops all_ops = { all_poll, all_drop };

void pg_all_init(struct pg_all *all, struct pg_future **children, size_t count)
{
	*all = (struct pg_all){ .future.ops = &all_ops, .children = children, .count = count };
}

/* `except` may be `count`: none. */
static void race_drop_others(struct pg_race *race, size_t except)
{
	for (size_t i = 0; i < race->count; i++) {
		if (i != except)
			pg_future_drop(race->children[i]);
	}
}

static enum pg_poll race_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_race *race = pg_container_of(future, struct pg_race, future);

	for (size_t i = 0; i < race->count; i++) {
		if (pg_future_poll(race->children[i], waker) == PG_READY) {
			race->winner = i;
			race_drop_others(race, i);
			return PG_READY;
		}
	}
	return PG_PENDING;
}

static void race_drop(struct pg_future *future)
{
	struct pg_race *race = pg_container_of(future, struct pg_race, future);

	race_drop_others(race, race->count);
}

static const struct pg_future_ops race_ops = { race_poll, race_drop };

void pg_race_init(struct pg_race *race, struct pg_future **children, size_t count)
{
	*race = (struct pg_race){ .future.ops = &race_ops, .children = children, .count = count };
}

static enum pg_poll timeout_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_timeout *timeout = pg_container_of(future, struct pg_timeout, future);

	if (pg_future_poll(timeout->child, waker) == PG_READY) {
		pg_future_drop(&timeout->sleep.future);
		return PG_READY;
	}
	if (pg_future_poll(&timeout->sleep.future, waker) == PG_READY) {
		pg_future_drop(timeout->child);
		timeout->timed_out = true;
		return PG_READY;
	}
	return PG_PENDING;
}

static void timeout_drop(struct pg_future *future)
{
	struct pg_timeout *timeout = pg_container_of(future, struct pg_timeout, future);

	pg_future_drop(timeout->child);
	pg_future_drop(&timeout->sleep.future);
}

static const struct pg_future_ops timeout_ops = { timeout_poll, timeout_drop };

void pg_timeout_init(struct pg_timeout *timeout, struct pg_future *child, uint64_t deadline)
{
	timeout->future.ops = &timeout_ops;
	timeout->child = child;
	pg_sleep_init(&timeout->sleep, deadline);
	timeout->timed_out = false;
}
