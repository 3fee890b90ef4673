/*
 * What the measured programs share. Each prints one line per figure on standard output,
 * `name nanoseconds` or `name skip reason`, and nothing else; the runner makes sense of it.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>

#define BENCH_BATCHES 5

/* CLOCK_MONOTONIC, nanoseconds. */
uint64_t bench_now(void);

/*
 * Call `body(context, times)` once to warm up and BENCH_BATCHES times for the clock, and
 * report the median batch divided by `times`.
 */
void bench_run(const char *name, uint64_t times, void (*body)(void *context, uint64_t times),
	       void *context);

void bench_report(const char *name, double nanoseconds);
void bench_skip(const char *name, const char *reason);

/* Sorts `samples`. */
double bench_median(double *samples, unsigned count);

/* A matter of the benchmark itself, not of what it measures: say so and end. */
_Noreturn void bench_fail(const char *what);

/* The calling thread on this CPU alone. Where a thread can't choose it has been placed already. */
void bench_pin(unsigned cpu);

#endif
