#include <criterion/criterion.h>

#include "core/adaptive.h"

#define CAP 10000

/* The budget, not counting the waits that are only to find out. */
static uint64_t budget(struct pg_adaptive *adaptive, uint64_t cap)
{
	adaptive->waits = 0;
	return pg_adaptive_budget(adaptive, cap, UINT64_MAX);
}

Test(adaptive, spins_at_first_within_the_cap)
{
	struct pg_adaptive adaptive = { 0 };

	for (int i = 0; i < 100; i++) {
		uint64_t ns = pg_adaptive_budget(&adaptive, CAP, UINT64_MAX);

		cr_assert(ns > 0 && ns <= CAP);
	}
}

Test(adaptive, no_cap_no_spin)
{
	struct pg_adaptive adaptive = { 0 };

	for (int i = 0; i < 100; i++) {
		cr_assert_eq(pg_adaptive_budget(&adaptive, 0, UINT64_MAX), 0);
		cr_assert_eq(pg_adaptive_budget(&adaptive, 0, 50), 0);
		pg_adaptive_observe(&adaptive, 0, 1000);
	}
}

Test(adaptive, long_waits_stop_spinning_and_short_ones_bring_it_back)
{
	struct pg_adaptive adaptive = { 0 };
	int waits;

	for (int i = 0; i < 30; i++)
		pg_adaptive_observe(&adaptive, CAP, UINT64_MAX);
	cr_assert_eq(budget(&adaptive, CAP), 0);
	for (waits = 0; budget(&adaptive, CAP) == 0; waits++)
		pg_adaptive_observe(&adaptive, CAP, 100);
	cr_assert(waits > 1 && waits < 10, "%d", waits);
}

Test(adaptive, probes_now_and_then)
{
	struct pg_adaptive adaptive = { 0 };
	int probes = 0;

	for (int i = 0; i < 160; i++) {
		pg_adaptive_observe(&adaptive, CAP, 100 * CAP);
		if (i >= 16 && pg_adaptive_budget(&adaptive, CAP, UINT64_MAX))
			probes++;
	}
	cr_assert_eq(probes, 9);
}

Test(adaptive, budget_follows_the_average)
{
	struct pg_adaptive adaptive = { .average = 1000 };

	cr_assert_eq(budget(&adaptive, CAP), 4000);
	adaptive.average = 10;
	cr_assert_eq(budget(&adaptive, CAP), CAP / 4);
	adaptive.average = CAP - 1;
	cr_assert_eq(budget(&adaptive, CAP), CAP);
	/* Several caps may be the price of having slept: that is no reason to sleep again. */
	adaptive.average = 8 * CAP - 1;
	cr_assert_eq(budget(&adaptive, CAP), CAP);
	adaptive.average = 8 * CAP;
	cr_assert_eq(budget(&adaptive, CAP), 0);
}

Test(adaptive, known_end)
{
	struct pg_adaptive adaptive = { .average = 8 * CAP };

	cr_assert_eq(pg_adaptive_budget(&adaptive, CAP, 700), 700);
	cr_assert_eq(pg_adaptive_budget(&adaptive, CAP, CAP), CAP);
	cr_assert_eq(pg_adaptive_budget(&adaptive, CAP, CAP + 1), 0);
}

Test(adaptive, huge_numbers)
{
	struct pg_adaptive adaptive = { 0 };

	for (int i = 0; i < 1000; i++)
		pg_adaptive_observe(&adaptive, UINT64_MAX, UINT64_MAX);
	cr_assert(adaptive.average > UINT64_MAX / 2);
	cr_assert(budget(&adaptive, UINT64_MAX) > 0);
}
