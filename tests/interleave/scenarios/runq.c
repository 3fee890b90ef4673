/*
 * The run queue alone: its owner, and thieves. It has few slots here (PG_RUNQ_SLOTS), so that
 * indices wrap and the overflow list is used. Every task comes out once.
 */
#include <string.h>

#include "core/runq.h"
#include "interleave.h"
#include "scenarios.h"

#define TASKS 8

static struct pg_runq queue;
static struct pg_task tasks[TASKS];
static _Atomic uint32_t taken[TASKS];
static unsigned pushed;

static void take(struct pg_task *task)
{
	size_t i = (size_t)(task - tasks);

	interleave_assert(i < TASKS);
	interleave_assert(atomic_fetch_add_explicit(&taken[i], 1, memory_order_relaxed) == 0);
	/* Whoever takes it owns it: this would race with anybody else who touched it. */
	task->next = NULL;
	task->future = NULL;
}

static void prepare(unsigned start, unsigned count)
{
	pg_runq_init(&queue);
	queue.alone = false;
	atomic_store(&queue.head, start);
	atomic_store(&queue.tail, start);
	memset(tasks, 0, sizeof(tasks));
	for (unsigned i = 0; i < TASKS; i++)
		atomic_store(&taken[i], 0);
	INTERLEAVE_NAME(queue);
	INTERLEAVE_NAME(tasks);
	INTERLEAVE_NAME(taken);
	for (unsigned i = 0; i < count; i++)
		pg_runq_push(&queue, &tasks[i]);
	pushed = count;
}

/* Indices wrap below. */
static void setup_few(void)
{
	prepare(UINT32_MAX - 1, 2);
}

static void setup_full(void)
{
	prepare(UINT32_MAX - 1, PG_RUNQ_SLOTS);
}

static void push(unsigned count)
{
	for (; count; count--, pushed++) {
		/* What its poll left there: the push publishes it. */
		tasks[pushed].future = NULL;
		pg_runq_push(&queue, &tasks[pushed]);
	}
}

static void pop_batch(void)
{
	uint32_t end = pg_runq_batch(&queue);
	struct pg_task *task;

	while ((task = pg_runq_pop(&queue, end)))
		take(task);
}

static void own(void *argument)
{
	push(1);
	pop_batch();
	push(1);
	pop_batch();
}

/* Over the slots, so that some go into the overflow list, and out of it again. */
static void own_full(void *argument)
{
	push(2);
	pop_batch();
	push(1);
	pop_batch();
	while (!pg_runq_empty(&queue))
		pop_batch();
}

static void steal(void *argument)
{
	struct pg_task *stolen[PG_RUNQ_STEAL];
	uint32_t count = pg_runq_steal(&queue, stolen);

	for (uint32_t i = 0; i < count; i++)
		take(stolen[i]);
}

static void steal_twice(void *argument)
{
	steal(argument);
	if (pg_runq_stealable(&queue))
		steal(argument);
}

static void check_once(void)
{
	for (unsigned i = 0; i < pushed; i++)
		interleave_assert(atomic_load(&taken[i]) == 1);
	interleave_assert(pg_runq_empty(&queue));
}

const struct interleave_scenario runq_steal = {
	.name = "runq: owner, thief (wraps)",
	.setup = setup_few,
	.check = check_once,
	.threads = { { "owner", own }, { "thief", steal_twice } },
};

const struct interleave_scenario runq_overflow = {
	.name = "runq: owner, thief, overflow",
	.setup = setup_full,
	.check = check_once,
	.threads = { { "owner", own_full }, { "thief", steal_twice } },
};

const struct interleave_scenario runq_thieves = {
	.name = "runq: owner, 2 thieves",
	.setup = setup_few,
	.check = check_once,
	.threads = { { "owner", own }, { "thief 1", steal }, { "thief 2", steal } },
};
