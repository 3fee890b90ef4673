#include "interleave.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memory.h"

/*
 * A process is what the scheduler chooses among: a thread, or (from THREADS on) the one
 * that empties a thread's store buffer.
 */
#define THREADS   INTERLEAVE_THREADS
#define PROCESSES (2 * THREADS)
#define STACK     (256 << 10)
#define DEPTH     4000 /* steps of one execution                     */
#define WATCHED   12   /* words that a spinning thread looks at      */
#define BUFFERED  16   /* entries of a store buffer                  */
#define WORDS     1024 /* atomic words that one execution uses; power of two */
#define NAMES     64

typedef uint32_t mask;

/* For each process, how many steps of the execution (1: the first) happen before. */
struct clock {
	uint16_t of[PROCESSES];
};

struct watched {
	uintptr_t address;
	uint32_t version; /* of the word, when it was loaded */
};

struct operation {
	enum interleave_kind kind;
	uintptr_t address;
	uint8_t size;
	int order, failed;
	uint64_t operand, expected;
	const struct interleave_site *site;
};

struct stored {
	struct operation operation;
	struct clock before; /* the step that put it here, and what that depends on */
	struct memory_clock carries;
	bool releases;
};

struct process {
	struct operation next;
	struct clock before;

	/* Threads only. */
	void *stack, *saved;
	bool finished;
	uint64_t result;
	struct watched watched[WATCHED];
	unsigned watching;
	struct stored buffer[BUFFERED];
	unsigned buffered;
};

/* One decision of the search, and what was done then. */
struct node {
	bool choice; /* of interleave_choose(): `chosen` of `count` */
	unsigned chosen, count;
	mask enabled, sleep, backtrack, done;
	unsigned preemptions; /* before this step */
	int last;             /* the thread that ran before it */

	struct operation operation;
	struct watched watched[WATCHED];
	unsigned watching;
	uint64_t old, new;
	struct clock before; /* and the step itself */
};

struct word {
	uintptr_t address;
	uint64_t execution;
	struct clock written, accessed;
	uint32_t version; /* counts changes of its value */
};

struct name {
	uintptr_t from, to;
	const char *name;
};

void interleave_switch(void **save, void *to);

static const struct interleave_scenario *scenario;
static const struct interleave_options *options;
static struct interleave_result *result;

static struct process processes[PROCESSES];
static unsigned threads;
static struct node nodes[DEPTH];
static unsigned depth;    /* steps of this execution so far               */
static unsigned recorded; /* nodes below this were decided before         */
static mask asleep;
static uint32_t seed;
static int self = -1;
static int last = -1;
static void *search; /* the search's own context */
static bool pruned;
static bool starting;           /* threads run to their first operation */
static bool stepping;           /* nodes[depth] is being done           */
static unsigned preempted;      /* threads that could have gone on      */
static struct process director; /* runs setup(), and starts the threads; or check() */
static struct word words[WORDS];
static uint64_t execution;
static struct name names[NAMES];
static unsigned name_count;

static mask bit(unsigned process)
{
	return (mask)1 << process;
}

static bool is_flusher(unsigned process)
{
	return process >= THREADS;
}

static bool is_reduced(void)
{
	return !options->unreduced && !options->bounded && !options->random;
}

static bool tso(void)
{
	return options->memory == INTERLEAVE_TSO;
}

int interleave_self(void)
{
	return self;
}

/* ---- the report ---- */

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
	size_t used = strlen(result->report);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(result->report + used, sizeof(result->report) - used, format, arguments);
	va_end(arguments);
}

static const char *kind_name(enum interleave_kind kind)
{
	static const char *const text[] = {
		[INTERLEAVE_LOAD] = "load",
		[INTERLEAVE_STORE] = "store",
		[INTERLEAVE_EXCHANGE] = "exchange",
		[INTERLEAVE_COMPARE] = "compare",
		[INTERLEAVE_ADD] = "add",
		[INTERLEAVE_SUB] = "sub",
		[INTERLEAVE_OR] = "or",
		[INTERLEAVE_AND] = "and",
		[INTERLEAVE_XOR] = "xor",
		[INTERLEAVE_FENCE] = "fence",
		[INTERLEAVE_RELAX] = "spin",
		[INTERLEAVE_TAKE] = "take",
		[INTERLEAVE_FLUSH] = "flush",
	};

	return text[kind];
}

static void say_address(uintptr_t address)
{
	for (unsigned i = 0; i < name_count; i++) {
		if (address < names[i].from || address >= names[i].to)
			continue;
		if (address == names[i].from)
			say(" %s", names[i].name);
		else
			say(" %s+%#zx", names[i].name, (size_t)(address - names[i].from));
		return;
	}
	if (address)
		say(" %#zx", (size_t)address);
}

static void say_operation(const struct operation *operation)
{
	const char *file = operation->site ? operation->site->file : "";
	const char *base = strrchr(file, '/');

	say("%-8s", kind_name(operation->kind));
	if (operation->site)
		say(" %s", operation->site->text);
	if (file[0])
		say(" (%s, %s:%d)", operation->site->function, base ? base + 1 : file,
		    operation->site->line);
	say_address(operation->address);
}

static void say_schedule(void)
{
	for (unsigned i = 0; i < depth + stepping; i++) {
		const struct node *node = &nodes[i];

		if (node->choice) {
			say("%5u  chooses %u of %u\n", i, node->chosen, node->count);
			continue;
		}
		say("%5u  %-10s ", i, scenario->threads[node->chosen % THREADS].name);
		say_operation(&node->operation);
		if (node->operation.kind != INTERLEAVE_RELAX)
			say(": %#llx", (unsigned long long)node->old);
		if (node->new != node->old)
			say(" -> %#llx", (unsigned long long)node->new);
		say("%s\n", is_flusher(node->chosen) ? " (arrives)"
			    : tso() && node->operation.kind == INTERLEAVE_STORE &&
					    node->operation.order != memory_order_seq_cst
				    ? " (buffered)"
				    : "");
	}
	for (unsigned i = 0; i < threads; i++) {
		say("       %-10s ", scenario->threads[i].name);
		if (processes[i].finished)
			say("has ended\n");
		else if ((int)i == self)
			say("was running\n");
		else {
			say("is before ");
			say_operation(&processes[i].next);
			say("\n");
		}
	}
}

void interleave_fail(const char *format, ...)
{
	va_list arguments;
	void *gone;

	result->failed = true;
	va_start(arguments, format);
	vsnprintf(result->report, sizeof(result->report) - 1, format, arguments);
	va_end(arguments);
	say("\n");
	say_schedule();
	self = -1;
	interleave_switch(&gone, search);
	__builtin_unreachable();
}

void interleave_name(const volatile void *address, size_t size, const char *name)
{
	if (name_count < NAMES)
		names[name_count++] =
			(struct name){ (uintptr_t)address, (uintptr_t)address + size, name };
}

/* ---- memory ---- */

static uint64_t read_memory(uintptr_t address, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, (void *)address, size);
	return value;
}

static void write_memory(uintptr_t address, size_t size, uint64_t value)
{
	memcpy((void *)address, &value, size);
}

/* What the thread would read now. */
static uint64_t see(const struct process *thread, uintptr_t address, size_t size)
{
	for (unsigned i = thread->buffered; i-- > 0;)
		if (thread->buffer[i].operation.address == address)
			return thread->buffer[i].operation.operand;
	return read_memory(address, size);
}

static bool reads_only(enum interleave_kind kind)
{
	return kind == INTERLEAVE_LOAD || kind == INTERLEAVE_RELAX;
}

/* It goes into the store buffer. */
static bool is_buffered(const struct operation *operation)
{
	return tso() && operation->kind == INTERLEAVE_STORE &&
	       operation->order != memory_order_seq_cst;
}

/* It waits until the thread's store buffer is empty. */
static bool drains(const struct operation *operation)
{
	return tso() && !reads_only(operation->kind) && !is_buffered(operation) &&
	       operation->kind != INTERLEAVE_FLUSH;
}

static uint64_t apply(const struct operation *operation, uint64_t old)
{
	uint64_t value = old;

	switch (operation->kind) {
	case INTERLEAVE_STORE:
	case INTERLEAVE_EXCHANGE:
	case INTERLEAVE_TAKE:
	case INTERLEAVE_FLUSH:
		value = operation->operand;
		break;
	case INTERLEAVE_COMPARE:
		value = old == operation->expected ? operation->operand : old;
		break;
	case INTERLEAVE_ADD:
		value = old + operation->operand;
		break;
	case INTERLEAVE_SUB:
		value = old - operation->operand;
		break;
	case INTERLEAVE_OR:
		value = old | operation->operand;
		break;
	case INTERLEAVE_AND:
		value = old & operation->operand;
		break;
	case INTERLEAVE_XOR:
		value = old ^ operation->operand;
		break;
	case INTERLEAVE_LOAD:
	case INTERLEAVE_RELAX:
	case INTERLEAVE_FENCE:
		break;
	}
	return operation->size < 8 ? value & (((uint64_t)1 << 8 * operation->size) - 1) : value;
}

static struct word *word_of(uintptr_t address)
{
	size_t at = (address >> 2) * 0x9e3779b97f4a7c15ull >> 54;

	for (size_t i = 0; i < WORDS; i++, at = (at + 1) & (WORDS - 1)) {
		if (words[at].execution != execution) {
			memset(&words[at], 0, sizeof(words[at]));
			words[at].execution = execution;
			words[at].address = address;
		}
		if (words[at].address == address)
			return &words[at];
	}
	interleave_fail("the tester has no room for so many atomic words");
}

_Static_assert(WORDS == 1 << (64 - 54), "word_of");

/* ---- dependence ---- */

static bool is_enabled(unsigned index)
{
	const struct process *process = &processes[index];

	if (is_flusher(index))
		return processes[index - THREADS].buffered;
	if (process->finished)
		return false;
	if (drains(&process->next) && process->buffered)
		return false;
	if (process->next.kind == INTERLEAVE_TAKE)
		return read_memory(process->next.address, process->next.size) != 0;
	if (process->next.kind != INTERLEAVE_RELAX)
		return true;
	for (unsigned i = 0; i < process->watching; i++) {
		const struct watched *watched = &process->watched[i];

		if (word_of(watched->address)->version != watched->version)
			return true;
	}
	return false;
}

static mask all_enabled(void)
{
	mask enabled = 0;

	for (unsigned i = 0; i < threads; i++) {
		if (is_enabled(i))
			enabled |= bit(i);
		if (is_enabled(i + THREADS))
			enabled |= bit(i + THREADS);
	}
	return enabled;
}

static bool watches(const struct watched *watched, unsigned count, uintptr_t address)
{
	for (unsigned i = 0; i < count; i++)
		if (watched[i].address == address)
			return true;
	return false;
}

/* Do the node's step and the next one of another process depend on each other? */
static bool depends(const struct node *node, unsigned index)
{
	const struct operation *did = &node->operation;
	const struct process *process = &processes[index];
	const struct operation *next = is_flusher(index)
					       ? &processes[index - THREADS].buffer[0].operation
					       : &process->next;
	bool flushes = is_flusher(index);

	if (node->choice || node->chosen == index)
		return false;
	/* A thread and its own store buffer: what waits for it to be empty. */
	if (node->chosen == index + THREADS && drains(next))
		return true;
	if (flushes && node->chosen == index - THREADS && drains(did))
		return true;
	if ((!flushes && is_buffered(next)) || (!is_flusher(node->chosen) && is_buffered(did)))
		return false;
	if (did->kind == INTERLEAVE_FENCE || next->kind == INTERLEAVE_FENCE)
		return false;
	if (did->kind == INTERLEAVE_RELAX)
		return (flushes || !reads_only(next->kind)) &&
		       watches(node->watched, node->watching, next->address);
	if (!flushes && next->kind == INTERLEAVE_RELAX)
		return !reads_only(did->kind) &&
		       watches(process->watched, process->watching, did->address);
	return did->address == next->address &&
	       !(reads_only(did->kind) && !flushes && reads_only(next->kind));
}

static void join(struct clock *into, const struct clock *from)
{
	for (unsigned i = 0; i < PROCESSES; i++)
		if (from->of[i] > into->of[i])
			into->of[i] = from->of[i];
}

/* What happens before the next step of a process, as far as that is known before it. */
static struct clock before_next(unsigned index)
{
	struct clock before = processes[index].before;

	if (is_flusher(index)) {
		if (processes[index - THREADS].buffered)
			join(&before, &processes[index - THREADS].buffer[0].before);
	} else if (drains(&processes[index].next)) {
		join(&before, &processes[index + THREADS].before);
	}
	return before;
}

/*
 * The process's next step (`before` it: what happens before) races with step `at`, and must
 * be tried the other way round: without `at` and what depends on it, the steps since can
 * still be done, and then this one. Have one tried at `at` that may come first of these.
 */
static void add_backtrack(unsigned index, unsigned at, const struct clock *before)
{
	struct node *node = &nodes[at];
	uint16_t first[PROCESSES] = { 0 };
	mask starts = 0;
	bool follows = false; /* the process's next step, one of the steps since */

	for (unsigned j = at + 1; j <= depth; j++) {
		unsigned process = j < depth ? nodes[j].chosen : index;
		const struct clock *clock = j < depth ? &nodes[j].before : before;
		bool leads = j < depth || !follows;

		if (j < depth && (nodes[j].choice || clock->of[node->chosen] > at))
			continue;
		follows |= j < depth && depends(&nodes[j], index);
		if (first[process])
			continue;
		for (unsigned i = 0; i < PROCESSES; i++)
			if (first[i] && clock->of[i] >= first[i])
				leads = false;
		first[process] = (uint16_t)(j + 1);
		if (leads)
			starts |= bit(process);
	}
	if (starts & node->backtrack)
		return;
	starts &= node->enabled;
	node->backtrack |= starts & bit(index) ? bit(index) : starts & -starts;
}

/* Was the process's next step disabled before step `at`? After it? */
static bool was_disabled(unsigned at, unsigned index)
{
	return !(nodes[at].enabled & bit(index)) && processes[index].before.of[index] <= at;
}

static bool is_enabled_after(unsigned at, unsigned index)
{
	do
		at++;
	while (at < depth && nodes[at].choice);
	return (at < depth ? nodes[at].enabled : all_enabled()) & bit(index);
}

/*
 * The steps that race with the process's next one: they depend on each other, and nothing in
 * between puts them in order. A step that comes while the process waits has to come before;
 * but what comes before that step may do so because of it (a lock that was taken and released:
 * the process could have taken it first).
 */
static void find_races(unsigned index)
{
	struct clock before = before_next(index), reached = before;

	if (!is_reduced())
		return;
	for (unsigned i = depth; i-- > 0;) {
		if (!depends(&nodes[i], index) || reached.of[nodes[i].chosen] > i)
			continue;
		if (!was_disabled(i, index))
			join(&reached, &nodes[i].before);
		else if (is_enabled_after(i, index))
			continue;
		add_backtrack(index, i, &before);
	}
}

/*
 * Where an execution ends, some wait: in another order they may not. Also where it is given up,
 * since those who are asleep may never get there with them waiting.
 */
static void find_races_of_waiters(void)
{
	for (unsigned i = 0; i < threads; i++)
		if (!processes[i].finished)
			find_races(i);
}

/* ---- a step ---- */

static void watch(struct process *thread, uintptr_t address)
{
	unsigned i = 0;

	while (i < thread->watching && thread->watched[i].address != address)
		i++;
	if (i == WATCHED) {
		/* A loop that loads more than this many words: forget the oldest. */
		memmove(thread->watched, thread->watched + 1,
			(WATCHED - 1) * sizeof(thread->watched[0]));
		i--;
	}
	if (i == thread->watching)
		thread->watching++;
	thread->watched[i] = (struct watched){ address, word_of(address)->version };
}

/* Order of the search: what the step depends on, and who depends on it. */
static void order_step(struct process *process, struct node *node)
{
	const struct operation *did = &node->operation;

	if (did->kind == INTERLEAVE_RELAX) {
		for (unsigned i = 0; i < node->watching; i++)
			join(&process->before, &word_of(node->watched[i].address)->written);
	} else if (did->kind != INTERLEAVE_FENCE &&
		   !(is_buffered(did) && !is_flusher(node->chosen))) {
		struct word *word = word_of(did->address);

		join(&process->before, reads_only(did->kind) ? &word->written : &word->accessed);
	}
	process->before.of[node->chosen] = (uint16_t)(depth + 1);
	node->before = process->before;
	if (did->kind == INTERLEAVE_RELAX) {
		for (unsigned i = 0; i < node->watching; i++)
			join(&word_of(node->watched[i].address)->accessed, &process->before);
	} else if (did->kind != INTERLEAVE_FENCE &&
		   !(is_buffered(did) && !is_flusher(node->chosen))) {
		struct word *word = word_of(did->address);

		join(&word->accessed, &process->before);
		if (!reads_only(did->kind))
			word->written = word->accessed;
	}
}

static void change(uintptr_t address, size_t size, uint64_t value)
{
	if (read_memory(address, size) != value)
		word_of(address)->version++;
	write_memory(address, size, value);
}

/* A thread that spins does not wait for its own store to arrive. */
static void know(struct process *thread, uintptr_t address)
{
	uint32_t version = word_of(address)->version;

	for (unsigned i = 0; i < thread->watching; i++)
		if (thread->watched[i].address == address &&
		    thread->watched[i].version + 1 == version)
			thread->watched[i].version = version;
}

static void do_flush(unsigned index, struct node *node)
{
	struct process *thread = &processes[index - THREADS];
	struct stored *stored = &thread->buffer[0];
	struct operation *operation = &stored->operation;

	node->operation = *operation;
	node->operation.kind = INTERLEAVE_FLUSH;
	if (memory_is_dead(operation->address, operation->size, (int)index - THREADS))
		interleave_fail("use after the end: a store arrives late");
	node->old = read_memory(operation->address, operation->size);
	node->new = operation->operand;
	/* Its own thread may have given the memory back since: then the store was before that. */
	if (!memory_is_dead(operation->address, operation->size, -2)) {
		change(operation->address, operation->size, operation->operand);
		know(thread, operation->address);
		memory_store_end(operation->address, &stored->carries, stored->releases);
	}
	join(&processes[index].before, &stored->before);
	thread->buffered--;
	memmove(stored, stored + 1, thread->buffered * sizeof(*stored));
	order_step(&processes[index], node);
}

static void do_operation(unsigned index, struct node *node)
{
	struct process *thread = &processes[index];
	const struct operation *next = &thread->next;
	struct operation *did = &node->operation;

	*did = *next;
	node->old = node->new = 0;
	if (drains(next))
		join(&thread->before, &processes[index + THREADS].before);
	if (next->kind == INTERLEAVE_RELAX) {
		memcpy(node->watched, thread->watched, sizeof(node->watched));
		node->watching = thread->watching;
		thread->watching = 0;
		order_step(thread, node);
		return;
	}
	if (next->kind == INTERLEAVE_FENCE) {
		order_step(thread, node);
		return;
	}
	memory_atomic((int)index, next->address, next->size);
	node->old = see(thread, next->address, next->size);
	node->new = apply(next, node->old);
	thread->result = node->old;
	if (next->kind == INTERLEAVE_LOAD) {
		memory_load((int)index, next->address, next->order);
		watch(thread, next->address);
		order_step(thread, node);
		return;
	}
	/* A loop that has written has done something: what it saw before does not matter. */
	thread->watching = 0;
	order_step(thread, node);
	if (next->kind == INTERLEAVE_STORE) {
		struct stored stored = { .operation = *next, .before = thread->before };

		stored.operation.operand = node->new;
		memory_store_begin((int)index, next->order, &stored.carries, &stored.releases);
		if (!is_buffered(next)) {
			change(next->address, next->size, node->new);
			watch(thread, next->address);
			memory_store_end(next->address, &stored.carries, stored.releases);
			return;
		}
		if (thread->buffered == BUFFERED)
			interleave_fail("the tester's store buffers are too small");
		thread->buffer[thread->buffered++] = stored;
		watch(thread, next->address);
		return;
	}
	change(next->address, next->size, node->new);
	watch(thread, next->address);
	if (next->kind == INTERLEAVE_COMPARE && node->old != next->expected) {
		memory_load((int)index, next->address, next->failed);
		return;
	}
	memory_modify((int)index, next->address, next->order);
}

/* ---- decisions ---- */

static uint32_t next_random(void)
{
	/* xorshift */
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

static unsigned first_of(mask set)
{
	return (unsigned)__builtin_ctz(set);
}

/* What may be decided at a node, besides what has been. */
static mask open_decisions(const struct node *node)
{
	mask open = node->backtrack & ~node->done & ~node->sleep;

	if (options->bounded && node->preemptions >= options->preemptions && node->last >= 0 &&
	    (node->enabled & bit((unsigned)node->last)))
		open &= bit((unsigned)node->last) | ~(bit(THREADS) - 1);
	return open;
}

static struct node *new_node(void)
{
	struct node *node;

	if (depth == DEPTH)
		interleave_fail("more than %d steps: does it end?", DEPTH);
	node = &nodes[depth];
	if (depth < recorded)
		return node;
	memset(node, 0, offsetof(struct node, operation));
	node->sleep = asleep;
	node->last = last;
	recorded = depth + 1;
	return node;
}

static void end_execution(void)
{
	void *gone;

	self = -1;
	interleave_switch(&gone, search);
	__builtin_unreachable();
}

/* Mostly go on with the same thread: many executions need few switches to go wrong. */
static void choose_randomly(struct node *node)
{
	unsigned skip;
	mask rest = node->enabled;

	if (node->last >= 0 && (rest & bit((unsigned)node->last)) && next_random() % 8)
		return;
	for (skip = next_random() % (unsigned)__builtin_popcount(rest); skip; skip--)
		rest &= rest - 1;
	node->chosen = first_of(rest);
}

static void decide(struct node *node, mask enabled, bool is_new)
{
	mask open;

	if (!is_new) {
		if (node->choice || node->enabled != enabled)
			interleave_fail("the scenario is not deterministic");
		return;
	}
	node->enabled = enabled;
	node->preemptions = preempted;
	node->backtrack = enabled;
	open = open_decisions(node);
	if (!open) {
		find_races_of_waiters();
		/* Others have been through everything from here. */
		recorded = depth;
		pruned = true;
		end_execution();
	}
	node->chosen = last >= 0 && (open & bit((unsigned)last)) ? (unsigned)last : first_of(open);
	if (options->random)
		choose_randomly(node);
	if (is_reduced())
		node->backtrack = bit(node->chosen);
}

/* Another thread goes on than the last one, which could have. */
static bool preempts(const struct node *node)
{
	return !is_flusher(node->chosen) && node->last >= 0 &&
	       node->chosen != (unsigned)node->last && (node->enabled & bit((unsigned)node->last));
}

/* Called by a thread whose next operation is known, or that has ended: decide, and go on. */
static void schedule(void)
{
	for (;;) {
		mask enabled;
		bool is_new;
		struct node *node;
		unsigned chosen;
		int was = self;

		enabled = all_enabled();
		if (!enabled) {
			find_races_of_waiters();
			for (unsigned i = 0; i < threads; i++) {
				if (processes[i].finished || scenario->threads[i].daemon)
					continue;
				self = -1;
				interleave_fail("deadlock: %s waits for ever",
						scenario->threads[i].name);
			}
			end_execution();
		}
		is_new = depth >= recorded;
		node = new_node();
		decide(node, enabled, is_new);
		chosen = node->chosen;
		preempted += preempts(node);
		asleep = node->sleep & ~bit(chosen);
		if (depth + 1 >= recorded)
			find_races(chosen);
		stepping = true;
		self = (int)(chosen % THREADS);
		if (is_flusher(chosen))
			do_flush(chosen, node);
		else
			do_operation(chosen, node);
		for (unsigned i = 0; i < PROCESSES; i++)
			if ((asleep & bit(i)) && depends(node, i))
				asleep &= ~bit(i);
		self = was;
		stepping = false;
		depth++;
		if (is_flusher(chosen))
			continue;
		last = (int)chosen;
		if ((int)chosen == was)
			return;
		self = (int)chosen;
		interleave_switch(was >= 0 ? &processes[was].saved : &director.saved,
				  processes[chosen].saved);
		return;
	}
}

static void pause_or_schedule(void)
{
	if (starting)
		interleave_switch(&processes[self].saved, director.saved);
	else
		schedule();
}

/* Announce the running thread's next operation; returns when it has been done. */
static uint64_t announce(const struct operation *operation)
{
	struct process *thread = &processes[self];

	thread->next = *operation;
	pause_or_schedule();
	return thread->result;
}

unsigned interleave_choose(unsigned count)
{
	bool is_new = depth >= recorded;
	struct node *node;

	if (self < 0)
		return 0;
	node = new_node();
	if (is_new) {
		node->choice = true;
		node->count = count;
		if (options->random)
			node->chosen = next_random() % count;
	} else if (!node->choice) {
		interleave_fail("the scenario is not deterministic");
	}
	asleep = node->sleep;
	depth++;
	return node->chosen;
}

/* ---- what threads call ---- */

static bool is_mutated(const struct operation *operation)
{
	const struct interleave_mutation *mutation = &options->mutation;

	return mutation->mistake && operation->site && operation->site->function &&
	       !strcmp(operation->site->function, mutation->function) &&
	       (!mutation->object || !strcmp(operation->site->text, mutation->object));
}

static uint64_t announce_mutated(struct operation operation)
{
	switch (options->mutation.mistake) {
	case INTERLEAVE_NO_MISTAKE:
		break;
	case INTERLEAVE_RELAXED:
		operation.order = operation.failed = memory_order_relaxed;
		break;
	case INTERLEAVE_STORED:
		if (operation.kind != INTERLEAVE_EXCHANGE)
			break;
		operation.kind = INTERLEAVE_STORE;
		operation.order = memory_order_release;
		break;
	case INTERLEAVE_SPLIT: {
		struct operation half = operation;
		uint64_t old;

		if (reads_only(operation.kind) || operation.kind == INTERLEAVE_STORE)
			break;
		half.kind = INTERLEAVE_LOAD;
		old = announce(&half);
		half.kind = INTERLEAVE_STORE;
		half.order = memory_order_release;
		half.operand = apply(&operation, old);
		announce(&half);
		return old;
	}
	case INTERLEAVE_BLIND:
		if (operation.kind != INTERLEAVE_LOAD)
			break;
		announce(&operation);
		return 0;
	}
	return announce(&operation);
}

uint64_t interleave_operation(enum interleave_kind kind, volatile void *address, size_t size,
			      uint64_t operand, uint64_t expected, int order, int failed,
			      const struct interleave_site *site)
{
	const struct operation operation = {
		.kind = kind,
		.address = (uintptr_t)address,
		.size = (uint8_t)size,
		.order = order,
		.failed = failed,
		.operand = operand,
		.expected = expected,
		.site = site,
	};
	uint64_t old;

	if (self >= 0)
		return is_mutated(&operation) ? announce_mutated(operation) : announce(&operation);
	/* setup() and check(): nobody else is there. */
	if (kind == INTERLEAVE_FENCE)
		return 0;
	old = read_memory(operation.address, size);
	write_memory(operation.address, size, apply(&operation, old));
	return old;
}

void interleave_relax(void)
{
	static const struct interleave_site site = { "", 0, "", "what it has loaded" };
	const struct operation operation = { .kind = INTERLEAVE_RELAX, .site = &site };

	if (self >= 0)
		announce(&operation);
}

void interleave_take(volatile uint32_t *word, const struct interleave_site *site)
{
	interleave_operation(INTERLEAVE_TAKE, word, sizeof(*word), 0, 0, memory_order_acq_rel,
			     memory_order_acquire, site);
}

/* ---- executions ---- */

static void *new_stack(void)
{
	void *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (stack == MAP_FAILED) {
		perror("interleave: mmap");
		exit(2);
	}
	return stack;
}

/* Have interleave_switch() enter `entry`, which must not return. */
static void prepare(struct process *process, void (*entry)(void))
{
	uint64_t *top;

	if (!process->stack)
		process->stack = new_stack();
	top = (uint64_t *)((char *)process->stack + STACK);
	*--top = 0; /* the stack is aligned as after a call */
	*--top = (uintptr_t)entry;
	for (int i = 0; i < 6; i++)
		*--top = 0;
	process->saved = top;
}

static void run_thread(void)
{
	const struct interleave_thread *thread = &scenario->threads[self];

	thread->run(thread->argument);
	processes[self].finished = true;
	pause_or_schedule();
	__builtin_unreachable();
}

static void run_execution(void)
{
	if (scenario->setup)
		scenario->setup();
	starting = true;
	for (unsigned i = 0; i < threads; i++) {
		self = (int)i;
		interleave_switch(&director.saved, processes[i].saved);
	}
	starting = false;
	self = -1;
	schedule();
	__builtin_unreachable();
}

static int compare_outcomes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void add_outcome(uint64_t outcome)
{
	if (bsearch(&outcome, result->outcomes, result->outcome_count, sizeof(outcome),
		    compare_outcomes))
		return;
	if (result->outcome_count == INTERLEAVE_OUTCOMES)
		interleave_fail("more than %d outcomes", INTERLEAVE_OUTCOMES);
	result->outcomes[result->outcome_count++] = outcome;
	qsort(result->outcomes, result->outcome_count, sizeof(outcome), compare_outcomes);
}

static void run_check(void)
{
	if (scenario->check)
		scenario->check();
	if (scenario->outcome)
		add_outcome(scenario->outcome());
	end_execution();
}

static void direct(void (*entry)(void))
{
	prepare(&director, entry);
	interleave_switch(&search, director.saved);
}

static void reset_process(struct process *process)
{
	process->before = (struct clock){ 0 };
	process->finished = false;
	process->watching = 0;
	process->buffered = 0;
	memset(&process->next, 0, sizeof(process->next));
}

static void execute(void)
{
	depth = 0;
	preempted = 0;
	asleep = 0;
	last = -1;
	pruned = false;
	starting = false;
	stepping = false;
	name_count = 0;
	execution++;
	memory_reset();
	for (unsigned i = 0; i < PROCESSES; i++)
		reset_process(&processes[i]);
	for (unsigned i = 0; i < threads; i++)
		prepare(&processes[i], run_thread);
	direct(run_execution);
	result->steps += depth;
	if (depth > result->depth)
		result->depth = depth;
	if (!result->failed && !pruned)
		direct(run_check);
	if (pruned)
		result->pruned++;
	else
		result->executions++;
}

/* Take back the last decision that leaves another one. False: there is none. */
static bool next_decision(void)
{
	while (recorded) {
		struct node *node = &nodes[recorded - 1];
		mask open;

		if (node->choice) {
			if (++node->chosen < node->count)
				return true;
			recorded--;
			continue;
		}
		node->done |= bit(node->chosen);
		if (is_reduced())
			node->sleep |= bit(node->chosen);
		open = open_decisions(node);
		if (open) {
			node->chosen = first_of(open);
			return true;
		}
		recorded--;
	}
	return false;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	interleave_fail("signal %d (%s) at %p", number, strsignal(number), info->si_addr);
}

static void catch_faults(void)
{
	static char stack[64 << 10];
	const stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_sigaction = on_fault,
				    .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	sigaltstack(&alternate, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGFPE, &action, NULL);
	sigaction(SIGILL, &action, NULL);
}

void interleave_explore(const struct interleave_scenario *what,
			const struct interleave_options *how, struct interleave_result *into)
{
	scenario = what;
	options = how;
	result = into;
	memset(result, 0, sizeof(*result));
	threads = 0;
	while (threads < THREADS && scenario->threads[threads].run)
		threads++;
	recorded = 0;
	seed = options->random;
	catch_faults();
	do {
		if (options->limit && result->executions + result->pruned >= options->limit)
			return;
		execute();
		if (result->failed)
			return;
		if (options->random)
			recorded = 0;
	} while (options->random || next_decision());
	result->complete = true;
}
