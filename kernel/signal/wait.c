/* Calls that wait for signals. What wakes them is the wake of their thread's task. */
#include "core/timer.h"
#include "lib/errno.h"
#include "state.h"
#include "sys/syscall.h"
#include "sys/time.h"
#include "sys/user.h"

/* ---- waiting until a handler has run ---- */

static enum pg_poll never(struct pg_future *future, struct pg_task *waker)
{
	return PG_PENDING;
}

static const struct pg_future_ops never_ops = { .poll = never };

static int64_t end_with_eintr(struct pg_syscall *call)
{
	return -EINTR;
}

struct pause_frame {
	struct pg_future future;
};

PG_WAITING_CALL(pause, struct pause_frame)
{
	struct pause_frame *frame = PG_FRAME(call, struct pause_frame);

	PG_BEGIN(&call->async);
	call->interrupt = end_with_eintr;
	frame->future.ops = &never_ops;
	PG_AWAIT(&call->async, &frame->future, waker);
	PG_END(&call->async);
}

int pg_signal_mask_during(struct pg_syscall *call, uint64_t address, uint64_t size)
{
	struct pg_thread *thread = pg_syscall_thread(call);
	struct pg_signal_after after;
	uint64_t mask;

	if (size != PG_SIGSETSIZE)
		return -EINVAL;
	if (pg_user_read(&mask, address, sizeof(mask)))
		return -EFAULT;
	thread->signals.saved = thread->signals.mask;
	thread->signals.restore = true;
	/* However the call ends, it has to be put back. */
	atomic_fetch_or_explicit(&thread->attention, PG_ATTENTION_RETURN, memory_order_relaxed);
	pg_signal_lock(&after);
	pg_signal_set_mask(thread, mask, &after);
	pg_signal_unlock(&after);
	/* What was pending already interrupts the call: have it polled by the thread. */
	if (pg_thread_attention(thread) & PG_ATTENTION_SIGNAL)
		pg_task_wake(&thread->task);
	return 0;
}

bool pg_signal_interrupts(struct pg_syscall *call)
{
	return pg_thread_attention(pg_syscall_thread(call)) & PG_ATTENTION_SIGNAL;
}

/* rt_sigsuspend(mask, size of a set) */
PG_WAITING_CALL(rt_sigsuspend, struct pause_frame)
{
	struct pause_frame *frame = PG_FRAME(call, struct pause_frame);
	int code;

	PG_BEGIN(&call->async);
	code = pg_signal_mask_during(call, call->arg[0], call->arg[1]);
	if (code)
		PG_FINISH(call, code);
	call->interrupt = end_with_eintr;
	frame->future.ops = &never_ops;
	PG_AWAIT(&call->async, &frame->future, waker);
	PG_END(&call->async);
}

/* ---- waiting for a signal instead of a handler ---- */

struct sigwait {
	struct pg_future future;
	struct pg_thread *thread;
	uint64_t set;
	bool timed;
	struct pg_sleep sleep;
	struct pg_siginfo info;
	int signal; /* READY: what was taken, or 0: too late        */
};

static void stop_awaiting(struct sigwait *wait, struct pg_signal_after *after)
{
	wait->thread->signals.awaited = 0;
	/* Something may have come for us since we looked. */
	pg_signal_pass_on(wait->thread, wait->set & wait->thread->signals.mask, after);
}

static enum pg_poll sigwait_poll(struct pg_future *future, struct pg_task *waker)
{
	struct sigwait *wait = pg_container_of(future, struct sigwait, future);
	bool over = wait->timed && pg_future_poll(&wait->sleep.future, waker) == PG_READY;
	struct pg_signal_after after;

	pg_signal_lock(&after);
	wait->signal = pg_signal_take(wait->thread, wait->set, &wait->info, &after);
	if (!wait->signal && !over)
		wait->thread->signals.awaited = wait->set;
	else
		stop_awaiting(wait, &after);
	pg_signal_unlock(&after);
	if (!wait->signal && !over)
		return PG_PENDING;
	if (wait->timed && !over)
		pg_future_drop(&wait->sleep.future);
	return PG_READY;
}

static void sigwait_drop(struct pg_future *future)
{
	struct sigwait *wait = pg_container_of(future, struct sigwait, future);
	struct pg_signal_after after;

	if (wait->timed)
		pg_future_drop(&wait->sleep.future);
	pg_signal_lock(&after);
	stop_awaiting(wait, &after);
	pg_signal_unlock(&after);
}

static const struct pg_future_ops sigwait_ops = { sigwait_poll, sigwait_drop };

/* 0, or -errno. */
static int64_t prepare(struct pg_syscall *call, struct sigwait *wait)
{
	struct {
		int64_t seconds, nanoseconds;
	} time;

	if (call->arg[3] != PG_SIGSETSIZE)
		return -EINVAL;
	if (pg_user_read(&wait->set, call->arg[0], sizeof(wait->set)))
		return -EFAULT;
	wait->set &= ~PG_SIGNALS_SURE;
	wait->thread = pg_syscall_thread(call);
	wait->future.ops = &sigwait_ops;
	if (!call->arg[2])
		return 0;
	if (pg_user_read(&time, call->arg[2], sizeof(time)))
		return -EFAULT;
	if (time.seconds < 0 || time.nanoseconds < 0 || time.nanoseconds >= 1000000000)
		return -EINVAL;
	wait->timed = true;
	pg_sleep_init(&wait->sleep, pg_time_after(pg_time_add((uint64_t)time.seconds,
							      (uint64_t)time.nanoseconds)));
	return 0;
}

/* rt_sigtimedwait(set, siginfo, timeout, size of a set) */
PG_WAITING_CALL(rt_sigtimedwait, struct sigwait)
{
	struct sigwait *wait = PG_FRAME(call, struct sigwait);
	int64_t code;

	PG_BEGIN(&call->async);
	code = prepare(call, wait);
	if (code)
		PG_FINISH(call, code);
	call->interrupt = end_with_eintr;
	PG_AWAIT(&call->async, &wait->future, waker);
	if (!wait->signal)
		PG_FINISH(call, -EAGAIN);
	if (call->arg[1] && pg_siginfo_write(call->arg[1], &wait->info))
		PG_FINISH(call, -EFAULT);
	PG_FINISH(call, wait->signal);
}
