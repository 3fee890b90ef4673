/*
 * Scheduling policy and priority: there is one policy, SCHED_OTHER, and one priority. Setting
 * what is already so works; anything else is refused as Linux refuses one without privileges.
 */
#include "process.h"
#include "syscall.h"
#include "timespec.h"
#include "user.h"

#define SCHED_OTHER         0
#define SCHED_FIFO          1
#define SCHED_RR            2
#define SCHED_BATCH         3
#define SCHED_IDLE          5
#define SCHED_DEADLINE      6
#define SCHED_RESET_ON_FORK 0x40000000

#define REALTIME_MIN 1
#define REALTIME_MAX 99

#define PRIO_PROCESS 0
#define PRIO_USER    2

#define NICE_MIN (-20)
#define NICE_MAX 19

#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_WHO_USER    3
#define IOPRIO_CLASS_SHIFT 13
#define IOPRIO_CLASS_RT    1
#define IOPRIO_CLASS_BE    2
#define IOPRIO_CLASS_IDLE  3
#define IOPRIO_LEVELS      8

static void do_nothing(struct pg_thread *thread, void *argument)
{
}

/* All threads are alike, so it is enough to know. */
static bool thread_exists(int32_t id)
{
	return pg_thread_visit((uint32_t)id, do_nothing, NULL);
}

/* 0 is the caller. -EINVAL, or -ESRCH. */
static int64_t check_thread(int32_t id)
{
	if (id < 0)
		return -EINVAL;
	return id == 0 || thread_exists(id) ? 0 : -ESRCH;
}

static bool known_policy(int32_t policy)
{
	switch (policy) {
	case SCHED_OTHER:
	case SCHED_FIFO:
	case SCHED_RR:
	case SCHED_BATCH:
	case SCHED_IDLE:
		return true;
	default:
		return false;
	}
}

static bool is_realtime(int32_t policy)
{
	return policy == SCHED_FIFO || policy == SCHED_RR;
}

static int64_t set_policy(int32_t id, int32_t policy, uint64_t address)
{
	int32_t priority;
	int64_t code;

	if (!address || id < 0)
		return -EINVAL;
	if (pg_user_read(&priority, address, sizeof(priority)))
		return -EFAULT;
	code = check_thread(id);
	if (code)
		return code;
	policy &= ~SCHED_RESET_ON_FORK;
	if (!known_policy(policy))
		return -EINVAL;
	if (is_realtime(policy) ? priority < REALTIME_MIN || priority > REALTIME_MAX
				: priority != 0)
		return -EINVAL;
	return policy == SCHED_OTHER ? 0 : -EPERM;
}

PG_CALL(sched_setscheduler)
{
	return (int32_t)arg[1] < 0 ? -EINVAL : set_policy((int32_t)arg[0], (int32_t)arg[1], arg[2]);
}

PG_CALL(sched_setparam)
{
	return set_policy((int32_t)arg[0], SCHED_OTHER, arg[1]);
}

PG_CALL(sched_getscheduler)
{
	int64_t code = check_thread((int32_t)arg[0]);

	return code ? code : SCHED_OTHER;
}

PG_CALL(sched_getparam)
{
	const int32_t priority = 0;
	int64_t code = arg[1] ? check_thread((int32_t)arg[0]) : -EINVAL;

	return code ? code : pg_user_write(arg[1], &priority, sizeof(priority));
}

PG_CALL(sched_get_priority_max)
{
	int32_t policy = (int32_t)arg[0];

	if (is_realtime(policy))
		return REALTIME_MAX;
	return known_policy(policy) || policy == SCHED_DEADLINE ? 0 : -EINVAL;
}

PG_CALL(sched_get_priority_min)
{
	int32_t policy = (int32_t)arg[0];

	if (is_realtime(policy))
		return REALTIME_MIN;
	return known_policy(policy) || policy == SCHED_DEADLINE ? 0 : -EINVAL;
}

/* There are no slices of a fixed length. */
PG_CALL(sched_rr_get_interval)
{
	const struct pg_timespec none = { 0 };
	int64_t code = check_thread((int32_t)arg[0]);

	return code ? code : pg_user_write(arg[1], &none, sizeof(none));
}

/* ---- nice values and I/O priorities ---- */

/* Whom `which` and `who` mean: 0 if that is us. Processes, groups, users: there is one each. */
static int64_t check_who(uint64_t which, int32_t who, uint64_t process, uint64_t user)
{
	if (which < process || which > user)
		return -EINVAL;
	if (who == 0)
		return 0;
	if (which == process)
		return who > 0 && thread_exists(who) ? 0 : -ESRCH;
	return which != user && who == PG_PID ? 0 : -ESRCH;
}

/* The system call's answer is 20 - nice. */
PG_CALL(getpriority)
{
	int64_t code = check_who((uint32_t)arg[0], (int32_t)arg[1], PRIO_PROCESS, PRIO_USER);

	return code ? code : 20;
}

/* Being nicer has no effect here, and is not remembered: it is refused, not swallowed. */
PG_CALL(setpriority)
{
	int64_t code = check_who((uint32_t)arg[0], (int32_t)arg[1], PRIO_PROCESS, PRIO_USER);
	int32_t nice = (int32_t)arg[2];

	if (code)
		return code;
	if (nice < NICE_MIN)
		nice = NICE_MIN;
	if (nice > NICE_MAX)
		nice = NICE_MAX;
	return nice == 0 ? 0 : -EACCES;
}

PG_CALL(ioprio_get)
{
	int64_t code =
		check_who((uint32_t)arg[0], (int32_t)arg[1], IOPRIO_WHO_PROCESS, IOPRIO_WHO_USER);

	/* Class "none", level 4: what Linux says of one that was never set. */
	return code ? code : 4;
}

PG_CALL(ioprio_set)
{
	uint32_t class = (uint32_t)arg[2] >> IOPRIO_CLASS_SHIFT;
	uint32_t level = (uint32_t)arg[2] & ((1u << IOPRIO_CLASS_SHIFT) - 1);

	switch (class) {
	case 0:
		if (level)
			return -EINVAL;
		break;
	case IOPRIO_CLASS_RT:
	case IOPRIO_CLASS_BE:
		if (level >= IOPRIO_LEVELS)
			return -EINVAL;
		break;
	case IOPRIO_CLASS_IDLE:
		break;
	default:
		return -EINVAL;
	}
	int64_t code =
		check_who((uint32_t)arg[0], (int32_t)arg[1], IOPRIO_WHO_PROCESS, IOPRIO_WHO_USER);

	if (code)
		return code;
	return class == 0 || (class == IOPRIO_CLASS_BE && level == 4) ? 0 : -EPERM;
}
