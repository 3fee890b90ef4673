/* Calls that tell or set something small, and never wait. */
#include "abi/version.h"
#include "arch/x86_64/cpu.h"
#include "core/port.h"
#include "lib/string.h"
#include "process.h"
#include "random.h"
#include "signal/state.h"
#include "syscall.h"
#include "user.h"

#define SECOND 1000000000ull

PG_CALL(getpid)
{
	return PG_PID;
}

PG_CALL(getppid)
{
	return 0;
}

PG_CALL(gettid)
{
	return thread->tid;
}

/* There is one user, and it is root: of this guest alone. */
PG_CALL(getuid)
{
	return 0;
}

PG_CALL(geteuid)
{
	return 0;
}

PG_CALL(getgid)
{
	return 0;
}

PG_CALL(getegid)
{
	return 0;
}

PG_CALL(getpgrp)
{
	return PG_PID;
}

PG_CALL(uname)
{
	struct {
		char system[65], node[65], release[65], version[65], machine[65], domain[65];
	} name = {
		.system = "Linux", /* what the system calls are compatible with */
		.node = "pagurus",
		.release = "6.1.0-pagurus",
		.version = "Pagurus",
		.machine = "x86_64",
		.domain = "(none)",
	};

	return pg_user_write(arg[0], &name, sizeof(name));
}

PG_CALL(getcpu)
{
	const uint32_t cpu = pg_cpu_self()->index, node = 0;

	if (arg[0] && pg_user_write(arg[0], &cpu, sizeof(cpu)))
		return -EFAULT;
	return arg[1] ? pg_user_write(arg[1], &node, sizeof(node)) : 0;
}

PG_WAITING_CALL(sched_yield, struct pg_no_frame)
{
	PG_BEGIN(&call->async);
	if (pg_executor_others(waker->executor))
		PG_YIELD(&call->async, waker);
	PG_FINISH(call, 0);
	PG_END(&call->async);
}

#define GETRANDOM_MAX 256

PG_CALL(getrandom)
{
	uint8_t bytes[GETRANDOM_MAX];
	uint64_t length = arg[1] < INT32_MAX ? arg[1] : INT32_MAX;

	if (arg[2] & ~7ull)
		return -EINVAL;
	for (uint64_t done = 0; done < length;) {
		uint64_t piece = length - done < sizeof(bytes) ? length - done : sizeof(bytes);

		pg_random(bytes, piece);
		if (pg_user_write(arg[0] + done, bytes, piece))
			return done ? (int64_t)done : -EFAULT;
		done += piece;
	}
	return (int64_t)length;
}

/* ---- limits and usage ---- */

#define RLIMIT_STACK      3
#define RLIMIT_NOFILE     7
#define RLIMIT_SIGPENDING 11
#define RLIMITS           16

PG_CALL(prlimit64)
{
	uint64_t limit[2] = { UINT64_MAX, UINT64_MAX };

	if ((int)arg[0] != 0 && (int)arg[0] != PG_PID)
		return -ESRCH;
	if (arg[1] >= RLIMITS)
		return -EINVAL;
	if (arg[1] == RLIMIT_STACK)
		limit[0] = 8ull << 20;
	else if (arg[1] == RLIMIT_NOFILE)
		limit[0] = limit[1] = 1024;
	else if (arg[1] == RLIMIT_SIGPENDING)
		limit[0] = limit[1] = PG_SIGNAL_QUEUE_MAX;
	if (arg[2] && pg_user_read(&(uint64_t[2]){ 0 }, arg[2], sizeof(limit)))
		return -EFAULT;
	/* Limits are what they are: new values are accepted and change nothing. */
	return arg[3] ? pg_user_write(arg[3], limit, sizeof(limit)) : 0;
}

PG_CALL(getrlimit)
{
	const uint64_t all[4] = { 0, arg[0], 0, arg[1] };

	return pg_sys_prlimit64(thread, all);
}

PG_CALL(sysinfo)
{
	struct {
		int64_t uptime;
		uint64_t loads[3], total, free, shared, buffer, swap, free_swap;
		uint16_t processes, pad;
		uint32_t pad2;
		uint64_t high, free_high;
		uint32_t unit, pad3;
	} info = {
		.uptime = (int64_t)(pg_port_now() / SECOND),
		.total = pg_boot->ram_size,
		.free = pg_boot->ram_size / 2, /* an estimate: the loader keeps the frames */
		.processes = (uint16_t)pg_thread_count(),
		.unit = 1,
	};

	return pg_user_write(arg[0], &info, sizeof(info));
}

PG_CALL(getrusage)
{
	uint64_t usage[18] = { 0 }, now = pg_port_now();

	usage[0] = now / SECOND;
	usage[1] = now % SECOND / 1000;
	return pg_user_write(arg[1], usage, sizeof(usage));
}

/* ---- accepted, since nothing depends on them yet: see CAVEATS ---- */

PG_CALL(set_robust_list)
{
	return arg[1] == 24 ? 0 : -EINVAL;
}

PG_CALL(membarrier)
{
	/* MEMBARRIER_CMD_QUERY: none is offered. */
	return arg[0] == 0 ? 0 : -EINVAL;
}

PG_CALL(prctl)
{
	return arg[0] == 15 /* PR_SET_NAME */ ? 0 : -EINVAL;
}
