/* Guest memory: alignment, contents, and which guest-physical ranges have a host address. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "abi/layout.h"
#include "memory.h"

#define MIB  (1ull << 20)
#define SIZE (4 * MIB)

static struct uhyve_memory memory;

static void set_up(void)
{
	cr_assert_eq(uhyve_memory_init(&memory, SIZE, NULL), 0);
}

static void tear_down(void)
{
	uhyve_memory_free(&memory);
}

TestSuite(memory, .init = set_up, .fini = tear_down, .timeout = 10);

static uint8_t *at(uint64_t gpa, uint64_t length)
{
	return uhyve_memory_at(&memory, (uhyve_gpa){ gpa }, length);
}

Test(memory, is_rounded_up_aligned_and_zero)
{
	struct uhyve_memory odd;

	cr_assert_eq(uhyve_memory_init(&odd, 2 * MIB + 1, NULL), 0);
	cr_assert_eq(odd.size, 4 * MIB);
	cr_assert_eq((uintptr_t)odd.host % (2 * MIB), 0, "the host can use huge pages");
	for (uint64_t i = 0; i < odd.size; i += 4096)
		cr_assert_eq(odd.host[i], 0);
	odd.host[odd.size - 1] = 1; /* writable to the end */
	uhyve_memory_free(&odd);
	cr_assert_null(odd.host);
	cr_assert_eq(odd.size, 0);
	uhyve_memory_free(&odd); /* again is harmless */
}

Test(memory, of_an_impossible_size_is_refused_with_a_sentence)
{
	struct uhyve_memory none = { 0 };
	struct uhyve_error error = { 0 };

	cr_assert_eq(uhyve_memory_init(&none, (1ull << 40) + 1, &error), -EINVAL);
	cr_assert_eq(error.code, -EINVAL);
	cr_assert_gt(strlen(error.text), 0);
	cr_assert_null(none.host);
	/* Rounding up would wrap around. */
	cr_assert_eq(uhyve_memory_init(&none, UINT64_MAX, NULL), -EINVAL);
}

Test(memory, at_gives_every_range_inside)
{
	cr_assert_eq(at(PG_GPA_RAM, 1), memory.host);
	cr_assert_eq(at(PG_GPA_RAM, SIZE), memory.host);
	cr_assert_eq(at(PG_GPA_RAM + 4097, 100), memory.host + 4097);
	cr_assert_eq(at(PG_GPA_RAM + SIZE - 1, 1), memory.host + SIZE - 1);
}

Test(memory, at_refuses_what_is_outside_in_part)
{
	cr_assert_null(at(PG_GPA_RAM - 1, 1));
	cr_assert_null(at(PG_GPA_RAM - 1, 2));
	cr_assert_null(at(PG_GPA_RAM + SIZE, 1));
	cr_assert_null(at(PG_GPA_RAM + SIZE - 1, 2));
	cr_assert_null(at(PG_GPA_RAM, SIZE + 1));
	cr_assert_null(at(0, 1));
	cr_assert_null(at(0, PG_GPA_RAM + 1));
	cr_assert_null(at(UINT64_MAX, 1));
}

Test(memory, at_refuses_an_empty_range)
{
	cr_assert_null(at(PG_GPA_RAM, 0));
	cr_assert_null(at(PG_GPA_RAM + SIZE, 0));
	cr_assert_null(at(PG_GPA_RAM - 1, 0));
}

Test(memory, at_is_not_fooled_by_overflow)
{
	/* Ends that wrap around to an address inside the slot. */
	cr_assert_null(at(PG_GPA_RAM + 1, UINT64_MAX));
	cr_assert_null(at(PG_GPA_RAM + 4096, UINT64_MAX - 4095));
	cr_assert_null(at(UINT64_MAX, PG_GPA_RAM + 2));
	cr_assert_null(at(UINT64_MAX - 4095, PG_GPA_RAM + 8192));
	cr_assert_null(at(PG_GPA_RAM + SIZE - 1, UINT64_MAX));
	for (unsigned shift = 23; shift < 64; shift++) {
		cr_assert_null(at(PG_GPA_RAM, 1ull << shift), "length 2^%u", shift);
		cr_assert_null(at(PG_GPA_RAM + (1ull << shift), 1), "offset 2^%u", shift);
		cr_assert_null(at(PG_GPA_RAM - (1ull << shift), 1ull << shift));
	}
}
