/*
 * Pending signals: a set, and what is known of each in order of arrival.
 *
 * A standard signal (1 to 31) is pending once, whatever comes while it is; a real-time
 * signal (32 to 64) as often as it was sent. What is known of a signal is in an entry; a
 * signal without one (no memory, or too many) is pending all the same, with nothing known.
 *
 * Nothing here locks or allocates: the caller holds the lock that guards the set, has
 * allocated the entry before it took that, and frees what it got back after it let go.
 */
#ifndef PG_SIGNAL_QUEUE_H
#define PG_SIGNAL_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#define PG_SIGNALS  64 /* numbers from 1 to this                          */
#define PG_SIGRTMIN 32 /* from here on each one sent is kept              */

/* Linux's numbers; our own names, since unit tests may include libc's headers. */
enum {
	PG_SIGILL = 4,
	PG_SIGTRAP = 5,
	PG_SIGABRT = 6,
	PG_SIGBUS = 7,
	PG_SIGFPE = 8,
	PG_SIGKILL = 9,
	PG_SIGSEGV = 11,
	PG_SIGPIPE = 13,
	PG_SIGALRM = 14,
	PG_SIGCHLD = 17,
	PG_SIGCONT = 18,
	PG_SIGSTOP = 19,
	PG_SIGTSTP = 20,
	PG_SIGTTIN = 21,
	PG_SIGTTOU = 22,
	PG_SIGURG = 23,
	PG_SIGWINCH = 28,
	PG_SIGSYS = 31,
};

/* si_code */
#define PG_SI_USER   0
#define PG_SI_KERNEL 0x80
#define PG_SI_TKILL  (-6)

static inline uint64_t pg_signal_bit(int signal)
{
	return 1ull << (signal - 1);
}

/* The part of Linux's siginfo_t that is used (the rest of its 128 bytes is zero). */
struct pg_siginfo {
	int32_t signal, error, code, pad;
	union {
		struct {
			int32_t pid;
			uint32_t uid;
			uint64_t value;
		} from;           /* who sent it, and with which value         */
		uint64_t address; /* of a fault                                */
		uint64_t words[4];
	};
};

_Static_assert(sizeof(struct pg_siginfo) == 48, "as Linux's kernel_siginfo");

#define PG_SIGINFO_SIZE 128 /* what the program sees of it                    */

struct pg_signal_entry {
	struct pg_signal_entry *next;
	struct pg_siginfo info;
};

struct pg_pending {
	uint64_t set; /* bit n - 1: signal n                                */
	struct pg_signal_entry *first, *last;
};

/*
 * `signal` is pending from now on. `entry` says more (NULL: nothing). False: it was pending
 * already and has not been queued again; the entry is still the caller's.
 */
bool pg_pending_add(struct pg_pending *pending, int signal, struct pg_signal_entry *entry);

/*
 * Take the first signal of `set`: faults before others, then the lowest number; of the same
 * number the oldest. Returns the number, or 0 if there is none. Its entry, if it had one,
 * is put in front of `*unused`.
 */
int pg_pending_take(struct pg_pending *pending, uint64_t set, struct pg_siginfo *info,
		    struct pg_signal_entry **unused);

/* Forget all signals of `set`. Their entries are put in front of `*unused`. */
void pg_pending_flush(struct pg_pending *pending, uint64_t set, struct pg_signal_entry **unused);

#endif
