/* Tasks that move between executors while they are posted, woken, pinned and completed. */
#include "core/container.h"
#include "model.h"
#include "scenarios.h"

static struct pg_task tasks[2];
static struct model_future futures[2];
static struct pg_waitq queue;
static struct pg_wait wait;
static struct model_wrap wraps[2];
static struct pg_hypercall call;
static _Atomic uint32_t ended, arrived;
static unsigned expected;

static void prepare(unsigned count)
{
	model_reset(2, true, true);
	INTERLEAVE_NAME(tasks);
	INTERLEAVE_NAME(queue);
	INTERLEAVE_NAME(wait);
	INTERLEAVE_NAME(call);
	pg_waitq_init(&queue);
	atomic_store(&ended, 0);
	atomic_store(&arrived, 0);
	expected = count;
}

static void stop_after_last(struct pg_task *done)
{
	interleave_dead(done, sizeof(*done));
	if (atomic_fetch_add(&ended, 1) + 1 == expected)
		model_stop(2);
}

static void check_all(void)
{
	interleave_assert(atomic_load(&ended) == expected);
}

/* A vCPU that looks at its peer first, without patience, and then runs as any other. */
static void run_thief(void *argument)
{
	model_enter(&model_vcpus[1]);
	pg_executor_balance(&model_vcpus[1].executor, false);
	pg_executor_run(&model_vcpus[1].executor);
}

/* ---- an inbox: posted to, taken by its owner, taken by a thief ---- */

static bool at_once(struct model_future *self, struct pg_task *waker)
{
	return true;
}

static void setup_inbox(void)
{
	prepare(2);
	model_future_init(&futures[0], at_once);
	model_future_init(&futures[1], at_once);
	pg_task_spawn(&model_vcpus[0].executor, &tasks[0], &futures[0].future, stop_after_last);
}

static void post(void *argument)
{
	pg_task_spawn(&model_vcpus[0].executor, &tasks[1], &futures[1].future, stop_after_last);
}

const struct interleave_scenario steal_inbox = {
	.name = "steal: inbox, post",
	.setup = setup_inbox,
	.check = check_all,
	.threads = { { "executor 0", model_run_vcpu, &model_vcpus[0] },
		     { "thief", run_thief },
		     { "poster", post } },
};

/* ---- a third party wakes a task that may have moved ---- */

static bool wait_then_again(struct model_future *self, struct pg_task *waker)
{
	return atomic_load_explicit(&arrived, memory_order_acquire) == 2;
}

static void setup_wake(void)
{
	prepare(1);
	model_future_init(&futures[0], wait_then_again);
	pg_task_spawn(&model_vcpus[0].executor, &tasks[0], &futures[0].future, stop_after_last);
}

static void wake(void *argument)
{
	atomic_fetch_add_explicit(&arrived, 1, memory_order_relaxed);
	pg_task_wake(&tasks[0]);
}

/* Wakers who know that it exists: its memory stays. */
static void stop_only(struct pg_task *done)
{
	atomic_fetch_add(&ended, 1);
	model_stop(2);
}

static void setup_wakers(void)
{
	setup_wake();
	tasks[0].done = stop_only;
}

const struct interleave_scenario steal_wake = {
	.name = "steal: queued task, 2 wakers",
	.setup = setup_wakers,
	.check = check_all,
	.threads = { { "executor 0", model_run_vcpu, &model_vcpus[0] },
		     { "thief", run_thief },
		     { "waker 1", wake },
		     { "waker 2", wake } },
};

/* ---- a hypercall pins; then a wake-up from elsewhere, and a thief ---- */

/* READY when both are: the hypercall and the wake-up. */
static bool both_ready(struct model_future *self, struct pg_task *waker)
{
	struct model_wrap *wrap = pg_container_of(self, struct model_wrap, model);
	static bool called, woken;

	if (self->polls == 1)
		called = woken = false;
	if (!called)
		called = pg_future_poll(&call.future, waker) == PG_READY;
	if (!woken)
		woken = pg_future_poll(wrap->inner, waker) == PG_READY;
	return called && woken;
}

static void reuse_both(struct pg_task *done)
{
	interleave_dead(&call, sizeof(call));
	interleave_dead(&wait, sizeof(wait));
	stop_after_last(done);
}

static void setup_pinned(void)
{
	prepare(1);
	pg_hypercall_init(&call, PG_OP_NOP, 0, 0);
	pg_wait_init(&wait, &queue);
	model_wrap_init(&wraps[0], &wait.future);
	wraps[0].model.ready = both_ready;
	pg_task_spawn(&model_vcpus[0].executor, &tasks[0], &wraps[0].model.future, reuse_both);
	model_settle(&model_vcpus[0]); /* submitted, and waiting */
	/* The loader has answered. */
	pg_cq_push(&model_vcpus[0].ring, model_vcpus[0].cq, 0, model_vcpus[0].sq[0].user_data, 0);
}

static void wake_queue(void *argument)
{
	pg_waitq_wake_all(&queue);
}

const struct interleave_scenario steal_pinned = {
	.name = "steal: completion, wake-up",
	.setup = setup_pinned,
	.check = check_all,
	.threads = { { "executor 0", model_run_vcpu, &model_vcpus[0] },
		     { "thief", run_thief },
		     { "waker", wake_queue } },
};

/* ---- it has moved, waits, and is woken from elsewhere ---- */

static void setup_migrate(void)
{
	prepare(1);
	pg_wait_init(&wait, &queue);
	model_wrap_init(&wraps[0], &wait.future);
	pg_task_spawn(&model_vcpus[0].executor, &tasks[0], &wraps[0].model.future, reuse_both);
}

/* It is not in the queue before its first poll: wake until it is. */
static void wake_waiter(void *argument)
{
	while (!pg_waitq_wake_one(&queue))
		interleave_relax();
}

const struct interleave_scenario steal_migrate = {
	.name = "steal: moved, woken by another",
	.setup = setup_migrate,
	.check = check_all,
	.threads = { { "executor 0", model_run_vcpu, &model_vcpus[0] },
		     { "thief", run_thief },
		     { "waker", wake_waiter } },
};
