/* Sending, choosing a thread, and taking what is pending. */
#include "core/executor.h"
#include "core/port.h"
#include "signal.h"

#include "lib/errno.h"
#include "mm/heap.h"
#include "state.h"
#include "sys/process.h"
#include "sys/user.h"
#include "thread/thread.h"

struct pg_signal_state pg_signals;

/* Entries that exist. Relaxed: a limit, and nothing hangs on it. */
static _Atomic uint32_t entries;

/* ---- entries ---- */

static struct pg_signal_entry *entry_new(const struct pg_siginfo *info)
{
	struct pg_signal_entry *entry;

	if (atomic_fetch_add_explicit(&entries, 1, memory_order_relaxed) < PG_SIGNAL_QUEUE_MAX) {
		entry = pg_alloc(sizeof(*entry));
		if (entry) {
			entry->info = *info;
			return entry;
		}
	}
	atomic_fetch_sub_explicit(&entries, 1, memory_order_relaxed);
	return NULL;
}

static void entry_free(struct pg_signal_entry *entry)
{
	pg_free(entry);
	atomic_fetch_sub_explicit(&entries, 1, memory_order_relaxed);
}

void pg_signal_lock(struct pg_signal_after *after)
{
	*after = (struct pg_signal_after){ 0 };
	pg_spin_lock(&pg_signals.lock);
}

void pg_signal_unlock(struct pg_signal_after *after)
{
	struct pg_signal_entry *entry, *next;

	pg_spin_unlock(&pg_signals.lock);
	for (entry = after->unused; entry; entry = next) {
		next = entry->next;
		entry_free(entry);
	}
	pg_task_list_enqueue(&after->wake);
	if (after->interrupt)
		pg_executor_interrupt_others(pg_port_executor());
}

/* ---- what a signal does ---- */

/* Stopping is not done, and so continuing is not either. */
#define IGNORED_BY_DEFAULT                                                                         \
	(1ull << (PG_SIGCHLD - 1) | 1ull << (PG_SIGCONT - 1) | 1ull << (PG_SIGSTOP - 1) |          \
	 1ull << (PG_SIGTSTP - 1) | 1ull << (PG_SIGTTIN - 1) | 1ull << (PG_SIGTTOU - 1) |          \
	 1ull << (PG_SIGURG - 1) | 1ull << (PG_SIGWINCH - 1))

bool pg_signal_ignored(int signal, const struct pg_sigaction *action)
{
	if (action->handler == PG_SIG_IGN)
		return true;
	return action->handler == PG_SIG_DFL && (IGNORED_BY_DEFAULT & pg_signal_bit(signal));
}

_Noreturn void pg_signal_end_process(int signal, struct pg_thread *thread)
{
	thread->vector = UINT32_MAX; /* no exception, but the program's own wish */
	pg_process_kill(signal, thread);
}

/* ---- threads ---- */

static void set_attention(struct pg_thread *thread, uint32_t bits)
{
	/* Relaxed: all that it tells of is read under the lock. */
	atomic_fetch_or_explicit(&thread->attention, bits, memory_order_relaxed);
}

/* Locked: the bit SIGNAL is as the thread's mask and the pending sets have it. */
static void update_attention(struct pg_thread *thread)
{
	uint64_t pending = thread->signals.pending.set | pg_signals.pending.set;

	if (pending & ~thread->signals.mask)
		set_attention(thread, PG_ATTENTION_SIGNAL);
	else
		atomic_fetch_and_explicit(&thread->attention, ~PG_ATTENTION_SIGNAL,
					  memory_order_relaxed);
}

/*
 * Locked: of `set`, which the thread doesn't block or awaits, something is pending. Its task is
 * alive, since it is linked; marked, and in no queue yet, it can't end before we enqueue it.
 * One that can't be marked may be running user code on another vCPU, and not trap soon.
 */
static void notify(struct pg_thread *thread, uint64_t set, struct pg_signal_after *after)
{
	if (set & ~thread->signals.mask)
		set_attention(thread, PG_ATTENTION_SIGNAL);
	if (pg_task_mark_queued(&thread->task) == PG_WAKE_ENQUEUE)
		pg_task_list_append(&after->wake, &thread->task);
	else
		after->interrupt = true;
}

static bool wants(const struct pg_thread *thread, uint64_t bit)
{
	return thread->signals.linked && !(thread->signals.mask & ~thread->signals.awaited & bit);
}

/* The thread that asks; else the oldest that doesn't block it (the main thread is the oldest). */
static struct pg_thread *choose(uint64_t bit, struct pg_thread *caller)
{
	if (caller && wants(caller, bit))
		return caller;
	for (struct pg_thread *thread = pg_signals.first; thread; thread = thread->signals.next) {
		if (wants(thread, bit))
			return thread;
	}
	return NULL;
}

void pg_signal_pass_on(struct pg_thread *thread, uint64_t set, struct pg_signal_after *after)
{
	set &= pg_signals.pending.set;
	for (struct pg_thread *other = pg_signals.first; other && set;
	     other = other->signals.next) {
		uint64_t some = set & ~(other->signals.mask & ~other->signals.awaited);

		if (other == thread || !some)
			continue;
		set &= ~some;
		notify(other, some, after);
	}
}

void pg_signal_set_mask(struct pg_thread *thread, uint64_t mask, struct pg_signal_after *after)
{
	uint64_t blocked = mask & ~thread->signals.mask;

	thread->signals.mask = mask & ~PG_SIGNALS_SURE;
	if (blocked)
		pg_signal_pass_on(thread, blocked, after);
	update_attention(thread);
}

void pg_signal_thread_new(struct pg_thread *thread, const struct pg_thread *parent)
{
	struct pg_thread_signals *signals = &thread->signals;
	struct pg_signal_after after;

	pg_signal_lock(&after);
	signals->mask = parent ? parent->signals.mask : 0;
	signals->stack.flags = PG_SS_DISABLE;
	signals->linked = true;
	signals->prev = pg_signals.last;
	*(pg_signals.last ? &pg_signals.last->signals.next : &pg_signals.first) = thread;
	pg_signals.last = thread;
	pg_signal_unlock(&after);
}

void pg_signal_thread_exit(struct pg_thread *thread)
{
	struct pg_thread_signals *signals = &thread->signals;
	struct pg_signal_after after;

	pg_signal_lock(&after);
	if (signals->linked) {
		signals->linked = false;
		*(signals->prev ? &signals->prev->signals.next : &pg_signals.first) = signals->next;
		*(signals->next ? &signals->next->signals.prev : &pg_signals.last) = signals->prev;
		pg_pending_flush(&signals->pending, UINT64_MAX, &after.unused);
		pg_signal_pass_on(thread, ~signals->mask | signals->awaited, &after);
	}
	pg_signal_unlock(&after);
}

/* ---- sending ---- */

static struct pg_thread *find(uint32_t tid)
{
	struct pg_thread *thread = pg_signals.first;

	while (thread && thread->tid != tid)
		thread = thread->signals.next;
	return thread;
}

/* Locked. True: it ends the process, with a report on `*chosen`. Uses up `*entry` or not. */
static bool post(struct pg_thread *to, int signal, struct pg_signal_entry **entry,
		 struct pg_thread *caller, struct pg_thread **chosen, struct pg_signal_after *after)
{
	const struct pg_sigaction *action = &pg_signals.actions[signal - 1];
	uint64_t bit = pg_signal_bit(signal);
	struct pg_thread *thread = to ? to : choose(bit, caller);

	*chosen = thread;
	if (signal == PG_SIGKILL)
		return thread != NULL;
	/* Blocked, it is kept: what it does may be changed before it is unblocked. */
	if (thread && !(thread->signals.mask & bit)) {
		if (pg_signal_ignored(signal, action))
			return false;
		if (action->handler == PG_SIG_DFL)
			return true;
	}
	if (pg_pending_add(to ? &to->signals.pending : &pg_signals.pending, signal, *entry))
		*entry = NULL;
	if (!thread || !wants(thread, bit))
		return false;
	if (thread == caller)
		set_attention(thread, PG_ATTENTION_SIGNAL);
	else
		notify(thread, bit, after);
	return false;
}

bool pg_thread_visit(uint32_t tid, void (*visit)(struct pg_thread *thread, void *argument),
		     void *argument)
{
	struct pg_signal_after after;
	struct pg_thread *thread;

	pg_signal_lock(&after);
	thread = find(tid);
	if (thread)
		visit(thread, argument);
	pg_signal_unlock(&after);
	return thread;
}

/* `to` exists as long as the lock is held: looked up here if `tid` is not 0. */
static int64_t send(struct pg_thread *to, uint32_t tid, int signal, const struct pg_siginfo *info,
		    struct pg_thread *caller)
{
	struct pg_signal_entry *entry = signal ? entry_new(info) : NULL;
	struct pg_thread *chosen = NULL;
	struct pg_signal_after after;
	bool fatal = false;
	int64_t result = 0;

	/* Of a real-time signal that carries something, nothing may be lost. */
	if (!entry && signal >= PG_SIGRTMIN && info->code != PG_SI_USER)
		return -EAGAIN;
	pg_signal_lock(&after);
	if (tid)
		to = find(tid);
	if (tid && !to)
		result = -ESRCH;
	else if (signal)
		fatal = post(to, signal, &entry, caller, &chosen, &after);
	/* It isn't ours, and might end and be freed: not as long as we hold the lock. */
	if (fatal && !caller) {
		if (entry)
			entry_free(entry);
		pg_signal_end_process(signal, chosen);
	}
	pg_signal_unlock(&after);
	if (entry)
		entry_free(entry);
	if (fatal)
		pg_signal_end_process(signal, caller);
	return result;
}

int64_t pg_signal_send(uint32_t tid, int signal, const struct pg_siginfo *info,
		       struct pg_thread *caller)
{
	return send(NULL, tid, signal, info, caller);
}

int64_t pg_signal_send_process(int signal, const struct pg_siginfo *info)
{
	struct pg_siginfo kernel = { .signal = signal, .code = PG_SI_KERNEL };

	return send(NULL, 0, signal, info ? info : &kernel, NULL);
}

int64_t pg_signal_send_thread(struct pg_thread *thread, int signal)
{
	struct pg_siginfo info = { .signal = signal, .from.pid = PG_PID };

	return send(thread, 0, signal, &info, NULL);
}

/* ---- taking ---- */

int pg_signal_take(struct pg_thread *thread, uint64_t set, struct pg_siginfo *info,
		   struct pg_signal_after *after)
{
	int signal = pg_pending_take(&thread->signals.pending, set, info, &after->unused);

	if (!signal)
		signal = pg_pending_take(&pg_signals.pending, set, info, &after->unused);
	update_attention(thread);
	return signal;
}

bool pg_signal_claim(struct pg_thread *thread)
{
	struct pg_thread_signals *signals = &thread->signals;
	struct pg_signal_after after;
	int signal;

	pg_signal_lock(&after);
	for (;;) {
		signal = pg_signal_take(thread, ~signals->mask, &signals->claimed, &after);
		if (!signal)
			break;
		struct pg_sigaction *action = &pg_signals.actions[signal - 1];
		if (pg_signal_ignored(signal, action))
			continue;
		signals->action = *action;
		if (action->flags & PG_SA_RESETHAND)
			action->handler = PG_SIG_DFL;
		break;
	}
	pg_signal_unlock(&after);
	if (signal && signals->action.handler == PG_SIG_DFL)
		pg_signal_end_process(signal, thread);
	if (!signal)
		signals->claimed.signal = 0;
	return signal != 0;
}

int pg_siginfo_write(uint64_t address, const struct pg_siginfo *info)
{
	union {
		struct pg_siginfo info;
		uint8_t bytes[PG_SIGINFO_SIZE];
	} all = { .bytes = { 0 } };

	all.info = *info;
	return pg_user_write(address, &all, sizeof(all));
}
