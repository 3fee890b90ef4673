/* All scenarios; the table of ../run.c says how each is run, and what it must find. */
#ifndef INTERLEAVE_SCENARIOS_H
#define INTERLEAVE_SCENARIOS_H

#include "interleave.h"

/* task.c: the state word */
extern const struct interleave_scenario task_wake, task_wake_3, task_cancel, task_cancel_only,
	task_join, task_done;
/* park.c: halting, against all that ends a halt */
extern const struct interleave_scenario park_post, park_post_stop, park_completion,
	park_completions;
/* ring.c: the loader's half */
extern const struct interleave_scenario ring_submit, ring_contend, ring_deadline;
/* look.c: user code runs, and something waits */
extern const struct interleave_scenario look_post;
/* waitq.c */
extern const struct interleave_scenario waitq_pass_on, waitq_condition, lock_exclusive;
/* runq.c: the queue alone */
extern const struct interleave_scenario runq_steal, runq_overflow, runq_thieves;
/* steal.c: tasks that move */
extern const struct interleave_scenario steal_inbox, steal_wake, steal_pinned, steal_migrate;

#endif
