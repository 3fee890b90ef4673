#include <criterion/criterion.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/format.h"

/* Same text and same result as snprintf(), for every size of buffer. */
#define SAME(...)                                                                                  \
	do {                                                                                       \
		char expected[512], got[512];                                                      \
		const int length = snprintf(expected, sizeof(expected), __VA_ARGS__);              \
                                                                                                   \
		cr_assert_eq(pg_formatf(got, sizeof(got), __VA_ARGS__), length);                   \
		cr_assert_str_eq(got, expected);                                                   \
		for (size_t size = 1; size <= (size_t)length + 1; size++) {                        \
			char *cut = malloc(size);                                                  \
                                                                                                   \
			cr_assert(cut);                                                            \
			cr_assert_eq(pg_formatf(cut, size, __VA_ARGS__), length);                  \
			cr_assert_eq(strlen(cut), size - 1);                                       \
			cr_assert_eq(memcmp(cut, expected, size - 1), 0);                          \
			free(cut);                                                                 \
		}                                                                                  \
		cr_assert_eq(pg_formatf(NULL, 0, __VA_ARGS__), length);                            \
	} while (0)

/* The compiler need not see the format: some of ours are odd on purpose. */
#pragma GCC diagnostic ignored "-Wformat"
#pragma GCC diagnostic ignored "-Wformat-security"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wformat-zero-length"
#pragma GCC diagnostic ignored "-Wformat-truncation"
#pragma GCC diagnostic ignored "-Wformat-overflow"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
#endif

Test(format, text)
{
	SAME("");
	SAME("plain");
	SAME("100%% of %c%c", 'a', '%');
	SAME("<%s>", "");
	SAME("<%s> and <%s>", "one", "another");
	SAME("<%10s><%2s><%5c>", "right", "longer", 'c');
}

Test(format, numbers)
{
	static const long values[] = { 0,       1,        -1,       7,        10,
				       -10,     99,       4096,     65535,    INT_MAX,
				       INT_MIN, UINT_MAX, LONG_MAX, LONG_MIN, 0x7000dead0000 };

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		const long v = values[i];

		SAME("%d %u %x", (int)v, (unsigned)v, (unsigned)v);
		SAME("%ld %lu %lx", v, (unsigned long)v, (unsigned long)v);
		SAME("%lld %llu %llx", (long long)v, (unsigned long long)v, (unsigned long long)v);
		SAME("%zu %zd %zx", (size_t)v, (ssize_t)v, (size_t)v);
		SAME("<%8d><%08d><%3x><%016lx>", (int)v, (int)v, (unsigned)v, (unsigned long)v);
		SAME("<%30ld><%030ld><%1lu>", v, v, (unsigned long)v);
	}
}

Test(format, pointers)
{
	char text[32];

	SAME("<%p><%20p>", (void *)0x1234, (void *)UINTPTR_MAX);
	/* Unlike glibc's "(nil)". */
	cr_assert_eq(pg_formatf(text, sizeof(text), "%p", NULL), 3);
	cr_assert_str_eq(text, "0x0");
	cr_assert_eq(pg_formatf(text, sizeof(text), "%018p", (void *)0xabc), 18);
	cr_assert_str_eq(text, "0x0000000000000abc");
}

Test(format, null_string)
{
	const char *volatile none = NULL;
	char text[32];

	cr_assert_eq(pg_formatf(text, sizeof(text), "<%s>", none), 8);
	cr_assert_str_eq(text, "<(null)>");
}

Test(format, unknown_conversions_are_copied)
{
	char text[64];

	cr_assert_eq(pg_formatf(text, sizeof(text), "%d %q %s!", 5, "never"), 8);
	cr_assert_str_eq(text, "5 %q %s!");
}

Test(format, ends_within_a_conversion)
{
	char text[64];

	pg_formatf(text, sizeof(text), "a%");
	cr_assert_str_eq(text, "a%");
	pg_formatf(text, sizeof(text), "a%08l");
	cr_assert_str_eq(text, "a%08l");
}

Test(format, width_is_bounded)
{
	cr_assert_eq(pg_formatf(NULL, 0, "%99999999999999999999d", 1), PG_FORMAT_WIDTH);
}

/* Random conversions, one after the other. */
Test(format, random_against_snprintf)
{
	static const char *const letters[] = { "d", "u", "x", "ld", "lu", "lx", "zu" };

	srandom(42);
	for (int i = 0; i < 20000; i++) {
		const uint64_t bits =
			(uint64_t)random() << 40 ^ (uint64_t)random() << 20 ^ (uint64_t)random();
		const long value = (long)bits >> random() % 64;
		const int letter = (int)(random() % 7);
		char format[32];

		sprintf(format, "[%%%s%ld%s]", random() % 2 ? "0" : "", random() % 30 + 1,
			letters[letter]);
		if (letter < 3)
			SAME(format, (int)value);
		else
			SAME(format, value);
	}
}
