#include "queue.h"

#include <stddef.h>

/* What the processor reports: told before anything that came from elsewhere. */
#define SYNCHRONOUS                                                                                \
	(1ull << (PG_SIGILL - 1) | 1ull << (PG_SIGTRAP - 1) | 1ull << (PG_SIGBUS - 1) |            \
	 1ull << (PG_SIGFPE - 1) | 1ull << (PG_SIGSEGV - 1) | 1ull << (PG_SIGSYS - 1))

bool pg_pending_add(struct pg_pending *pending, int signal, struct pg_signal_entry *entry)
{
	uint64_t bit = pg_signal_bit(signal);

	if ((pending->set & bit) && (signal < PG_SIGRTMIN || !entry))
		return false;
	pending->set |= bit;
	if (!entry)
		return true;
	entry->next = NULL;
	if (pending->last)
		pending->last->next = entry;
	else
		pending->first = entry;
	pending->last = entry;
	return true;
}

/* Take `*link`, which follows `before`, out of the queue. */
static void take_entry(struct pg_pending *pending, struct pg_signal_entry **link,
		       struct pg_signal_entry *before, struct pg_signal_entry **unused)
{
	struct pg_signal_entry *entry = *link;

	*link = entry->next;
	if (pending->last == entry)
		pending->last = before;
	entry->next = *unused;
	*unused = entry;
}

int pg_pending_take(struct pg_pending *pending, uint64_t set, struct pg_siginfo *info,
		    struct pg_signal_entry **unused)
{
	uint64_t found = pending->set & set;
	struct pg_signal_entry **link = &pending->first, **of_it = NULL;
	struct pg_signal_entry *before = NULL, *before_it = NULL;
	bool more = false;

	if (!found)
		return 0;
	if (found & SYNCHRONOUS)
		found &= SYNCHRONOUS;
	int signal = __builtin_ctzll(found) + 1;

	for (; *link; before = *link, link = &(*link)->next) {
		if ((*link)->info.signal != signal)
			continue;
		if (of_it) {
			more = true;
			break;
		}
		of_it = link;
		before_it = before;
	}
	*info = (struct pg_siginfo){ .signal = signal, .code = PG_SI_USER };
	if (of_it) {
		*info = (*of_it)->info;
		take_entry(pending, of_it, before_it, unused);
	}
	if (!more)
		pending->set &= ~pg_signal_bit(signal);
	return signal;
}

void pg_pending_flush(struct pg_pending *pending, uint64_t set, struct pg_signal_entry **unused)
{
	struct pg_signal_entry **link = &pending->first, *before = NULL;

	pending->set &= ~set;
	while (*link) {
		if (pg_signal_bit((*link)->info.signal) & set) {
			take_entry(pending, link, before, unused);
		} else {
			before = *link;
			link = &before->next;
		}
	}
}
