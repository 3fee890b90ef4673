/* The run queue by itself: what the owner takes, what thieves take, and both at once. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "core/runq.h"

#define MANY (2 * PG_RUNQ_SLOTS)

static struct pg_runq queue;
static struct pg_task tasks[MANY];

static void setup(void)
{
	memset(tasks, 0, sizeof(tasks));
	pg_runq_init(&queue);
	queue.alone = false;
}

TestSuite(runq, .init = setup, .timeout = 60);

static void push(unsigned from, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		pg_runq_push(&queue, &tasks[from + i]);
}

static unsigned number(const struct pg_task *task)
{
	return (unsigned)(task - tasks);
}

static void expect_pops(uint32_t end, unsigned from, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct pg_task *task = pg_runq_pop(&queue, end);

		cr_assert(task, "task %u is missing", from + i);
		cr_assert_eq(number(task), from + i);
	}
}

static void set_kind(unsigned index, uint32_t bits)
{
	atomic_fetch_or(&tasks[index].state, bits);
}

/* ---- the owner ---- */

static void first_in_first_out(void)
{
	cr_assert(pg_runq_empty(&queue));
	push(0, 100);
	cr_assert_not(pg_runq_empty(&queue));
	uint32_t end = pg_runq_batch(&queue);
	expect_pops(end, 0, 100);
	cr_assert_null(pg_runq_pop(&queue, end));
	cr_assert(pg_runq_empty(&queue));
}

Test(runq, first_in_first_out)
{
	first_in_first_out();
}

Test(runq, first_in_first_out_without_peers)
{
	queue.alone = true;
	first_in_first_out();
}

Test(runq, a_batch_ends_where_it_ended)
{
	push(0, 40);
	uint32_t end = pg_runq_batch(&queue);
	expect_pops(end, 0, 5);
	push(40, 10);
	expect_pops(end, 5, 35);
	cr_assert_null(pg_runq_pop(&queue, end));
	cr_assert_null(pg_runq_pop(&queue, end));
	cr_assert_not(pg_runq_empty(&queue));
	expect_pops(pg_runq_batch(&queue), 40, 10);
	cr_assert(pg_runq_empty(&queue));
}

/* An end that thieves have passed. */
Test(runq, a_batch_that_was_stolen)
{
	struct pg_task *stolen[PG_RUNQ_STEAL];

	push(0, 1);
	uint32_t end = pg_runq_batch(&queue);
	push(1, 3);
	cr_assert_eq(pg_runq_steal(&queue, stolen), 2);
	cr_assert_null(pg_runq_pop(&queue, end));
	expect_pops(pg_runq_batch(&queue), 2, 2);
}

Test(runq, what_the_owner_has_claimed_is_not_stolen)
{
	struct pg_task *stolen[PG_RUNQ_STEAL];

	push(0, PG_RUNQ_CLAIM + 2);
	uint32_t end = pg_runq_batch(&queue);
	expect_pops(end, 0, 1);
	cr_assert_eq(pg_runq_waiting(&queue), 2);
	cr_assert_eq(pg_runq_steal(&queue, stolen), 1);
	cr_assert_eq(number(stolen[0]), PG_RUNQ_CLAIM);
	expect_pops(end, 1, PG_RUNQ_CLAIM - 1);
	expect_pops(end, PG_RUNQ_CLAIM + 1, 1);
	cr_assert_null(pg_runq_pop(&queue, end));
}

/* Nothing waits behind user code where nobody sees it: neither before nor after it. */
Test(runq, user_tasks_are_claimed_alone)
{
	push(0, 2);
	set_kind(2, PG_TASK_USER);
	set_kind(3, PG_TASK_USER);
	push(2, 5);
	uint32_t end = pg_runq_batch(&queue);
	expect_pops(end, 0, 1);
	cr_assert_eq(pg_runq_waiting(&queue), 5, "two are claimed, the user's isn't");
	expect_pops(end, 1, 2);
	cr_assert_eq(pg_runq_waiting(&queue), 4);
	expect_pops(end, 3, 1);
	cr_assert_eq(pg_runq_waiting(&queue), 3);
	expect_pops(end, 4, 3);
	cr_assert(pg_runq_empty(&queue));
}

Test(runq, more_than_there_are_slots)
{
	push(0, MANY);
	cr_assert_eq(pg_runq_waiting(&queue), PG_RUNQ_SLOTS);
	/* A batch is what fits; then the rest, in order. */
	uint32_t end = pg_runq_batch(&queue);
	expect_pops(end, 0, PG_RUNQ_SLOTS);
	cr_assert_null(pg_runq_pop(&queue, end));
	cr_assert_not(pg_runq_empty(&queue), "the overflow counts");
	/* There is room now, but not ahead of those that wait. */
	push(0, 1);
	end = pg_runq_batch(&queue);
	expect_pops(end, PG_RUNQ_SLOTS, PG_RUNQ_SLOTS);
	cr_assert_null(pg_runq_pop(&queue, end));
	expect_pops(pg_runq_batch(&queue), 0, 1);
	cr_assert(pg_runq_empty(&queue));
}

Test(runq, the_overflow_moves_in_as_room_comes)
{
	struct pg_task *stolen[PG_RUNQ_STEAL];

	push(0, PG_RUNQ_SLOTS + 40);
	cr_assert_eq(pg_runq_steal(&queue, stolen), PG_RUNQ_STEAL);
	uint32_t end = pg_runq_batch(&queue);
	cr_assert_eq(pg_runq_waiting(&queue), PG_RUNQ_SLOTS);
	expect_pops(end, PG_RUNQ_STEAL, PG_RUNQ_SLOTS);
	expect_pops(pg_runq_batch(&queue), PG_RUNQ_SLOTS + PG_RUNQ_STEAL, 8);
	cr_assert(pg_runq_empty(&queue));
}

static void wrap(void)
{
	/* The indices pass 2^32 in the middle of all this. */
	atomic_store(&queue.head, UINT32_MAX - 100);
	atomic_store(&queue.tail, UINT32_MAX - 100);
	for (unsigned round = 0; round < 5; round++) {
		push(0, 90);
		uint32_t end = pg_runq_batch(&queue);
		expect_pops(end, 0, 90);
		cr_assert_null(pg_runq_pop(&queue, end));
	}
	cr_assert_lt(atomic_load(&queue.head), 1000);
}

Test(runq, indices_wrap_around)
{
	wrap();
	atomic_store(&queue.head, UINT32_MAX - 10);
	atomic_store(&queue.tail, UINT32_MAX - 10);
	push(0, MANY);
	cr_assert_eq(pg_runq_waiting(&queue), PG_RUNQ_SLOTS);
	expect_pops(pg_runq_batch(&queue), 0, PG_RUNQ_SLOTS);
	expect_pops(pg_runq_batch(&queue), PG_RUNQ_SLOTS, PG_RUNQ_SLOTS);
}

Test(runq, indices_wrap_around_without_peers)
{
	queue.alone = true;
	wrap();
}

/* ---- thieves ---- */

static void expect_steal(unsigned from, unsigned count)
{
	struct pg_task *stolen[PG_RUNQ_STEAL];

	cr_assert_eq(pg_runq_stealable(&queue), count != 0);
	cr_assert_eq(pg_runq_steal(&queue, stolen), count);
	for (unsigned i = 0; i < count; i++)
		cr_assert_eq(number(stolen[i]), from + i);
}

Test(runq, half_is_stolen_and_never_too_much)
{
	expect_steal(0, 0);
	push(0, 1);
	expect_steal(0, 1);
	push(1, 5);
	expect_steal(1, 3);
	expect_steal(4, 1);
	expect_steal(5, 1);
	expect_steal(6, 0);
	push(0, PG_RUNQ_SLOTS);
	expect_steal(0, PG_RUNQ_STEAL);
	expect_steal(PG_RUNQ_STEAL, PG_RUNQ_STEAL);
}

Test(runq, thieves_see_the_wrap_around)
{
	atomic_store(&queue.head, UINT32_MAX - 2);
	atomic_store(&queue.tail, UINT32_MAX - 2);
	push(0, 20);
	expect_steal(0, 10);
	expect_steal(10, 5);
}

Test(runq, pinned_tasks_stay)
{
	/* Whatever the reason. */
	atomic_store(&tasks[2].pins, 1);
	set_kind(4, PG_TASK_FIXED);
	push(0, 12);
	/* Half would be six. */
	expect_steal(0, 2);
	expect_steal(2, 0);
	uint32_t end = pg_runq_batch(&queue);
	expect_pops(end, 2, 10);

	push(0, 12);
	set_kind(0, PG_TASK_FIXED);
	expect_steal(0, 2);
	expect_steal(2, 0);
}

/* A slot says what was so when the task was queued. */
Test(runq, a_pin_that_goes_later_is_seen_late)
{
	atomic_store(&tasks[0].pins, 1);
	push(0, 2);
	atomic_store(&tasks[0].pins, 0);
	expect_steal(0, 0);
	expect_pops(pg_runq_batch(&queue), 0, 2);
	push(0, 2);
	expect_steal(0, 1);
}

Test(runq, user_tasks_may_be_stolen)
{
	set_kind(0, PG_TASK_USER);
	set_kind(1, PG_TASK_USER);
	push(0, 2);
	expect_steal(0, 1);
	expect_steal(1, 1);
}

/* An old head with a new tail: nothing can be said about the slots. */
Test(runq, impossible_indices)
{
	struct pg_task *stolen[PG_RUNQ_STEAL];

	push(0, 10);
	atomic_store(&queue.tail, PG_RUNQ_SLOTS + 1);
	cr_assert_eq(pg_runq_steal(&queue, stolen), 0);
}

/* ---- all at once: each push is taken exactly once ---- */

#define THIEVES 3
#define LIVE    600 /* more than there are slots */
#define ROUNDS  300 /* of each task */

struct item {
	struct pg_task task;
	_Atomic unsigned taken; /* times in this round: exactly one at a time */
	unsigned rounds;        /* whoever has it out of the queue            */
};

static struct item *items;
static _Atomic bool over;
static _Atomic unsigned long by_thieves;

/* Handed back from thieves to the owner, who alone may push. */
static _Atomic(struct pg_task *) returned;

static struct item *item_of(struct pg_task *task)
{
	return (struct item *)task;
}

/* It is ours alone: a second one who believed so would see it. */
static void own(struct pg_task *task)
{
	struct item *item = item_of(task);

	cr_assert_eq(atomic_fetch_add(&item->taken, 1), 0, "taken twice");
	item->rounds++; /* not atomic: a race is a race */
	cr_assert_eq(atomic_fetch_sub(&item->taken, 1), 1);
}

static void hand_back(struct pg_task *task)
{
	struct pg_task *first = atomic_load(&returned);

	do {
		task->next = first;
	} while (!atomic_compare_exchange_weak(&returned, &first, task));
}

static void *steal_all_the_time(void *argument)
{
	struct pg_task *stolen[PG_RUNQ_STEAL];

	(void)argument;
	while (!atomic_load(&over)) {
		uint32_t count = pg_runq_stealable(&queue) ? pg_runq_steal(&queue, stolen) : 0;

		cr_assert_leq(count, PG_RUNQ_STEAL);
		for (uint32_t i = 0; i < count; i++) {
			cr_assert_eq(atomic_load(&stolen[i]->pins), 0, "a pinned one was stolen");
			own(stolen[i]);
			hand_back(stolen[i]);
		}
		atomic_fetch_add(&by_thieves, count);
		if (!count)
			sched_yield();
	}
	return NULL;
}

static void concurrent(uint32_t first_index)
{
	pthread_t thieves[THIEVES];
	unsigned done = 0, popped = 0;

	atomic_store(&queue.head, first_index);
	atomic_store(&queue.tail, first_index);
	items = aligned_alloc(64, LIVE * sizeof(*items));
	cr_assert_not_null(items);
	memset(items, 0, LIVE * sizeof(*items));
	for (unsigned i = 0; i < LIVE; i++) {
		if (i % 50 == 7)
			atomic_store(&items[i].task.pins, 1);
		if (i % 3 == 0)
			atomic_store(&items[i].task.state, PG_TASK_USER);
		pg_runq_push(&queue, &items[i].task);
	}
	for (int i = 0; i < THIEVES; i++)
		cr_assert_eq(pthread_create(&thieves[i], NULL, steal_all_the_time, NULL), 0);

	while (done < LIVE) {
		uint32_t end = pg_runq_batch(&queue);
		struct pg_task *task, *next;
		struct pg_task_list again = { 0 };

		while ((task = pg_runq_pop(&queue, end))) {
			own(task);
			popped++;
			pg_task_list_append(&again, task);
		}
		for (task = atomic_exchange(&returned, NULL); task; task = next) {
			next = task->next;
			pg_task_list_append(&again, task);
		}
		for (task = again.head; task; task = next) {
			next = task->next;
			if (item_of(task)->rounds < ROUNDS)
				pg_runq_push(&queue, task);
			else
				done++;
		}
		if (popped % 1024 == 0)
			sched_yield();
	}
	atomic_store(&over, true);
	for (int i = 0; i < THIEVES; i++)
		pthread_join(thieves[i], NULL);
	cr_assert(pg_runq_empty(&queue));
	cr_assert_null(atomic_load(&returned));
	for (unsigned i = 0; i < LIVE; i++)
		cr_assert_eq(items[i].rounds, ROUNDS);
	cr_assert_eq(popped + atomic_load(&by_thieves), (unsigned long)LIVE * ROUNDS);
	free(items);
}

Test(runq, every_task_once)
{
	concurrent(0);
}

Test(runq, every_task_once_around_the_wrap)
{
	concurrent(UINT32_MAX - LIVE * ROUNDS / 4);
}
