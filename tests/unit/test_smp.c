/*
 * Several vCPUs, each a thread of its own, wake each other's tasks. Each wake-up carries
 * something that is counted; if one were lost, the test would wait for ever (and fail by
 * its time limit), and if one came twice, the counts would be wrong. Each test runs with
 * vCPUs that park at once, and with vCPUs that spin first; each for itself, and in a group
 * whose members take over each other's tasks.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <sched.h>
#include <stdlib.h>

#include "core/async.h"
#include "gate.h"
#include "host_port.h"
#include "core/waitq.h"

#define VCPUS 3

static struct host_vcpu vcpus[VCPUS];
static pthread_t threads[VCPUS];
static _Atomic int unfinished; /* tasks that count for the end of the test */

static void *run(void *argument)
{
	struct host_vcpu *vcpu = argument;

	host_enter(vcpu);
	pg_executor_run(&vcpu->executor);
	return NULL;
}

static void finished(struct pg_task *task)
{
	if (atomic_fetch_sub(&unfinished, 1) > 1)
		return;
	for (int i = 0; i < VCPUS; i++)
		pg_executor_stop(&vcpus[i].executor);
}

struct how {
	uint64_t spin_ns;
	bool balanced; /* they take over each other's tasks                */
};

static void init(const struct how *how, int tasks)
{
	static struct pg_executor *group[VCPUS];

	atomic_store(&unfinished, tasks);
	for (int i = 0; i < VCPUS; i++) {
		host_vcpu_init(&vcpus[i], how->spin_ns);
		group[i] = &vcpus[i].executor;
	}
	if (how->balanced)
		pg_executor_group(group, VCPUS);
}

static void start(void)
{
	for (int i = 0; i < VCPUS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, run, &vcpus[i]), 0);
}

static void join(void)
{
	for (int i = 0; i < VCPUS; i++)
		pthread_join(threads[i], NULL);
}

static struct pg_executor *executor_of(int number)
{
	return &vcpus[number % VCPUS].executor;
}

#define EITHER_WAY(name)                                                                           \
	ParameterizedTestParameters(smp, name)                                                     \
	{                                                                                          \
		static struct how all[] = {                                                        \
			{ 0, false },                                                              \
			{ 50000, false },                                                          \
			{ 0, true },                                                               \
			{ 50000, true },                                                           \
		};                                                                                 \
                                                                                                   \
		return cr_make_param_array(struct how, all, 4);                                    \
	}

/* ---- tokens go round a ring of tasks, each on another vCPU than the one before ---- */

#define RUNNERS 6
#define TOKENS  2
#define LAPS    3000

struct runner {
	struct pg_future future;
	struct pg_task task;
	struct runner *next;
	_Atomic unsigned tokens; /* handed over, not yet seen */
	unsigned received;
	unsigned passes; /* how many it passes on */
};

static struct runner runners[RUNNERS];

static enum pg_poll runner_poll(struct pg_future *future, struct pg_task *waker)
{
	struct runner *self = pg_container_of(future, struct runner, future);
	unsigned tokens = atomic_exchange(&self->tokens, 0);

	for (; tokens; tokens--) {
		self->received++;
		if (self->passes == 0)
			continue;
		self->passes--;
		atomic_fetch_add(&self->next->tokens, 1);
		pg_task_wake(&self->next->task);
	}
	return self->received == TOKENS * LAPS ? PG_READY : PG_PENDING;
}

static const struct pg_future_ops runner_ops = { runner_poll, NULL };

EITHER_WAY(relay)

ParameterizedTest(struct how *how, smp, relay, .timeout = 120)
{
	init(how, RUNNERS);
	for (int i = 0; i < RUNNERS; i++) {
		struct runner *runner = &runners[i];

		runner->future.ops = &runner_ops;
		runner->next = &runners[(i + 1) % RUNNERS];
		runner->passes = TOKENS * (i == RUNNERS - 1 ? LAPS - 1 : LAPS);
		pg_task_spawn(executor_of(i), &runner->task, &runner->future, finished);
	}
	start();
	for (int i = 0; i < TOKENS; i++) {
		atomic_fetch_add(&runners[0].tokens, 1);
		pg_task_wake(&runners[0].task);
	}
	join();
	for (int i = 0; i < RUNNERS; i++) {
		cr_assert_eq(runners[i].received, TOKENS * LAPS);
		cr_assert_eq(runners[i].passes, 0);
		cr_assert_eq(atomic_load(&runners[i].tokens), 0);
	}
}

/* ---- everybody wakes one task ---- */

#define CREDITS 8000 /* of each producer */

static struct consumer {
	struct pg_future future;
	struct pg_task task;
	_Atomic unsigned credits;
	unsigned total;
} consumer;

static enum pg_poll consumer_poll(struct pg_future *future, struct pg_task *waker)
{
	consumer.total += atomic_exchange(&consumer.credits, 0);
	return consumer.total >= CREDITS * (VCPUS + 1) ? PG_READY : PG_PENDING;
}

static const struct pg_future_ops consumer_ops = { consumer_poll, NULL };

static struct producer {
	struct pg_async async;
	struct pg_task task;
	int left;
} producers[VCPUS];

PG_ASYNC static enum pg_poll producer_poll(struct pg_future *future, struct pg_task *waker)
{
	struct producer *self = pg_container_of(future, struct producer, async.future);

	PG_BEGIN(&self->async);
	for (self->left = CREDITS; self->left; self->left--) {
		atomic_fetch_add(&consumer.credits, 1);
		pg_task_wake(&consumer.task);
		if (self->left % 8 == 0)
			PG_YIELD(&self->async, waker);
	}
	PG_END(&self->async);
}

static const struct pg_future_ops producer_ops = { producer_poll, pg_async_drop };

EITHER_WAY(storm)

ParameterizedTest(struct how *how, smp, storm, .timeout = 120)
{
	init(how, VCPUS + 1);
	consumer.future.ops = &consumer_ops;
	pg_task_spawn(executor_of(0), &consumer.task, &consumer.future, finished);
	start();
	for (int i = 0; i < VCPUS; i++) {
		pg_async_init(&producers[i].async, &producer_ops);
		pg_task_spawn(executor_of(i), &producers[i].task, &producers[i].async.future,
			      finished);
	}
	/* This thread is no vCPU, and may wake as well. */
	for (int i = 0; i < CREDITS; i++) {
		atomic_fetch_add(&consumer.credits, 1);
		pg_task_wake(&consumer.task);
	}
	join();
	cr_assert_eq(consumer.total, CREDITS * (VCPUS + 1));
}

/* ---- a semaphore, taken on all vCPUs, with one wake-up for each item ---- */

#define TAKERS 6
#define ITEMS  4000 /* of each taker */

static struct pg_waitq items_queue;
static _Atomic int items;

static bool take_item(void *argument)
{
	int have = atomic_load(&items);

	while (have > 0) {
		if (atomic_compare_exchange_weak(&items, &have, have - 1))
			return true;
	}
	return false;
}

static struct taker {
	struct pg_async async;
	struct pg_task task;
	struct pg_wait_until wait;
	int taken;
} takers[TAKERS];

PG_ASYNC static enum pg_poll taker_poll(struct pg_future *future, struct pg_task *waker)
{
	struct taker *self = pg_container_of(future, struct taker, async.future);

	PG_BEGIN(&self->async);
	while (self->taken < ITEMS) {
		pg_wait_until_init(&self->wait, &items_queue, take_item, NULL);
		PG_AWAIT(&self->async, &self->wait.future, waker);
		self->taken++;
	}
	PG_END(&self->async);
}

static const struct pg_future_ops taker_ops = { taker_poll, pg_async_drop };

static struct giver {
	struct pg_async async;
	struct pg_task task;
	int left;
} givers[VCPUS];

PG_ASYNC static enum pg_poll giver_poll(struct pg_future *future, struct pg_task *waker)
{
	struct giver *self = pg_container_of(future, struct giver, async.future);

	PG_BEGIN(&self->async);
	for (self->left = ITEMS * TAKERS / VCPUS; self->left; self->left--) {
		atomic_fetch_add(&items, 1);
		pg_waitq_wake_one(&items_queue);
		PG_YIELD(&self->async, waker);
	}
	PG_END(&self->async);
}

static const struct pg_future_ops giver_ops = { giver_poll, pg_async_drop };

EITHER_WAY(semaphore)

ParameterizedTest(struct how *how, smp, semaphore, .timeout = 120)
{
	init(how, TAKERS + VCPUS);
	pg_waitq_init(&items_queue);
	start();
	for (int i = 0; i < TAKERS; i++) {
		pg_async_init(&takers[i].async, &taker_ops);
		pg_task_spawn(executor_of(i), &takers[i].task, &takers[i].async.future, finished);
	}
	for (int i = 0; i < VCPUS; i++) {
		pg_async_init(&givers[i].async, &giver_ops);
		pg_task_spawn(executor_of(i), &givers[i].task, &givers[i].async.future, finished);
	}
	join();
	for (int i = 0; i < TAKERS; i++)
		cr_assert_eq(takers[i].taken, ITEMS);
	cr_assert_eq(atomic_load(&items), 0);
	cr_assert_null(items_queue.head);
}

/*
 * ---- lifetimes: tasks are freed the moment they may be, while wakers and cancellers
 *      are at it; a sanitizer sees any access that comes too late ----
 */

#define ROUNDS 3000 /* of each driver */

static struct pg_waitq children_queue;
static _Atomic unsigned freed_by_done;

struct child {
	struct pg_task task;
	struct pg_wait wait;
};

static struct driver {
	struct pg_async async;
	struct pg_task task;
	struct child *child;
	struct pg_join join;
	int number, round;
	int cancelled;
} drivers[VCPUS];

static void free_child(struct pg_task *task)
{
	atomic_fetch_add(&freed_by_done, 1);
	free(pg_container_of(task, struct child, task));
}

static struct child *spawn_child(int vcpu, void (*done)(struct pg_task *))
{
	struct child *child = aligned_alloc(_Alignof(struct child), sizeof(*child));

	if (!child)
		abort();
	pg_wait_init(&child->wait, &children_queue);
	pg_task_spawn(executor_of(vcpu), &child->task, &child->wait.future, done);
	return child;
}

PG_ASYNC static enum pg_poll driver_poll(struct pg_future *future, struct pg_task *waker)
{
	struct driver *self = pg_container_of(future, struct driver, async.future);

	PG_BEGIN(&self->async);
	for (self->round = 0; self->round < ROUNDS; self->round++) {
		spawn_child(self->number + self->round, free_child);
		self->child = spawn_child(self->number + self->round + 1, NULL);
		if (self->round % 3 == 0)
			PG_YIELD(&self->async, waker);
		if (self->round % 2)
			pg_task_cancel(&self->child->task);
		/* Also wakes the driver's own child, which may not have registered yet. */
		pg_waitq_wake_all(&children_queue);
		if (self->round % 2 == 0)
			pg_task_cancel(&self->child->task);
		pg_join_init(&self->join, &self->child->task);
		PG_AWAIT(&self->async, &self->join.future, waker);
		self->cancelled += pg_task_cancelled(&self->child->task);
		free(self->child);
	}
	PG_END(&self->async);
}

static const struct pg_future_ops driver_ops = { driver_poll, pg_async_drop };

static void *sweep(void *argument)
{
	/* Children that nobody has woken: until the last one has ended. */
	while (atomic_load(&freed_by_done) < VCPUS * ROUNDS) {
		pg_waitq_wake_all(&children_queue);
		sched_yield();
	}
	/* The drivers may be done before, or after. */
	finished(NULL);
	return NULL;
}

EITHER_WAY(lifetimes)

ParameterizedTest(struct how *how, smp, lifetimes, .timeout = 120)
{
	pthread_t sweeper;

	init(how, VCPUS + 1);
	pg_waitq_init(&children_queue);
	start();
	for (int i = 0; i < VCPUS; i++) {
		drivers[i].number = i;
		pg_async_init(&drivers[i].async, &driver_ops);
		pg_task_spawn(executor_of(i), &drivers[i].task, &drivers[i].async.future, finished);
	}
	cr_assert_eq(pthread_create(&sweeper, NULL, sweep, NULL), 0);
	join();
	pthread_join(sweeper, NULL);
	for (int i = 0; i < VCPUS; i++)
		cr_assert_eq(drivers[i].round, ROUNDS);
	cr_assert_eq(atomic_load(&freed_by_done), VCPUS * ROUNDS);
	cr_assert_null(children_queue.head);
}

/* ---- the loader on a thread of its own, completing out of order ---- */

#define CALLERS 6
#define CALLS   3000 /* of each caller */

static struct caller {
	struct pg_async async;
	struct pg_task task;
	struct pg_hypercall call;
	int number, made;
	int64_t sum;
} callers[CALLERS];

PG_ASYNC static enum pg_poll caller_poll(struct pg_future *future, struct pg_task *waker)
{
	struct caller *self = pg_container_of(future, struct caller, async.future);

	PG_BEGIN(&self->async);
	for (self->made = 0; self->made < CALLS; self->made++) {
		pg_hypercall_init(&self->call, PG_OP_NOP, 0, (uint64_t)self->made);
		PG_AWAIT(&self->async, &self->call.future, waker);
		self->sum += self->call.result;
	}
	PG_END(&self->async);
}

static const struct pg_future_ops caller_ops = { caller_poll, pg_async_drop };

static void *serve(void *argument)
{
	while (atomic_load(&unfinished)) {
		for (int i = 0; i < VCPUS; i++) {
			struct pg_sqe entries[CALLERS];
			int taken = 0;

			while (taken < CALLERS && host_take(&vcpus[i], &entries[taken]))
				taken++;
			while (taken--)
				host_complete(&vcpus[i], entries[taken].user_data,
					      (int64_t)entries[taken].arg[0]);
		}
		sched_yield();
	}
	return NULL;
}

EITHER_WAY(loader)

ParameterizedTest(struct how *how, smp, loader, .timeout = 120)
{
	pthread_t thread;

	init(how, CALLERS);
	for (int i = 0; i < VCPUS; i++) {
		vcpus[i].manual = true;
		pg_ring_server_wake(&vcpus[i].ring);
	}
	cr_assert_eq(pthread_create(&thread, NULL, serve, NULL), 0);
	start();
	for (int i = 0; i < CALLERS; i++) {
		pg_async_init(&callers[i].async, &caller_ops);
		pg_task_spawn(executor_of(i), &callers[i].task, &callers[i].async.future, finished);
	}
	join();
	pthread_join(thread, NULL);
	for (int i = 0; i < CALLERS; i++)
		cr_assert_eq(callers[i].sum, (int64_t)CALLS * (CALLS - 1) / 2);
}
