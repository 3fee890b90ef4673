/*
 * The guest's page tables and page frames, owned by the loader.
 *
 * The guest never sees a page table, and never names a guest-physical address:
 * it asks for memory at virtual addresses. So a frame backs at most one page of
 * the guest's own mappings, and W^X for pages is W^X for memory: there is no
 * second, writable view of an executable frame, neither through another mapping
 * nor through an operation's buffer (buffers are translated with the same tables
 * and the same permissions).
 *
 * Flushing. Adding or widening a mapping needs none: a processor that meets the
 * old entry faults, and the fault re-reads the tables. Removing or narrowing one does:
 * see "flushing" in mmu.c for how that is done from outside the guest.
 *
 * Threads: calls that change tables are made by one thread at a time (before the
 * vCPUs run: the creator; afterwards: the engine). uhyve_mmu_buffer() and
 * uhyve_mmu_copy_*() may run on other threads only when no such change is under way
 * (fault reports: after the engine has stopped).
 */
#ifndef UHYVE_MMU_H
#define UHYVE_MMU_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "memory.h"

struct uhyve_mmu {
	struct uhyve_memory *memory;
	uhyve_gpa root;  /* CR3 */
	uint64_t *used;  /* frame bitmap, one bit per 4 KiB of RAM  */
	uint64_t frames; /* frames in all                           */
	uint64_t free;   /* frames that are free                    */
	uint64_t hint;   /* where the search goes on                */
};

/* Beyond PG_PROT_*: for pages the loader sets up itself. */
#define UHYVE_PROT_SUPERVISOR 0x100 /* not for CPL3                         */
#define UHYVE_PROT_DEVICE     0x200 /* uncached                             */
#define UHYVE_PROT_SEALED     0x400 /* the guest may only narrow it further */
#define UHYVE_PROT_GROWSDOWN  0x800 /* map: only its upper end is used soon */

int uhyve_mmu_init(struct uhyve_mmu *mmu, struct uhyve_memory *memory, struct uhyve_error *error);
void uhyve_mmu_free(struct uhyve_mmu *mmu);

/*
 * Back [va, va + length) with fresh zeroed frames. Page-aligned. Errors: -EINVAL
 * (alignment, range), -EACCES (writable and executable), -EEXIST (something is
 * mapped there), -ENOMEM. On error nothing has changed. `prot` 0 reserves frames
 * without access.
 */
int uhyve_mmu_map(struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length, uint32_t prot);

/*
 * The same with 2 MiB pages (alignment too), for what stays as it is while the VM
 * lives: such pages can't be protected or unmapped (-EINVAL).
 */
int uhyve_mmu_map_large(struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length, uint32_t prot);

/* Map one page at a given guest-physical address (device pages, aliases). */
int uhyve_mmu_map_page(struct uhyve_mmu *mmu, uhyve_gva va, uhyve_gpa gpa, uint32_t prot);

/*
 * Change permissions; pages that are not mapped are skipped. -EINVAL; -EACCES (writable
 * and executable, or a sealed page would gain a permission: earlier pages are changed).
 */
int uhyve_mmu_protect(struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length, uint32_t prot);

/* Remove mappings and free their frames (back to the host). -EINVAL, -EACCES (sealed). */
int uhyve_mmu_unmap(struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length);

/* Contents become zero, the mapping stays, the host gets the memory back. -EINVAL, -EACCES. */
int uhyve_mmu_discard(struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length);

/*
 * Host memory behind the guest-virtual buffer [va, va + length), as at most `max`
 * pieces; every page must be mapped for CPL3 with all of `prot`. Returns the number
 * of pieces (0 for length 0) or -EFAULT. When `max` pieces don't suffice, the first
 * ones are returned and `*covered` (may be NULL) tells how many bytes they hold.
 */
int uhyve_mmu_buffer(const struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length, uint32_t prot,
		     struct iovec *pieces, int max, uint64_t *covered);

/* Copy from/to the guest with the guest's permissions. 0 or -EFAULT (then in part). */
int uhyve_mmu_copy_from(const struct uhyve_mmu *mmu, void *to, uhyve_gva from, uint64_t length);
int uhyve_mmu_copy_to(const struct uhyve_mmu *mmu, uhyve_gva to, const void *from, uint64_t length);

/* Same, for pages of any kind that are mapped: only for what the loader itself set up. */
int uhyve_mmu_write(const struct uhyve_mmu *mmu, uhyve_gva to, const void *from, uint64_t length);

/* Host pointer to one mapped range inside a single page, whatever its permissions; or NULL. */
void *uhyve_mmu_at(const struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length);

/* The frame that backs the page at `va`, or {0}. For aliases the loader itself makes. */
uhyve_gpa uhyve_mmu_gpa(const struct uhyve_mmu *mmu, uhyve_gva va);

/* What is mapped at `va`: PG_PROT_* | UHYVE_PROT_*, or -ENOENT. */
int uhyve_mmu_query(const struct uhyve_mmu *mmu, uhyve_gva va);

#endif
