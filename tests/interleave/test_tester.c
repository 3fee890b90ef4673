/*
 * Does the tester find what there is to find? Litmus tests, whose outcomes are known; random
 * programs, where the reduced search must end in the same set of states as the full one; and
 * mistakes it has to report.
 */
#include <stdio.h>
#include <string.h>

#include "atomics.h"
#include "interleave.h"

static unsigned tests, failures;
static struct interleave_result result;

static void expect(bool right, const char *what)
{
	tests++;
	if (right)
		return;
	failures++;
	printf("FAILED: %s\n%s", what, result.report);
}

#define LIMIT 20000 /* executions */

static void explore(const struct interleave_scenario *scenario, enum interleave_memory memory,
		    bool unreduced)
{
	const struct interleave_options options = { .memory = memory,
						    .unreduced = unreduced,
						    .limit = LIMIT };

	interleave_explore(scenario, &options, &result);
}

static bool has_outcome(uint64_t outcome)
{
	for (size_t i = 0; i < result.outcome_count; i++)
		if (result.outcomes[i] == outcome)
			return true;
	return false;
}

/* ---- litmus tests ---- */

static _Atomic uint32_t x, y;
static uint32_t seen[4], data;
static uint32_t kicked;

static void nothing(void)
{
	atomic_store(&x, 0);
	atomic_store(&y, 0);
	memset(seen, 0, sizeof(seen));
	data = 0;
	kicked = 0;
}

static uint64_t outcome(void)
{
	return seen[0] | seen[1] << 4 | seen[2] << 8 | seen[3] << 12 | atomic_load(&x) << 16;
}

static void increment(void *argument)
{
	uint32_t old = atomic_load_explicit(&x, memory_order_relaxed);

	atomic_store_explicit(&x, old + 1, memory_order_relaxed);
}

static void buffered_first(void *argument)
{
	atomic_store_explicit(&x, 1, memory_order_release);
	seen[0] = atomic_load(&y);
}

static void buffered_second(void *argument)
{
	atomic_store_explicit(&y, 1, memory_order_release);
	seen[1] = atomic_load(&x);
}

static void exchanged_first(void *argument)
{
	atomic_exchange(&x, 1);
	seen[0] = atomic_load(&y);
}

static void exchanged_second(void *argument)
{
	atomic_store(&y, 1);
	seen[1] = atomic_load(&x);
}

static void pass(void *argument)
{
	atomic_store_explicit(&x, 1, memory_order_relaxed);
	atomic_store_explicit(&y, 1, memory_order_relaxed);
}

static void receive(void *argument)
{
	seen[0] = atomic_load_explicit(&y, memory_order_relaxed);
	seen[1] = atomic_load_explicit(&x, memory_order_relaxed);
}

static void test_litmus(void)
{
	const struct interleave_scenario lost = {
		.setup = nothing,
		.outcome = outcome,
		.threads = { { "a", increment }, { "b", increment } },
	};
	const struct interleave_scenario buffering = {
		.setup = nothing,
		.outcome = outcome,
		.threads = { { "a", buffered_first }, { "b", buffered_second } },
	};
	const struct interleave_scenario exchange = {
		.setup = nothing,
		.outcome = outcome,
		.threads = { { "a", exchanged_first }, { "b", exchanged_second } },
	};
	const struct interleave_scenario message = {
		.setup = nothing,
		.outcome = outcome,
		.threads = { { "a", pass }, { "b", receive } },
	};

	explore(&lost, INTERLEAVE_SC, false);
	expect(result.complete && has_outcome(1 << 16) && has_outcome(2 << 16) &&
		       result.outcome_count == 2,
	       "an increment can be lost");
	explore(&buffering, INTERLEAVE_SC, false);
	expect(result.outcome_count == 3 && !has_outcome(1 << 16),
	       "sequential consistency: one of two sees the other");
	explore(&buffering, INTERLEAVE_TSO, false);
	expect(result.outcome_count == 4 && has_outcome(1 << 16),
	       "store buffers: neither sees the other");
	explore(&exchange, INTERLEAVE_TSO, false);
	expect(result.outcome_count == 3 && !has_outcome(1 << 16),
	       "exchanges and sequentially consistent stores pass no buffer");
	explore(&message, INTERLEAVE_TSO, false);
	expect(result.outcome_count == 3 && !has_outcome(1 | 1 << 16),
	       "store buffers keep the order of stores");
}

/* ---- mistakes ---- */

static void write_plain(void *argument)
{
	data = 1;
	atomic_store_explicit(&x, 1, memory_order_relaxed);
}

static void write_released(void *argument)
{
	data = 1;
	atomic_store_explicit(&x, 1, memory_order_release);
}

static void read_plain(void *argument)
{
	if (atomic_load_explicit(&x, memory_order_acquire))
		seen[0] = data;
}

static void spin_for_x(void *argument)
{
	while (!atomic_load_explicit(&x, memory_order_acquire))
		interleave_relax();
	seen[0] = data;
}

static void wait_for_kick(void *argument)
{
	interleave_take(&kicked, NULL);
	seen[2] = 1;
}

static void kick_if_x(void *argument)
{
	if (atomic_load(&x))
		atomic_store((_Atomic uint32_t *)&kicked, 1);
}

static void give_back(void *argument)
{
	while (!atomic_load_explicit(&x, memory_order_acquire))
		interleave_relax();
	interleave_dead(&data, sizeof(data));
}

static void write_after(void *argument)
{
	atomic_store_explicit(&x, 1, memory_order_release);
	data = 1;
}

static void test_mistakes(void)
{
	const struct interleave_scenario racing = {
		.setup = nothing,
		.threads = { { "writer", write_plain }, { "reader", read_plain } },
	};
	const struct interleave_scenario ordered = {
		.setup = nothing,
		.threads = { { "writer", write_released }, { "reader", read_plain } },
	};
	const struct interleave_scenario spinning = {
		.setup = nothing,
		.threads = { { "writer", write_released }, { "spinner", spin_for_x } },
	};
	const struct interleave_scenario forever = {
		.setup = nothing,
		.threads = { { "spinner", spin_for_x } },
	};
	const struct interleave_scenario asleep = {
		.setup = nothing,
		.threads = { { "a", buffered_first },
			     { "kicker", kick_if_x },
			     { "sleeper", wait_for_kick } },
	};
	const struct interleave_scenario after = {
		.setup = nothing,
		.threads = { { "owner", give_back }, { "writer", write_after } },
	};

	explore(&racing, INTERLEAVE_SC, false);
	expect(result.failed && strstr(result.report, "data race"),
	       "a relaxed store orders nothing");
	explore(&ordered, INTERLEAVE_SC, false);
	expect(result.complete, "release and acquire order");
	explore(&spinning, INTERLEAVE_SC, false);
	expect(result.complete && result.executions <= 3, "spinning is not unrolled");
	explore(&forever, INTERLEAVE_SC, false);
	expect(result.failed && strstr(result.report, "deadlock: spinner"), "spinning for ever");
	explore(&asleep, INTERLEAVE_SC, false);
	expect(result.failed && strstr(result.report, "deadlock: sleeper"), "a lost wake-up");
	explore(&after, INTERLEAVE_SC, false);
	expect(result.failed, "use after the end");
}

/* ---- random programs ---- */

#define VARIABLES  3
#define OPERATIONS 4
#define PROGRAMS   200

/* Programs that a reduction which took too much has missed states of. */
static const uint32_t once_wrong[] = { 265,  541,  1083, 2031, 2868, 3456,
				       3517, 4485, 4658, 4686, 5144, 5147 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum action {
	READ,
	WRITE,
	WRITE_SC,
	SWAP,
	ADD,
	COMPARE,
	LOCKED,
	AWAIT,
	TAKE,
	ACTIONS
};

struct step {
	enum action action;
	unsigned variable, value;
};

static _Atomic uint32_t variables[VARIABLES];
static _Atomic uint32_t lock;
static struct {
	unsigned steps;
	struct step step[OPERATIONS];
	uint64_t seen;
} programs[3];

static uint32_t random_state;

static uint32_t next_random(uint32_t below)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 16) % below;
}

static void do_step(const struct step *step, uint64_t *saw)
{
	_Atomic uint32_t *variable = &variables[step->variable];
	uint32_t old = 0;

	switch (step->action) {
	case READ:
		old = atomic_load_explicit(variable, memory_order_relaxed);
		break;
	case WRITE:
		atomic_store_explicit(variable, step->value, memory_order_relaxed);
		break;
	case WRITE_SC:
		atomic_store(variable, step->value);
		break;
	case SWAP:
		old = atomic_exchange(variable, step->value);
		break;
	case ADD:
		old = atomic_fetch_add(variable, 1);
		break;
	case COMPARE:
		atomic_compare_exchange_strong(variable, &old, step->value);
		break;
	case LOCKED:
		while (atomic_exchange_explicit(&lock, 1, memory_order_acquire))
			while (atomic_load_explicit(&lock, memory_order_relaxed))
				interleave_relax();
		old = atomic_load_explicit(variable, memory_order_relaxed);
		atomic_store_explicit(variable, old + step->value, memory_order_relaxed);
		atomic_store_explicit(&lock, 0, memory_order_release);
		break;
	case AWAIT:
		while (!(old = atomic_load(variable)))
			interleave_relax();
		break;
	case TAKE:
		interleave_take((uint32_t *)variable, NULL);
		break;
	case ACTIONS:
		break;
	}
	*saw = *saw * 8 + (old & 7);
}

static void run_program(void *argument)
{
	size_t me = (size_t)argument;
	uint64_t saw = 0;

	for (unsigned i = 0; i < programs[me].steps; i++)
		do_step(&programs[me].step[i], &saw);
	programs[me].seen = saw + 1;
}

static void reset_variables(void)
{
	for (int i = 0; i < VARIABLES; i++)
		atomic_store(&variables[i], 0);
	for (int i = 0; i < 3; i++)
		programs[i].seen = 0;
	atomic_store(&lock, 0);
}

static uint64_t program_outcome(void)
{
	uint64_t hash = 0;

	for (int i = 0; i < VARIABLES; i++)
		hash = hash * 1000003 + atomic_load(&variables[i]);
	for (int i = 0; i < 3; i++)
		hash = hash * 1000003 + programs[i].seen;
	return hash;
}

/* Daemons: a thread that waits for ever is an outcome as well, not a failure. */
static const struct interleave_scenario random_scenario = {
	.setup = reset_variables,
	.outcome = program_outcome,
	.threads = {
		{ "a", run_program, (void *)0, true },
		{ "b", run_program, (void *)1, true },
		{ "c", run_program, (void *)2, true },
	},
};

static void make_program(uint32_t seed, bool small)
{
	random_state = seed * 2654435761u + 1;
	for (int i = 0; i < 3; i++) {
		programs[i].steps = 1 + next_random(small ? 2 : 3);
		for (unsigned j = 0; j < programs[i].steps; j++)
			programs[i].step[j] =
				(struct step){ next_random(ACTIONS), next_random(VARIABLES),
					       1 + next_random(3) };
	}
}

static unsigned compared;

static bool same(enum interleave_memory memory, uint64_t *full, uint64_t *reduced)
{
	static uint64_t outcomes[INTERLEAVE_OUTCOMES];
	size_t count;

	explore(&random_scenario, memory, true);
	/* Too large for a full search: no evidence. */
	if (!result.complete)
		return !result.failed;
	compared++;
	*full += result.executions;
	count = result.outcome_count;
	memcpy(outcomes, result.outcomes, sizeof(outcomes));
	explore(&random_scenario, memory, false);
	*reduced += result.executions + result.pruned;
	return result.complete && result.outcome_count == count &&
	       !memcmp(outcomes, result.outcomes, count * sizeof(outcomes[0]));
}

static void test_random_programs(enum interleave_memory memory, const char *name)
{
	uint64_t full = 0, reduced = 0;
	compared = 0;
	char what[64];

	for (uint32_t i = 0; i < PROGRAMS + COUNT(once_wrong); i++) {
		uint32_t seed = i < PROGRAMS ? i : once_wrong[i - PROGRAMS];

		make_program(seed, memory == INTERLEAVE_TSO);
		snprintf(what, sizeof(what), "program %u ends in the same states (%s)", seed, name);
		expect(same(memory, &full, &reduced), what);
	}
	expect(compared > PROGRAMS / 2, "most programs are small enough");
	printf("%s: %u random programs, %llu executions in full, %llu reduced\n", name, compared,
	       (unsigned long long)full, (unsigned long long)reduced);
}

int main(void)
{
	test_litmus();
	test_mistakes();
	test_random_programs(INTERLEAVE_SC, "SC");
	test_random_programs(INTERLEAVE_TSO, "TSO");
	printf("%u tests, %u failed\n", tests, failures);
	return failures != 0;
}
