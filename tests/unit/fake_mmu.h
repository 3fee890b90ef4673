/*
 * A stand-in for mmu.c in tests of what uses it: guest memory is one host buffer, seen
 * from FAKE_VA on. Its last pages are read-only; all else is not mapped.
 */
#ifndef FAKE_MMU_H
#define FAKE_MMU_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/layout.h"
#include "mmu.h"

#define FAKE_VA        PG_VA_MMAP
#define FAKE_SIZE      (4u << 20)
#define FAKE_READ_ONLY (FAKE_VA + FAKE_SIZE - 4 * PG_PAGE_SIZE)
#define FAKE_END       (FAKE_VA + FAKE_SIZE)

struct fake_mmu {
	uint8_t *memory;
	bool scatter; /* buffers come in pieces of one page                  */
	/* The last call that would have changed page tables.                */
	const char *last;
	uint64_t va, length;
	uint32_t prot;
	unsigned calls;
};

extern struct fake_mmu fake_mmu;

void fake_mmu_init(void);
void fake_mmu_free(void);

/* Host address of guest address `va`. */
void *fake_at(uint64_t va);

#endif
