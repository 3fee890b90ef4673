/* Wait queues: a wake-up for one is not lost, and a condition is not missed. */
#include "core/container.h"
#include "model.h"
#include "scenarios.h"

static struct pg_waitq queue;
static struct pg_task tasks[2];
static struct pg_wait waits[2];
static struct model_wrap wraps[2];
static _Atomic uint32_t ended;

static void prepare(void)
{
	model_reset(2, false, true);
	INTERLEAVE_NAME(tasks);
	INTERLEAVE_NAME(queue);
	INTERLEAVE_NAME(waits);
	pg_waitq_init(&queue);
	atomic_store(&ended, 0);
}

static void forget(unsigned i)
{
	interleave_dead(&tasks[i], sizeof(tasks[i]));
	interleave_dead(&waits[i], sizeof(waits[i]));
}

/* ---- the chosen one is dropped ---- */

/* The wake-up is used: by the first, before its cancellation; or by the second. */
static void first_done(struct pg_task *done)
{
	bool cancelled = pg_task_cancelled(done);

	forget(0);
	if (!cancelled)
		pg_task_cancel(&tasks[1]);
	if (atomic_fetch_add(&ended, 1) == 1)
		model_stop(2);
}

static void second_done(struct pg_task *done)
{
	if (atomic_fetch_add(&ended, 1) == 1)
		model_stop(2);
}

static void setup_pass_on(void)
{
	prepare();
	for (unsigned i = 0; i < 2; i++) {
		pg_wait_init(&waits[i], &queue);
		model_wrap_init(&wraps[i], &waits[i].future);
		pg_task_spawn(&model_vcpus[i].executor, &tasks[i], &wraps[i].model.future,
			      i ? second_done : first_done);
		model_settle(&model_vcpus[i]);
	}
}

static void wake_one(void *argument)
{
	pg_waitq_wake_one(&queue);
}

static bool done_once(void)
{
	return atomic_load(&ended) == 2;
}

static void check_both(void)
{
	interleave_assert(done_once());
	interleave_assert(!queue.head && !queue.tail);
}

static struct pg_task canceller;
static struct model_future cancels;

static bool cancel_now(struct model_future *self, struct pg_task *waker)
{
	pg_task_cancel(&tasks[0]);
	return true;
}

static void setup_cancel(void)
{
	setup_pass_on();
	/* On the first one's vCPU: the task can't be reused while this is polled. */
	model_future_init(&cancels, cancel_now);
	pg_task_spawn(&model_vcpus[0].executor, &canceller, &cancels.future, NULL);
}

const struct interleave_scenario waitq_pass_on = {
	.name = "waitq: chosen, and dropped",
	.setup = setup_cancel,
	.check = check_both,
	.threads = { { "executor 0", model_run_vcpu, &model_vcpus[0] },
		     { "executor 1", model_run_vcpu, &model_vcpus[1] },
		     { "waker", wake_one } },
};

/* ---- a condition, as of a futex ---- */

static struct pg_wait_until untils[2];
static _Atomic uint32_t items;

static bool take_item(void *argument)
{
	uint32_t old = atomic_load_explicit(&items, memory_order_relaxed);

	while (old)
		if (atomic_compare_exchange_weak_explicit(
			    &items, &old, old - 1, memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

static void stop_after_both(struct pg_task *done)
{
	interleave_dead(done, sizeof(*done));
	if (atomic_fetch_add(&ended, 1) == 1)
		model_stop(1);
}

static void setup_consumers(void)
{
	prepare();
	INTERLEAVE_NAME(untils);
	atomic_store(&items, 0);
	for (unsigned i = 0; i < 2; i++) {
		pg_wait_until_init(&untils[i], &queue, take_item, NULL);
		model_wrap_init(&wraps[i], &untils[i].future);
		pg_task_spawn(&model_vcpus[0].executor, &tasks[i], &wraps[i].model.future,
			      stop_after_both);
	}
}

static void produce(void *argument)
{
	atomic_fetch_add_explicit(&items, 1, memory_order_release);
	pg_waitq_wake_one(&queue);
}

const struct interleave_scenario waitq_condition = {
	.name = "waitq: 2 consumers, 2 producers",
	.setup = setup_consumers,
	.check = check_both,
	.threads = { { "executor", model_run_vcpu, &model_vcpus[0] },
		     { "producer 1", produce },
		     { "producer 2", produce } },
};

/* ---- the lock below it ---- */

static struct pg_spinlock lock;
static unsigned counter;

static void setup_lock(void)
{
	pg_spin_init(&lock);
	INTERLEAVE_NAME(lock);
	counter = 0;
}

static void count_locked(void *argument)
{
	pg_spin_lock(&lock);
	counter++;
	pg_spin_unlock(&lock);
}

static void check_counter(void)
{
	interleave_assert(counter == 3);
}

const struct interleave_scenario lock_exclusive = {
	.name = "lock: 3 threads",
	.setup = setup_lock,
	.check = check_counter,
	.threads = { { "a", count_locked }, { "b", count_locked }, { "c", count_locked } },
};
