/*
 * The version of the contract between a Pagurus image and its loader.
 *
 * Every image carries an ELF note (owner PG_NOTE_NAME, type PG_NOTE_ABI) whose
 * descriptor is a `struct pg_abi_note`. The loader refuses an image without the
 * note, with another major version, or with a minor version newer than its own.
 *
 * Freestanding: all headers of this folder include only compiler headers, are
 * valid C11 (GNU) for kernel, loader and unit tests, and hold no definitions
 * but `static inline` functions.
 */
#ifndef PG_ABI_VERSION_H
#define PG_ABI_VERSION_H

#define PG_ABI_MAJOR 2
#define PG_ABI_MINOR 0

#define PG_NOTE_NAME "Pagurus"
#define PG_NOTE_ABI  1

#ifndef __ASSEMBLER__
#include <stdint.h>

struct pg_abi_note {
	uint32_t major;
	uint32_t minor;
};

_Static_assert(sizeof(struct pg_abi_note) == 8, "the note's descriptor is two words");
#endif

#endif
