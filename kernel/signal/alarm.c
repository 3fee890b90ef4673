/*
 * The process's one interval timer, ITIMER_REAL: alarm is another name for it. A task of its
 * own waits for it, on the vCPU where the timer was first set.
 */
#include "core/port.h"
#include "core/timer.h"
#include "lib/errno.h"
#include "state.h"
#include "sys/syscall.h"
#include "sys/time.h"
#include "sys/user.h"

#define SECOND      1000000000ull
#define MICROSECOND 1000ull

#define ITIMER_REAL 0

static struct {
	struct pg_spinlock lock; /* guards the following */
	uint64_t deadline;       /* PG_NEVER: not set */
	uint64_t interval;       /* 0: once */
	uint32_t changes;        /* how often it was set */
	bool spawned;

	/* The task's own. */
	struct pg_task task;
	struct pg_future future;
	uint32_t seen; /* of `changes`: what `sleep` is for */
	bool sleeping; /* `sleep` is neither READY nor dropped */
	struct pg_sleep sleep;
} timer = { .deadline = PG_NEVER };

/* The first point after `now` that is whole intervals after the deadline. */
static uint64_t next_deadline(uint64_t deadline, uint64_t interval, uint64_t now)
{
	uint64_t behind = now > deadline ? (now - deadline) / interval : 0;

	/* So far in the future that it never comes. */
	if (interval > PG_NEVER - deadline || (behind + 1) > (PG_NEVER - deadline) / interval)
		return PG_NEVER;
	return deadline + (behind + 1) * interval;
}

/* The deadline that `sleep` is for has come: true if it still counts. */
static bool expire(void)
{
	bool due;

	pg_spin_lock(&timer.lock);
	due = timer.seen == timer.changes && timer.deadline != PG_NEVER;
	if (due) {
		timer.deadline = timer.interval ? next_deadline(timer.deadline, timer.interval,
								pg_port_now())
						: PG_NEVER;
		timer.changes++;
	}
	pg_spin_unlock(&timer.lock);
	return due;
}

/* What is to be waited for now; false: the sleep is right as it is. */
static bool changed(uint64_t *deadline)
{
	bool yes;

	pg_spin_lock(&timer.lock);
	yes = timer.seen != timer.changes;
	timer.seen = timer.changes;
	*deadline = timer.deadline;
	pg_spin_unlock(&timer.lock);
	return yes;
}

/* Never READY: the timer may be set again. */
static enum pg_poll poll(struct pg_future *future, struct pg_task *waker)
{
	uint64_t deadline;

	for (;;) {
		if (changed(&deadline)) {
			if (timer.sleeping)
				pg_future_drop(&timer.sleep.future);
			pg_sleep_init(&timer.sleep, deadline);
			timer.sleeping = deadline != PG_NEVER;
		}
		if (!timer.sleeping || pg_future_poll(&timer.sleep.future, waker) == PG_PENDING)
			return PG_PENDING;
		timer.sleeping = false;
		if (expire())
			(void)pg_signal_send_process(PG_SIGALRM, NULL);
	}
}

static void drop(struct pg_future *future)
{
	if (timer.sleeping)
		pg_future_drop(&timer.sleep.future);
	timer.sleeping = false;
}

static const struct pg_future_ops ops = { poll, drop };

struct setting {
	uint64_t left, interval; /* ns; 0: not set */
};

static struct setting get(void)
{
	uint64_t now = pg_port_now(), deadline, interval;

	pg_spin_lock(&timer.lock);
	deadline = timer.deadline;
	interval = timer.interval;
	pg_spin_unlock(&timer.lock);
	if (deadline == PG_NEVER)
		return (struct setting){ 0, interval };
	/* Due, and the signal is on its way: not "not set". */
	return (struct setting){ deadline > now ? deadline - now : MICROSECOND, interval };
}

static void set(struct setting setting)
{
	uint64_t deadline = setting.left ? pg_time_after(setting.left) : PG_NEVER;
	bool spawn;

	pg_spin_lock(&timer.lock);
	timer.deadline = deadline;
	timer.interval = setting.interval;
	timer.changes++;
	spawn = !timer.spawned;
	timer.spawned = true;
	if (spawn) {
		/* Spawned in a moment; until then nobody may enqueue it. */
		atomic_init(&timer.task.state, PG_TASK_QUEUED);
	}
	pg_spin_unlock(&timer.lock);
	if (!spawn) {
		pg_task_wake(&timer.task);
		return;
	}
	timer.future.ops = &ops;
	pg_task_spawn(pg_port_executor(), &timer.task, &timer.future, NULL);
}

PG_CALL(alarm)
{
	struct setting old = get();

	set((struct setting){ (uint32_t)arg[0] * SECOND, 0 });
	/* To the nearest second, but 0 means that there was none. */
	if (!old.left)
		return 0;
	return (int64_t)(old.left < SECOND ? 1 : (old.left + SECOND / 2) / SECOND);
}

/* Linux's struct itimerval. */
struct itimerval {
	int64_t interval_seconds, interval_microseconds;
	int64_t seconds, microseconds;
};

static int64_t tell(uint64_t address, const struct setting *setting)
{
	const struct itimerval value = {
		(int64_t)(setting->interval / SECOND),
		(int64_t)(setting->interval % SECOND / MICROSECOND),
		(int64_t)(setting->left / SECOND),
		(int64_t)(setting->left % SECOND / MICROSECOND),
	};

	return pg_user_write(address, &value, sizeof(value));
}

/* CPU time is not accounted, so the two other timers there are on Linux are not here. */
PG_CALL(getitimer)
{
	const struct setting setting = get();

	return arg[0] == ITIMER_REAL ? tell(arg[1], &setting) : -EINVAL;
}

static bool is_time(int64_t seconds, int64_t microseconds)
{
	return seconds >= 0 && microseconds >= 0 && microseconds < 1000000;
}

/* setitimer(which, new, old); without new: as 0. */
PG_CALL(setitimer)
{
	struct setting old = get();
	struct itimerval value = { 0 };

	if (arg[0] != ITIMER_REAL)
		return -EINVAL;
	if (arg[1] && pg_user_read(&value, arg[1], sizeof(value)))
		return -EFAULT;
	if (!is_time(value.seconds, value.microseconds) ||
	    !is_time(value.interval_seconds, value.interval_microseconds))
		return -EINVAL;
	set((struct setting){
		pg_time_add((uint64_t)value.seconds, (uint64_t)value.microseconds * MICROSECOND),
		pg_time_add((uint64_t)value.interval_seconds,
			    (uint64_t)value.interval_microseconds * MICROSECOND),
	});
	return arg[2] ? tell(arg[2], &old) : 0;
}
