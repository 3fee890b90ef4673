/* The state word of a task: who wakes, polls, cancels, joins and completes it at once. */
#include "core/container.h"
#include "model.h"
#include "scenarios.h"

static struct pg_task task;
static struct model_future future;
static _Atomic uint32_t arrived;
static unsigned wakers, ended;

static void stop_when_done(struct pg_task *done)
{
	ended++;
	model_stop(1);
}

static bool all_arrived(struct model_future *self, struct pg_task *waker)
{
	return atomic_load_explicit(&arrived, memory_order_acquire) == wakers;
}

static void prepare(unsigned count)
{
	model_reset(1, false, true);
	INTERLEAVE_NAME(task);
	wakers = count;
	ended = 0;
	atomic_store(&arrived, 0);
	model_future_init(&future, all_arrived);
	pg_task_spawn(&model_vcpus[0].executor, &task, &future.future, stop_when_done);
}

static void setup_2(void)
{
	prepare(2);
}

static void setup_3(void)
{
	prepare(3);
}

static void wake(void *argument)
{
	atomic_fetch_add_explicit(&arrived, 1, memory_order_relaxed);
	pg_task_wake(&task);
}

static void cancel(void *argument)
{
	pg_task_cancel(&task);
}

static void check_ended(void)
{
	interleave_assert(ended == 1);
	interleave_assert(atomic_load(&task.state) & PG_TASK_DONE);
	interleave_assert(future.over);
}

static void check_ready(void)
{
	check_ended();
	interleave_assert(!pg_task_cancelled(&task));
	interleave_assert(future.polls <= wakers + 1);
}

/* Each waker makes a part of the condition true. The last one's wake must not be lost. */
const struct interleave_scenario task_wake = {
	.name = "task: 2 wakers",
	.setup = setup_2,
	.check = check_ready,
	.threads = { { "executor", model_run_vcpu, &model_vcpus[0] },
		     { "waker 1", wake },
		     { "waker 2", wake } },
};

const struct interleave_scenario task_wake_3 = {
	.name = "task: 3 wakers",
	.setup = setup_3,
	.check = check_ready,
	.threads = { { "executor", model_run_vcpu, &model_vcpus[0] },
		     { "waker 1", wake },
		     { "waker 2", wake },
		     { "waker 3", wake } },
};

/* It ends once, as READY or as dropped. */
const struct interleave_scenario task_cancel = {
	.name = "task: 2 wakers, cancel",
	.setup = setup_2,
	.check = check_ended,
	.threads = { { "executor", model_run_vcpu, &model_vcpus[0] },
		     { "waker 1", wake },
		     { "waker 2", wake },
		     { "canceller", cancel } },
};

/* Nothing but the cancellation ends it. */
static bool never(struct model_future *self, struct pg_task *waker)
{
	return false;
}

static void setup_never(void)
{
	prepare(1);
	future.ready = never;
}

static void check_cancelled(void)
{
	check_ended();
	interleave_assert(pg_task_cancelled(&task));
}

const struct interleave_scenario task_cancel_only = {
	.name = "task: waker, cancel",
	.setup = setup_never,
	.check = check_cancelled,
	.threads = { { "executor", model_run_vcpu, &model_vcpus[0] },
		     { "waker", wake },
		     { "canceller", cancel } },
};

/* ---- join, and the memory of what was joined ---- */

static struct pg_waitq queue;
static struct pg_wait wait;
static struct model_wrap waits, joins;
static struct pg_join join;
static struct pg_task joiner;

static bool join_and_reuse(struct model_future *self, struct pg_task *waker)
{
	struct model_wrap *wrap = pg_container_of(self, struct model_wrap, model);

	if (pg_future_poll(wrap->inner, waker) == PG_PENDING)
		return false;
	/* No done(): its owner may reuse it, and the future in it, from here on. */
	interleave_dead(&task, sizeof(task));
	interleave_dead(&wait, sizeof(wait));
	interleave_dead(&waits, sizeof(waits));
	return true;
}

static void stop_all(struct pg_task *done)
{
	ended++;
	model_stop(2);
}

static void setup_join(void)
{
	model_reset(2, false, true);
	INTERLEAVE_NAME(task);
	INTERLEAVE_NAME(joiner);
	ended = 0;
	pg_waitq_init(&queue);
	pg_wait_init(&wait, &queue);
	model_wrap_init(&waits, &wait.future);
	pg_task_spawn(&model_vcpus[0].executor, &task, &waits.model.future, NULL);
	model_settle(&model_vcpus[0]); /* it waits in the queue */
	pg_join_init(&join, &task);
	model_wrap_init(&joins, &join.future);
	joins.model.ready = join_and_reuse;
	pg_task_spawn(&model_vcpus[1].executor, &joiner, &joins.model.future, stop_all);
}

static void wake_queue(void *argument)
{
	pg_waitq_wake_all(&queue);
}

static void check_joined(void)
{
	interleave_assert(ended == 1);
}

const struct interleave_scenario task_join = {
	.name = "task: join, memory reused",
	.setup = setup_join,
	.check = check_joined,
	.threads = { { "executor 0", model_run_vcpu, &model_vcpus[0] },
		     { "executor 1", model_run_vcpu, &model_vcpus[1] },
		     { "waker", wake_queue } },
};

/* ---- memory reused in done() ---- */

static void reuse_when_done(struct pg_task *done)
{
	interleave_dead(&task, sizeof(task));
	interleave_dead(&wait, sizeof(wait));
	interleave_dead(&waits, sizeof(waits));
	ended++;
	model_stop(1);
}

static void setup_done(void)
{
	model_reset(1, false, true);
	INTERLEAVE_NAME(task);
	ended = 0;
	pg_waitq_init(&queue);
	pg_wait_init(&wait, &queue);
	model_wrap_init(&waits, &wait.future);
	pg_task_spawn(&model_vcpus[0].executor, &task, &waits.model.future, reuse_when_done);
	model_settle(&model_vcpus[0]);
}

/* Two wakers of a wait queue: the slower one must not touch a task that has ended. */
const struct interleave_scenario task_done = {
	.name = "task: done, memory reused",
	.setup = setup_done,
	.check = check_joined,
	.threads = { { "executor", model_run_vcpu, &model_vcpus[0] },
		     { "waker 1", wake_queue },
		     { "waker 2", wake_queue } },
};
