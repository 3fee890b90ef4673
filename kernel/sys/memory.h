/* The program's address space: which ranges are taken, and by what. */
#ifndef PG_MEMORY_H
#define PG_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* Once, at boot: what the loader has mapped, and where brk starts. */
void pg_memory_init(void);

/* Whether there is a mapping at `address`, if without permissions. Any thread. */
bool pg_memory_reserved(uint64_t address);

#endif
