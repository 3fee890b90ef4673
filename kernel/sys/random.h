/*
 * Random bytes: ChaCha20, keyed with what the loader left in the boot information.
 *
 * Each call takes a key of its own off the generator's, which is replaced at once (fast key
 * erasure): bytes given out earlier can't be found from the state that is left.
 */
#ifndef PG_RANDOM_H
#define PG_RANDOM_H

#include <stddef.h>

/* Fill `buffer`. Never fails or waits. Any vCPU, once pg_boot is set. */
void pg_random(void *buffer, size_t length);

#endif
