#include <criterion/criterion.h>

#include "core/combine.h"
#include "gate.h"
#include "host_port.h"

#define COUNT 4

static struct host_vcpu vcpu;
static struct gate gates[COUNT];
static struct pg_future *children[COUNT];
static struct pg_task task;

static void setup(void)
{
	host_vcpu_init(&vcpu, 0);
	host_enter(&vcpu);
}

TestSuite(combine, .init = setup, .timeout = 20);

static void make_children(void)
{
	for (int i = 0; i < COUNT; i++) {
		gate_init(&gates[i]);
		children[i] = &gates[i].future;
	}
}

static void start(struct pg_future *future)
{
	pg_task_spawn(&vcpu.executor, &task, future, NULL);
	host_settle(&vcpu);
}

/* Each child ended in exactly one way. */
static void expect_children(unsigned ready)
{
	for (unsigned i = 0; i < COUNT; i++) {
		cr_assert_eq(gates[i].ready, (ready >> i) & 1, "child %u", i);
		cr_assert_eq(gates[i].drops, !gates[i].ready, "child %u", i);
		cr_assert_lt(gates[i].polls, 1000, "child %u was polled after its end", i);
	}
}

/* The `number`-th order of the children. */
static void permutation(int number, int order[COUNT])
{
	for (int i = 0; i < COUNT; i++)
		order[i] = i;
	for (int i = COUNT - 1; i > 0; i--) {
		int j = number % (i + 1);
		int swap = order[i];

		number /= i + 1;
		order[i] = order[j];
		order[j] = swap;
	}
}

#define ORDERS 24

Test(combine, all_in_every_order_cancelled_at_every_point)
{
	for (int number = 0; number < ORDERS; number++) {
		for (int stop = 0; stop <= COUNT; stop++) {
			int order[COUNT];
			unsigned ready = 0;
			struct pg_all all;

			permutation(number, order);
			make_children();
			pg_all_init(&all, children, COUNT);
			start(&all.future);
			for (int i = 0; i < stop; i++) {
				cr_assert_not(task_done(&task));
				gate_open(&gates[order[i]]);
				ready |= 1u << order[i];
				host_settle(&vcpu);
			}
			pg_task_cancel(&task);
			host_settle(&vcpu);
			cr_assert(task_done(&task));
			cr_assert_eq(pg_task_cancelled(&task), stop < COUNT);
			expect_children(ready);
		}
	}
}

Test(combine, all_of_any_that_are_ready_at_once)
{
	for (unsigned open = 0; open < 1u << COUNT; open++) {
		struct pg_all all;

		make_children();
		for (int i = 0; i < COUNT; i++)
			gates[i].open = open >> i & 1;
		pg_all_init(&all, children, COUNT);
		start(&all.future);
		cr_assert_eq(task_done(&task), open == (1u << COUNT) - 1);
		for (int i = 0; i < COUNT; i++)
			cr_assert_eq(gates[i].ready, open >> i & 1);
		for (int i = 0; i < COUNT; i++)
			gate_open(&gates[i]);
		host_settle(&vcpu);
		cr_assert(task_done(&task));
		expect_children((1u << COUNT) - 1);
	}
}

Test(combine, all_of_nothing_is_ready)
{
	struct pg_all all;

	pg_all_init(&all, NULL, 0);
	start(&all.future);
	cr_assert(task_done(&task));
}

Test(combine, race_has_the_winner)
{
	for (unsigned winner = 0; winner < COUNT; winner++) {
		struct pg_race race;

		make_children();
		pg_race_init(&race, children, COUNT);
		start(&race.future);
		pg_task_wake(&task);
		host_settle(&vcpu);
		cr_assert_not(task_done(&task));
		gate_open(&gates[winner]);
		host_settle(&vcpu);
		cr_assert(task_done(&task));
		cr_assert_eq(race.winner, winner);
		expect_children(1u << winner);
	}
}

Test(combine, race_of_any_that_are_ready_at_once)
{
	for (unsigned open = 1; open < 1u << COUNT; open++) {
		struct pg_race race;
		size_t first = (size_t)__builtin_ctz(open);

		make_children();
		for (int i = 0; i < COUNT; i++)
			gates[i].open = open >> i & 1;
		pg_race_init(&race, children, COUNT);
		start(&race.future);
		cr_assert(task_done(&task));
		cr_assert_eq(race.winner, first);
		expect_children(1u << first);
	}
}

Test(combine, race_cancelled)
{
	struct pg_race race;

	make_children();
	pg_race_init(&race, children, COUNT);
	start(&race.future);
	pg_task_cancel(&task);
	host_settle(&vcpu);
	cr_assert(pg_task_cancelled(&task));
	expect_children(0);
}

Test(combine, timeout_child_first)
{
	struct pg_timeout timeout;

	host_set_clock(1000);
	make_children();
	pg_timeout_init(&timeout, children[0], 2000);
	start(&timeout.future);
	cr_assert_not(task_done(&task));
	gate_open(&gates[0]);
	host_settle(&vcpu);
	cr_assert(task_done(&task));
	cr_assert_not(timeout.timed_out);
	cr_assert_eq(gates[0].drops, 0);
	cr_assert_null(vcpu.executor.timers.first, "the timer is gone");
}

Test(combine, timeout_time_first)
{
	struct pg_timeout timeout;

	host_set_clock(1000);
	make_children();
	pg_timeout_init(&timeout, children[0], 2000);
	start(&timeout.future);
	host_set_clock(1999);
	host_settle(&vcpu);
	cr_assert_not(task_done(&task));
	host_set_clock(2000);
	host_settle(&vcpu);
	cr_assert(task_done(&task));
	cr_assert(timeout.timed_out);
	cr_assert_eq(gates[0].drops, 1);
}

Test(combine, timeout_tie_and_child_ready_at_once)
{
	struct pg_timeout timeout;

	host_set_clock(1000);
	make_children();
	pg_timeout_init(&timeout, children[0], 2000);
	start(&timeout.future);
	host_set_clock(2000);
	gate_open(&gates[0]);
	host_settle(&vcpu);
	cr_assert_not(timeout.timed_out);
	cr_assert_eq(gates[0].drops, 0);

	make_children();
	gates[0].open = true;
	pg_timeout_init(&timeout, children[0], 1);
	start(&timeout.future);
	cr_assert(task_done(&task));
	cr_assert_not(timeout.timed_out);
}

Test(combine, timeout_cancelled)
{
	struct pg_timeout timeout;

	host_set_clock(1000);
	make_children();
	pg_timeout_init(&timeout, children[0], 2000);
	start(&timeout.future);
	pg_task_cancel(&task);
	host_settle(&vcpu);
	cr_assert(pg_task_cancelled(&task));
	cr_assert_eq(gates[0].drops, 1);
	cr_assert_null(vcpu.executor.timers.first);
}

Test(combine, nested)
{
	/* all(race(0, 1), timeout(2)): combinators are futures too. */
	struct pg_race race;
	struct pg_timeout timeout;
	struct pg_future *pair[2] = { &race.future, &timeout.future };
	struct pg_all all;

	host_set_clock(1000);
	make_children();
	pg_race_init(&race, children, 2);
	pg_timeout_init(&timeout, children[2], 2000);
	pg_all_init(&all, pair, 2);
	start(&all.future);
	gate_open(&gates[1]);
	host_settle(&vcpu);
	cr_assert_eq(race.winner, 1);
	cr_assert_eq(gates[0].drops, 1);
	cr_assert_not(task_done(&task));
	host_set_clock(3000);
	host_settle(&vcpu);
	cr_assert(task_done(&task));
	cr_assert(timeout.timed_out);
}
