#include "umask.h"

#include <stdatomic.h>

#include "syscall.h"

/* Relaxed: a setting that nothing else depends on. */
static _Atomic uint32_t mask = 022;

uint32_t pg_umask(void)
{
	return atomic_load_explicit(&mask, memory_order_relaxed);
}

PG_CALL(umask)
{
	return atomic_exchange_explicit(&mask, (uint32_t)arg[0] & 0777, memory_order_relaxed);
}
