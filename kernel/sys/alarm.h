/*
 * A sleep until a point in time that may change from one poll to the next. All zero is a valid
 * one. It belongs to one waiting future, and so to the executor that polls it.
 */
#ifndef PG_ALARM_H
#define PG_ALARM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/timer.h"

struct pg_alarm {
	struct pg_sleep sleep;
	bool set; /* `sleep` was polled, and is neither READY nor dropped */
};

/* READY once `deadline` (CLOCK_MONOTONIC, or PG_NEVER) has come. May be polled again then. */
__attribute__((warn_unused_result)) enum pg_poll pg_alarm_poll(struct pg_alarm *alarm,
							       uint64_t deadline,
							       struct pg_task *waker);

/* Nobody waits any more. Any number of times; on the vCPU of the polls. */
void pg_alarm_drop(struct pg_alarm *alarm);

#endif
