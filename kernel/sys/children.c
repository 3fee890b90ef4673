/* Waiting for children: there are none, and never will be. */
#include "syscall.h"
#include "user.h"

#define WNOHANG     0x1u
#define WUNTRACED   0x2u
#define WEXITED     0x4u
#define WCONTINUED  0x8u
#define WNOWAIT     0x1000000u
#define WNOTHREAD   0x20000000u
#define WALL        0x40000000u
#define WCLONE      0x80000000u
#define WAIT4_KNOWN (WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WCLONE | WALL)

#define P_ALL   0
#define P_PID   1
#define P_PGID  2
#define P_PIDFD 3

PG_CALL(wait4)
{
	if ((uint32_t)arg[2] & ~WAIT4_KNOWN)
		return -EINVAL;
	if ((int32_t)arg[0] == INT32_MIN)
		return -ESRCH;
	return -ECHILD;
}

PG_CALL(waitid)
{
	uint32_t options = (uint32_t)arg[3];
	int32_t id = (int32_t)arg[1];

	if (options & ~(WAIT4_KNOWN | WEXITED | WNOWAIT) ||
	    !(options & (WEXITED | WUNTRACED | WCONTINUED)))
		return -EINVAL;
	switch ((int32_t)arg[0]) {
	case P_ALL:
		return -ECHILD;
	case P_PID:
		return id <= 0 ? -EINVAL : -ECHILD;
	case P_PGID:
		return id < 0 ? -EINVAL : -ECHILD;
	case P_PIDFD:
		/* No descriptor is one of a process. */
		return id < 0 ? -EINVAL : -EBADF;
	default:
		return -EINVAL;
	}
}
