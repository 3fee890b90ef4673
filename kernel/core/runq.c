#include "runq.h"

_Static_assert((PG_RUNQ_SLOTS & (PG_RUNQ_SLOTS - 1)) == 0, "indices are masked");
_Static_assert(_Alignof(struct pg_task) > PG_SLOT_FLAGS, "room for the flags");

static struct pg_task *task_of(uintptr_t slot)
{
	return (struct pg_task *)(slot & ~(uintptr_t)PG_SLOT_FLAGS);
}

static uintptr_t slot_at(const struct pg_runq *queue, uint32_t index)
{
	/* Relaxed: ordered by head and tail, see the header. */
	return atomic_load_explicit(&queue->slots[index & (PG_RUNQ_SLOTS - 1)],
				    memory_order_relaxed);
}

void pg_runq_init(struct pg_runq *queue)
{
	*queue = (struct pg_runq){ .alone = true };
}

/* True if there was room. */
static bool push_slot(struct pg_runq *queue, struct pg_task *task)
{
	uint32_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
	uintptr_t slot = (uintptr_t)task;

	if (tail - atomic_load_explicit(&queue->head, memory_order_acquire) == PG_RUNQ_SLOTS)
		return false;
	if (pg_task_pinned(task))
		slot |= PG_SLOT_PINNED;
	if (pg_task_is_user(task))
		slot |= PG_SLOT_USER;
	atomic_store_explicit(&queue->slots[tail & (PG_RUNQ_SLOTS - 1)], slot,
			      memory_order_relaxed);
	atomic_store_explicit(&queue->tail, tail + 1, memory_order_release);
	return true;
}

void pg_runq_push(struct pg_runq *queue, struct pg_task *task)
{
	/* Not ahead of those that wait for room. */
	if (queue->overflow.head || !push_slot(queue, task))
		pg_task_list_append(&queue->overflow, task);
}

uint32_t pg_runq_batch(struct pg_runq *queue)
{
	struct pg_task *task;

	while ((task = queue->overflow.head)) {
		struct pg_task *next = task->next;

		/* Once it is in a slot it may be stolen, and gone. */
		if (!push_slot(queue, task))
			break;
		queue->overflow.head = next;
	}
	return atomic_load_explicit(&queue->tail, memory_order_relaxed);
}

/* How many tasks from `head` on, of `most` that are there, the owner takes at once. */
static uint32_t claimable(const struct pg_runq *queue, uint32_t head, uint32_t most)
{
	uint32_t count = 0;

	if (most > PG_RUNQ_CLAIM)
		most = PG_RUNQ_CLAIM;
	while (count < most && !(slot_at(queue, head + count) & PG_SLOT_USER))
		count++;
	return count ? count : 1;
}

/* Make `count` tasks from `*head` on ours. False, and *head is fresh: somebody was faster. */
static bool take(struct pg_runq *queue, uint32_t *head, uint32_t count)
{
	if (queue->alone) {
		atomic_store_explicit(&queue->head, *head + count, memory_order_relaxed);
		return true;
	}
	/* Release: the slots have been read. Acquire: for the next try. */
	return atomic_compare_exchange_weak_explicit(&queue->head, head, *head + count,
						     memory_order_acq_rel, memory_order_acquire);
}

struct pg_task *pg_runq_pop(struct pg_runq *queue, uint32_t end)
{
	uint32_t head, count;

	if (queue->claimed_next != queue->claimed_end)
		return queue->claimed[queue->claimed_next++];

	head = atomic_load_explicit(&queue->head, memory_order_acquire);
	do {
		/* Thieves may have passed the end. */
		if ((int32_t)(end - head) <= 0)
			return NULL;
		count = claimable(queue, head, end - head);
		for (uint32_t i = 0; i < count; i++)
			queue->claimed[i] = task_of(slot_at(queue, head + i));
	} while (!take(queue, &head, count));
	queue->claimed_next = 1;
	queue->claimed_end = (uint8_t)count;
	return queue->claimed[0];
}

uint32_t pg_runq_steal(struct pg_runq *queue, struct pg_task *tasks[PG_RUNQ_STEAL])
{
	uint32_t head = atomic_load_explicit(&queue->head, memory_order_acquire);
	uint32_t waiting = atomic_load_explicit(&queue->tail, memory_order_acquire) - head;
	uint32_t most = (waiting + 1) / 2, count = 0;

	/* The two loads were not one: an old head with a new tail. The next try is better. */
	if (waiting > PG_RUNQ_SLOTS)
		return 0;
	if (most > PG_RUNQ_STEAL)
		most = PG_RUNQ_STEAL;
	while (count < most) {
		uintptr_t slot = slot_at(queue, head + count);

		if (slot & PG_SLOT_PINNED)
			break;
		tasks[count++] = task_of(slot);
	}
	/* Strong: a thief doesn't try again. Ordering as in take(). */
	if (count == 0 ||
	    !atomic_compare_exchange_strong_explicit(&queue->head, &head, head + count,
						     memory_order_acq_rel, memory_order_relaxed))
		return 0;
	return count;
}

bool pg_runq_stealable(const struct pg_runq *queue)
{
	uint32_t head = atomic_load_explicit(&queue->head, memory_order_acquire);
	uint32_t tail = atomic_load_explicit(&queue->tail, memory_order_acquire);

	return head != tail && !(slot_at(queue, head) & PG_SLOT_PINNED);
}
