/*
 * Guest memory: the one RAM slot, and the types of guest addresses.
 *
 * A guest-physical and a guest-virtual address are different types, and neither
 * is a number: the compiler refuses to mix them up. uhyve_memory_at() is the only
 * function that turns a guest-physical range into a host pointer.
 */
#ifndef UHYVE_MEMORY_H
#define UHYVE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

typedef struct {
	uint64_t v;
} uhyve_gpa;

typedef struct {
	uint64_t v;
} uhyve_gva;

struct uhyve_memory {
	uint8_t *host; /* owned mapping of `size` bytes, zero at first      */
	uint64_t size; /* bytes, a multiple of 2 MiB                        */
};

/*
 * Reserve `size` bytes (rounded up to 2 MiB) of guest RAM. The host backs a page
 * when it is first touched. -ENOMEM with a sentence when the host refuses.
 */
int uhyve_memory_init(struct uhyve_memory *memory, uint64_t size, struct uhyve_error *error);
void uhyve_memory_free(struct uhyve_memory *memory);

/*
 * Host address of guest-physical [gpa, gpa + length), or NULL when any part of
 * it is outside the slot (overflow included). A length of 0 is outside. Valid
 * until uhyve_memory_free(). Any thread.
 */
void *uhyve_memory_at(const struct uhyve_memory *memory, uhyve_gpa gpa, uint64_t length);

#endif
