#ifndef PG_ARCH_RELOCATE_H
#define PG_ARCH_RELOCATE_H

#include <stddef.h>

#include "abi/boot.h"

/* Apply the image's relative relocations, if it is a static-PIE. Once, before all else. */
void pg_relocate(const struct pg_boot *boot);

#endif
