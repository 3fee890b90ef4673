#include "mmu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "abi/layout.h"
#include "abi/ops.h"

/*
 * Page-table entries (SDM vol. 3, 4.5). Accessed and dirty are set from the start:
 * then the processor has no reason to write to the tables.
 */
#define PTE_PRESENT       (1ull << 0)
#define PTE_WRITE         (1ull << 1)
#define PTE_USER          (1ull << 2)
#define PTE_WRITE_THROUGH (1ull << 3)
#define PTE_UNCACHED      (1ull << 4)
#define PTE_ACCESSED      (1ull << 5)
#define PTE_DIRTY         (1ull << 6)
#define PTE_LARGE         (1ull << 7)
#define PTE_OWNED         (1ull << 9) /* ours (ignored by the processor): frame is freed with the page */
#define PTE_SEALED        (1ull << 10) /* ours: the guest can't unmap it or widen its permissions */
#define PTE_NO_EXEC       (1ull << 63)
#define PTE_FRAME         0x000ffffffffff000ull

/* A level's entry in use, whether or not the processor may use it (PG_PROT 0). */
#define PTE_USED (PTE_PRESENT | PTE_OWNED)

#define LARGE_PAGE (2ull << 20)
#define VA_LIMIT   (1ull << 47)

static uint64_t *table_at(const struct uhyve_mmu *mmu, uint64_t gpa)
{
	return uhyve_memory_at(mmu->memory, (uhyve_gpa){ gpa }, PG_PAGE_SIZE);
}

/* ---- frames ---- */

static void frame_mark(struct uhyve_mmu *mmu, uint64_t frame, bool used)
{
	uint64_t bit = 1ull << (frame % 64);

	if (used) {
		mmu->used[frame / 64] |= bit;
		mmu->free--;
	} else {
		mmu->used[frame / 64] &= ~bit;
		mmu->free++;
	}
}

/* One free frame, contents zero: its guest-physical address, or 0 when there is none. */
static uint64_t frame_alloc(struct uhyve_mmu *mmu)
{
	uint64_t words = (mmu->frames + 63) / 64;

	if (mmu->free == 0)
		return 0;
	for (uint64_t n = 0, word = mmu->hint / 64; n < words; n++, word = (word + 1) % words) {
		if (mmu->used[word] == UINT64_MAX)
			continue;
		uint64_t frame = word * 64 + (uint64_t)__builtin_ctzll(~mmu->used[word]);

		frame_mark(mmu, frame, true);
		mmu->hint = frame;
		return PG_GPA_RAM + frame * PG_PAGE_SIZE;
	}
	return 0;
}

/* 512 free frames that make a 2 MiB page, searched from the top of RAM down; or 0. */
static uint64_t frame_alloc_large(struct uhyve_mmu *mmu)
{
	for (uint64_t first = mmu->frames & ~511ull; first >= 512;) {
		bool free = true;

		first -= 512;
		for (uint64_t word = first / 64; free && word < first / 64 + 8; word++)
			free = mmu->used[word] == 0;
		if (!free)
			continue;
		for (uint64_t frame = first; frame < first + 512; frame++)
			frame_mark(mmu, frame, true);
		return PG_GPA_RAM + first * PG_PAGE_SIZE;
	}
	return 0;
}

/* ---- flushing ----
 *
 * The processor may remember entries we have changed, and a KVM that shadows page
 * tables (kvm_pvm, or no EPT/NPT) may have copied them; it does not watch us write.
 * Both forget when the host's own mapping of the *memory behind the page* changes:
 * KVM's MMU notifier drops every translation to that memory and flushes all vCPUs
 * before the change returns (Linux, virt/kvm/kvm_main.c; with EPT/NPT the flush drops
 * combined mappings too, SDM vol. 3, 29.4.3). The next access walks our tables anew.
 * So no code in the guest takes part: no flush request, no inter-processor interrupt.
 *
 *   removed pages:  MADV_DONTNEED, which also gives the memory back to the host;
 *   narrowed pages: the host mapping is made read-only and writable again.
 *
 * In between, a vCPU that writes to such a page fails to enter with EFAULT; it may
 * simply go on (uhyve_vcpu_run does). Narrowed pages are not written to by rights.
 */
enum flush {
	FLUSH_NONE,
	FLUSH_NARROW,
	FLUSH_DROP
};

/* Neighbouring frames are gathered, so that a range costs few system calls. */
struct flusher {
	struct uhyve_mmu *mmu;
	enum flush kind;
	uint64_t start, end; /* guest-physical */
};

static void flush_now(struct flusher *flusher)
{
	uint64_t length = flusher->end - flusher->start;
	void *host = uhyve_memory_at(flusher->mmu->memory, (uhyve_gpa){ flusher->start }, length);

	flusher->start = flusher->end = 0;
	if (!host)
		return;
	if (flusher->kind == FLUSH_DROP) {
		if (madvise(host, length, MADV_DONTNEED))
			memset(host, 0, length); /* locked memory: zero it at least */
	} else if (flusher->kind == FLUSH_NARROW) {
		(void)mprotect(host, length, PROT_READ);
		(void)mprotect(host, length, PROT_READ | PROT_WRITE);
	}
}

static void flush_add(struct flusher *flusher, uint64_t gpa, uint64_t length)
{
	if (gpa != flusher->end || flusher->start == flusher->end) {
		flush_now(flusher);
		flusher->start = gpa;
	}
	flusher->end = gpa + length;
}

/* ---- walking ---- */

/*
 * The entry for `va` at `level` (1: 4 KiB, 2: 2 MiB), making tables on the way if
 * `make`. A 2 MiB page met on the way to level 1 is returned itself (*level becomes
 * 2). NULL: no such table, or (make) out of frames.
 */
static uint64_t *walk(const struct uhyve_mmu *mmu, uint64_t va, int *level, bool make)
{
	uint64_t table = mmu->root.v;

	for (int at = 4;; at--) {
		uint64_t *entries = table_at(mmu, table);

		if (!entries)
			return NULL;
		uint64_t *entry = &entries[va >> (12 + 9 * (at - 1)) & 511];
		if (at == *level)
			return entry;
		if (at == 2 && (*entry & PTE_USED) && (*entry & PTE_LARGE)) {
			*level = 2;
			return entry;
		}
		if (!(*entry & PTE_PRESENT)) {
			if (!make)
				return NULL;
			uint64_t fresh = frame_alloc((struct uhyve_mmu *)mmu);
			if (!fresh)
				return NULL;
			/* Permissions are the leaf's alone. */
			*entry = fresh | PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_ACCESSED;
		}
		table = *entry & PTE_FRAME;
	}
}

static uint64_t leaf_bits(uint32_t prot)
{
	uint64_t bits = PTE_ACCESSED | PTE_DIRTY;

	if (prot & (PG_PROT_READ | PG_PROT_WRITE | PG_PROT_EXEC))
		bits |= PTE_PRESENT; /* x86 has no unreadable present page */
	if (prot & PG_PROT_WRITE)
		bits |= PTE_WRITE;
	if (!(prot & PG_PROT_EXEC))
		bits |= PTE_NO_EXEC;
	if (!(prot & UHYVE_PROT_SUPERVISOR))
		bits |= PTE_USER;
	if (prot & UHYVE_PROT_DEVICE)
		bits |= PTE_UNCACHED | PTE_WRITE_THROUGH;
	if (prot & UHYVE_PROT_SEALED)
		bits |= PTE_SEALED;
	return bits;
}

static int check_range(uint64_t va, uint64_t length, uint32_t prot)
{
	if ((va | length) & (PG_PAGE_SIZE - 1) || length == 0)
		return -EINVAL;
	if (va >= VA_LIMIT || length > VA_LIMIT - va)
		return -EINVAL;
	if ((prot & PG_PROT_WRITE) && (prot & PG_PROT_EXEC))
		return -EACCES;
	return 0;
}

static uint64_t page_of(int level)
{
	return level == 2 ? LARGE_PAGE : PG_PAGE_SIZE;
}

int uhyve_mmu_init(struct uhyve_mmu *mmu, struct uhyve_memory *memory, struct uhyve_error *error)
{
	uint64_t frames = memory->size / PG_PAGE_SIZE;
	uint64_t words = (frames + 63) / 64;

	*mmu = (struct uhyve_mmu){ .memory = memory, .frames = frames, .free = frames };
	mmu->used = calloc(words, sizeof(uint64_t));
	if (!mmu->used)
		return uhyve_fail(error, -ENOMEM, "not enough memory for the guest's frame map");
	mmu->root.v = frame_alloc(mmu);
	return 0;
}

void uhyve_mmu_free(struct uhyve_mmu *mmu)
{
	free(mmu->used);
	mmu->used = NULL;
}

/* Is anything mapped in the range? */
static bool range_used(const struct uhyve_mmu *mmu, uint64_t va, uint64_t length)
{
	for (uint64_t at = va; at < va + length;) {
		int level = 1;
		uint64_t *entry = walk(mmu, at, &level, false);

		if (entry && (*entry & PTE_USED))
			return true;
		/* No table: nothing in this 2 MiB. */
		at = entry ? at + PG_PAGE_SIZE : (at | (LARGE_PAGE - 1)) + 1;
	}
	return false;
}

/*
 * Have the host back a few pages at both ends of a new mapping now: that is where stacks
 * and heaps are touched first. A page the host already has, KVM maps along with its
 * neighbour's fault (eight at a time where it shadows page tables), and a fault in the
 * guest is the dearest way to touch memory: ten to thirty times the host's own price.
 */
#define POPULATE_PAGES 4
#define STACK_PAGES    2

static void populate(const struct uhyve_mmu *mmu, uint64_t va, uint64_t pages)
{
	struct iovec pieces[POPULATE_PAGES];
	int count;

	if (pages > POPULATE_PAGES)
		pages = POPULATE_PAGES;
	count = uhyve_mmu_buffer(mmu, (uhyve_gva){ va }, pages * PG_PAGE_SIZE, PG_PROT_WRITE,
				 pieces, POPULATE_PAGES, NULL);
	for (int i = 0; i < count; i++)
		(void)madvise(pieces[i].iov_base, pieces[i].iov_len, MADV_POPULATE_WRITE);
}

int uhyve_mmu_map(struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length, uint32_t prot)
{
	int result = check_range(va.v, length, prot);

	if (result)
		return result;
	if (range_used(mmu, va.v, length))
		return -EEXIST;
	/* Tables for the range, and the pages themselves. */
	if (length / PG_PAGE_SIZE + length / LARGE_PAGE + 6 > mmu->free)
		return -ENOMEM;

	uint64_t bits = leaf_bits(prot) | PTE_OWNED;
	for (uint64_t at = va.v; at < va.v + length;) {
		int level = 1;
		uint64_t *entry = walk(mmu, at, &level, true);
		uint64_t frame = entry ? frame_alloc(mmu) : 0;

		if (!frame) { /* can't happen: counted above */
			if (at > va.v)
				(void)uhyve_mmu_unmap(mmu, va, at - va.v);
			return -ENOMEM;
		}
		*entry = frame | bits;
		at += PG_PAGE_SIZE;
	}
	/* A stack, of which there may be thousands: mostly two pages are all that is ever used. */
	if (prot & UHYVE_PROT_GROWSDOWN) {
		uint64_t pages =
			length > STACK_PAGES * PG_PAGE_SIZE ? STACK_PAGES : length / PG_PAGE_SIZE;

		populate(mmu, va.v + length - pages * PG_PAGE_SIZE, pages);
		return 0;
	}
	populate(mmu, va.v, length / PG_PAGE_SIZE);
	if (length > POPULATE_PAGES * PG_PAGE_SIZE)
		populate(mmu, va.v + length - POPULATE_PAGES * PG_PAGE_SIZE, POPULATE_PAGES);
	return 0;
}

/* Take back the large pages that were mapped in [start, end) a moment ago. */
static void unmap_large(struct uhyve_mmu *mmu, uint64_t start, uint64_t end)
{
	for (uint64_t at = start; at < end; at += LARGE_PAGE) {
		int level = 2;
		uint64_t *entry = walk(mmu, at, &level, false);
		uint64_t first = ((*entry & PTE_FRAME) - PG_GPA_RAM) / PG_PAGE_SIZE;

		for (uint64_t frame = first; frame < first + 512; frame++)
			frame_mark(mmu, frame, false);
		*entry = 0;
	}
}

int uhyve_mmu_map_large(struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length, uint32_t prot)
{
	int result = check_range(va.v, length, prot);

	if (result)
		return result;
	if ((va.v | length) & (LARGE_PAGE - 1))
		return -EINVAL;
	if (range_used(mmu, va.v, length))
		return -EEXIST;
	for (uint64_t at = va.v; at < va.v + length; at += LARGE_PAGE) {
		int level = 2;
		uint64_t *entry = walk(mmu, at, &level, true);
		uint64_t frame = 0;

		/* An empty table of small pages in its place is as much in the way as a page. */
		if (entry && (*entry & PTE_USED))
			result = -EEXIST;
		else
			frame = entry ? frame_alloc_large(mmu) : 0;
		if (!frame) {
			unmap_large(mmu, va.v, at);
			return result ? result : -ENOMEM;
		}
		*entry = frame | leaf_bits(prot) | PTE_OWNED | PTE_LARGE;
	}
	return 0;
}

int uhyve_mmu_map_page(struct uhyve_mmu *mmu, uhyve_gva va, uhyve_gpa gpa, uint32_t prot)
{
	int result = check_range(va.v, PG_PAGE_SIZE, prot);
	int level = 1;

	if (result)
		return result;
	uint64_t *entry = walk(mmu, va.v, &level, true);
	if (!entry)
		return -ENOMEM;
	if (level != 1 || (*entry & PTE_USED))
		return -EEXIST;
	*entry = (gpa.v & PTE_FRAME) | leaf_bits(prot);
	return 0;
}

int uhyve_mmu_protect(struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length, uint32_t prot)
{
	struct flusher flusher = { .mmu = mmu, .kind = FLUSH_NARROW };
	int result = check_range(va.v, length, prot);

	if (result)
		return result;
	for (uint64_t at = va.v; at < va.v + length;) {
		int level = 1;
		uint64_t *entry = walk(mmu, at, &level, false);

		if (!entry) {
			at = (at | (LARGE_PAGE - 1)) + 1;
			continue;
		}
		if (level == 2)
			return -EINVAL; /* large pages are the loader's own: fixed */
		if (*entry & PTE_OWNED) {
			uint64_t old = *entry;
			uint64_t fresh =
				(old & (PTE_FRAME | PTE_SEALED)) | PTE_OWNED | leaf_bits(prot);
			/* What was allowed and no longer is (NX counts the other way). */
			uint64_t lost = (old & ~fresh & (PTE_PRESENT | PTE_WRITE)) |
					(fresh & ~old & PTE_NO_EXEC);

			if ((old & PTE_SEALED) && ((fresh & ~old & (PTE_PRESENT | PTE_WRITE)) |
						   (old & ~fresh & PTE_NO_EXEC))) {
				result = -EACCES;
				break;
			}
			*entry = fresh;
			if ((old & PTE_PRESENT) && lost)
				flush_add(&flusher, old & PTE_FRAME, PG_PAGE_SIZE);
		}
		at += PG_PAGE_SIZE;
	}
	flush_now(&flusher);
	return result;
}

/* Is there something in the range that can't be dropped? */
static int check_drop(const struct uhyve_mmu *mmu, uint64_t va, uint64_t length)
{
	for (uint64_t at = va; at < va + length;) {
		int level = 1;
		uint64_t *entry = walk(mmu, at, &level, false);

		if (!entry) {
			at = (at | (LARGE_PAGE - 1)) + 1;
			continue;
		}
		if (*entry & PTE_SEALED)
			return -EACCES;
		if (level == 2)
			return -EINVAL;
		at += PG_PAGE_SIZE;
	}
	return 0;
}

/* Drop contents in the range; remove the mappings too if `remove`. */
static int drop(struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length, bool remove)
{
	struct flusher flusher = { .mmu = mmu, .kind = FLUSH_DROP };
	int result = check_range(va.v, length, 0);

	if (result || (result = check_drop(mmu, va.v, length)))
		return result;
	/*
	 * Two passes for removal: entries first, then flush, and only then are the
	 * frames free for others. The frame stays in the entry until the second pass.
	 */
	for (uint64_t at = va.v; at < va.v + length;) {
		int level = 1;
		uint64_t *entry = walk(mmu, at, &level, false);

		if (!entry) {
			at = (at | (LARGE_PAGE - 1)) + 1;
			continue;
		}
		if (*entry & PTE_OWNED) {
			if (remove)
				*entry &= PTE_FRAME | PTE_OWNED;
			flush_add(&flusher, *entry & PTE_FRAME, PG_PAGE_SIZE);
		}
		at += PG_PAGE_SIZE;
	}
	flush_now(&flusher);
	if (!remove)
		return 0;
	for (uint64_t at = va.v; at < va.v + length;) {
		int level = 1;
		uint64_t *entry = walk(mmu, at, &level, false);

		if (!entry) {
			at = (at | (LARGE_PAGE - 1)) + 1;
			continue;
		}
		if (*entry & PTE_OWNED) {
			frame_mark(mmu, ((*entry & PTE_FRAME) - PG_GPA_RAM) / PG_PAGE_SIZE, false);
			*entry = 0;
		}
		at += PG_PAGE_SIZE;
	}
	return 0;
}

int uhyve_mmu_unmap(struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length)
{
	return drop(mmu, va, length, true);
}

int uhyve_mmu_discard(struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length)
{
	return drop(mmu, va, length, false);
}

/* Host memory from `va` to the end of its page, if its entry has all bits of `need`. */
static uint8_t *page_at(const struct uhyve_mmu *mmu, uint64_t va, uint64_t need, uint64_t *left)
{
	int level = 1;

	if (va >= VA_LIMIT)
		return NULL;
	uint64_t *entry = walk(mmu, va, &level, false);
	if (!entry || (*entry & need) != need)
		return NULL;
	uint64_t size = page_of(level);
	uint64_t offset = va & (size - 1);

	*left = size - offset;
	return uhyve_memory_at(mmu->memory,
			       (uhyve_gpa){ (*entry & PTE_FRAME & ~(size - 1)) + offset }, *left);
}

int uhyve_mmu_buffer(const struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length, uint32_t prot,
		     struct iovec *pieces, int max, uint64_t *covered)
{
	uint64_t need = PTE_PRESENT | PTE_USER | (prot & PG_PROT_WRITE ? PTE_WRITE : 0);
	uint64_t done = 0;
	int count = 0;

	if (length > VA_LIMIT)
		return -EFAULT;
	while (done < length) {
		uint64_t left;
		uint8_t *host = page_at(mmu, va.v + done, need, &left);

		if (!host)
			return -EFAULT;
		if (left > length - done)
			left = length - done;
		if (count &&
		    (uint8_t *)pieces[count - 1].iov_base + pieces[count - 1].iov_len == host) {
			pieces[count - 1].iov_len += left;
		} else {
			if (count == max)
				break;
			pieces[count++] = (struct iovec){ host, left };
		}
		done += left;
	}
	if (covered)
		*covered = done;
	return count;
}

/* Copy in either direction, page by page. */
static int copy(const struct uhyve_mmu *mmu, uint64_t va, void *host, uint64_t length,
		uint64_t need, bool to_guest)
{
	uint8_t *at = host;

	while (length) {
		uint64_t left;
		uint8_t *page = page_at(mmu, va, need, &left);

		if (!page)
			return -EFAULT;
		if (left > length)
			left = length;
		memcpy(to_guest ? page : at, to_guest ? at : page, left);
		va += left;
		at += left;
		length -= left;
	}
	return 0;
}

int uhyve_mmu_copy_from(const struct uhyve_mmu *mmu, void *to, uhyve_gva from, uint64_t length)
{
	return copy(mmu, from.v, to, length, PTE_PRESENT | PTE_USER, false);
}

int uhyve_mmu_copy_to(const struct uhyve_mmu *mmu, uhyve_gva to, const void *from, uint64_t length)
{
	return copy(mmu, to.v, (void *)from, length, PTE_PRESENT | PTE_USER | PTE_WRITE, true);
}

int uhyve_mmu_write(const struct uhyve_mmu *mmu, uhyve_gva to, const void *from, uint64_t length)
{
	return copy(mmu, to.v, (void *)from, length, PTE_OWNED, true);
}

void *uhyve_mmu_at(const struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length)
{
	uint64_t left;
	uint8_t *host = page_at(mmu, va.v, PTE_OWNED, &left);

	return host && length <= left ? host : NULL;
}

uhyve_gpa uhyve_mmu_gpa(const struct uhyve_mmu *mmu, uhyve_gva va)
{
	int level = 1;
	uint64_t *entry = va.v < VA_LIMIT ? walk(mmu, va.v, &level, false) : NULL;

	return (uhyve_gpa){ entry && level == 1 && (*entry & PTE_OWNED) ? *entry & PTE_FRAME : 0 };
}

int uhyve_mmu_query(const struct uhyve_mmu *mmu, uhyve_gva va)
{
	int level = 1;
	uint64_t *entry = va.v < VA_LIMIT ? walk(mmu, va.v, &level, false) : NULL;

	if (!entry || !(*entry & PTE_USED))
		return -ENOENT;
	int sealed = *entry & PTE_SEALED ? UHYVE_PROT_SEALED : 0;
	if (!(*entry & PTE_PRESENT))
		return sealed;
	return sealed | PG_PROT_READ | (*entry & PTE_WRITE ? PG_PROT_WRITE : 0) |
	       (*entry & PTE_NO_EXEC ? 0 : PG_PROT_EXEC) |
	       (*entry & PTE_USER ? 0 : UHYVE_PROT_SUPERVISOR) |
	       (*entry & PTE_UNCACHED ? UHYVE_PROT_DEVICE : 0);
}
