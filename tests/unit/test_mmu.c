/* Page tables and frames: permissions, W^X, sealing, exhaustion; and a reference model. */
#include <criterion/criterion.h>
#include <sys/mman.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "abi/layout.h"
#include "abi/ops.h"
#include "mmu.h"

#define PAGE  ((uint64_t)PG_PAGE_SIZE)
#define LARGE (2ull << 20)
#define R     PG_PROT_READ
#define W     PG_PROT_WRITE
#define X     PG_PROT_EXEC
#define VA    PG_VA_MMAP

static struct uhyve_memory memory;
static struct uhyve_mmu mmu;

static void start(uint64_t size)
{
	cr_assert_eq(uhyve_memory_init(&memory, size, NULL), 0);
	cr_assert_eq(uhyve_mmu_init(&mmu, &memory, NULL), 0);
}

static void set_up(void)
{
	start(8 << 20);
}

static void tear_down(void)
{
	uhyve_mmu_free(&mmu);
	uhyve_memory_free(&memory);
}

TestSuite(mmu, .init = set_up, .fini = tear_down, .timeout = 30);

static uhyve_gva gva(uint64_t va)
{
	return (uhyve_gva){ va };
}

static int map(uint64_t va, uint64_t pages, uint32_t prot)
{
	return uhyve_mmu_map(&mmu, gva(va), pages * PAGE, prot);
}

static int unmap(uint64_t va, uint64_t pages)
{
	return uhyve_mmu_unmap(&mmu, gva(va), pages * PAGE);
}

static int protect(uint64_t va, uint64_t pages, uint32_t prot)
{
	return uhyve_mmu_protect(&mmu, gva(va), pages * PAGE, prot);
}

static int query(uint64_t va)
{
	return uhyve_mmu_query(&mmu, gva(va));
}

/* May the guest read or write there, as an operation's buffer? */
static bool readable(uint64_t va)
{
	struct iovec piece;

	return uhyve_mmu_buffer(&mmu, gva(va), 1, R, &piece, 1, NULL) == 1;
}

static bool writable(uint64_t va)
{
	struct iovec piece;

	return uhyve_mmu_buffer(&mmu, gva(va), 1, W, &piece, 1, NULL) == 1;
}

/* ---- map, unmap, discard ---- */

Test(mmu, maps_zeroed_pages_and_nothing_beyond)
{
	uint8_t data[3 * PG_PAGE_SIZE], zero[sizeof(data)] = { 0 };

	memset(data, 1, sizeof(data));
	cr_assert_eq(map(VA, 3, R | W), 0);
	cr_assert_eq(uhyve_mmu_copy_from(&mmu, data, gva(VA), sizeof(data)), 0);
	cr_assert_eq(memcmp(data, zero, sizeof(data)), 0);
	cr_assert_eq(query(VA - PAGE), -ENOENT);
	cr_assert_eq(query(VA), R | W);
	cr_assert_eq(query(VA + 3 * PAGE - 1), R | W);
	cr_assert_eq(query(VA + 3 * PAGE), -ENOENT);
}

Test(mmu, refuses_bad_ranges)
{
	static const struct {
		uint64_t va, length;
	} bad[] = {
		{ VA + 1, PAGE }, { VA, PAGE + 1 },     { VA, 0 },
		{ VA, 1 },        { 1ull << 47, PAGE }, { (1ull << 47) - PAGE, 2 * PAGE },
		{ -PAGE, PAGE },  { -PAGE, 2 * PAGE },  { VA, -PAGE },
		{ PAGE, -PAGE },
	};
	uint64_t free = mmu.free;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uhyve_gva va = gva(bad[i].va);

		cr_assert_eq(uhyve_mmu_map(&mmu, va, bad[i].length, R), -EINVAL, "map %u", i);
		cr_assert_eq(uhyve_mmu_map_large(&mmu, va, bad[i].length, R), -EINVAL, "large %u",
			     i);
		cr_assert_eq(uhyve_mmu_unmap(&mmu, va, bad[i].length), -EINVAL, "unmap %u", i);
		cr_assert_eq(uhyve_mmu_protect(&mmu, va, bad[i].length, R), -EINVAL, "protect %u",
			     i);
		cr_assert_eq(uhyve_mmu_discard(&mmu, va, bad[i].length), -EINVAL, "discard %u", i);
	}
	cr_assert_eq(mmu.free, free);
}

Test(mmu, maps_only_what_is_free_and_all_or_nothing)
{
	cr_assert_eq(map(VA + 2 * PAGE, 1, R), 0);

	uint64_t free = mmu.free;
	cr_assert_eq(map(VA, 3, R | W), -EEXIST);
	cr_assert_eq(query(VA), -ENOENT);
	cr_assert_eq(query(VA + PAGE), -ENOENT);
	cr_assert_eq(query(VA + 2 * PAGE), R);
	cr_assert_eq(mmu.free, free);
	/* A page without access is mapped all the same. */
	cr_assert_eq(map(VA, 1, 0), 0);
	cr_assert_eq(query(VA), 0);
	cr_assert_eq(map(VA, 1, R), -EEXIST);
}

Test(mmu, unmaps_holes_too_and_gives_frames_back)
{
	cr_assert_eq(map(VA, 1, R), 0); /* so that the tables are there */

	uint64_t free = mmu.free;
	cr_assert_eq(map(VA + 2 * PAGE, 2, R), 0);
	cr_assert_eq(mmu.free, free - 2);
	cr_assert_eq(unmap(VA + PAGE, 8), 0);
	cr_assert_eq(mmu.free, free);
	cr_assert_eq(query(VA), R);
	cr_assert_eq(query(VA + 2 * PAGE), -ENOENT);
	cr_assert_eq(unmap(VA + PAGE, 8), 0, "nothing there is no error");
	cr_assert_eq(unmap(VA + (1ull << 40), 1 << 20), 0, "nor are missing tables");
	cr_assert_eq(mmu.free, free);
}

Test(mmu, a_frame_comes_back_empty)
{
	uint64_t pages = mmu.free - 16, word = 0;

	cr_assert_eq(map(VA, pages, R | W), 0);
	for (uint64_t i = 0; i < pages; i++)
		cr_assert_eq(uhyve_mmu_copy_to(&mmu, gva(VA + i * PAGE), "secret", 7), 0);
	cr_assert_eq(unmap(VA, pages), 0);
	cr_assert_eq(map(VA, pages, R), 0);
	for (uint64_t i = 0; i < pages; i++) {
		cr_assert_eq(uhyve_mmu_copy_from(&mmu, &word, gva(VA + i * PAGE), 8), 0);
		cr_assert_eq(word, 0, "page %llu", (unsigned long long)i);
	}
}

Test(mmu, discards_contents_but_not_the_mapping)
{
	uint8_t byte = 7;

	cr_assert_eq(map(VA, 3, R | W), 0);
	for (uint64_t i = 0; i < 3; i++)
		cr_assert_eq(uhyve_mmu_copy_to(&mmu, gva(VA + i * PAGE), &byte, 1), 0);

	uint64_t free = mmu.free;
	cr_assert_eq(uhyve_mmu_discard(&mmu, gva(VA + PAGE), PAGE), 0);
	cr_assert_eq(mmu.free, free);
	for (uint64_t i = 0; i < 3; i++) {
		cr_assert_eq(uhyve_mmu_copy_from(&mmu, &byte, gva(VA + i * PAGE), 1), 0);
		cr_assert_eq(byte, i == 1 ? 0 : 7);
		cr_assert_eq(query(VA + i * PAGE), R | W);
	}
}

/* ---- permissions ---- */

Test(mmu, nothing_is_writable_and_executable)
{
	cr_assert_eq(map(VA, 1, W | X), -EACCES);
	cr_assert_eq(map(VA, 1, R | W | X), -EACCES);
	cr_assert_eq(uhyve_mmu_map_large(&mmu, gva(PG_VA_KHEAP), LARGE, R | W | X), -EACCES);
	cr_assert_eq(uhyve_mmu_map_page(&mmu, gva(VA), (uhyve_gpa){ PG_GPA_RAM }, W | X), -EACCES);
	cr_assert_eq(query(VA), -ENOENT);
	cr_assert_eq(map(VA, 1, R | W), 0);
	cr_assert_eq(protect(VA, 1, R | W | X), -EACCES);
	cr_assert_eq(query(VA), R | W);
	cr_assert_eq(protect(VA, 1, R | X), 0);
	cr_assert_eq(query(VA), R | X);
	cr_assert_not(writable(VA));
}

Test(mmu, buffers_obey_the_guests_own_permissions)
{
	static const struct {
		uint32_t prot;
		bool readable, writable;
	} rules[] = {
		{ 0, false, false },
		{ R, true, false },
		{ R | W, true, true },
		{ W, true, true }, /* x86 knows no write-only page */
		{ R | X, true, false },
		{ X, true, false }, /* nor an execute-only one */
		{ R | W | UHYVE_PROT_SUPERVISOR, false, false },
		{ R | UHYVE_PROT_SEALED, true, false },
	};

	for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		uint64_t va = VA + i * PAGE;
		uint8_t byte = 0;

		cr_assert_eq(map(va, 1, rules[i].prot), 0);
		cr_assert_eq(readable(va), rules[i].readable, "rule %u", i);
		cr_assert_eq(writable(va), rules[i].writable, "rule %u", i);
		cr_assert_eq(uhyve_mmu_copy_from(&mmu, &byte, gva(va), 1),
			     rules[i].readable ? 0 : -EFAULT, "rule %u", i);
		cr_assert_eq(uhyve_mmu_copy_to(&mmu, gva(va), &byte, 1),
			     rules[i].writable ? 0 : -EFAULT, "rule %u", i);
		/* The loader itself writes what it set up, whatever the guest may. */
		cr_assert_eq(uhyve_mmu_write(&mmu, gva(va), &byte, 1), 0);
		cr_assert_not_null(uhyve_mmu_at(&mmu, gva(va), PAGE));
	}
}

Test(mmu, protect_changes_what_is_mapped_and_skips_holes)
{
	uint8_t byte = 9;

	cr_assert_eq(map(VA, 1, R | W), 0);
	cr_assert_eq(map(VA + 2 * PAGE, 1, R), 0);
	cr_assert_eq(uhyve_mmu_copy_to(&mmu, gva(VA), &byte, 1), 0);
	cr_assert_eq(protect(VA, 4, 0), 0);
	cr_assert_eq(query(VA), 0);
	cr_assert_eq(query(VA + PAGE), -ENOENT);
	cr_assert_eq(query(VA + 2 * PAGE), 0);
	cr_assert_not(readable(VA));
	cr_assert_eq(protect(VA, 4, R), 0);
	byte = 0;
	cr_assert_eq(uhyve_mmu_copy_from(&mmu, &byte, gva(VA), 1), 0);
	cr_assert_eq(byte, 9, "contents survive");
	cr_assert_not(writable(VA + 2 * PAGE));
}

Test(mmu, a_sealed_page_is_only_ever_narrowed)
{
	cr_assert_eq(map(VA, 1, R | X | UHYVE_PROT_SEALED), 0);
	cr_assert_eq(query(VA), R | X | UHYVE_PROT_SEALED);
	cr_assert_eq(unmap(VA, 1), -EACCES);
	cr_assert_eq(uhyve_mmu_discard(&mmu, gva(VA), PAGE), -EACCES);
	cr_assert_eq(protect(VA, 1, R | W), -EACCES);
	cr_assert_eq(query(VA), R | X | UHYVE_PROT_SEALED);
	cr_assert_eq(protect(VA, 1, R | X), 0, "no change is no gain");
	cr_assert_eq(protect(VA, 1, R), 0);
	cr_assert_eq(protect(VA, 1, R | X), -EACCES, "what was given up is gone");
	cr_assert_eq(protect(VA, 1, 0), 0);
	cr_assert_eq(protect(VA, 1, R), -EACCES);
	cr_assert_eq(unmap(VA, 1), -EACCES);
}

Test(mmu, a_range_with_a_sealed_page_is_left_alone_as_a_whole)
{
	uint8_t byte = 5;

	cr_assert_eq(map(VA, 1, R | W), 0);
	cr_assert_eq(map(VA + PAGE, 1, R | UHYVE_PROT_SEALED), 0);
	cr_assert_eq(uhyve_mmu_copy_to(&mmu, gva(VA), &byte, 1), 0);

	uint64_t free = mmu.free;
	cr_assert_eq(unmap(VA, 2), -EACCES);
	cr_assert_eq(uhyve_mmu_discard(&mmu, gva(VA), 2 * PAGE), -EACCES);
	cr_assert_eq(query(VA), R | W);
	byte = 0;
	cr_assert_eq(uhyve_mmu_copy_from(&mmu, &byte, gva(VA), 1), 0);
	cr_assert_eq(byte, 5);
	cr_assert_eq(mmu.free, free);
}

/* ---- buffers ---- */

Test(mmu, a_buffer_is_refused_if_any_page_of_it_is)
{
	struct iovec pieces[8];

	cr_assert_eq(map(VA, 2, R | W), 0);
	cr_assert_eq(map(VA + 2 * PAGE, 1, R), 0);
	cr_assert_gt(uhyve_mmu_buffer(&mmu, gva(VA + 1), 3 * PAGE - 1, R, pieces, 8, NULL), 0);
	cr_assert_eq(uhyve_mmu_buffer(&mmu, gva(VA + 1), 3 * PAGE, R, pieces, 8, NULL), -EFAULT);
	cr_assert_gt(uhyve_mmu_buffer(&mmu, gva(VA), 2 * PAGE, W, pieces, 8, NULL), 0);
	cr_assert_eq(uhyve_mmu_buffer(&mmu, gva(VA), 2 * PAGE + 1, W, pieces, 8, NULL), -EFAULT);
	cr_assert_eq(uhyve_mmu_buffer(&mmu, gva(VA - 1), 2, R, pieces, 8, NULL), -EFAULT);
	cr_assert_eq(uhyve_mmu_buffer(&mmu, gva(VA), 0, R, pieces, 8, NULL), 0);
}

Test(mmu, buffer_addresses_may_be_anything)
{
	static const uint64_t values[] = {
		0,          1,          PAGE,           VA,         (1ull << 47) - 1,
		1ull << 47, 1ull << 63, UINT64_MAX - 1, UINT64_MAX,
	};
	struct iovec pieces[2];
	uint8_t byte;

	for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		for (unsigned j = 1; j < sizeof(values) / sizeof(values[0]); j++) {
			cr_assert_eq(uhyve_mmu_buffer(&mmu, gva(values[i]), values[j], R, pieces, 2,
						      NULL),
				     -EFAULT);
			cr_assert_eq(uhyve_mmu_copy_from(&mmu, &byte, gva(values[i]), 1), -EFAULT);
			cr_assert_null(uhyve_mmu_at(&mmu, gva(values[i]), values[j]));
		}
		cr_assert_eq(query(values[i]), -ENOENT);
		cr_assert_eq(uhyve_mmu_gpa(&mmu, gva(values[i])).v, 0);
	}
}

Test(mmu, a_scattered_buffer_comes_in_pieces_and_says_how_far_they_reach)
{
	struct iovec pieces[4];
	uint64_t covered = 0;

	/* Frames in a row belong to every other page. */
	cr_assert_eq(map(VA, 1, R | W), 0);
	cr_assert_eq(map(VA + 2 * PAGE, 1, R | W), 0);
	cr_assert_eq(map(VA + PAGE, 1, R | W), 0);

	uint8_t *first = uhyve_mmu_at(&mmu, gva(VA), PAGE);
	uint8_t *second = uhyve_mmu_at(&mmu, gva(VA + PAGE), PAGE);
	uint8_t *third = uhyve_mmu_at(&mmu, gva(VA + 2 * PAGE), PAGE);
	cr_assert_eq(uhyve_mmu_buffer(&mmu, gva(VA + 10), 2 * PAGE, W, pieces, 4, &covered), 3);
	cr_assert_eq(covered, 2 * PAGE);
	cr_assert_eq(pieces[0].iov_base, first + 10);
	cr_assert_eq(pieces[0].iov_len, PAGE - 10);
	cr_assert_eq(pieces[1].iov_base, second);
	cr_assert_eq(pieces[1].iov_len, PAGE);
	cr_assert_eq(pieces[2].iov_base, third);
	cr_assert_eq(pieces[2].iov_len, 10);
	/* Too few pieces: the first ones. */
	cr_assert_eq(uhyve_mmu_buffer(&mmu, gva(VA + 10), 2 * PAGE, W, pieces, 2, &covered), 2);
	cr_assert_eq(covered, 2 * PAGE - 10);
}

Test(mmu, neighbouring_frames_make_one_piece)
{
	struct iovec piece;

	cr_assert_eq(map(VA, 16, R | W), 0);
	cr_assert_eq(uhyve_mmu_buffer(&mmu, gva(VA), 16 * PAGE, R, &piece, 1, NULL), 1);
	cr_assert_eq(piece.iov_len, 16 * PAGE);
}

Test(mmu, at_stays_inside_one_page)
{
	cr_assert_eq(map(VA, 2, R), 0);
	cr_assert_not_null(uhyve_mmu_at(&mmu, gva(VA + 100), PAGE - 100));
	cr_assert_null(uhyve_mmu_at(&mmu, gva(VA + 100), PAGE - 99));
}

/* ---- pages the loader sets up ---- */

Test(mmu, large_pages_are_fixed)
{
	struct iovec pieces[2];

	cr_assert_eq(uhyve_mmu_map_large(&mmu, gva(PG_VA_KHEAP), LARGE, R | W), 0);
	cr_assert_eq(query(PG_VA_KHEAP + LARGE - 1), R | W);
	cr_assert_eq(query(PG_VA_KHEAP + LARGE), -ENOENT);
	cr_assert_eq(uhyve_mmu_buffer(&mmu, gva(PG_VA_KHEAP + 1), LARGE - 1, W, pieces, 2, NULL),
		     1);
	cr_assert_eq(pieces[0].iov_len, LARGE - 1);
	cr_assert_eq(uhyve_mmu_buffer(&mmu, gva(PG_VA_KHEAP + 1), LARGE, W, pieces, 2, NULL),
		     -EFAULT);
	cr_assert_eq(uhyve_mmu_map_large(&mmu, gva(PG_VA_KHEAP), LARGE, R), -EEXIST);
	cr_assert_eq(map(PG_VA_KHEAP + 5 * PAGE, 1, R), -EEXIST);
	cr_assert_eq(uhyve_mmu_map_page(&mmu, gva(PG_VA_KHEAP + PAGE), (uhyve_gpa){ PG_GPA_RAM },
					R),
		     -EEXIST);
	cr_assert_eq(protect(PG_VA_KHEAP, 1, R), -EINVAL);
	cr_assert_eq(unmap(PG_VA_KHEAP, LARGE / PAGE), -EINVAL);
	cr_assert_eq(uhyve_mmu_discard(&mmu, gva(PG_VA_KHEAP), LARGE), -EINVAL);
	cr_assert_eq(uhyve_mmu_map_large(&mmu, gva(PG_VA_KHEAP + PAGE), LARGE, R), -EINVAL);
}

Test(mmu, what_lies_before_a_large_page_is_not_half_unmapped)
{
	uint8_t byte = 3;

	cr_assert_eq(uhyve_mmu_map_large(&mmu, gva(VA + LARGE), LARGE, R | W), 0);
	cr_assert_eq(map(VA + LARGE - PAGE, 1, R | W), 0);
	cr_assert_eq(uhyve_mmu_copy_to(&mmu, gva(VA + LARGE - PAGE), &byte, 1), 0);
	cr_assert_eq(unmap(VA + LARGE - PAGE, 2), -EINVAL);
	cr_assert_eq(uhyve_mmu_discard(&mmu, gva(VA + LARGE - PAGE), 2 * PAGE), -EINVAL);
	cr_assert_eq(query(VA + LARGE - PAGE), R | W);
	byte = 0;
	cr_assert_eq(uhyve_mmu_copy_from(&mmu, &byte, gva(VA + LARGE - PAGE), 1), 0);
	cr_assert_eq(byte, 3);
}

Test(mmu, a_device_page_is_no_memory)
{
	struct iovec piece;

	cr_assert_eq(uhyve_mmu_map_page(&mmu, gva(VA), (uhyve_gpa){ PG_GPA_DEVICE },
					R | W | UHYVE_PROT_DEVICE),
		     0);
	cr_assert_eq(query(VA), R | W | UHYVE_PROT_DEVICE);
	cr_assert_eq(uhyve_mmu_buffer(&mmu, gva(VA), 4, W, &piece, 1, NULL), -EFAULT);
	cr_assert_null(uhyve_mmu_at(&mmu, gva(VA), 4));

	/* Not one of our frames: nothing to free. */
	uint64_t free = mmu.free;
	cr_assert_eq(unmap(VA, 1), 0);
	cr_assert_eq(mmu.free, free);
	cr_assert_eq(query(VA), R | W | UHYVE_PROT_DEVICE);
}

Test(mmu, an_alias_shows_the_same_frame)
{
	uint8_t byte = 0;

	cr_assert_eq(map(VA, 1, R | W), 0);
	cr_assert_eq(uhyve_mmu_map_page(&mmu, gva(VA + PAGE), uhyve_mmu_gpa(&mmu, gva(VA)), R), 0);
	cr_assert_eq(uhyve_mmu_copy_to(&mmu, gva(VA + 17), "x", 1), 0);
	cr_assert_eq(uhyve_mmu_copy_from(&mmu, &byte, gva(VA + PAGE + 17), 1), 0);
	cr_assert_eq(byte, 'x');
	cr_assert_not(writable(VA + PAGE));
}

/* ---- exhaustion ---- */

Test(mmu, too_large_a_mapping_changes_nothing)
{
	cr_assert_eq(map(VA, 1, R), 0);

	uint64_t free = mmu.free;
	for (uint64_t pages = free + 1; pages < 1ull << 33; pages *= 2) {
		cr_assert_eq(map(VA + PAGE, pages, R | W), -ENOMEM);
		cr_assert_eq(mmu.free, free);
		cr_assert_eq(query(VA + PAGE), -ENOENT);
	}
	cr_assert_eq(query(VA), R);
}

Test(mmu, memory_can_be_used_up_and_used_again)
{
	uint64_t mapped = 0, total = 0;

	for (unsigned round = 0; round < 3; round++) {
		for (mapped = 0; map(VA + mapped * PAGE, 1, R | W) == 0; mapped++)
			continue;
		cr_assert_eq(map(VA + mapped * PAGE, 1, R | W), -ENOMEM);
		cr_assert_lt(mmu.free, 16, "nearly all of it");
		cr_assert_gt(mapped, mmu.frames - 32);
		cr_assert(round == 0 || mapped == total, "no frame was lost");
		total = mapped;
		cr_assert_eq(unmap(VA, mapped), 0);
	}
}

Test(mmu, large_pages_that_do_not_fit_change_nothing)
{
	cr_assert_eq(uhyve_mmu_map_large(&mmu, gva(PG_VA_KHEAP), 8 * LARGE, R | W), -ENOMEM);
	for (uint64_t i = 0; i < 8; i++)
		cr_assert_eq(query(PG_VA_KHEAP + i * LARGE), -ENOENT);
	cr_assert_eq(uhyve_mmu_map_large(&mmu, gva(PG_VA_KHEAP), 3 * LARGE, R | W), 0,
		     "what was tried left no frame behind");
}

Test(mmu, single_pages_without_frames_for_tables_are_refused)
{
	uhyve_gpa device = { PG_GPA_DEVICE };
	uint64_t mapped = 0;

	/* Take the rest too, with a table where all entries are already. */
	cr_assert_eq(map(VA, mmu.free - 16, R), 0);
	while (map(VA + LARGE * 8 + mapped * PAGE, 1, R) == 0)
		mapped++;
	for (uint64_t far = 1ull << 39; mmu.free; far += 1ull << 39)
		(void)uhyve_mmu_map_page(&mmu, gva(far), device, R);
	cr_assert_eq(uhyve_mmu_map_page(&mmu, gva(100ull << 39), device, R), -ENOMEM);
	cr_assert_eq(query(100ull << 39), -ENOENT);
}

/* ---- a reference model ---- */

#define WINDOW 48 /* pages, across the border of two tables */
#define BASE   (VA + LARGE - WINDOW / 2 * PAGE)

static struct {
	bool mapped, sealed;
	uint32_t prot; /* as the processor sees it: any access includes reading */
	uint8_t value; /* the first byte of the page */
} model[WINDOW];

static uint64_t random_state = 0x5eed5eed5eed5eed;

/* xorshift64: the same numbers every time. */
static uint32_t below(uint32_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32) % limit;
}

static int expect_map(unsigned first, unsigned count, uint32_t prot, bool sealed)
{
	if ((prot & W) && (prot & X))
		return -EACCES;
	for (unsigned i = first; i < first + count; i++) {
		if (model[i].mapped)
			return -EEXIST;
	}
	for (unsigned i = first; i < first + count; i++) {
		model[i].mapped = true;
		model[i].sealed = sealed;
		model[i].prot = prot ? prot | R : 0;
		model[i].value = 0;
	}
	return 0;
}

static int expect_protect(unsigned first, unsigned count, uint32_t prot)
{
	if ((prot & W) && (prot & X))
		return -EACCES;
	prot |= prot ? R : 0;
	for (unsigned i = first; i < first + count; i++) {
		if (!model[i].mapped)
			continue;
		if (model[i].sealed && (prot & ~model[i].prot))
			return -EACCES;
		model[i].prot = prot;
	}
	return 0;
}

static int expect_drop(unsigned first, unsigned count, bool remove)
{
	for (unsigned i = first; i < first + count; i++) {
		if (model[i].mapped && model[i].sealed)
			return -EACCES;
	}
	for (unsigned i = first; i < first + count; i++) {
		model[i].value = 0;
		model[i].mapped = model[i].mapped && !remove;
	}
	return 0;
}

static int expect_write(unsigned first, unsigned count, uint8_t value)
{
	for (unsigned i = first; i < first + count; i++) {
		if (!model[i].mapped || !(model[i].prot & W))
			return -EFAULT;
	}
	for (unsigned i = first; i < first + count; i++)
		model[i].value = value;
	return 0;
}

/* Write the first byte of each page, through a buffer as an operation does. */
static int write_buffer(unsigned first, unsigned count, uint8_t value)
{
	struct iovec pieces[WINDOW];
	uint64_t covered = 0;
	int got = uhyve_mmu_buffer(&mmu, gva(BASE + first * PAGE), count * PAGE, W, pieces, WINDOW,
				   &covered);

	if (got < 0)
		return got;
	cr_assert_eq(covered, count * PAGE);
	for (int i = 0; i < got; i++) {
		for (uint64_t at = 0; at < pieces[i].iov_len; at += PAGE)
			((uint8_t *)pieces[i].iov_base)[at] = value;
	}
	return 0;
}

/* All of the window, and every frame: used once, or free. */
static void compare(uint64_t idle, unsigned step)
{
	unsigned mapped = 0;

	for (unsigned i = 0; i < WINDOW; i++) {
		uint64_t va = BASE + i * PAGE;
		uint8_t value = 0;

		if (!model[i].mapped) {
			cr_assert_eq(query(va), -ENOENT, "page %u after %u steps", i, step);
			continue;
		}
		mapped++;
		cr_assert_eq(query(va),
			     (int)(model[i].prot | (model[i].sealed ? UHYVE_PROT_SEALED : 0)),
			     "page %u after %u steps: 0x%x", i, step, (unsigned)query(va));
		cr_assert_eq(uhyve_mmu_copy_from(&mmu, &value, gva(va), 1),
			     model[i].prot ? 0 : -EFAULT);
		if (model[i].prot)
			cr_assert_eq(value, model[i].value, "page %u after %u steps", i, step);
		for (unsigned j = 0; j < i; j++)
			cr_assert(!model[j].mapped ||
					  uhyve_mmu_gpa(&mmu, gva(va)).v !=
						  uhyve_mmu_gpa(&mmu, gva(BASE + j * PAGE)).v,
				  "pages %u and %u share a frame", i, j);
	}
	cr_assert_eq(mmu.free, idle - mapped, "frames were lost after %u steps", step);
}

Test(mmu, agrees_with_a_model_over_random_operations)
{
	static const uint32_t prots[] = { 0, R, R | W, W, R | X, X, R | W | X };
	unsigned sealed_pages = 0;

	/* Both tables of the window exist from here on, so free frames can be counted. */
	cr_assert_eq(map(BASE, WINDOW, R), 0);
	cr_assert_eq(unmap(BASE, WINDOW), 0);
	uint64_t idle = mmu.free;

	for (unsigned step = 0; step < 20000; step++) {
		unsigned first = below(WINDOW);
		unsigned count = 1 + below(WINDOW - first < 8 ? WINDOW - first : 8);
		uint32_t prot = prots[below(sizeof(prots) / sizeof(prots[0]))];
		uint64_t va = BASE + first * PAGE;
		uint8_t value = (uint8_t)(1 + below(255));
		int expected, got;

		switch (below(6)) {
		case 0:
		case 1: {
			/* A few sealed pages only: they stay for good. */
			bool seal = sealed_pages < 6 && count == 1 && below(40) == 0;

			expected = expect_map(first, count, prot, seal);
			got = map(va, count, prot | (seal ? UHYVE_PROT_SEALED : 0));
			sealed_pages += seal && got == 0;
			break;
		}
		case 2:
			expected = expect_drop(first, count, true);
			got = unmap(va, count);
			break;
		case 3:
			expected = expect_protect(first, count, prot);
			got = protect(va, count, prot);
			break;
		case 4:
			expected = expect_drop(first, count, false);
			got = uhyve_mmu_discard(&mmu, gva(va), count * PAGE);
			break;
		default:
			expected = expect_write(first, count, value);
			got = write_buffer(first, count, value);
		}
		cr_assert_eq(got, expected, "step %u: %d instead of %d", step, got, expected);
		if (step % 16 == 0)
			compare(idle, step);
	}
	cr_assert_gt(sealed_pages, 0);
	compare(idle, 20000);
}

static bool backed(uint64_t va)
{
	unsigned char resident = 0;
	void *host = uhyve_mmu_at(&mmu, gva(va), PAGE);

	cr_assert_not_null(host);
	cr_assert_eq(mincore(host, PAGE, &resident), 0);
	return resident & 1;
}

/* Both ends of a mapping are backed at once; of a stack, the upper end alone, and less of it. */
Test(mmu, what_is_backed_at_once)
{
	cr_assert_eq(uhyve_mmu_map(&mmu, gva(VA), 32 * PAGE, R | W), 0);
	cr_assert_eq(uhyve_mmu_map(&mmu, gva(VA + 64 * PAGE), 32 * PAGE,
				   R | W | UHYVE_PROT_GROWSDOWN),
		     0);
	cr_assert_eq(uhyve_mmu_map(&mmu, gva(VA + 128 * PAGE), PAGE, R | W | UHYVE_PROT_GROWSDOWN),
		     0);
	for (unsigned i = 0; i < 32; i++) {
		cr_expect_eq(backed(VA + i * PAGE), i < 4 || i >= 28, "page %u", i);
		cr_expect_eq(backed(VA + (64 + i) * PAGE), i >= 30, "page %u of a stack", i);
	}
	cr_expect(backed(VA + 128 * PAGE));
}
