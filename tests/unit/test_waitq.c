#include <criterion/criterion.h>

#include "gate.h"
#include "host_port.h"
#include "core/waitq.h"

#define COUNT 5

static struct host_vcpu vcpu;
static struct pg_waitq queue;
static struct pg_wait waits[COUNT];
static struct pg_task tasks[COUNT];

static void setup(void)
{
	host_vcpu_init(&vcpu, 0);
	host_enter(&vcpu);
	pg_waitq_init(&queue);
}

TestSuite(waitq, .init = setup, .timeout = 10);

static void start_all(void)
{
	for (int i = 0; i < COUNT; i++) {
		pg_wait_init(&waits[i], &queue);
		pg_task_spawn(&vcpu.executor, &tasks[i], &waits[i].future, NULL);
	}
	host_settle(&vcpu);
}

/* Which tasks are done, as a bit mask. */
static unsigned finished(void)
{
	unsigned mask = 0;

	host_settle(&vcpu);
	for (int i = 0; i < COUNT; i++) {
		if (task_done(&tasks[i]) && !pg_task_cancelled(&tasks[i]))
			mask |= 1u << i;
	}
	return mask;
}

Test(waitq, wakes_in_order)
{
	start_all();
	cr_assert_eq(finished(), 0);
	cr_assert_eq(pg_waitq_wake_one(&queue), 1);
	cr_assert_eq(finished(), 0x01);
	cr_assert_eq(pg_waitq_wake_n(&queue, 2), 2);
	cr_assert_eq(finished(), 0x07);
	cr_assert_eq(pg_waitq_wake_all(&queue), 2);
	cr_assert_eq(finished(), 0x1f);
	cr_assert_eq(pg_waitq_wake_all(&queue), 0);
	cr_assert_null(queue.head);
	cr_assert_null(queue.tail);
}

Test(waitq, wake_n_with_too_few)
{
	start_all();
	cr_assert_eq(pg_waitq_wake_n(&queue, 0), 0);
	cr_assert_eq(pg_waitq_wake_n(&queue, 100), COUNT);
	cr_assert_eq(finished(), 0x1f);
}

Test(waitq, removal_anywhere)
{
	/* Every subset of waiters is cancelled; the others are woken, in order. */
	for (unsigned cancelled = 0; cancelled < 1u << COUNT; cancelled++) {
		unsigned expected = 0;

		start_all();
		for (int i = 0; i < COUNT; i++) {
			if (cancelled & 1u << i)
				pg_task_cancel(&tasks[i]);
		}
		cr_assert_eq(finished(), 0);
		for (int i = 0; i < COUNT; i++) {
			if (cancelled & 1u << i)
				continue;
			cr_assert_eq(pg_waitq_wake_one(&queue), 1);
			expected |= 1u << i;
			cr_assert_eq(finished(), expected);
		}
		cr_assert_null(queue.head);
		cr_assert_null(queue.tail);
	}
}

Test(waitq, spurious_polls_register_once)
{
	start_all();
	for (int i = 0; i < COUNT; i++)
		pg_task_wake(&tasks[i]);
	cr_assert_eq(finished(), 0);
	cr_assert_eq(pg_waitq_wake_n(&queue, 100), COUNT);
}

Test(waitq, unused_wake_up_is_passed_on)
{
	start_all();
	pg_waitq_wake_one(&queue);
	pg_task_cancel(&tasks[0]); /* chosen, but not polled since */
	cr_assert_eq(finished(), 0x02);
}

Test(waitq, wake_all_is_not_passed_on)
{
	struct pg_wait late;
	struct pg_task task;

	start_all();
	pg_waitq_wake_all(&queue);
	pg_wait_init(&late, &queue);
	pg_wait_start(&late, &task);
	pg_task_spawn(&vcpu.executor, &task, &late.future, NULL);
	pg_task_cancel(&tasks[0]);
	cr_assert_eq(finished(), 0x1e);
	cr_assert_not(task_done(&task));
	cr_assert_eq(pg_waitq_wake_one(&queue), 1);
	host_settle(&vcpu);
	cr_assert(task_done(&task));
}

Test(waitq, started_before_the_wake_up)
{
	/* Registered, woken, and only then polled for the first time. */
	pg_wait_init(&waits[0], &queue);
	pg_task_spawn(&vcpu.executor, &tasks[0], &waits[0].future, NULL);
	pg_wait_start(&waits[0], &tasks[0]);
	cr_assert_eq(pg_waitq_wake_one(&queue), 1);
	cr_assert(pg_executor_step(&vcpu.executor));
	cr_assert(task_done(&tasks[0]));
}

struct condition {
	unsigned looks;
	unsigned true_from; /* ready() is true from this look on */
	bool wake_at_first; /* the wake-up comes between the first look and adding */
};

static bool look(void *argument)
{
	struct condition *condition = argument;
	bool ready = ++condition->looks >= condition->true_from;

	if (condition->looks == 1 && condition->wake_at_first)
		cr_assert_eq(pg_waitq_wake_all(&queue), 0);
	return ready;
}

Test(waitq, until_at_once)
{
	struct condition condition = { .true_from = 1 };
	struct pg_wait_until until;

	pg_wait_until_init(&until, &queue, look, &condition);
	pg_task_spawn(&vcpu.executor, &tasks[0], &until.future, NULL);
	cr_assert_eq(finished(), 1);
	cr_assert_eq(condition.looks, 1);
}

Test(waitq, until_does_not_lose_the_race)
{
	struct condition condition = { .true_from = 2, .wake_at_first = true };
	struct pg_wait_until until;

	pg_wait_until_init(&until, &queue, look, &condition);
	pg_task_spawn(&vcpu.executor, &tasks[0], &until.future, NULL);
	cr_assert_eq(finished(), 1);
	cr_assert_null(queue.head, "nothing stays registered");
}

Test(waitq, until_waits_again_if_there_was_nothing)
{
	struct condition condition = { .true_from = 5 };
	struct pg_wait_until until;

	pg_wait_until_init(&until, &queue, look, &condition);
	pg_task_spawn(&vcpu.executor, &tasks[0], &until.future, NULL);
	cr_assert_eq(finished(), 0); /* looks 1, 2 */
	cr_assert_eq(pg_waitq_wake_one(&queue), 1);
	cr_assert_eq(finished(), 0); /* looks 3, 4 */
	cr_assert_eq(pg_waitq_wake_one(&queue), 1, "it is queued again");
	cr_assert_eq(finished(), 1);
	cr_assert_eq(condition.looks, 5);
}

Test(waitq, until_passes_on_and_withdraws)
{
	struct condition never = { .true_from = 1000 };
	struct pg_wait_until until;

	pg_wait_until_init(&until, &queue, look, &never);
	pg_task_spawn(&vcpu.executor, &tasks[0], &until.future, NULL);
	host_settle(&vcpu);
	pg_wait_init(&waits[1], &queue);
	pg_task_spawn(&vcpu.executor, &tasks[1], &waits[1].future, NULL);
	host_settle(&vcpu);
	pg_waitq_wake_one(&queue);
	pg_task_cancel(&tasks[0]);
	host_settle(&vcpu);
	cr_assert(pg_task_cancelled(&tasks[0]));
	cr_assert(task_done(&tasks[1]));
	cr_assert_null(queue.head);
}

Test(waitq, drop_before_first_poll)
{
	pg_wait_init(&waits[0], &queue);
	pg_task_spawn(&vcpu.executor, &tasks[0], &waits[0].future, NULL);
	pg_task_cancel(&tasks[0]);
	host_settle(&vcpu);
	cr_assert(pg_task_cancelled(&tasks[0]));
}
