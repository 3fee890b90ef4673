/* What a thread or the process has set: actions, masks, stacks. */
#include "lib/errno.h"
#include "state.h"
#include "sys/syscall.h"
#include "sys/user.h"

/* Flags that are told back; the others are forgotten, so that a program can ask for what there is. */
#define FLAGS_KNOWN                                                                                \
	(PG_SA_SIGINFO | PG_SA_RESTORER | PG_SA_ONSTACK | PG_SA_RESTART | PG_SA_NODEFER |          \
	 PG_SA_RESETHAND | 3ull /* SA_NOCLDSTOP, SA_NOCLDWAIT: there are no children */)

/* rt_sigaction(signal, new, old, size of a set) */
PG_CALL(rt_sigaction)
{
	int signal = (int)arg[0];
	struct pg_sigaction action, old;
	struct pg_signal_after after;

	if (arg[3] != PG_SIGSETSIZE || signal < 1 || signal > PG_SIGNALS)
		return -EINVAL;
	if (arg[1] && (signal == PG_SIGKILL || signal == PG_SIGSTOP))
		return -EINVAL;
	if (arg[1] && pg_user_read(&action, arg[1], sizeof(action)))
		return -EFAULT;

	pg_signal_lock(&after);
	old = pg_signals.actions[signal - 1];
	if (arg[1]) {
		action.flags &= FLAGS_KNOWN;
		action.mask &= ~PG_SIGNALS_SURE;
		pg_signals.actions[signal - 1] = action;
		/* What is pending is ignored as well (POSIX). */
		if (pg_signal_ignored(signal, &action)) {
			uint64_t bit = pg_signal_bit(signal);

			pg_pending_flush(&pg_signals.pending, bit, &after.unused);
			for (struct pg_thread *t = pg_signals.first; t; t = t->signals.next)
				pg_pending_flush(&t->signals.pending, bit, &after.unused);
		}
	}
	pg_signal_unlock(&after);
	return arg[2] && pg_user_write(arg[2], &old, sizeof(old)) ? -EFAULT : 0;
}

#define SIG_BLOCK   0
#define SIG_UNBLOCK 1
#define SIG_SETMASK 2

/* rt_sigprocmask(how, new, old, size of a set) */
PG_CALL(rt_sigprocmask)
{
	struct pg_signal_after after;
	uint64_t old = thread->signals.mask, set;

	if (arg[3] != PG_SIGSETSIZE)
		return -EINVAL;
	if (arg[1]) {
		if (pg_user_read(&set, arg[1], sizeof(set)))
			return -EFAULT;
		switch ((int)arg[0]) {
		case SIG_BLOCK:
			set |= old;
			break;
		case SIG_UNBLOCK:
			set = old & ~set;
			break;
		case SIG_SETMASK:
			break;
		default:
			return -EINVAL;
		}
		pg_signal_lock(&after);
		pg_signal_set_mask(thread, set, &after);
		pg_signal_unlock(&after);
	}
	return arg[2] && pg_user_write(arg[2], &old, sizeof(old)) ? -EFAULT : 0;
}

/* rt_sigpending(set, size of a set): what is pending and blocked */
PG_CALL(rt_sigpending)
{
	struct pg_signal_after after;
	uint64_t set;

	if (arg[1] > PG_SIGSETSIZE)
		return -EINVAL;
	pg_signal_lock(&after);
	set = (thread->signals.pending.set | pg_signals.pending.set) & thread->signals.mask;
	pg_signal_unlock(&after);
	return pg_user_write(arg[0], &set, arg[1]);
}

/* What Linux calls MINSIGSTKSZ: the least, and too little for vector registers (AT_MINSIGSTKSZ). */
#define STACK_MIN 2048

int pg_sigstack_set(struct pg_sigstack *stack, const struct pg_sigstack *to, uint64_t rsp)
{
	uint32_t mode = to->flags & ~PG_SS_AUTODISARM;

	if (pg_sigstack_active(stack, rsp))
		return -EPERM;
	if (mode != 0 && mode != PG_SS_ONSTACK && mode != PG_SS_DISABLE)
		return -EINVAL;
	if (mode == PG_SS_DISABLE)
		*stack = (struct pg_sigstack){ .flags = to->flags };
	else if (to->size < STACK_MIN)
		return -ENOMEM;
	else
		*stack = (struct pg_sigstack){ to->base, to->flags, 0, to->size };
	return 0;
}

/* sigaltstack(new, old) */
PG_CALL(sigaltstack)
{
	struct pg_sigstack *stack = &thread->signals.stack, old = *stack, new;
	bool active = pg_sigstack_active(stack, thread->regs.rsp);

	if (arg[0]) {
		if (pg_user_read(&new, arg[0], sizeof(new)))
			return -EFAULT;
		int code = pg_sigstack_set(stack, &new, thread->regs.rsp);
		if (code)
			return code;
	}
	/* What it tells is whether it is in use; what was set stays in `stack`. */
	old.flags = (old.flags & PG_SS_AUTODISARM) | (!old.size ? PG_SS_DISABLE
						      : active  ? PG_SS_ONSTACK
								: 0);
	return arg[1] && pg_user_write(arg[1], &old, sizeof(old)) ? -EFAULT : 0;
}
