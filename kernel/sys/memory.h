/* The program's address space: which ranges are taken, and by what. */
#ifndef PG_MEMORY_H
#define PG_MEMORY_H

#include <stdint.h>

/* Once, at boot: what the loader has mapped, and where brk starts. */
void pg_memory_init(void);

#endif
