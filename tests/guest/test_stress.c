/*
 * programs/stress.c: thousands of threads, and a balance at the end. A few seconds each; with
 * PAGURUS_STRESS=SECONDS in the environment as long as that, and PAGURUS_SEED=N repeats the
 * choices of a run (not its order of events).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define FILE_SIZE 65536

static const char *map;

static void make_file(void)
{
	unsigned char *bytes = malloc(FILE_SIZE);

	for (size_t i = 0; i < FILE_SIZE; i++)
		bytes[i] = (unsigned char)(i * 2654435761u >> 13);
	map = (scratch_file("data", bytes, FILE_SIZE), scratch());
	free(bytes);
}

static void run(struct guest guest, unsigned seconds, const char *threads)
{
	const char *longer = getenv("PAGURUS_STRESS"), *again = getenv("PAGURUS_SEED");
	char duration[16], seed[32];
	struct outcome o;
	int ends[2];

	if (longer)
		seconds = (unsigned)atoi(longer);
	snprintf(duration, sizeof(duration), "%u", seconds);
	snprintf(seed, sizeof(seed), "%s", again ? again : "");
	if (!again)
		snprintf(seed, sizeof(seed), "%lu", (unsigned long)time(NULL));
	cr_assert_eq(pipe(ends), 0);
	guest.image = "stress";
	guest.args = LIST(duration, seed, threads, "/data");
	guest.maps = LIST(map);
	guest.memory = 1ull << 30;
	guest.in = ends[0];
	guest.ms = seconds * 1000 + 120000;
	guest_run(&guest, &o);
	close(ends[0]);
	close(ends[1]);
	ended(&o, 0);
	cr_assert(strstr(o.out.text, "\nok\n"), "%s", o.out.text);
	/* All of it, for those who look. */
	if (longer)
		fprintf(stderr, "%s", o.out.text);
	outcome_free(&o);
}

Test(stress, two_vcpus, .init = make_file)
{
	run((struct guest){ .vcpus = 2 }, 5, "2000");
}

Test(stress, without_spinning_and_with_short_turns, .init = make_file)
{
	run((struct guest){ .vcpus = 2, .spin_ns = SPIN_NONE, .turn_ns = 200000 }, 5, "2000");
}

Test(stress, one_vcpu, .init = make_file)
{
	run((struct guest){ .vcpus = 1, .turn_ns = 500000 }, 2, "1000");
}

Test(stress, more_vcpus_than_processors, .init = make_file)
{
	run((struct guest){ .vcpus = 4, .backend = "threads", .turn_ns = 200000 }, 2, "1000");
}

Test(stress, calls_on_the_programs_stack, .init = make_file)
{
	run((struct guest){ .vcpus = 2, .dispatch = "stack", .turn_ns = 200000 }, 2, "1000");
}

Test(stress, calls_that_return, .init = make_file)
{
	run((struct guest){ .vcpus = 2, .dispatch = "return", .spin_ns = SPIN_NONE }, 1, "500");
}
