/*
 * A unikernel image: an ELF file, checked and turned into a short list of
 * segments to map. Everything in the file is hostile; libelf parses it.
 */
#ifndef UHYVE_IMAGE_H
#define UHYVE_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

#define UHYVE_MAX_SEGMENTS 32

struct uhyve_segment {
	uint64_t address;     /* page-aligned, load bias included            */
	uint64_t length;      /* page-aligned, > 0                           */
	uint64_t data;        /* where file contents go (may be unaligned)   */
	uint64_t file_offset; /* of the contents                             */
	uint64_t file_size;   /* bytes of contents; the rest is zero         */
	uint32_t prot;        /* PG_PROT_*, never writable and executable    */
};

/* A relocation of a static-PIE image is applied by the image itself (musl's rcrt1). */
struct uhyve_image {
	int fd;         /* owned                                            */
	char *path;     /* owned: for messages                              */
	uint64_t base;  /* load bias: 0, or PG_VA_PIE                       */
	uint64_t entry; /* kernel entry, bias included                      */
	uint64_t start, end;
	uint64_t phdr;         /* address of the program headers in memory, or 0   */
	uint32_t phnum, phent; /* 0 without phdr                              */
	unsigned count;
	struct uhyve_segment segments[UHYVE_MAX_SEGMENTS]; /* ascending, disjoint */
};

/*
 * Open and check `path`. On failure: a negative errno, one sentence in `error`,
 * and nothing left open. Refused, each with its own sentence: missing, not
 * permitted, directory or other non-file, empty, not an ELF, truncated at any
 * header or segment, not 64-bit little-endian x86-64, relocatable/core/dynamic
 * (PT_INTERP), no or wrong ABI note, no loadable segment, segments that overlap,
 * wrap around, are writable and executable, or lie outside
 * [PG_VA_MIN, PG_VA_USER_END), an entry point outside executable segments.
 * Two segments that share a page: that page becomes a segment of its own with the
 * union of their permissions. The image is refused when that is writable and
 * executable, or when the contents of the page are not one run of the file.
 * Contents lie inside their segment, and inside the file as it was when opened
 * (it may be shortened since: expect short reads). After a failure the image may be
 * closed again.
 */
int uhyve_image_open(struct uhyve_image *image, const char *path, struct uhyve_error *error);
void uhyve_image_close(struct uhyve_image *image);

/* Bytes of guest memory the segments need. */
uint64_t uhyve_image_memory(const struct uhyve_image *image);

/* ---- symbols.c: addresses to names, for fault reports ---- */

struct uhyve_symbols;

/*
 * Read the function symbols of an open image. Returns NULL when it has none (or
 * they can't be read): then addresses stay numbers. Bounded work and memory.
 */
struct uhyve_symbols *uhyve_symbols_load(const struct uhyve_image *image);
void uhyve_symbols_free(struct uhyve_symbols *symbols);

/* Name of the function around `address` and the offset into it; NULL if unknown. */
const char *uhyve_symbols_find(const struct uhyve_symbols *symbols, uint64_t address,
			       uint64_t *offset);

#endif
