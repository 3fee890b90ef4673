#include "channel.h"

#include <stdint.h>

#include "container.h"
#include "task.h"

void pg_channel_init(struct pg_channel *channel, void **slots, size_t capacity)
{
	*channel = (struct pg_channel){ .slots = slots, .capacity = capacity };
	pg_spin_init(&channel->lock);
	pg_waitq_init(&channel->senders);
	pg_waitq_init(&channel->receivers);
}

void pg_channel_close(struct pg_channel *channel)
{
	struct pg_task_list wake = { 0 };

	pg_spin_lock(&channel->lock);
	channel->closed = true;
	pg_waitq_notify_locked(&channel->senders, SIZE_MAX, PG_NOTIFIED_ALL, &wake);
	pg_waitq_notify_locked(&channel->receivers, SIZE_MAX, PG_NOTIFIED_ALL, &wake);
	pg_spin_unlock(&channel->lock);
	pg_task_list_enqueue(&wake);
}

/* Both with the lock held; `wake` gets whoever may go on because of it. */
static int put(struct pg_channel *channel, void *item, struct pg_task_list *wake)
{
	size_t at;

	if (channel->closed)
		return -PG_EPIPE;
	if (channel->count == channel->capacity)
		return -PG_EAGAIN;
	at = channel->first + channel->count++;
	channel->slots[at < channel->capacity ? at : at - channel->capacity] = item;
	pg_waitq_notify_locked(&channel->receivers, 1, PG_NOTIFIED_ONE, wake);
	return 0;
}

static int take(struct pg_channel *channel, void **item, struct pg_task_list *wake)
{
	if (channel->count == 0)
		return channel->closed ? -PG_EPIPE : -PG_EAGAIN;
	*item = channel->slots[channel->first];
	if (++channel->first == channel->capacity)
		channel->first = 0;
	channel->count--;
	pg_waitq_notify_locked(&channel->senders, 1, PG_NOTIFIED_ONE, wake);
	return 0;
}

int pg_channel_try_send(struct pg_channel *channel, void *item)
{
	struct pg_task_list wake = { 0 };
	int result;

	pg_spin_lock(&channel->lock);
	result = put(channel, item, &wake);
	pg_spin_unlock(&channel->lock);
	pg_task_list_enqueue(&wake);
	return result;
}

int pg_channel_try_receive(struct pg_channel *channel, void **item)
{
	struct pg_task_list wake = { 0 };
	int result;

	pg_spin_lock(&channel->lock);
	result = take(channel, item, &wake);
	pg_spin_unlock(&channel->lock);
	pg_task_list_enqueue(&wake);
	return result;
}

static enum pg_poll send_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_send *send = pg_container_of(future, struct pg_send, future);
	struct pg_channel *channel = send->channel;
	struct pg_task_list wake = { 0 };

	pg_spin_lock(&channel->lock);
	send->result = put(channel, send->item, &wake);
	if (send->result == -PG_EAGAIN)
		pg_waitq_add_locked(&channel->senders, &send->waiter, waker);
	else
		pg_waitq_remove_locked(&channel->senders, &send->waiter);
	pg_spin_unlock(&channel->lock);
	pg_task_list_enqueue(&wake);
	return send->result == -PG_EAGAIN ? PG_PENDING : PG_READY;
}

static enum pg_poll receive_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_receive *receive = pg_container_of(future, struct pg_receive, future);
	struct pg_channel *channel = receive->channel;
	struct pg_task_list wake = { 0 };

	pg_spin_lock(&channel->lock);
	receive->result = take(channel, &receive->item, &wake);
	if (receive->result == -PG_EAGAIN)
		pg_waitq_add_locked(&channel->receivers, &receive->waiter, waker);
	else
		pg_waitq_remove_locked(&channel->receivers, &receive->waiter);
	pg_spin_unlock(&channel->lock);
	pg_task_list_enqueue(&wake);
	return receive->result == -PG_EAGAIN ? PG_PENDING : PG_READY;
}

/* Withdraw; what the waiter was woken for is another one's then. */
static void withdraw(struct pg_channel *channel, struct pg_waitq *queue, struct pg_waiter *waiter)
{
	struct pg_task_list wake = { 0 };

	pg_spin_lock(&channel->lock);
	if (pg_waitq_remove_locked(queue, waiter))
		pg_waitq_notify_locked(queue, 1, PG_NOTIFIED_ONE, &wake);
	pg_spin_unlock(&channel->lock);
	pg_task_list_enqueue(&wake);
}

static void send_drop(struct pg_future *future)
{
	struct pg_send *send = pg_container_of(future, struct pg_send, future);

	withdraw(send->channel, &send->channel->senders, &send->waiter);
}

static void receive_drop(struct pg_future *future)
{
	struct pg_receive *receive = pg_container_of(future, struct pg_receive, future);

	withdraw(receive->channel, &receive->channel->receivers, &receive->waiter);
}

void pg_send_init(struct pg_send *send, struct pg_channel *channel, void *item)
{
	static const struct pg_future_ops ops = { send_poll, send_drop };

	*send = (struct pg_send){ .future.ops = &ops, .channel = channel, .item = item };
}

void pg_receive_init(struct pg_receive *receive, struct pg_channel *channel)
{
	static const struct pg_future_ops ops = { receive_poll, receive_drop };

	*receive = (struct pg_receive){ .future.ops = &ops, .channel = channel };
}
