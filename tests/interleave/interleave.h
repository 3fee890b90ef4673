/*
 * The interleaving tester: it runs concurrent code in every order that matters.
 *
 * It takes the real sources, not a model of them. They are compiled with atomics.h (each
 * atomic operation becomes a call of interleave_operation()) and with the compiler's
 * instrumentation for ThreadSanitizer, whose hooks are implemented here (memory.c) and
 * not by its library. Virtual threads are coroutines on one host thread. A thread stops
 * before each atomic operation, a scheduling point; the scheduler decides who does
 * its operation next. A scenario is run again and again from its start, until the
 * depth-first search has been through all decisions.
 *
 * Reduction. Executions that differ only in the order of independent operations (different
 * addresses, or two loads) end in the same state, and one of them is enough:
 *
 *  - dynamic partial-order reduction: another thread is tried at an earlier point only if
 *    somebody's next operation races with the one done there. C. Flanagan and P. Godefroid,
 *    "Dynamic partial-order reduction for model checking software", POPL 2005; in the form,
 *    which goes well with sleep sets, of P. Abdulla, S. Aronis, B. Jonsson and K. Sagonas,
 *    "Optimal dynamic partial order reduction", POPL 2014 (their source sets).
 *  - sleep sets: a thread that was tried at a point is not tried below its siblings until
 *    something dependent happened. P. Godefroid, "Partial-order methods for the
 *    verification of concurrent systems", LNCS 1032, 1996.
 *
 * Neither is sound together with a bound on pre-emptions. So a bounded search is not reduced.
 * test_interleave.c compares the outcomes of the reduced search with those of the full one.
 *
 * Memory. Two models:
 *
 *  - INTERLEAVE_SC: the operations' interleaving is all there is, whatever their order says;
 *  - INTERLEAVE_TSO: x86. A relaxed or release store goes into its thread's store buffer, and to
 *    memory later, as a step of its own. Its thread's loads see it before. Read-modify-write
 *    operations, sequentially consistent stores and fences wait for an empty buffer.
 *
 * The search relies on plain memory being touched by one thread at a time, ordered by
 * the atomics. This is checked, with the order that the code asks for (a relaxed load
 * synchronises nothing): a data race is a failure, and so is an access to memory that was given
 * back with interleave_dead(). With these checks, plain stores need no store buffer.
 *
 * Spinning. A thread that calls interleave_relax() is disabled until somebody has changed one of
 * the words that it has used since its last write. So spinning is not unrolled, and a
 * thread that spins for ever is a deadlock, and found.
 *
 * Not modelled: weaker memory than x86 (loads are never late, stores of one thread
 * arrive in order), spurious failures of a weak compare-and-swap, time.
 *
 * Addresses must be the same in each execution: scenarios use static memory, no malloc().
 */
#ifndef INTERLEAVE_H
#define INTERLEAVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INTERLEAVE_THREADS  6
#define INTERLEAVE_OUTCOMES 4096

struct interleave_thread {
	const char *name;
	void (*run)(void *argument);
	void *argument;
	bool daemon; /* may be blocked at the end */
};

struct interleave_scenario {
	const char *name;
	void (*setup)(void);       /* before each execution: all state anew            */
	void (*check)(void);       /* after it: calls interleave_fail(); or NULL       */
	uint64_t (*outcome)(void); /* after it: what to collect in the result; or NULL */
	struct interleave_thread threads[INTERLEAVE_THREADS]; /* up to the first without run */
};

enum interleave_memory {
	INTERLEAVE_SC,
	INTERLEAVE_TSO,
};

/* A mistake put into the code, to see that it is found: atomics of one function, changed. */
enum interleave_mistake {
	INTERLEAVE_NO_MISTAKE,
	INTERLEAVE_RELAXED, /* their order becomes memory_order_relaxed               */
	INTERLEAVE_STORED,  /* an exchange becomes a store of release order           */
	INTERLEAVE_SPLIT,   /* a read-modify-write becomes a load, and then a store   */
	INTERLEAVE_BLIND,   /* a load sees 0                                          */
};

struct interleave_mutation {
	enum interleave_mistake mistake;
	const char *function; /* in whose text the operation is            */
	const char *object;   /* what stands there as its object; NULL: all */
};

struct interleave_options {
	struct interleave_mutation mutation;
	enum interleave_memory memory;
	bool unreduced;
	bool bounded; /* by `preemptions`; not reduced then */
	unsigned preemptions;
	uint32_t random; /* not 0: a seed; `limit` executions at random, no search */
	uint64_t limit;  /* executions; 0: all of them */
};

struct interleave_result {
	uint64_t executions; /* carried through to the end             */
	uint64_t pruned;     /* given up: all that was left is asleep  */
	uint64_t steps;
	unsigned depth; /* of the longest                         */
	bool complete;  /* the search came to its end             */
	bool failed;
	char report[32768];                     /* what failed, and the schedule that leads there */
	uint64_t outcomes[INTERLEAVE_OUTCOMES]; /* sorted                   */
	size_t outcome_count;
};

/* Search. Stops at the first failure. Not reentrant. */
void interleave_explore(const struct interleave_scenario *scenario,
			const struct interleave_options *options, struct interleave_result *result);

/* ---- for scenarios ---- */

/* Which of the scenario's threads this is; -1 in setup(), check() and outcome(). */
int interleave_self(void);

/* End the execution, and the search, as failed. */
__attribute__((noreturn, format(printf, 1, 2))) void interleave_fail(const char *format, ...);

#define interleave_assert(condition)                                                               \
	do {                                                                                       \
		if (!(condition))                                                                  \
			interleave_fail("%s:%d: not true: %s", __FILE__, __LINE__, #condition);    \
	} while (0)

/* A name for the report. Kept until the next setup(). */
void interleave_name(const volatile void *address, size_t size, const char *name);

#define INTERLEAVE_NAME(object) interleave_name(&(object), sizeof(object), #object)

/*
 * From here on, nobody may touch this memory: its owner has given it back. It is
 * overwritten. Earlier accesses must happen before this call, not just come earlier.
 */
void interleave_dead(volatile void *address, size_t size);

/* It is used for something new. */
void interleave_alive(volatile void *address, size_t size);

/* One of 0 .. count-1: the search tries each. */
unsigned interleave_choose(unsigned count);

/* ---- for ports, and atomics.h ---- */

struct interleave_site {
	const char *file;
	int line;
	const char *function;
	const char *text; /* the object, as the source calls it */
};

enum interleave_kind {
	INTERLEAVE_LOAD,
	INTERLEAVE_STORE,
	INTERLEAVE_EXCHANGE,
	INTERLEAVE_COMPARE,
	INTERLEAVE_ADD,
	INTERLEAVE_SUB,
	INTERLEAVE_OR,
	INTERLEAVE_AND,
	INTERLEAVE_XOR,
	INTERLEAVE_FENCE,
	INTERLEAVE_RELAX, /* until a loaded word changes              */
	INTERLEAVE_TAKE,  /* once it is not 0: exchange with `operand` */
	INTERLEAVE_FLUSH, /* a store buffer's oldest entry            */
};

/*
 * One atomic operation on `size` bytes (1 to 8); returns the old value. `order` is a
 * memory_order; a failed INTERLEAVE_COMPARE with `expected` counts as a load of `failed` order.
 */
uint64_t interleave_operation(enum interleave_kind kind, volatile void *address, size_t size,
			      uint64_t operand, uint64_t expected, int order, int failed,
			      const struct interleave_site *site);

/* atomic_init(): a plain write. */
void interleave_init(volatile void *address, size_t size, uint64_t value);

/* The processor's `pause` in a loop that waits for somebody else. */
void interleave_relax(void);

/* Block until the word is not 0, and take it: 0 again. Acquires. */
void interleave_take(volatile uint32_t *word, const struct interleave_site *site);

#endif
