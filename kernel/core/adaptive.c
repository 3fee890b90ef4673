#include "adaptive.h"

#define PROBE_EVERY 16 /* waits                                 */
#define WEIGHT      8  /* a new wait counts for an eighth       */
#define MARGIN      4  /* spin this many times the expected wait */
#define FAR         8  /* caps: waits from here on are worth a sleep */

uint64_t pg_adaptive_budget(struct pg_adaptive *adaptive, uint64_t cap, uint64_t known)
{
	uint64_t least = cap / MARGIN;
	uint64_t expected;

	adaptive->waits++;
	if (known <= cap)
		return known;
	if (adaptive->waits % PROBE_EVERY == 0)
		return cap;
	if (adaptive->average / FAR >= cap)
		return 0;
	if (adaptive->average > cap / MARGIN)
		return cap;
	expected = adaptive->average * MARGIN;
	/* An average near 0 is no promise: never much less than the cap. */
	return expected > least ? expected : least;
}

void pg_adaptive_observe(struct pg_adaptive *adaptive, uint64_t cap, uint64_t waited)
{
	/* Written so that no cap overflows. */
	uint64_t most = cap > UINT64_MAX / (2 * FAR) ? UINT64_MAX : 2 * FAR * cap;

	if (waited > most)
		waited = most;
	adaptive->average = adaptive->average - adaptive->average / WEIGHT + waited / WEIGHT;
}
