/* One policy, one priority, no children. What Linux says the same of: tests/guest/waiting. */
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "sys_calls.h"

#define CALL(name) int64_t pg_sys_##name(struct pg_thread *thread, const uint64_t *arg)
CALL(wait4);
CALL(waitid);
CALL(sched_setscheduler);
CALL(sched_getscheduler);
CALL(sched_setparam);
CALL(sched_getparam);
CALL(sched_get_priority_max);
CALL(sched_get_priority_min);
CALL(sched_rr_get_interval);
CALL(getpriority);
CALL(setpriority);
CALL(ioprio_get);
CALL(ioprio_set);

#define NOW(name, ...) pg_sys_##name(NULL, (const uint64_t[6]){ __VA_ARGS__ })

static int32_t priority;

#define PRIORITY ((uintptr_t)&priority)

Test(sched, one_policy)
{
	cr_assert_eq(NOW(sched_getscheduler, 0), SCHED_OTHER);
	cr_assert_eq(NOW(sched_getscheduler, 1), SCHED_OTHER);
	cr_assert_eq(NOW(sched_getscheduler, 77), -ESRCH);
	cr_assert_eq(NOW(sched_setscheduler, 0, SCHED_OTHER, PRIORITY), 0);
	cr_assert_eq(NOW(sched_setscheduler, 0, SCHED_BATCH, PRIORITY), -EPERM);
	cr_assert_eq(NOW(sched_setscheduler, 0, SCHED_FIFO, PRIORITY), -EINVAL);
	cr_assert_eq(NOW(sched_setscheduler, 0, -1, PRIORITY), -EINVAL);
	cr_assert_eq(NOW(sched_setscheduler, 0, SCHED_OTHER, SYS_HOLE), -EFAULT);
	cr_assert_eq(NOW(sched_setscheduler, 77, SCHED_OTHER, PRIORITY), -ESRCH);
	cr_assert_eq(NOW(sched_setparam, 0, PRIORITY), 0);
	priority = 50;
	cr_assert_eq(NOW(sched_setscheduler, 0, SCHED_FIFO, PRIORITY), -EPERM);
	cr_assert_eq(NOW(sched_setscheduler, 0, SCHED_OTHER, PRIORITY), -EINVAL);
	cr_assert_eq(NOW(sched_setparam, 0, PRIORITY), -EINVAL);
	cr_assert_eq(NOW(sched_getparam, 0, PRIORITY), 0);
	cr_assert_eq(priority, 0);
	cr_assert_eq(NOW(sched_getparam, 0, SYS_HOLE), -EFAULT);
	cr_assert_eq(NOW(sched_get_priority_max, SCHED_RR), 99);
	cr_assert_eq(NOW(sched_get_priority_min, SCHED_FIFO), 1);
	cr_assert_eq(NOW(sched_get_priority_min, 4), -EINVAL);
	cr_assert_eq(NOW(sched_rr_get_interval, 0, SYS_HOLE), -EFAULT);
}

Test(sched, one_priority)
{
	cr_assert_eq(NOW(getpriority, PRIO_PROCESS, 0), 20);
	cr_assert_eq(NOW(getpriority, PRIO_PROCESS, 77), -ESRCH);
	cr_assert_eq(NOW(getpriority, 3, 0), -EINVAL);
	cr_assert_eq(NOW(setpriority, PRIO_PROCESS, 0, 0), 0);
	cr_assert_eq(NOW(setpriority, PRIO_PROCESS, 0, 5), -EACCES);
	cr_assert_eq(NOW(setpriority, PRIO_USER, 1, 0), -ESRCH);
	cr_assert_eq(NOW(ioprio_get, 1, 0), 4);
	cr_assert_eq(NOW(ioprio_set, 1, 0, 0), 0);
	cr_assert_eq(NOW(ioprio_set, 1, 0, 2 << 13 | 4), 0);
	cr_assert_eq(NOW(ioprio_set, 1, 0, 3 << 13), -EPERM);
	cr_assert_eq(NOW(ioprio_set, 1, 0, 2 << 13 | 8), -EINVAL);
	cr_assert_eq(NOW(ioprio_set, 0, 0, 0), -EINVAL);
}

Test(sched, no_children)
{
	cr_assert_eq(NOW(wait4, (uint64_t)-1, 0, 0), -ECHILD);
	cr_assert_eq(NOW(wait4, INT32_MIN, 0, 0), -ESRCH);
	cr_assert_eq(NOW(waitid, P_PGID, 0, 0, WEXITED), -ECHILD);
	cr_assert_eq(NOW(waitid, P_PIDFD, 0, 0, WEXITED), -EBADF);
	cr_assert_eq(NOW(waitid, 9, 0, 0, WEXITED), -EINVAL);
}
