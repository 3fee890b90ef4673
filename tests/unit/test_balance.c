/*
 * Tasks that change executors. First one step at a time, all vCPUs on this thread and with a
 * clock that stands still; then thousands of tasks on four threads, with everything they wait
 * for accounted for at the end.
 */
#include <criterion/criterion.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "core/async.h"
#include "core/port.h"
#include "core/waitq.h"
#include "gate.h"
#include "host_port.h"

#define VCPUS 4
#define START 1000000000ull

static struct host_vcpu vcpus[VCPUS];
static struct pg_executor *group[VCPUS];

static void init(uint64_t spin_ns)
{
	for (int i = 0; i < VCPUS; i++) {
		host_vcpu_init(&vcpus[i], spin_ns);
		group[i] = &vcpus[i].executor;
	}
	pg_executor_group(group, VCPUS);
}

static void setup(void)
{
	init(0);
	host_set_clock(START);
	host_enter(&vcpus[0]);
}

TestSuite(balance, .init = setup, .timeout = 120);

static bool balance(int vcpu, bool patient)
{
	host_enter(&vcpus[vcpu]);
	bool found = pg_executor_balance(group[vcpu], patient);
	host_enter(&vcpus[0]);
	return found;
}

static bool step(int vcpu)
{
	host_enter(&vcpus[vcpu]);
	bool ran = pg_executor_step(group[vcpu]);
	host_enter(&vcpus[0]);
	return ran;
}

/* From a thread that is no vCPU: through the inbox. */
static void wake_from_outside(struct pg_task *task)
{
	host_enter(NULL);
	pg_task_wake(task);
	host_enter(&vcpus[0]);
}

static void spawn_from_outside(int vcpu, struct pg_task *task, struct gate *gate)
{
	gate_init(gate);
	host_enter(NULL);
	pg_task_spawn(group[vcpu], task, &gate->future, NULL);
	host_enter(&vcpus[0]);
}

Test(balance, only_what_has_waited_for_long_enough)
{
	struct pg_task task;
	struct gate gate;

	gate_init(&gate);
	gate.open = true;
	cr_assert_not(balance(1, true));
	cr_assert_not(balance(1, false));
	pg_task_spawn(group[0], &task, &gate.future, NULL);
	cr_assert_not(balance(1, true), "it is seen");
	host_set_clock(START + PG_PATIENCE_NS - 1);
	cr_assert_not(balance(1, true), "it has waited, but not long enough");
	host_set_clock(START + PG_PATIENCE_NS);
	cr_assert(balance(1, true));
	cr_assert_eq(task.executor, group[1]);
	cr_assert_eq(vcpus[1].counters.steals, 1);
	cr_assert(pg_runq_empty(&group[0]->runq));
	cr_assert_not(step(0));
	cr_assert(step(1));
	cr_assert_eq(gate.polls, 1);
	cr_assert(task_done(&task));
	cr_assert_not(balance(0, false));
	cr_assert_not(balance(2, false));
}

Test(balance, patience_begins_anew_when_something_moves)
{
	struct pg_task tasks[3];
	struct gate gates[3];

	for (int i = 0; i < 2; i++) {
		gate_init(&gates[i]);
		pg_task_spawn(group[0], &tasks[i], &gates[i].future, NULL);
	}
	cr_assert_not(balance(1, true));
	host_set_clock(START + 2 * PG_PATIENCE_NS);
	/* The two are polled, and another one waits there now. */
	cr_assert(step(0));
	gate_init(&gates[2]);
	pg_task_spawn(group[0], &tasks[2], &gates[2].future, NULL);
	cr_assert_not(balance(1, true), "another head");
	host_set_clock(START + 3 * PG_PATIENCE_NS - 1);
	cr_assert_not(balance(1, true));
	host_set_clock(START + 3 * PG_PATIENCE_NS);
	cr_assert(balance(1, true));
	cr_assert_eq(tasks[2].executor, group[1]);
	cr_assert_eq(tasks[0].executor, group[0]);
}

/* It was woken from a park in order to look. */
Test(balance, without_patience)
{
	struct pg_task tasks[5];
	struct gate gates[5];

	for (int i = 0; i < 5; i++) {
		gate_init(&gates[i]);
		pg_task_spawn(group[0], &tasks[i], &gates[i].future, NULL);
	}
	cr_assert(balance(3, false));
	/* Half of them, the oldest. */
	for (int i = 0; i < 5; i++)
		cr_assert_eq(tasks[i].executor, group[i < 3 ? 3 : 0]);
	cr_assert(step(3));
	cr_assert(step(0));
	for (int i = 0; i < 5; i++)
		cr_assert_eq(gates[i].polls, 1);
}

Test(balance, an_inbox_is_taken_as_a_whole)
{
	struct pg_task tasks[5];
	struct gate gates[5];

	for (int i = 0; i < 5; i++)
		spawn_from_outside(2, &tasks[i], &gates[i]);
	cr_assert_not(balance(0, true));
	host_set_clock(START + PG_PATIENCE_NS);
	cr_assert(balance(0, true));
	cr_assert_eq(vcpus[0].counters.steals, 5);
	cr_assert_null(atomic_load(&group[2]->inbox));
	cr_assert_not(step(2));
	cr_assert(step(0));
	for (int i = 0; i < 5; i++) {
		cr_assert_eq(tasks[i].executor, group[0]);
		cr_assert_eq(gates[i].polls, 1);
	}
}

/* A future with a sleep, or a call to the loader, and a gate that wakes it before those do. */
struct busy {
	struct pg_future future;
	struct pg_task task;
	struct pg_sleep sleep;
	struct pg_hypercall call;
	struct pg_future *waits; /* one of these; NULL: none any more        */
	bool open;
	unsigned polls;
};

static enum pg_poll busy_poll(struct pg_future *future, struct pg_task *waker)
{
	struct busy *busy = pg_container_of(future, struct busy, future);

	busy->polls++;
	if (busy->waits && pg_future_poll(busy->waits, waker) == PG_READY)
		busy->waits = NULL;
	if (!busy->open)
		return PG_PENDING;
	if (busy->waits)
		pg_future_drop(busy->waits);
	return PG_READY;
}

static void busy_drop(struct pg_future *future)
{
	struct busy *busy = pg_container_of(future, struct busy, future);

	if (busy->waits)
		pg_future_drop(busy->waits);
}

static const struct pg_future_ops busy_ops = { busy_poll, busy_drop };

static void spawn_sleeper_on(int vcpu, struct busy *busy, uint64_t deadline)
{
	*busy = (struct busy){ .future.ops = &busy_ops };
	pg_sleep_init(&busy->sleep, deadline);
	busy->waits = &busy->sleep.future;
	pg_task_spawn(group[vcpu], &busy->task, &busy->future, NULL);
}

static void spawn_sleeper(struct busy *busy, uint64_t deadline)
{
	spawn_sleeper_on(0, busy, deadline);
}

static void spawn_caller(struct busy *busy)
{
	*busy = (struct busy){ .future.ops = &busy_ops };
	pg_hypercall_init(&busy->call, PG_OP_NOP, 0);
	busy->waits = &busy->call.future;
	pg_task_spawn(group[0], &busy->task, &busy->future, NULL);
}

static void stays(struct busy *busy)
{
	pg_task_wake(&busy->task);
	cr_assert_not(balance(1, false), "pinned, in the run queue");
	cr_assert(step(0));
	wake_from_outside(&busy->task);
	for (int i = 0; i < 3; i++) {
		cr_assert_not(balance(1, false), "pinned, in the inbox");
		cr_assert_eq(atomic_load(&group[0]->inbox), &busy->task, "it went back");
	}
	cr_assert(step(0));
	cr_assert_eq(busy->task.executor, group[0]);
	cr_assert_eq(busy->polls, 3);
}

static void moves(struct busy *busy)
{
	wake_from_outside(&busy->task);
	cr_assert(balance(1, false));
	cr_assert_eq(busy->task.executor, group[1]);
	busy->open = true;
	cr_assert(step(1));
	cr_assert(task_done(&busy->task));
	for (int i = 0; i < VCPUS; i++)
		cr_assert_eq(vcpus[i].counters.steals, i == 1);
}

Test(balance, a_sleeper_stays_until_it_has_slept)
{
	struct busy busy;

	spawn_sleeper(&busy, START + 1000);
	cr_assert(step(0));
	stays(&busy);
	host_set_clock(START + 1000);
	cr_assert(step(0));
	moves(&busy);
}

Test(balance, a_caller_stays_until_it_is_answered)
{
	struct busy busy;
	struct pg_sqe entry;

	vcpus[0].manual = true;
	spawn_caller(&busy);
	cr_assert(step(0));
	cr_assert(host_take(&vcpus[0], &entry));
	stays(&busy);
	host_complete(&vcpus[0], entry.user_data, 7);
	cr_assert(step(0));
	cr_assert_eq(busy.call.result, 7);
	moves(&busy);
}

/* Dropped with the call under way: the task stays until the loader has let go of it. */
Test(balance, a_cancelled_caller_stays)
{
	struct busy busy;
	struct pg_sqe call, cancel;

	vcpus[0].manual = true;
	spawn_caller(&busy);
	cr_assert(step(0));
	cr_assert(host_take(&vcpus[0], &call));
	host_enter(NULL);
	pg_task_cancel(&busy.task);
	host_enter(&vcpus[0]);
	cr_assert_not(balance(1, false));
	cr_assert(step(0));
	cr_assert(host_take(&vcpus[0], &cancel));
	cr_assert_eq(cancel.op, PG_OP_CANCEL);
	wake_from_outside(&busy.task);
	cr_assert_not(balance(2, false));
	host_complete(&vcpus[0], cancel.user_data, 0);
	cr_assert(step(0));
	cr_assert_not(task_done(&busy.task));
	host_complete(&vcpus[0], call.user_data, 0);
	cr_assert(step(0));
	cr_assert(task_done(&busy.task));
	cr_assert(pg_task_cancelled(&busy.task));
}

/* Those that may go do so, those that may not are woken where they belong. */
Test(balance, pinned_ones_go_back_to_an_inbox)
{
	struct busy sleepers[2];
	struct pg_task tasks[2];
	struct gate gates[2];

	for (int i = 0; i < 2; i++)
		spawn_sleeper(&sleepers[i], START + 1000);
	cr_assert(step(0));
	for (int i = 0; i < 2; i++) {
		wake_from_outside(&sleepers[i].task);
		spawn_from_outside(0, &tasks[i], &gates[i]);
	}
	/* It parks while the thief has them: it has looked, and seen nothing. */
	pg_ring_park(&vcpus[0].ring);
	cr_assert(balance(1, false));
	cr_assert_eq(atomic_load(&vcpus[0].kicks), 1, "one interrupt for what came back");
	cr_assert_eq(atomic_load(&vcpus[0].ring.parked), 0);
	cr_assert_eq(vcpus[1].counters.steals, 2);
	cr_assert(step(0));
	cr_assert(step(1));
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(sleepers[i].polls, 2);
		cr_assert_eq(sleepers[i].task.executor, group[0]);
		cr_assert_eq(gates[i].polls, 1);
		cr_assert_eq(tasks[i].executor, group[1]);
	}
}

static void fix(struct gate *gate)
{
	pg_task_fix(gate->waker, *(bool *)gate->context);
}

Test(balance, a_fixed_task_stays_until_it_is_not_fixed)
{
	struct pg_task task;
	struct gate gate;
	bool fixed = true;

	gate_init(&gate);
	gate.hook = fix;
	gate.context = &fixed;
	pg_task_spawn(group[0], &task, &gate.future, NULL);
	cr_assert(step(0));
	wake_from_outside(&task);
	cr_assert_not(balance(1, false));
	fixed = false;
	cr_assert(step(0));
	wake_from_outside(&task);
	cr_assert(balance(1, false));
	cr_assert(step(1));
	cr_assert_eq(gate.polls, 3);
}

Test(balance, a_wake_follows_the_task)
{
	struct pg_task task;
	struct gate gate;

	gate_init(&gate);
	pg_task_spawn(group[0], &task, &gate.future, NULL);
	/* Round all executors, and back. */
	for (int i = 1; i <= VCPUS; i++) {
		int to = i % VCPUS, from = i - 1;

		cr_assert(balance(to, false));
		cr_assert_eq(task.executor, group[to]);
		cr_assert(step(to));
		cr_assert_eq(gate.polls, (unsigned)i);
		cr_assert_not(step(from));
		pg_ring_park(&vcpus[to].ring);
		wake_from_outside(&task);
		cr_assert_eq(atomic_load(&group[to]->inbox), &task);
		cr_assert_eq(atomic_load(&vcpus[to].ring.parked), 0);
		cr_assert_eq(atomic_load(&vcpus[to].kicks), 1);
	}
	gate_open(&gate);
	cr_assert(step(0));
	cr_assert(task_done(&task));
}

/* The next look begins where the last one has found something. */
Test(balance, all_peers_are_looked_at)
{
	for (int from = 0; from < VCPUS; from++) {
		for (int to = 0; to < VCPUS; to++) {
			struct pg_task task;
			struct gate gate;

			if (to == from)
				continue;
			spawn_from_outside(from, &task, &gate);
			gate.open = true;
			cr_assert_not(balance(from, false), "its own are not stolen");
			cr_assert(balance(to, false));
			cr_assert(step(to));
			cr_assert(task_done(&task));
		}
	}
}

/* The same with patience, which remembers where it has seen something. */
Test(balance, all_peers_are_looked_at_with_patience)
{
	uint64_t now = START;

	for (int last = 0; last < VCPUS; last++) {
		for (int from = 0; from < VCPUS; from++) {
			const int froms[] = { last, from };

			for (int i = 0; i < 2; i++) {
				struct pg_task task;
				struct gate gate;

				if (froms[i] == 3)
					continue;
				spawn_from_outside(froms[i], &task, &gate);
				gate.open = true;
				cr_assert_not(balance(3, true));
				host_set_clock(now += PG_PATIENCE_NS);
				cr_assert(balance(3, true), "%d after %d", from, last);
				cr_assert(step(3));
				cr_assert(task_done(&task));
				cr_assert_not(balance(3, true));
			}
		}
	}
}

/* One peer has something that stays there, another one something to take. */
Test(balance, a_pinned_task_hides_no_other)
{
	for (int pinned = 0; pinned < 3; pinned++) {
		for (int free = 0; free < 3; free++) {
			struct busy sleeper;
			struct pg_task task;
			struct gate gate;
			uint64_t now = pg_port_now();
			bool found = false;

			if (pinned == free)
				continue;
			host_enter(&vcpus[pinned]);
			spawn_sleeper_on(pinned, &sleeper, START + 1000000000);
			cr_assert(step(pinned));
			for (int patient = 0; patient <= 1; patient++) {
				wake_from_outside(&sleeper.task);
				spawn_from_outside(free, &task, &gate);
				gate.open = true;
				found = false;
				for (int i = 0; i < 10 && !found; i++) {
					found = balance(3, patient);
					host_set_clock(now += PG_PATIENCE_NS);
				}
				cr_assert(found, "at %d, beside %d", free, pinned);
				cr_assert(step(3));
				cr_assert(task_done(&task));
				cr_assert(step(pinned));
			}
			sleeper.open = true;
			wake_from_outside(&sleeper.task);
			cr_assert(step(pinned));
			cr_assert(task_done(&sleeper.task));
		}
	}
}

/* One peer gets on from look to look, and always has something; at another one nothing moves. */
Test(balance, a_busy_peer_hides_no_other)
{
	for (int busy = 0; busy < 3; busy++) {
		for (int stuck = 0; stuck < 3; stuck++) {
			struct pg_task task, tasks[10];
			struct gate gate, gates[10];
			uint64_t now = pg_port_now();
			bool found = false;
			int i;

			if (busy == stuck)
				continue;
			spawn_from_outside(stuck, &task, &gate);
			gate.open = true;
			for (i = 0; i < 10 && !found; i++) {
				spawn_from_outside(busy, &tasks[i], &gates[i]);
				gates[i].open = true;
				found = balance(3, true);
				cr_assert_eq(tasks[i].executor, group[busy]);
				cr_assert(step(busy));
				host_set_clock(now += PG_PATIENCE_NS);
			}
			cr_assert(found, "at %d, beside %d", stuck, busy);
			cr_assert(step(3));
			cr_assert(task_done(&task));
		}
	}
}

Test(balance, nothing_without_a_group)
{
	struct host_vcpu alone;
	struct pg_executor *one[1] = { &alone.executor };
	struct pg_task task;
	struct gate gate;

	spawn_from_outside(0, &task, &gate);
	host_vcpu_init(&alone, 0);
	host_enter(&alone);
	cr_assert_not(pg_executor_balance(&alone.executor, false));
	pg_executor_group(one, 1);
	cr_assert_not(pg_executor_balance(&alone.executor, false));
	cr_assert(alone.executor.runq.alone);
	host_enter(&vcpus[0]);
}

/* ---- what others are told ---- */

static bool seen_contended;

static void look_at_contended(struct gate *gate)
{
	seen_contended |= pg_ring_take_contended(&vcpus[0].ring);
	(void)gate;
}

static void spawn_user(struct pg_task *task, struct gate *gate)
{
	gate_init(gate);
	gate->hook = look_at_contended;
	pg_task_spawn_user(group[0], task, &gate->future, NULL);
}

static void start_of_turns(void)
{
	for (int i = 0; i < VCPUS; i++)
		group[i]->turn_ns = 1000000;
	seen_contended = false;
}

Test(balance, user_code_alone_is_not_contended)
{
	struct pg_task task;
	struct gate gate;

	start_of_turns();
	spawn_user(&task, &gate);
	cr_assert(step(0));
	cr_assert_not(seen_contended);
	cr_assert_not(pg_ring_take_contended(&vcpus[0].ring));
}

Test(balance, what_waits_in_the_queue_is_told)
{
	struct pg_task tasks[2];
	struct gate gates[2];

	start_of_turns();
	for (int i = 0; i < 2; i++)
		spawn_user(&tasks[i], &gates[i]);
	cr_assert(step(0));
	cr_assert(seen_contended);
}

/* A thread that sleeps, and computes when it is woken. */
struct napper {
	struct pg_future future;
	struct pg_task task;
	struct pg_sleep sleep;
	bool slept, told;
};

static enum pg_poll napper_poll(struct pg_future *future, struct pg_task *waker)
{
	struct napper *self = pg_container_of(future, struct napper, future);

	if (pg_future_poll(&self->sleep.future, waker) == PG_PENDING)
		return PG_PENDING;
	self->slept = true;
	self->told = pg_ring_take_contended(&vcpus[0].ring);
	return PG_READY;
}

static const struct pg_future_ops napper_ops = { napper_poll, NULL };

/* Two are woken by the clock at once. The second waits for the first one's turn to end. */
Test(balance, what_the_clock_has_woken_is_told)
{
	struct napper nappers[2];

	start_of_turns();
	for (int i = 0; i < 2; i++) {
		nappers[i] = (struct napper){ .future.ops = &napper_ops };
		pg_sleep_init(&nappers[i].sleep, START + 1000);
		pg_task_spawn_user(group[0], &nappers[i].task, &nappers[i].future, NULL);
	}
	cr_assert(step(0));
	(void)pg_ring_take_contended(&vcpus[0].ring);
	host_set_clock(START + 1000);
	cr_assert(step(0));
	for (int i = 0; i < 2; i++)
		cr_assert(nappers[i].slept);
	cr_assert_neq(nappers[0].told, nappers[1].told,
		      "told for whichever came first, and for it alone");
}

static struct pg_task late_task;
static struct gate late_gate;
static unsigned late_turn;

/* The loader looks right after something was queued: it knows of it, and of this turn. */
static void post_and_look(struct gate *gate)
{
	(void)gate;
	spawn_from_outside(0, &late_task, &late_gate);
	cr_assert(pg_ring_take_contended(&vcpus[0].ring));
	late_turn = pg_ring_turn(&vcpus[0].ring);
}

/* The next turn is another one: the loader is told again. */
Test(balance, what_waits_in_the_inbox_is_told_for_each_turn)
{
	struct pg_task tasks[2];
	struct gate gates[2];

	start_of_turns();
	for (int i = 0; i < 2; i++)
		spawn_user(&tasks[i], &gates[i]);
	gates[0].hook = post_and_look;
	cr_assert(step(0));
	cr_assert_eq(atomic_load(&group[0]->inbox), &late_task);
	cr_assert_neq(pg_ring_turn(&vcpus[0].ring), late_turn);
	cr_assert(seen_contended, "while the second one ran");
}

/* ---- everything at once ---- */

#define WORKERS 1000 /* an even number */
#define ROUNDS  24

static _Atomic int unfinished;
static struct pg_waitq token_queue, timed_queue;
static _Atomic int tokens;
static _Atomic long given, taken, woken, received, timed_out, calls_made, children, cancelled;

struct worker {
	struct pg_async async;
	struct pg_task task;
	struct worker *partner;
	uint32_t seed;
	int number, round;
	int64_t sum;

	/* In lock-step with the partner. */
	struct pg_waitq turn_queue; /* the even one's */
	_Atomic int turn;

	struct pg_sleep sleep;
	struct pg_wait_until until;
	struct pg_hypercall call;
	struct pg_waiter waiter;
	struct pg_future timed;
	bool timed_started;

	struct pg_waitq child_queue;
	struct pg_wait child_wait;
	struct pg_task child;
	struct pg_join join;
	bool woke;
};

static struct worker *workers;

static uint32_t chance(struct worker *self)
{
	self->seed = self->seed * 1664525 + 1013904223;
	return self->seed >> 16;
}

static bool take_token(void *argument)
{
	int have = atomic_load(&tokens);

	(void)argument;
	while (have > 0)
		if (atomic_compare_exchange_weak(&tokens, &have, have - 1))
			return true;
	return false;
}

static struct worker *even(struct worker *self)
{
	return self->number % 2 ? self->partner : self;
}

static bool my_turn(void *argument)
{
	struct worker *self = argument;

	return atomic_load(&even(self)->turn) % 2 == self->number % 2;
}

/* A wait that a wake, or the clock, ends; each wake is received, if only just. */
static enum pg_poll timed_poll(struct pg_future *future, struct pg_task *waker)
{
	struct worker *self = pg_container_of(future, struct worker, timed);

	if (!self->timed_started) {
		self->timed_started = true;
		pg_waitq_add(&timed_queue, &self->waiter, waker);
	}
	pg_spin_lock(&timed_queue.lock);
	bool still = self->waiter.queued;
	pg_spin_unlock(&timed_queue.lock);
	if (still && pg_future_poll(&self->sleep.future, waker) == PG_PENDING)
		return PG_PENDING;
	if (!still)
		pg_future_drop(&self->sleep.future);
	atomic_fetch_add(pg_waitq_remove(&timed_queue, &self->waiter) ? &received : &timed_out, 1);
	return PG_READY;
}

static const struct pg_future_ops timed_ops = { timed_poll, NULL };

PG_ASYNC static enum pg_poll worker_poll(struct pg_future *future, struct pg_task *waker)
{
	struct worker *self = pg_container_of(future, struct worker, async.future);

	PG_BEGIN(&self->async);
	for (self->round = 0; self->round < ROUNDS; self->round++) {
		switch (chance(self) % 7) {
		case 0:
			PG_YIELD(&self->async, waker);
			break;
		case 1:
			pg_sleep_init(&self->sleep, pg_port_now() + chance(self) % 200000);
			PG_AWAIT(&self->async, &self->sleep.future, waker);
			break;
		case 2:
			/* Given before it is taken: so there is one for each that waits. */
			atomic_fetch_add(&tokens, 1);
			atomic_fetch_add(&given, 1);
			pg_waitq_wake_one(&token_queue);
			PG_YIELD(&self->async, waker);
			pg_wait_until_init(&self->until, &token_queue, take_token, NULL);
			PG_AWAIT(&self->async, &self->until.future, waker);
			atomic_fetch_add(&taken, 1);
			break;
		case 3:
			pg_hypercall_init(&self->call, PG_OP_NOP, 0);
			PG_AWAIT(&self->async, &self->call.future, waker);
			self->sum += self->call.result;
			atomic_fetch_add(&calls_made, 1);
			break;
		case 4:
			pg_waiter_init(&self->waiter);
			pg_sleep_init(&self->sleep, pg_port_now() + chance(self) % 100000);
			self->timed.ops = &timed_ops;
			self->timed_started = false;
			PG_AWAIT(&self->async, &self->timed, waker);
			break;
		case 5:
			atomic_fetch_add(&woken, (long)pg_waitq_wake_n(&timed_queue, 3));
			break;
		case 6:
			pg_wait_init(&self->child_wait, &self->child_queue);
			pg_task_spawn(group[chance(self) % VCPUS], &self->child,
				      &self->child_wait.future, NULL);
			if (chance(self) % 2)
				PG_YIELD(&self->async, waker);
			self->woke = chance(self) % 2 && pg_waitq_wake_all(&self->child_queue);
			if (!self->woke)
				pg_task_cancel(&self->child);
			pg_join_init(&self->join, &self->child);
			PG_AWAIT(&self->async, &self->join.future, waker);
			atomic_fetch_add(&children, 1);
			atomic_fetch_add(&cancelled, pg_task_cancelled(&self->child));
			if (pg_task_cancelled(&self->child) == self->woke)
				abort();
			break;
		}
		if (self->round % 4)
			continue;
		pg_wait_until_init(&self->until, &even(self)->turn_queue, my_turn, self);
		PG_AWAIT(&self->async, &self->until.future, waker);
		atomic_fetch_add(&even(self)->turn, 1);
		pg_waitq_wake_all(&even(self)->turn_queue);
	}
	PG_END(&self->async);
}

static const struct pg_future_ops worker_ops = { worker_poll, pg_async_drop };

static void finished(struct pg_task *task)
{
	(void)task;
	if (atomic_fetch_sub(&unfinished, 1) > 1)
		return;
	for (int i = 0; i < VCPUS; i++)
		pg_executor_stop(group[i]);
}

static void *run(void *argument)
{
	struct host_vcpu *vcpu = argument;

	host_enter(vcpu);
	pg_executor_run(&vcpu->executor);
	return NULL;
}

/* The loader's part: a parked vCPU is woken now and then, and looks at the others. */
static void *wake_parked(void *argument)
{
	const struct timespec moment = { .tv_nsec = 200000 };

	(void)argument;
	for (unsigned i = 0; atomic_load(&unfinished) > 0; i++) {
		if (pg_ring_claim_wake(&vcpus[i % VCPUS].ring))
			pg_port_kick(group[i % VCPUS]);
		nanosleep(&moment, NULL);
	}
	return NULL;
}

static void run_all(void)
{
	pthread_t threads[VCPUS], loader;

	cr_assert_eq(pthread_create(&loader, NULL, wake_parked, NULL), 0);
	for (int i = 0; i < VCPUS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, run, &vcpus[i]), 0);
	for (int i = 0; i < VCPUS; i++)
		pthread_join(threads[i], NULL);
	pthread_join(loader, NULL);
}

static void all_at_once(uint64_t spin_ns, bool user, bool on_one)
{
	host_set_clock(0);
	host_enter(NULL);
	init(spin_ns);
	pg_waitq_init(&token_queue);
	pg_waitq_init(&timed_queue);
	atomic_store(&unfinished, WORKERS);
	workers = aligned_alloc(64, WORKERS * sizeof(*workers));
	cr_assert_not_null(workers);
	for (int i = 0; i < WORKERS; i++) {
		struct worker *worker = &workers[i];

		*worker = (struct worker){ .number = i,
					   .seed = (uint32_t)i * 7919 + 1,
					   .partner = &workers[i ^ 1] };
		pg_waitq_init(&worker->turn_queue);
		pg_waitq_init(&worker->child_queue);
		pg_async_init(&worker->async, &worker_ops);
	}
	for (int i = 0; i < WORKERS; i++) {
		struct pg_executor *to = group[on_one ? 0 : i % VCPUS];

		if (user && i % 3 == 0)
			pg_task_spawn_user(to, &workers[i].task, &workers[i].async.future,
					   finished);
		else
			pg_task_spawn(to, &workers[i].task, &workers[i].async.future, finished);
	}
	run_all();

	for (int i = 0; i < WORKERS; i++) {
		cr_assert_eq(workers[i].round, ROUNDS);
		cr_assert_eq(workers[i].sum, 0);
		cr_assert_eq(atomic_load(&workers[i].task.pins), 0);
		cr_assert_eq(atomic_load(&workers[i].turn), i % 2 ? 0 : 2 * ROUNDS / 4);
		cr_assert_null(workers[i].turn_queue.head);
		cr_assert_null(workers[i].child_queue.head);
	}
	for (int i = 0; i < VCPUS; i++) {
		cr_assert_null(group[i]->timers.first);
		cr_assert_null(atomic_load(&group[i]->inbox));
		cr_assert(pg_runq_empty(&group[i]->runq));
		cr_assert_eq(group[i]->hypercalls.outstanding, 0);
	}
	cr_assert_null(token_queue.head);
	cr_assert_null(timed_queue.head);
	cr_assert_eq(atomic_load(&tokens), 0);
	cr_assert_eq(atomic_load(&given), atomic_load(&taken));
	cr_assert_eq(atomic_load(&woken), atomic_load(&received));
	cr_assert_gt(atomic_load(&given), 0);
	cr_assert_gt(atomic_load(&timed_out), 0);
	cr_assert_gt(atomic_load(&cancelled), 0);
	cr_assert_lt(atomic_load(&cancelled), atomic_load(&children));
	cr_assert_gt(atomic_load(&calls_made), 0);
	free(workers);
}

Test(balance, all_at_once_with_parks)
{
	all_at_once(0, false, true);
}

Test(balance, all_at_once_while_spinning)
{
	all_at_once(200000, false, true);
}

Test(balance, all_at_once_with_threads)
{
	all_at_once(20000, true, true);
}

Test(balance, all_at_once_from_everywhere)
{
	all_at_once(20000, true, false);
}

/* ---- tasks of one executor, until all the others have taken some ---- */

#define SPREAD 40

static _Atomic unsigned polled_by; /* a bit for each */

static struct spreading {
	struct pg_future future;
	struct pg_task task;
} spreading[SPREAD];

static enum pg_poll spreading_poll(struct pg_future *future, struct pg_task *waker)
{
	(void)future;
	if (atomic_fetch_or(&polled_by, 1u << waker->executor->index) == (1u << VCPUS) - 1)
		return PG_READY;
	pg_task_wake(waker);
	return PG_PENDING;
}

static const struct pg_future_ops spreading_ops = { spreading_poll, NULL };

static void all_take_part(uint64_t spin_ns)
{
	host_set_clock(0);
	host_enter(NULL);
	init(spin_ns);
	atomic_store(&unfinished, SPREAD);
	for (int i = 0; i < SPREAD; i++) {
		spreading[i].future.ops = &spreading_ops;
		pg_task_spawn(group[0], &spreading[i].task, &spreading[i].future, finished);
	}
	run_all();
	for (int i = 0; i < VCPUS; i++)
		cr_assert(i == 0 || vcpus[i].counters.steals > 0);
}

Test(balance, all_take_part_from_parks)
{
	all_take_part(0);
}

Test(balance, all_take_part_while_spinning)
{
	all_take_part(1000000);
}
