/*
 * How long to spin before sleeping: a guess from how long recent waits were.
 *
 * Spinning is cheaper than sleeping for waits shorter than the price of going to
 * sleep and being woken up: the cap. So we predict the next wait by an
 * exponentially weighted average of the last ones, and spin for a few times the
 * prediction, since waits vary, but no longer than the cap.
 *
 * A wait that was slept through includes the wake-up itself, and that of the other
 * side if it slept as well, so it looks several caps longer than it would have been.
 * Only a prediction of eight caps therefore means: sleep at once. So that this does not
 * keep us asleep for ever, every sixteenth wait is spun through to the cap whatever
 * the prediction says, and no wait counts as more than sixteen caps: a few short
 * ones bring the prediction down again.
 *
 * Pure: time goes in and comes out as nanoseconds. Either side of the ring may use it.
 */
#ifndef PG_CORE_ADAPTIVE_H
#define PG_CORE_ADAPTIVE_H

#include <stdint.h>

/* All zero at first: expects short waits. */
struct pg_adaptive {
	uint64_t average; /* ns                        */
	uint32_t waits;   /* budgets asked for, modulo */
};

/*
 * How long to spin now, at most `cap`. The wait is known to end after `known` ns at the
 * latest (UINT64_MAX: not known); if that is within the cap, it is spun through.
 * Returns 0 for "sleep at once", always if the cap is 0.
 */
uint64_t pg_adaptive_budget(struct pg_adaptive *adaptive, uint64_t cap, uint64_t known);

/* Tell how long a wait was in the end. */
void pg_adaptive_observe(struct pg_adaptive *adaptive, uint64_t cap, uint64_t waited);

#endif
