/*
 * Plain memory under the tester: data races, and use after the end.
 *
 * Vector clocks say what happens before what, by the orders the code asks for: a release
 * leaves the thread's clock at the word, an acquire takes it from there. Each byte that was
 * touched remembers who wrote it last, and when each thread last read it, or used it as an
 * atomic. An access that is not ordered after a conflicting one is a race.
 *
 * The hooks of -fsanitize=thread are the other entry to this file.
 */
#ifndef INTERLEAVE_MEMORY_H
#define INTERLEAVE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "interleave.h"

struct memory_clock {
	uint32_t of[INTERLEAVE_THREADS];
};

/* A new execution: nothing has been touched, all memory is alive. */
void memory_reset(void);

/* `thread` uses an atomic word: is it alive, and initialised before? */
void memory_atomic(int thread, uintptr_t address, size_t size);

/* Its effect on the clocks, by memory_order. */
void memory_load(int thread, uintptr_t address, int order);
void memory_modify(int thread, uintptr_t address, int order);

/* A store in two halves, for store buffers: what it carries, and its arrival. */
void memory_store_begin(int thread, int order, struct memory_clock *carries, bool *releases);
void memory_store_end(uintptr_t address, const struct memory_clock *carries, bool releases);

/* A plain access of the running thread. */
void memory_access(uintptr_t address, size_t size, bool write, void *pc);

/* True when part of it was given back, by somebody else than `thread`. */
bool memory_is_dead(uintptr_t address, size_t size, int thread);

#endif
