/*
 * Runs all scenarios, under both memory models; then puts mistakes in, each of which must be
 * found.
 *
 *	interleave [--long] [--limit N] [--show] [NAME...]
 *
 *	--long    more executions of each scenario, and the large ones as well
 *	--limit   how many executions at most; 0: until the search comes to its end
 *	--show    print the schedule that leads to each mistake
 *	NAME      only scenarios whose name contains it
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "interleave.h"
#include "scenarios/scenarios.h"

/* Executions of a scenario, at most, if the table gives no other limit. */
#define LIMIT      8000
#define LIMIT_LONG 3000000
#define SEED       20260101

static const struct {
	const struct interleave_scenario *scenario;
	bool only_long;
	uint64_t limit;
} table[] = {
	{ &lock_exclusive, false },   { &task_wake, false, 120000 },
	{ &task_wake_3, true },       { &task_cancel, false, 30000 },
	{ &task_cancel_only, false }, { &task_join, false, 20000 },
	{ &task_done, false },        { &park_post, false, 200000 },
	{ &park_post_stop, false },   { &park_completion, false },
	{ &park_completions, false }, { &ring_submit, false },
	{ &ring_contend, false },     { &ring_deadline, false },
	{ &look_post, false },        { &waitq_pass_on, false, 20000 },
	{ &waitq_condition, false },  { &runq_steal, false },
	{ &runq_overflow, false },    { &runq_thieves, false, 30000 },
	{ &steal_inbox, false },      { &steal_wake, false },
	{ &steal_pinned, false },     { &steal_migrate, false },
};

static const struct {
	const struct interleave_scenario *scenario;
	enum interleave_memory memory;
	struct interleave_mutation mutation;
} mistakes[] = {
	/* Sleeping: what is published before the look has to be there before it. */
	{ &park_post, INTERLEAVE_TSO, { INTERLEAVE_STORED, "pg_ring_park", NULL } },
	{ &park_completion, INTERLEAVE_TSO, { INTERLEAVE_STORED, "pg_cq_push", NULL } },
	{ &ring_submit, INTERLEAVE_TSO, { INTERLEAVE_STORED, "pg_sq_push", NULL } },
	{ &ring_submit, INTERLEAVE_TSO, { INTERLEAVE_STORED, "pg_ring_server_sleep", NULL } },
	{ &ring_contend, INTERLEAVE_TSO, { INTERLEAVE_STORED, "pg_ring_contend", NULL } },
	{ &ring_deadline, INTERLEAVE_TSO, { INTERLEAVE_STORED, "pg_ring_set_deadline", NULL } },
	{ &look_post, INTERLEAVE_TSO, { INTERLEAVE_STORED, "pg_ring_begin_turn", NULL } },
	/* Last looks left out. */
	{ &look_post, INTERLEAVE_SC, { INTERLEAVE_BLIND, "begin_turn", "&executor->inbox" } },
	{ &park_post, INTERLEAVE_SC, { INTERLEAVE_BLIND, "has_work_at_last", "&executor->inbox" } },
	{ &park_post_stop,
	  INTERLEAVE_SC,
	  { INTERLEAVE_BLIND, "has_work_at_last", "&executor->stop" } },
	{ &park_completion, INTERLEAVE_SC, { INTERLEAVE_BLIND, "has_work_at_last", NULL } },
	{ &park_completions, INTERLEAVE_SC, { INTERLEAVE_BLIND, "submit", "&ring->sq_head" } },
	{ &task_join, INTERLEAVE_SC, { INTERLEAVE_BLIND, "join_poll", NULL } },
	{ &steal_pinned, INTERLEAVE_SC, { INTERLEAVE_BLIND, "pg_task_pinned", "&task->pins" } },
	/* One operation made two. */
	{ &task_wake, INTERLEAVE_SC, { INTERLEAVE_SPLIT, "pg_task_end", NULL } },
	{ &task_cancel_only, INTERLEAVE_SC, { INTERLEAVE_SPLIT, "pg_task_begin", NULL } },
	{ &task_wake, INTERLEAVE_SC, { INTERLEAVE_SPLIT, "pg_task_mark", NULL } },
	{ &park_post, INTERLEAVE_SC, { INTERLEAVE_SPLIT, "push_inbox", NULL } },
	{ &park_post, INTERLEAVE_SC, { INTERLEAVE_SPLIT, "take_all", NULL } },
	{ &steal_inbox, INTERLEAVE_SC, { INTERLEAVE_SPLIT, "take_all", NULL } },
	{ &runq_steal, INTERLEAVE_SC, { INTERLEAVE_SPLIT, "take", NULL } },
	{ &runq_steal, INTERLEAVE_SC, { INTERLEAVE_SPLIT, "pg_runq_steal", NULL } },
	{ &lock_exclusive, INTERLEAVE_SC, { INTERLEAVE_SPLIT, "pg_spin_lock", NULL } },
	/* Orders. */
	{ &lock_exclusive, INTERLEAVE_SC, { INTERLEAVE_RELAXED, "pg_spin_lock", NULL } },
	{ &lock_exclusive, INTERLEAVE_SC, { INTERLEAVE_RELAXED, "pg_spin_unlock", NULL } },
	{ &park_post, INTERLEAVE_SC, { INTERLEAVE_RELAXED, "push_inbox", NULL } },
	{ &park_post, INTERLEAVE_SC, { INTERLEAVE_RELAXED, "take_all", NULL } },
	{ &park_completion, INTERLEAVE_SC, { INTERLEAVE_RELAXED, "pg_cq_pop", NULL } },
	{ &runq_steal, INTERLEAVE_SC, { INTERLEAVE_RELAXED, "push_slot", "&queue->tail" } },
	{ &steal_pinned, INTERLEAVE_SC, { INTERLEAVE_RELAXED, "pg_task_unpin", NULL } },
	{ &steal_wake, INTERLEAVE_SC, { INTERLEAVE_RELAXED, "pg_task_end", NULL } },
	{ &task_wake, INTERLEAVE_SC, { INTERLEAVE_RELAXED, "pg_task_mark", NULL } },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct interleave_result result;
static unsigned tests, failed;

static const char *memory_name(enum interleave_memory memory)
{
	return memory == INTERLEAVE_TSO ? "TSO" : "SC";
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Returns false when the search has not come to its end. */
static bool run(const struct interleave_scenario *scenario, enum interleave_memory memory,
		uint64_t limit, uint32_t seed)
{
	const struct interleave_options options = { .memory = memory,
						    .limit = limit,
						    .random = seed };
	double began = seconds();

	interleave_explore(scenario, &options, &result);
	tests++;
	printf("%-32s %-4s %9llu %8llu %6u %7.2f  %s\n", scenario->name, memory_name(memory),
	       (unsigned long long)result.executions, (unsigned long long)result.pruned,
	       result.depth, seconds() - began,
	       result.failed     ? "FAILED"
	       : result.complete ? "complete"
	       : seed            ? "at random"
				 : "the first");
	if (result.failed) {
		failed++;
		fputs(result.report, stdout);
	}
	fflush(stdout);
	return result.complete || result.failed;
}

/* What is too large to be searched is sampled as well, all over. */
static void run_both(const struct interleave_scenario *scenario, enum interleave_memory memory,
		     uint64_t limit)
{
	if (!run(scenario, memory, limit, 0))
		run(scenario, memory, limit, SEED);
}

static const char *mistake_name(enum interleave_mistake mistake)
{
	switch (mistake) {
	case INTERLEAVE_RELAXED:
		return "relaxed";
	case INTERLEAVE_STORED:
		return "a plain store";
	case INTERLEAVE_SPLIT:
		return "not atomic";
	case INTERLEAVE_BLIND:
		return "left out";
	default:
		return "";
	}
}

static void find(size_t i, uint64_t limit, bool show)
{
	const struct interleave_mutation *mutation = &mistakes[i].mutation;
	struct interleave_options options = { .memory = mistakes[i].memory,
					      .mutation = *mutation,
					      .limit = limit };
	char *end;

	interleave_explore(mistakes[i].scenario, &options, &result);
	if (!result.failed && !result.complete) {
		options.random = SEED;
		interleave_explore(mistakes[i].scenario, &options, &result);
	}
	tests++;
	end = strchr(result.report, '\n');
	if (end && !show)
		*end = '\0';
	printf("%s%s%s %s\n    %s (%s), after %llu%s: %s\n", mutation->function,
	       mutation->object ? ": " : "", mutation->object ? mutation->object : "",
	       mistake_name(mutation->mistake), mistakes[i].scenario->name,
	       memory_name(mistakes[i].memory),
	       (unsigned long long)(result.executions + result.pruned),
	       options.random ? " at random" : "", result.failed ? result.report : "NOT FOUND");
	failed += !result.failed;
	fflush(stdout);
}

static bool is_wanted(const char *name, char **wanted)
{
	if (!*wanted)
		return true;
	for (; *wanted; wanted++)
		if (strstr(name, *wanted))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	bool is_long = false, show = false, is_default;
	uint64_t limit = LIMIT;
	char **wanted = argv + 1;

	for (; *wanted && (*wanted)[0] == '-'; wanted++) {
		if (!strcmp(*wanted, "--long")) {
			is_long = true;
			limit = LIMIT_LONG;
		} else if (!strcmp(*wanted, "--limit") && wanted[1]) {
			limit = strtoull(*++wanted, NULL, 0);
		} else if (!strcmp(*wanted, "--show")) {
			show = true;
		} else {
			fprintf(stderr, "usage: %s [--long] [--limit N] [--show] [NAME...]\n",
				argv[0]);
			return 2;
		}
	}
	is_default = limit == LIMIT;
	printf("%-32s %-4s %9s %8s %6s %7s\n", "scenario", "", "executed", "pruned", "steps",
	       "CPU s");
	for (size_t i = 0; i < COUNT(table); i++) {
		uint64_t most = is_default && table[i].limit ? table[i].limit : limit;

		if (!is_wanted(table[i].scenario->name, wanted) || (table[i].only_long && !is_long))
			continue;
		run_both(table[i].scenario, INTERLEAVE_SC, most);
		run_both(table[i].scenario, INTERLEAVE_TSO, most);
	}
	printf("\nmistakes, each to be found:\n");
	for (size_t i = 0; i < COUNT(mistakes); i++)
		if (is_wanted(mistakes[i].scenario->name, wanted))
			find(i, limit, show);
	printf("%u tests, %u failed\n", tests, failed);
	return failed != 0;
}
