/* The system calls that send. There is one process, so "to whom" is quickly answered. */
#include "lib/errno.h"
#include "state.h"
#include "sys/process.h"
#include "sys/syscall.h"
#include "sys/user.h"

static bool is_signal(uint64_t signal)
{
	return (uint32_t)signal <= PG_SIGNALS;
}

/* kill(process, or 0 and negative numbers for groups: the process is in one, alone; signal) */
PG_CALL(kill)
{
	const struct pg_siginfo info = { .signal = (int)arg[1], .from.pid = PG_PID };
	int to = (int)arg[0];

	if (!is_signal(arg[1]))
		return -EINVAL;
	if (to != PG_PID && to != 0 && to != -1 && to != -PG_PID)
		return -ESRCH;
	return pg_signal_send(0, info.signal, &info, thread);
}

static int64_t send_to_thread(struct pg_thread *caller, int tid, uint64_t signal)
{
	const struct pg_siginfo info = { .signal = (int)signal,
					 .code = PG_SI_TKILL,
					 .from.pid = PG_PID };

	if (tid <= 0 || !is_signal(signal))
		return -EINVAL;
	return pg_signal_send((uint32_t)tid, info.signal, &info, caller);
}

/* tkill(thread, signal) */
PG_CALL(tkill)
{
	return send_to_thread(thread, (int)arg[0], arg[1]);
}

/* tgkill(process, thread, signal) */
PG_CALL(tgkill)
{
	if ((int)arg[0] <= 0)
		return -EINVAL;
	if ((int)arg[0] != PG_PID)
		return (int)arg[1] <= 0 || !is_signal(arg[2]) ? -EINVAL : -ESRCH;
	return send_to_thread(thread, (int)arg[1], arg[2]);
}

/* With what the program says of it. Only used within the process, so it may say anything. */
static int64_t queue(struct pg_thread *caller, uint32_t tid, uint64_t signal, uint64_t address)
{
	struct pg_siginfo info;

	if (pg_user_read(&info, address, sizeof(info)))
		return -EFAULT;
	if (!is_signal(signal))
		return -EINVAL;
	info.signal = (int)signal;
	return pg_signal_send(tid, info.signal, &info, caller);
}

/* rt_sigqueueinfo(process, signal, siginfo) */
PG_CALL(rt_sigqueueinfo)
{
	if ((int)arg[0] != PG_PID)
		return -ESRCH;
	return queue(thread, 0, arg[1], arg[2]);
}

/* rt_tgsigqueueinfo(process, thread, signal, siginfo) */
PG_CALL(rt_tgsigqueueinfo)
{
	if ((int)arg[0] <= 0 || (int)arg[1] <= 0)
		return -EINVAL;
	if ((int)arg[0] != PG_PID)
		return -ESRCH;
	return queue(thread, (uint32_t)arg[1], arg[2], arg[3]);
}
