/* All registers of threads that are interrupted, and that move between vCPUs. */
#include <stdio.h>
#include <string.h>

#include "harness.h"

#define TURN 200000

/* Until there were enough interruptions and moves: a machine that is busy needs longer. */
static void run(unsigned vcpus, const char *dispatch, bool moves)
{
	uint64_t preemptions = 0, steals = 0;

	for (int ms = 200; ms <= 3200; ms *= 2) {
		const char *naps = moves ? "nap" : NULL;
		char duration[16];
		struct outcome o;

		sprintf(duration, "%d", ms);
		guest_run(&(struct guest){ .image = "registers",
					   .args = LIST(vcpus == 1 ? "3" : "6", duration, naps),
					   .vcpus = vcpus,
					   .turn_ns = TURN,
					   .dispatch = dispatch },
			  &o);
		ended(&o, 0);
		cr_assert(strstr(o.out.text, "ok\n"), "%s", o.out.text);
		preemptions += o.stats.preemptions;
		steals += o.stats.steals;
		outcome_free(&o);
		if (preemptions > 20 && (!moves || steals > 5))
			break;
	}
	cr_log_info("%s, %u: %lu preemptions, %lu steals", dispatch, vcpus, preemptions, steals);
	cr_assert_gt(preemptions, 20);
	if (moves)
		cr_assert_gt(steals, 5);
}

Test(registers, survive_interruptions, .timeout = 100)
{
	run(1, "union", false);
	run(1, "return", false);
	run(1, "stack", false);
}

Test(registers, survive_moves, .timeout = 100)
{
	run(2, "union", true);
	run(2, "return", true);
	run(2, "stack", true);
	run(3, "union", true);
}
