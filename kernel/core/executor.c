#include "executor.h"

#include "port.h"
#include "trace.h"

void pg_executor_init(struct pg_executor *executor, struct pg_ring *ring, struct pg_sqe *sq,
		      const struct pg_cqe *cq, struct pg_counters *counters, uint64_t spin_ns)
{
	*executor = (struct pg_executor){ .counters = counters, .spin_ns = spin_ns };
	pg_runq_init(&executor->runq);
	pg_hypercalls_init(&executor->hypercalls, ring, sq, cq);
}

void pg_executor_group(struct pg_executor *const *all, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		all[i]->peers = all;
		all[i]->peer_count = count;
		all[i]->index = i;
		all[i]->suspect.peer = (i + 1) % count;
		all[i]->runq.alone = count == 1;
	}
}

/* ---- what others and the loader are told ---- */

static void ring_doorbell(struct pg_executor *executor)
{
	struct pg_executor *here = pg_port_executor();

	if (here)
		here->counters->doorbells++;
	pg_port_doorbell(executor);
}

/* Something waits for the vCPU of `executor`, which may be running user code. Any vCPU. */
static void contend(struct pg_executor *executor)
{
	uint64_t look_at;

	if (!executor->turn_ns)
		return;
	look_at = pg_ring_contend(executor->hypercalls.ring);
	if (!look_at)
		return;
	if (look_at == PG_LOOK_NEVER || look_at > pg_port_now() + executor->turn_ns)
		ring_doorbell(executor);
}

/*
 * Leave a deadline with the loader, unless it has it already. PG_NEVER: there is none, or we
 * look at the clock ourselves for a while.
 *
 * The loader serves each value once. Should it have done so too early for our clock, the same
 * deadline must be another value the next time: so the last bit changes each time, and the
 * time is a nanosecond later at most.
 */
static void leave_deadline(struct pg_executor *executor, uint64_t deadline)
{
	struct pg_ring *ring = executor->hypercalls.ring;
	/* Relaxed: only we write it. */
	uint64_t there = atomic_load_explicit(&ring->deadline, memory_order_relaxed);

	if (deadline == PG_NEVER) {
		/* Relaxed: should the loader still see the old one, it interrupts us for nothing. */
		if (there != PG_NEVER)
			atomic_store_explicit(&ring->deadline, PG_NEVER, memory_order_relaxed);
		return;
	}
	/* PG_NEVER is odd, and no deadline comes near it. */
	deadline = (deadline + 1) & ~1ull;
	if ((there & ~1ull) == deadline)
		return;
	executor->odd = !executor->odd;
	if (pg_ring_set_deadline(ring, deadline | executor->odd))
		ring_doorbell(executor);
}

/* After having published what the executor shall see: true if its vCPU was parked. */
static bool end_park(struct pg_executor *executor)
{
	struct pg_executor *here;

	if (!pg_ring_claim_wake(executor->hypercalls.ring))
		return false;
	here = pg_port_executor();
	if (here)
		here->counters->kicks++;
	pg_port_kick(executor);
	return true;
}

/* ---- enqueueing ---- */

void pg_executor_push(struct pg_executor *executor, struct pg_task *task)
{
	pg_runq_push(&executor->runq, task);
	if (executor->in_user)
		contend(executor);
}

void pg_executor_push_soon(struct pg_executor *executor, struct pg_task *task)
{
	pg_trace_wake(executor, task);
	pg_task_list_append(&executor->soon, task);
}

/* Push onto the inbox. The task is the executor's then; it may be gone already. */
static void push_inbox(struct pg_executor *executor, struct pg_task *task)
{
	/* Relaxed: only a guess, which the exchange checks. */
	struct pg_task *newest = atomic_load_explicit(&executor->inbox, memory_order_relaxed);

	/* Success is sequentially consistent: release for the task, and see end_park(). */
	do {
		task->next = newest;
	} while (!atomic_compare_exchange_weak_explicit(
		&executor->inbox, &newest, task, memory_order_seq_cst, memory_order_relaxed));
}

void pg_executor_post(struct pg_executor *executor, struct pg_task *task)
{
	push_inbox(executor, task);
	if (!end_park(executor))
		contend(executor);
}

void pg_executor_stop(struct pg_executor *executor)
{
	atomic_store(&executor->stop, true);
	(void)end_park(executor);
}

/* All of an inbox, oldest first. */
static struct pg_task *take_all(struct pg_executor *executor)
{
	struct pg_task *task, *next, *oldest = NULL;

	/* Relaxed: what we miss now we see in the next batch, or before we park. */
	if (!atomic_load_explicit(&executor->inbox, memory_order_relaxed))
		return NULL;
	/* Acquire: what was written to the tasks before they were posted. */
	task = atomic_exchange_explicit(&executor->inbox, NULL, memory_order_acquire);
	for (; task; task = next) {
		next = task->next;
		task->next = oldest;
		oldest = task;
	}
	return oldest;
}

static void take_inbox(struct pg_executor *executor)
{
	struct pg_task *task, *next;

	for (task = take_all(executor); task; task = next) {
		next = task->next;
		pg_runq_push(&executor->runq, task);
	}
}

/* ---- running ---- */

/* Where a task goes that is to be polled again. */
static void requeue(struct pg_executor *executor, struct pg_task *task)
{
	struct pg_executor *home = executor;

	if (pg_task_is_user(task))
		home = pg_port_yield(executor, task);
	if (home == executor) {
		pg_runq_push(&executor->runq, task);
		return;
	}
	task->executor = home;
	pg_executor_post(home, task);
}

/* A turn of user code begins: the loader has to look after those who wait from here on. */
static void begin_turn(struct pg_executor *executor)
{
	struct pg_ring *ring = executor->hypercalls.ring;

	if (!executor->turn_ns) {
		pg_ring_next_turn(ring);
		return;
	}
	pg_ring_begin_turn(ring);
	leave_deadline(executor, pg_timers_deadline(&executor->timers));
	/*
	 * What waits has been told to the loader before, but for the turn before. The inbox is
	 * others', and read after the turn was published: see pg_ring_begin_turn().
	 */
	if (!pg_runq_empty(&executor->runq) || executor->soon.head || atomic_load(&executor->inbox))
		contend(executor);
}

static enum pg_poll poll_task(struct pg_executor *executor, struct pg_task *task)
{
	enum pg_poll poll;

	executor->counters->polls++;
	if (!pg_task_is_user(task))
		return pg_future_poll(task->future, task);

	begin_turn(executor);
	executor->in_user = true;
	poll = pg_future_poll(task->future, task);
	executor->in_user = false;
	return poll;
}

/* Poll or drop a queued task once. It may be gone on return. */
static void run_task(struct pg_executor *executor, struct pg_task *task)
{
	enum pg_task_begin begin = pg_task_begin(task);

	executor->running = task;
	pg_trace(executor, PG_TRACE_RUN, task, 0);
	if (task->future && begin == PG_TASK_DROP) {
		pg_future_drop(task->future);
		task->future = NULL;
		/* Relaxed: read by us, and by others once DONE is released. */
		atomic_fetch_or_explicit(&task->state, PG_TASK_DROPPED, memory_order_relaxed);
	} else if (task->future && poll_task(executor, task) == PG_READY) {
		task->future = NULL;
	}
	executor->running = NULL;

	if (!task->future && pg_task_pins(task) == 0) {
		pg_trace(executor, PG_TRACE_DONE, task, 0);
		pg_task_complete(task);
	} else if (pg_task_end(task) == PG_TASK_REQUEUE) {
		pg_trace(executor, PG_TRACE_YIELD, task, 0);
		requeue(executor, task);
	} else {
		/* The task may be somebody else's already: nothing but its name is used. */
		pg_trace(executor, PG_TRACE_PENDING, task, 0);
	}
}

/* What the loader and the clock have to say: it fills `soon`. */
static void take_events(struct pg_executor *executor)
{
	pg_hypercalls_drain(executor);
	/* The clock is read only if somebody waits for it. */
	if (executor->timers.first)
		pg_timers_expire(&executor->timers, pg_port_now());
}

/* Poll each of those once; what they lead to waits for the next time. */
static bool run_soon(struct pg_executor *executor)
{
	const struct pg_task *last = executor->soon.tail;
	struct pg_task *task;
	bool more = true;

	if (!executor->soon.head)
		return false;
	while (more) {
		task = executor->soon.head;
		executor->soon.head = task->next;
		more = task != last;
		run_task(executor, task);
	}
	return true;
}

bool pg_executor_step(struct pg_executor *executor)
{
	struct pg_task *task;
	uint32_t end;
	bool ran;

	pg_ring_next_turn(executor->hypercalls.ring);
	take_events(executor);
	take_inbox(executor);
	ran = run_soon(executor);
	end = pg_runq_batch(&executor->runq);
	while ((task = pg_runq_pop(&executor->runq, end))) {
		bool user = pg_task_is_user(task);

		run_task(executor, task);
		ran = true;
		if (user) {
			take_events(executor);
			(void)run_soon(executor);
		}
	}
	if (ran)
		executor->eager = false;
	return ran;
}

void pg_executor_interrupt_others(struct pg_executor *executor)
{
	for (unsigned i = 0; executor && i < executor->peer_count; i++) {
		if (executor->peers[i] != executor)
			contend(executor->peers[i]);
	}
}

bool pg_executor_others(struct pg_executor *executor)
{
	/* Relaxed: whoever acts on it loads again, with acquire. */
	return !pg_runq_empty(&executor->runq) || executor->soon.head ||
	       atomic_load_explicit(&executor->inbox, memory_order_relaxed) ||
	       pg_cq_ready(executor->hypercalls.ring) ||
	       pg_timers_deadline(&executor->timers) != PG_NEVER;
}

/* ---- balance ---- */

/* What waits at a peer and may be taken over. False: nothing. */
static bool look_at_peer(struct pg_executor *peer, struct pg_suspect *seen)
{
	/* Relaxed: compared, never followed. */
	seen->inbox = atomic_load_explicit(&peer->inbox, memory_order_relaxed);
	seen->head = atomic_load_explicit(&peer->runq.head, memory_order_relaxed);
	return seen->inbox || pg_runq_stealable(&peer->runq);
}

static void adopt(struct pg_executor *executor, struct pg_task *task, unsigned from)
{
	pg_trace(executor, PG_TRACE_STEAL, task, from);
	task->executor = executor;
	executor->counters->steals++;
	pg_runq_push(&executor->runq, task);
}

static bool steal_from(struct pg_executor *executor, unsigned index)
{
	struct pg_executor *peer = executor->peers[index];
	struct pg_task *tasks[PG_RUNQ_STEAL], *task, *next;
	uint32_t count = pg_runq_steal(&peer->runq, tasks);

	for (uint32_t i = 0; i < count; i++)
		adopt(executor, tasks[i], index);
	if (count)
		return true;
	for (task = take_all(peer); task; task = next) {
		next = task->next;
		if (pg_task_pinned(task)) {
			pg_executor_post(peer, task);
		} else {
			adopt(executor, task, index);
			count++;
		}
	}
	return count;
}

/*
 * Whether what is seen at `peer` has been there for long enough. Remembers it if not; `moved`:
 * since the last look there the peer has got on.
 */
static bool has_waited(struct pg_executor *executor, unsigned peer, const struct pg_suspect *seen,
		       bool *moved)
{
	struct pg_suspect *suspect = &executor->suspect;
	uint64_t now = pg_port_now();

	if (!suspect->since || suspect->peer != peer || suspect->head != seen->head ||
	    suspect->inbox != seen->inbox) {
		*moved = suspect->since && suspect->peer == peer;
		*suspect = (struct pg_suspect){ peer, seen->head, seen->inbox, now };
		return false;
	}
	*moved = false;
	return now - suspect->since >= PG_PATIENCE_NS;
}

bool pg_executor_balance(struct pg_executor *executor, bool patient)
{
	struct pg_suspect *suspect = &executor->suspect, seen;
	unsigned peer = suspect->peer;
	bool moved = false;

	/* All of them, wherever it begins: this one is among them. */
	for (unsigned i = 0; i < executor->peer_count; i++) {
		unsigned next = (peer + 1) % executor->peer_count;

		if (peer != executor->index && look_at_peer(executor->peers[peer], &seen)) {
			if (patient && !has_waited(executor, peer, &seen, &moved)) {
				if (!moved)
					return false;
				/* One that is busy with short ones must not hide it either. */
				peer = next;
				continue;
			}
			if (steal_from(executor, peer)) {
				suspect->since = 0;
				return true;
			}
			/* What is there has to stay; it must not hide what is elsewhere. */
			suspect->peer = next;
			suspect->since = 0;
		}
		peer = next;
	}
	/* If one has moved, and the others have nothing, it is looked at again. */
	if (!moved)
		suspect->since = 0;
	return false;
}

/* ---- waiting ---- */

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
		if (executor->peer_count > 1 && pg_executor_balance(executor, true))
			break;
		if (now - start >= budget)
			return false;
		pg_port_relax();
		now = pg_port_now();
	}
	executor->counters->spins++;
	pg_adaptive_observe(&executor->adaptive, executor->spin_ns, now - start);
	return true;
}

static void park(struct pg_executor *executor)
{
	struct pg_ring *ring = executor->hypercalls.ring;

	leave_deadline(executor, pg_timers_deadline(&executor->timers));
	pg_ring_park(ring);
	if (!has_work_at_last(executor)) {
		executor->counters->parks++;
		pg_trace(executor, PG_TRACE_PARK, NULL, 0);
		pg_port_park(executor);
		pg_trace(executor, PG_TRACE_UNPARK, NULL, 0);
		executor->eager = true;
	}
	pg_ring_unpark(ring);
}

/* Nothing is runnable: wait until something may be. The one place where a vCPU waits. */
static void wait_for_work(struct pg_executor *executor)
{
	uint64_t start;

	if (pg_hypercalls_stalled(&executor->hypercalls)) {
		pg_port_relax();
		return;
	}
	/* Woken for nothing of ours: maybe for what waits elsewhere. */
	if (executor->eager) {
		executor->eager = false;
		if (executor->peer_count > 1 && pg_executor_balance(executor, false))
			return;
	}
	start = pg_port_now();
	leave_deadline(executor, PG_NEVER);
	pg_trace(executor, PG_TRACE_SPIN, NULL, 0);
	if (spin(executor, start, pg_timers_deadline(&executor->timers))) {
		pg_trace(executor, PG_TRACE_WORK, NULL, 0);
		return;
	}
	park(executor);
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
