/*
 * The guest's clock page: TSC to nanoseconds, kept in step with the host's clock.
 */
#ifndef UHYVE_CLOCK_H
#define UHYVE_CLOCK_H

#include <stdint.h>

#include "abi/boot.h"

/* Start the clock; `tsc_khz` is the guest's TSC frequency (the host's: no offset, no scaling). */
void uhyve_clock_init(struct pg_clock *clock, uint64_t tsc_khz);

/*
 * Correct drift, in small steps and never backwards. One thread at a time, about once
 * a second; guests read at any time.
 */
void uhyve_clock_tick(struct pg_clock *clock);

/* Nanoseconds of CLOCK_MONOTONIC at a TSC reading (not concurrent with a tick). 0 stays 0. */
uint64_t uhyve_clock_ns(const struct pg_clock *clock, uint64_t tsc);

/* Now, CLOCK_MONOTONIC, ns. */
uint64_t uhyve_clock_now(void);

#endif
