#ifndef PG_UMASK_H
#define PG_UMASK_H

#include <stdint.h>

/* Permissions that new files and directories don't get. Any vCPU. */
uint32_t pg_umask(void);

#endif
