/* On the way back to user code: interrupting calls, running handlers. */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/sigframe.h"
#include "lib/errno.h"
#include "state.h"
#include "sys/process.h"
#include "sys/syscall.h"
#include "thread/thread.h"

/* ---- system calls that wait ---- */

enum pg_poll pg_signal_poll_call(struct pg_thread *thread, struct pg_task *waker)
{
	struct pg_thread_signals *signals = &thread->signals;
	struct pg_syscall *call = &thread->syscall;

	if (!signals->dropped) {
		/* READY wins: its result can't be had a second time. */
		if (pg_future_poll(&call->async.future, waker) == PG_READY)
			return PG_READY;
		if (!(pg_thread_attention(thread) & PG_ATTENTION_SIGNAL) || !call->interrupt ||
		    !pg_signal_claim(thread))
			return PG_PENDING;
		pg_future_drop(&call->async.future);
		signals->dropped = true;
		/* What was claimed is not pending any more. */
		atomic_fetch_or_explicit(&thread->attention, PG_ATTENTION_RETURN,
					 memory_order_relaxed);
	}
	/* The last hypercall to be settled wakes the task. Until then they pin it. */
	if (pg_task_pins(&thread->task) != pg_arch_has_registers(thread))
		return PG_PENDING;
	signals->dropped = false;
	signals->ended = true;
	call->result = call->interrupt(call);
	signals->restart = call->result == PG_RESTART || call->result == PG_RESTART_ALWAYS;
	if (call->result == PG_RESTART && !(signals->action.flags & PG_SA_RESTART)) {
		signals->restart = false;
		call->result = -EINTR;
	}
	return PG_READY;
}

#define SYSCALL_LENGTH 2 /* bytes of the instruction */

/* The call that has just ended is to be made again, after the handler. */
static void restart(struct pg_thread *thread)
{
	thread->regs.rip -= SYSCALL_LENGTH;
	thread->regs.rax = thread->syscall.number;
}

/* ---- handlers ---- */

static void set_mask(struct pg_thread *thread, uint64_t mask)
{
	struct pg_signal_after after;

	pg_signal_lock(&after);
	pg_signal_set_mask(thread, mask, &after);
	pg_signal_unlock(&after);
}

/*
 * After a system call, rcx and r11 are what the instruction leaves there; from now on they are
 * the thread's as all others are.
 */
static void complete_registers(struct pg_thread *thread)
{
	if (thread->full)
		return;
	thread->regs.rcx = thread->regs.rip;
	thread->regs.r11 = thread->regs.rflags;
	thread->full = true;
}

/* False: the frame can't be written, or the handler not be called. */
static bool start_handler(struct pg_thread *thread, const struct pg_siginfo *info,
			  const struct pg_sigaction *action)
{
	struct pg_thread_signals *signals = &thread->signals;
	uint64_t mask = signals->mask | action->mask;

	complete_registers(thread);
	if (pg_arch_signal_frame(thread, info, action,
				 signals->restore ? signals->saved : signals->mask))
		return false;
	signals->restore = false;
	if (!(action->flags & PG_SA_NODEFER))
		mask |= pg_signal_bit(info->signal);
	set_mask(thread, mask);
	return true;
}

/*
 * A signal that can't wait. Without a handler, or blocked, it ends the process; what the report
 * says is in the thread's vector, error and address.
 */
static void force(struct pg_thread *thread, const struct pg_siginfo *info)
{
	struct pg_sigaction *set = &pg_signals.actions[info->signal - 1], action;
	uint64_t bit = pg_signal_bit(info->signal);
	struct pg_signal_after after;

	pg_signal_lock(&after);
	action = *set;
	if (action.flags & PG_SA_RESETHAND)
		set->handler = PG_SIG_DFL;
	pg_signal_unlock(&after);
	if (action.handler <= PG_SIG_IGN || (thread->signals.mask & bit))
		pg_process_kill(info->signal, thread);
	if (start_handler(thread, info, &action))
		return;
	if (info->signal == PG_SIGSEGV)
		pg_process_kill(PG_SIGSEGV, thread);
	pg_signal_fault(thread, PG_FAULT_STACK, thread->regs.rsp);
}

/* The page-fault error code of a write by user code, where nothing is (SDM vol. 3, 4.7). */
#define NOT_PRESENT_WRITE 6

void pg_signal_fault(struct pg_thread *thread, enum pg_signal_fault why, uint64_t address)
{
	const struct pg_siginfo info = { .signal = PG_SIGSEGV, .code = PG_SI_KERNEL };

	/* For the report, should it come to that: what the processor would have said. */
	thread->vector = why == PG_FAULT_STACK ? PG_VECTOR_PF : PG_VECTOR_GP;
	thread->error = why == PG_FAULT_STACK ? NOT_PRESENT_WRITE : 0;
	thread->address = address;
	force(thread, &info);
}

void pg_signal_exception(struct pg_thread *thread)
{
	struct pg_siginfo info;

	pg_arch_fault_info(thread, &info);
	force(thread, &info);
}

void pg_signal_deliver(struct pg_thread *thread)
{
	struct pg_thread_signals *signals = &thread->signals;

	atomic_fetch_and_explicit(&thread->attention, ~PG_ATTENTION_RETURN, memory_order_relaxed);
	if (thread->exited)
		return;
	/* A call with a mask of its own that was not interrupted: what came is for later. */
	if (signals->restore && !signals->ended) {
		signals->restore = false;
		set_mask(thread, signals->saved);
	}
	if (signals->restart)
		restart(thread);
	signals->restart = false;
	signals->ended = false;
	while (signals->claimed.signal || pg_signal_claim(thread)) {
		const struct pg_siginfo info = signals->claimed;
		const struct pg_sigaction action = signals->action;

		signals->claimed.signal = 0;
		if (!start_handler(thread, &info, &action))
			pg_signal_fault(thread, PG_FAULT_STACK, thread->regs.rsp);
	}
}

/* ---- the end of a handler ---- */

/* What it returns is in rax: all registers are what the frame says. */
PG_CALL(rt_sigreturn)
{
	uint64_t mask;

	/* However it ends: leave the system call with all registers. */
	atomic_fetch_or_explicit(&thread->attention, PG_ATTENTION_RETURN, memory_order_relaxed);
	if (pg_arch_signal_return(thread, &mask))
		pg_signal_fault(thread, PG_FAULT_FRAME, thread->regs.rsp);
	else
		set_mask(thread, mask);
	return (int64_t)thread->regs.rax;
}
