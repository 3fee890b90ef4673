#include "executor.h"

#include "port.h"

void pg_executor_init(struct pg_executor *executor, struct pg_ring *ring, struct pg_sqe *sq,
		      const struct pg_cqe *cq, struct pg_counters *counters, uint64_t spin_ns)
{
	*executor = (struct pg_executor){ .counters = counters, .spin_ns = spin_ns };
	pg_hypercalls_init(&executor->hypercalls, ring, sq, cq);
}

/* After having published what the executor shall see. */
static void end_park(struct pg_executor *executor)
{
	struct pg_executor *here;

	if (!pg_ring_claim_wake(executor->hypercalls.ring))
		return;
	here = pg_port_executor();
	if (here)
		here->counters->kicks++;
	pg_port_kick(executor);
}

void pg_executor_post(struct pg_executor *executor, struct pg_task *task)
{
	/* Relaxed: only a guess, which the exchange checks. */
	struct pg_task *newest = atomic_load_explicit(&executor->inbox, memory_order_relaxed);

	/* Success is sequentially consistent: release for the task, and see end_park(). */
	do {
		task->next = newest;
	} while (!atomic_compare_exchange_weak_explicit(
		&executor->inbox, &newest, task, memory_order_seq_cst, memory_order_relaxed));
	/* The task is the executor's now; it may be gone already. */
	end_park(executor);
}

void pg_executor_stop(struct pg_executor *executor)
{
	atomic_store(&executor->stop, true);
	end_park(executor);
}

/* Append what other vCPUs have posted, oldest first. */
static void take_inbox(struct pg_executor *executor)
{
	struct pg_task *task, *next, *oldest = NULL;

	/* Relaxed: if we miss one now we see it in the next batch, or before we park. */
	if (!atomic_load_explicit(&executor->inbox, memory_order_relaxed))
		return;
	/* Acquire: what was written to the tasks before they were posted. */
	task = atomic_exchange_explicit(&executor->inbox, NULL, memory_order_acquire);
	for (; task; task = next) {
		next = task->next;
		task->next = oldest;
		oldest = task;
	}
	for (task = oldest; task; task = next) {
		next = task->next;
		pg_task_list_append(&executor->runnable, task);
	}
}

/* Poll or drop a queued task once. It may be gone on return. */
static void run_task(struct pg_executor *executor, struct pg_task *task)
{
	enum pg_task_begin begin = pg_task_begin(task);

	if (task->future && begin == PG_TASK_DROP) {
		pg_future_drop(task->future);
		task->future = NULL;
		task->cancelled = true;
	} else if (task->future) {
		executor->counters->polls++;
		if (pg_future_poll(task->future, task) == PG_READY)
			task->future = NULL;
	}

	if (!task->future && task->hypercalls == 0)
		pg_task_complete(task);
	else if (pg_task_end(task) == PG_TASK_REQUEUE)
		pg_task_list_append(&executor->runnable, task);
}

bool pg_executor_step(struct pg_executor *executor)
{
	struct pg_task *task, *next;

	pg_hypercalls_drain(executor);
	/* The clock is read only if somebody waits for it. */
	if (executor->timers.first)
		pg_timers_expire(&executor->timers, pg_port_now());
	take_inbox(executor);

	task = executor->runnable.head;
	executor->runnable.head = NULL;
	if (!task)
		return false;
	for (; task; task = next) {
		next = task->next;
		run_task(executor, task);
	}
	return true;
}

static bool has_work(struct pg_executor *executor)
{
	/* Relaxed: whoever acts on it loads again, with acquire. */
	return atomic_load_explicit(&executor->inbox, memory_order_relaxed) ||
	       pg_cq_ready(executor->hypercalls.ring) ||
	       atomic_load_explicit(&executor->stop, memory_order_relaxed);
}

/* The last look before parking: ordered after pg_ring_park(), so sequentially consistent. */
static bool has_work_at_last(struct pg_executor *executor)
{
	struct pg_ring *ring = executor->hypercalls.ring;

	return atomic_load(&executor->inbox) ||
	       atomic_load(&ring->cq_tail) != atomic_load(&ring->cq_head) ||
	       atomic_load(&executor->stop);
}

/* Spin until there is work, the deadline, or the end of the budget. False in the last case. */
static bool spin(struct pg_executor *executor, uint64_t start, uint64_t deadline)
{
	uint64_t known = deadline > start ? deadline - start : 0;
	uint64_t budget = pg_adaptive_budget(&executor->adaptive, executor->spin_ns,
					     deadline == PG_NEVER ? PG_NEVER : known);
	uint64_t now = start;

	while (!has_work(executor) && now < deadline) {
		if (now - start >= budget)
			return false;
		pg_port_relax();
		now = pg_port_now();
	}
	executor->counters->spins++;
	pg_adaptive_observe(&executor->adaptive, executor->spin_ns, now - start);
	return true;
}

/* Nothing is runnable: wait until something may be. */
static void wait_for_work(struct pg_executor *executor)
{
	struct pg_ring *ring = executor->hypercalls.ring;
	uint64_t deadline = pg_timers_deadline(&executor->timers);
	uint64_t start = pg_port_now();

	if (pg_hypercalls_stalled(&executor->hypercalls)) {
		pg_port_relax();
		return;
	}
	if (spin(executor, start, deadline))
		return;
	if (!pg_hypercalls_arm(executor, deadline)) {
		pg_port_relax();
		return;
	}
	pg_ring_park(ring);
	if (has_work_at_last(executor)) {
		pg_ring_unpark(ring);
		return;
	}
	executor->counters->parks++;
	pg_port_park(executor);
	pg_ring_unpark(ring);
	pg_adaptive_observe(&executor->adaptive, executor->spin_ns, pg_port_now() - start);
}

void pg_executor_run(struct pg_executor *executor)
{
	/* Acquire: what was done before the stop. */
	while (!atomic_load_explicit(&executor->stop, memory_order_acquire)) {
		if (!pg_executor_step(executor))
			wait_for_work(executor);
	}
}
