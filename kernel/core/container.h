/*
 * From a member back to the struct that holds it: how an intrusive future, list
 * node or timer finds its own data.
 */
#ifndef PG_CORE_CONTAINER_H
#define PG_CORE_CONTAINER_H

#include <stddef.h>

#define pg_container_of(pointer, type, member)                                                     \
	((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
