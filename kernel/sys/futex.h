#ifndef PG_FUTEX_H
#define PG_FUTEX_H

#include <stdint.h>

/*
 * Wake up to `count` waiters on the word at `address` whose bit sets meet `bits`. Returns
 * how many. Any vCPU; the address is only a key, nothing is read.
 */
int64_t pg_futex_wake(uint64_t address, uint32_t count, uint32_t bits);

#endif
