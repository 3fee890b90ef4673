#include "time.h"

#include "core/port.h"
#include "core/timer.h"
#include "process.h"
#include "syscall.h"
#include "user.h"

#define SECOND 1000000000ull

#define CLOCK_REALTIME           0
#define CLOCK_MONOTONIC          1
#define CLOCK_PROCESS_CPUTIME_ID 2
#define CLOCK_THREAD_CPUTIME_ID  3
#define CLOCK_MONOTONIC_RAW      4
#define CLOCK_REALTIME_COARSE    5
#define CLOCK_MONOTONIC_COARSE   6
#define CLOCK_BOOTTIME           7

#define TIMER_ABSTIME 1

struct timespec {
	int64_t seconds, nanoseconds;
};

uint64_t pg_time_add(uint64_t seconds, uint64_t nanoseconds)
{
	if (seconds >= UINT64_MAX / SECOND - 1)
		return PG_NEVER;
	return seconds * SECOND + nanoseconds;
}

uint64_t pg_time_after(uint64_t ns)
{
	uint64_t now = pg_port_now();

	return ns > PG_NEVER - now ? PG_NEVER : now + ns;
}

static int64_t realtime_offset(void)
{
	return atomic_load_explicit(&pg_boot->clock.realtime_ns, memory_order_relaxed);
}

uint64_t pg_time_from_realtime(uint64_t ns)
{
	int64_t offset = realtime_offset();

	if (ns == PG_NEVER)
		return PG_NEVER;
	return offset > 0 && ns < (uint64_t)offset ? 0 : ns - (uint64_t)offset;
}

static int64_t read_clock(uint64_t id, uint64_t *ns)
{
	*ns = pg_port_now();
	switch (id) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
		*ns += (uint64_t)realtime_offset();
		return 0;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_BOOTTIME:
		return 0;
	default:
		return -EINVAL;
	}
}

PG_CALL(clock_gettime)
{
	uint64_t ns;
	int64_t result = read_clock(arg[0], &ns);

	if (result)
		return result;
	struct timespec time = { (int64_t)(ns / SECOND), (int64_t)(ns % SECOND) };
	return pg_user_write(arg[1], &time, sizeof(time));
}

PG_CALL(clock_getres)
{
	const struct timespec resolution = { 0, 1 };
	uint64_t ns;
	int64_t result = read_clock(arg[0], &ns);

	if (result || !arg[1])
		return result;
	return pg_user_write(arg[1], &resolution, sizeof(resolution));
}

PG_CALL(gettimeofday)
{
	uint64_t ns;

	(void)read_clock(CLOCK_REALTIME, &ns);
	if (arg[0]) {
		int64_t time[2] = { (int64_t)(ns / SECOND), (int64_t)(ns % SECOND / 1000) };
		int result = pg_user_write(arg[0], time, sizeof(time));

		if (result)
			return result;
	}
	if (arg[1]) {
		const int32_t zone[2] = { 0, 0 };

		return pg_user_write(arg[1], zone, sizeof(zone));
	}
	return 0;
}

PG_CALL(time)
{
	uint64_t ns;

	(void)read_clock(CLOCK_REALTIME, &ns);
	int64_t seconds = (int64_t)(ns / SECOND);
	if (arg[0] && pg_user_write(arg[0], &seconds, sizeof(seconds)))
		return -EFAULT;
	return seconds;
}

struct sleep_frame {
	struct pg_sleep sleep;
	uint64_t left; /* address of what gets the time that is left, or 0 */
};

/* A signal has interrupted it: the program is told how long it has not slept. */
static int64_t sleep_interrupt(struct pg_syscall *call)
{
	const struct sleep_frame *frame = PG_FRAME(call, struct sleep_frame);
	uint64_t now = pg_port_now(), deadline = frame->sleep.timer.deadline;

	if (deadline <= now)
		return 0;
	uint64_t left = deadline - now;
	const struct timespec time = { (int64_t)(left / SECOND), (int64_t)(left % SECOND) };
	if (frame->left && pg_user_write(frame->left, &time, sizeof(time)))
		return -EFAULT;
	return -EINTR;
}

/* Prepare the sleep that (clock, flags, time) ask for: 1, 0 if it is over already, -errno. */
static int64_t prepare(struct pg_sleep *sleep, uint64_t clock, uint64_t flags, uint64_t address)
{
	struct timespec time;
	uint64_t ns;
	int64_t result = read_clock(clock, &ns);

	if (result)
		return result;
	if (pg_user_read(&time, address, sizeof(time)))
		return -EFAULT;
	if (time.seconds < 0 || time.nanoseconds < 0 || time.nanoseconds >= (int64_t)SECOND)
		return -EINVAL;
	ns = pg_time_add((uint64_t)time.seconds, (uint64_t)time.nanoseconds);
	if (!(flags & TIMER_ABSTIME))
		ns = pg_time_after(ns);
	else if (clock == CLOCK_REALTIME)
		ns = pg_time_from_realtime(ns);
	pg_sleep_init(sleep, ns);
	return 1;
}

PG_WAITING_CALL(nanosleep, struct sleep_frame)
{
	struct sleep_frame *frame = PG_FRAME(call, struct sleep_frame);

	PG_BEGIN(&call->async);
	call->result = prepare(&frame->sleep, CLOCK_MONOTONIC, 0, call->arg[0]);
	if (call->result <= 0)
		PG_FINISH(call, call->result);
	frame->left = call->arg[1];
	call->interrupt = sleep_interrupt;
	PG_AWAIT(&call->async, &frame->sleep.future, waker);
	PG_FINISH(call, 0);
}

PG_WAITING_CALL(clock_nanosleep, struct sleep_frame)
{
	struct sleep_frame *frame = PG_FRAME(call, struct sleep_frame);

	PG_BEGIN(&call->async);
	call->result = prepare(&frame->sleep, call->arg[0], call->arg[1], call->arg[2]);
	if (call->result <= 0)
		PG_FINISH(call, call->result);
	/* Not of an absolute time: it is the same when it is asked for again. */
	frame->left = call->arg[1] & TIMER_ABSTIME ? 0 : call->arg[3];
	call->interrupt = sleep_interrupt;
	PG_AWAIT(&call->async, &frame->sleep.future, waker);
	PG_FINISH(call, 0);
}
