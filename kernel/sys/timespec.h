/* Points in time, and how long to wait, as the program writes them. */
#ifndef PG_TIMESPEC_H
#define PG_TIMESPEC_H

#include <stdbool.h>
#include <stdint.h>

#define PG_SECOND 1000000000ull

struct pg_timespec {
	int64_t seconds, nanoseconds;
};

/* Not negative, and less than a second of nanoseconds. */
bool pg_timespec_valid(const struct pg_timespec *time);

/* Saturates at "never". `time` is valid. */
uint64_t pg_timespec_ns(const struct pg_timespec *time);

struct pg_timespec pg_timespec_of(uint64_t ns);

/*
 * A timeout as a deadline: 0 for "don't wait", PG_NEVER if `address` is 0. -EFAULT, -EINVAL.
 */
int pg_timeout_read(uint64_t address, uint64_t *deadline);

/* Tell how much is left of it. That the program's timeout may be read-only is no error. */
void pg_timeout_write(uint64_t address, uint64_t deadline);

#endif
