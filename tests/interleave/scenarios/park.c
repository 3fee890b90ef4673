/* Halting a vCPU, against everything that must end the halt. */
#include "core/container.h"
#include "model.h"
#include "scenarios.h"

static struct pg_task tasks[2];
static struct model_future futures[2];
static unsigned ended, expected;

static bool at_once(struct model_future *self, struct pg_task *waker)
{
	return true;
}

static void stop_after_last(struct pg_task *done)
{
	interleave_dead(done, sizeof(*done));
	if (++ended == expected)
		model_stop(1);
}

static void count(struct pg_task *done)
{
	ended++;
}

static void setup(void)
{
	model_reset(1, false, true);
	INTERLEAVE_NAME(tasks);
	ended = 0;
	expected = 2;
	model_future_init(&futures[0], at_once);
	model_future_init(&futures[1], at_once);
}

static void post(void *argument)
{
	size_t i = (size_t)argument;

	pg_task_spawn(&model_vcpus[0].executor, &tasks[i], &futures[i].future, stop_after_last);
}

static void post_counted(void *argument)
{
	pg_task_spawn(&model_vcpus[0].executor, &tasks[0], &futures[0].future, count);
}

static void stop(void *argument)
{
	model_stop(1);
}

static void check_all(void)
{
	interleave_assert(ended == expected);
}

static void check_some(void)
{
	interleave_assert(ended <= 1);
}

const struct interleave_scenario park_post = {
	.name = "park: 2 posts",
	.setup = setup,
	.check = check_all,
	.threads = { { "executor", model_run_vcpu, &model_vcpus[0] },
		     { "poster 1", post, (void *)0 },
		     { "poster 2", post, (void *)1 } },
};

/* Whether the task still runs is open, but the executor must come back. */
const struct interleave_scenario park_post_stop = {
	.name = "park: post, stop",
	.setup = setup,
	.check = check_some,
	.threads = { { "executor", model_run_vcpu, &model_vcpus[0] },
		     { "poster", post_counted },
		     { "stopper", stop } },
};

/* ---- hypercalls, answered by a loader that sleeps in between ---- */

static struct pg_hypercall calls[2];
static unsigned answered[2];

/* Two rounds: the second one's doorbell depends on what became of the first one's. */
static bool call_twice(struct model_future *self, struct pg_task *waker)
{
	size_t i = (size_t)(self - futures);

	while (pg_future_poll(&calls[i].future, waker) == PG_READY) {
		interleave_assert(calls[i].result == 0);
		if (++answered[i] == 2)
			return true;
		pg_hypercall_init(&calls[i], PG_OP_NOP, 0, 0);
	}
	return false;
}

static void reuse_call(struct pg_task *done)
{
	interleave_dead(&calls[done - tasks], sizeof(calls[0]));
	stop_after_last(done);
}

static void prepare_calls(unsigned count)
{
	setup();
	INTERLEAVE_NAME(calls);
	expected = count;
	for (unsigned i = 0; i < count; i++) {
		answered[i] = 0;
		pg_hypercall_init(&calls[i], PG_OP_NOP, 0, 0);
		model_future_init(&futures[i], call_twice);
		pg_task_spawn(&model_vcpus[0].executor, &tasks[i], &futures[i].future, reuse_call);
	}
}

static void setup_call(void)
{
	prepare_calls(1);
}

static void setup_calls(void)
{
	prepare_calls(2);
}

const struct interleave_scenario park_completion = {
	.name = "park: 2 hypercalls in turn",
	.setup = setup_call,
	.check = check_all,
	.threads = { { "executor", model_run_vcpu, &model_vcpus[0] },
		     { "loader", model_run_loader, NULL, true } },
};

const struct interleave_scenario park_completions = {
	.name = "park: 2 tasks, 2 hypercalls each",
	.setup = setup_calls,
	.check = check_all,
	.threads = { { "executor", model_run_vcpu, &model_vcpus[0] },
		     { "loader", model_run_loader, NULL, true } },
};
