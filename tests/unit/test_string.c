#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>

#include "lib/string.h"

/* Around the limits of every code path. */
static const size_t lengths[] = { 0,   1,   2,   3,   4,   5,   7,   8,   9,   15,  16,  17,
				  31,  32,  33,  34,  47,  48,  49,  63,  64,  65,  96,  127,
				  128, 129, 200, 254, 255, 256, 257, 300, 511, 512, 1000 };
#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))
#define AREA    2048

static void fill(uint8_t *area, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		area[i] = (uint8_t)((i * 167 + seed) ^ (i >> 8));
}

static int sign(int value)
{
	return (value > 0) - (value < 0);
}

/* Buffers of exact size: the sanitizer sees a byte too many. */
static uint8_t *exact(size_t size, unsigned seed)
{
	uint8_t *area = malloc(size ? size : 1);

	cr_assert(area);
	fill(area, size, seed);
	return area;
}

Test(string, memcpy_all_lengths)
{
	for (size_t i = 0; i < LENGTHS; i++) {
		for (size_t offset = 0; offset < 9; offset++) {
			const size_t length = lengths[i];
			uint8_t *from = exact(length + offset, 1);
			uint8_t *to = exact(length + 2 * offset, 2);
			uint8_t *expected = exact(length + 2 * offset, 2);

			memcpy(expected + offset, from + offset, length);
			cr_assert_eq(pg_memcpy(to + offset, from + offset, length), to + offset);
			cr_assert_eq(memcmp(to, expected, length + 2 * offset), 0,
				     "length %zu offset %zu", length, offset);
			free(from);
			free(to);
			free(expected);
		}
	}
}

Test(string, memmove_overlapping)
{
	static const int shifts[] = { -1000, -300, -64, -33, -17, -16, -9, -8, -3, -1,  0,
				      1,     2,    7,   8,   15,  16,  17, 31, 64, 300, 1000 };
	uint8_t area[4 * AREA], expected[4 * AREA];

	for (size_t i = 0; i < LENGTHS; i++) {
		for (size_t j = 0; j < sizeof(shifts) / sizeof(shifts[0]); j++) {
			fill(area, sizeof(area), 3);
			fill(expected, sizeof(expected), 3);
			memmove(expected + AREA + shifts[j], expected + AREA, lengths[i]);
			cr_assert_eq(pg_memmove(area + AREA + shifts[j], area + AREA, lengths[i]),
				     area + AREA + shifts[j]);
			cr_assert_eq(memcmp(area, expected, sizeof(area)), 0, "length %zu shift %d",
				     lengths[i], shifts[j]);
		}
	}
}

Test(string, memset_all_lengths)
{
	for (size_t i = 0; i < LENGTHS; i++) {
		for (size_t offset = 0; offset < 9; offset++) {
			const size_t length = lengths[i], size = length + 2 * offset;
			uint8_t *area = exact(size, 4), *expected = exact(size, 4);

			/* Only the low byte counts. */
			memset(expected + offset, 0xa5, length);
			cr_assert_eq(pg_memset(area + offset, 0x7fa5, length), area + offset);
			cr_assert_eq(memcmp(area, expected, size), 0, "length %zu offset %zu",
				     length, offset);
			free(area);
			free(expected);
		}
	}
}

Test(string, memcmp_each_byte)
{
	for (size_t length = 0; length < 70; length++) {
		uint8_t *a = exact(length, 5), *b = exact(length, 5);

		cr_assert_eq(pg_memcmp(a, b, length), 0);
		for (size_t i = 0; i < length; i++) {
			/* A difference of the sign bit, and a later one the other way round. */
			const uint8_t old = b[i], last = b[length - 1];

			b[length - 1] ^= 1;
			b[i] = old ^ 0x80;
			cr_assert_eq(sign(pg_memcmp(a, b, length)), sign(memcmp(a, b, length)),
				     "length %zu byte %zu", length, i);
			cr_assert_eq(sign(pg_memcmp(b, a, length)), sign(memcmp(b, a, length)));
			b[length - 1] = last;
			b[i] = old;
		}
		free(a);
		free(b);
	}
}

Test(string, lengths)
{
	for (size_t length = 0; length < 40; length++) {
		char *text = malloc(length + 1);

		cr_assert(text);
		memset(text, 'x', length);
		text[length] = '\0';
		cr_assert_eq(pg_strlen(text), length);
		for (size_t max = 0; max < 45; max++)
			cr_assert_eq(pg_strnlen(text, max), max < length ? max : length);
		/* Without a terminator: nothing beyond `max` is read. */
		text[length] = 'x';
		cr_assert_eq(pg_strnlen(text, length + 1), length + 1);
		free(text);
	}
}

Test(string, comparing_strings)
{
	static const char *const texts[] = { "",         "a",        "ab",   "abc",   "abd",  "b",
					     "abcdefgh", "abcdefgi", "\x80", "a\xff", "a\x01" };
	const size_t count = sizeof(texts) / sizeof(texts[0]);

	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < count; j++) {
			const char *a = texts[i], *b = texts[j];

			cr_assert_eq(sign(pg_strcmp(a, b)), sign(strcmp(a, b)));
			for (size_t max = 0; max < 10; max++)
				cr_assert_eq(sign(pg_strncmp(a, b, max)), sign(strncmp(a, b, max)),
					     "%s %s %zu", a, b, max);
		}
	}
	/* Unterminated. */
	cr_assert_eq(pg_strncmp((const char[]){ 'a', 'b' }, (const char[]){ 'a', 'b' }, 2), 0);
}

Test(string, strlcpy_terminates)
{
	char text[8];

	for (size_t size = 1; size <= sizeof(text); size++) {
		memset(text, '#', sizeof(text));
		cr_assert_eq(pg_strlcpy(text, "hello", size), 5);
		cr_assert_eq(strlen(text), size > 5 ? 5 : size - 1);
		cr_assert_eq(strncmp(text, "hello", strlen(text)), 0);
		for (size_t i = size; i < sizeof(text); i++)
			cr_assert_eq(text[i], '#');
	}
	cr_assert_eq(pg_strlcpy(NULL, "hello", 0), 5);
}
