/* Points in time: CLOCK_MONOTONIC nanoseconds; sums saturate at "never". */
#ifndef PG_TIME_H
#define PG_TIME_H

#include <stdint.h>

uint64_t pg_time_add(uint64_t seconds, uint64_t nanoseconds);

/* `ns` from now. */
uint64_t pg_time_after(uint64_t ns);

/* A point of CLOCK_REALTIME. */
uint64_t pg_time_from_realtime(uint64_t ns);

#endif
