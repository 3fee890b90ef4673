#include "lib/string.h"

#include <stdint.h>

/* From here on the microcode's block operations are faster than a loop of words. */
#define BLOCK 256

/* Any eight (four, two) bytes of memory, whatever they belong to. */
typedef uint64_t __attribute__((may_alias, aligned(1))) word;
typedef uint32_t __attribute__((may_alias, aligned(1))) half;
typedef uint16_t __attribute__((may_alias, aligned(1))) quarter;

/*
 * Compilers turn loops that copy, fill or measure into calls of the very functions
 * that these loops implement. They don't look through this.
 */
#define KEEP_LOOP() __asm__ volatile("" ::: "memory")

/* At most 32 bytes. Everything is read before anything is written: they may overlap. */
static inline void copy_few(uint8_t *to, const uint8_t *from, size_t length)
{
	if (length >= 16) {
		const word a = *(const word *)from, b = *(const word *)(from + 8);
		const word c = *(const word *)(from + length - 16);
		const word d = *(const word *)(from + length - 8);

		*(word *)to = a;
		*(word *)(to + 8) = b;
		*(word *)(to + length - 16) = c;
		*(word *)(to + length - 8) = d;
	} else if (length >= 8) {
		const word a = *(const word *)from, b = *(const word *)(from + length - 8);

		*(word *)to = a;
		*(word *)(to + length - 8) = b;
	} else if (length >= 4) {
		const half a = *(const half *)from, b = *(const half *)(from + length - 4);

		*(half *)to = a;
		*(half *)(to + length - 4) = b;
	} else if (length >= 2) {
		const quarter a = *(const quarter *)from;
		const quarter b = *(const quarter *)(from + length - 2);

		*(quarter *)to = a;
		*(quarter *)(to + length - 2) = b;
	} else if (length) {
		*to = *from;
	}
}

/* More than 32 bytes, upwards: `to` is below `from`, or they don't overlap. */
static inline void copy_up(uint8_t *to, const uint8_t *from, size_t length)
{
	/* Read now: the loop may write over it. */
	const word a = *(const word *)(from + length - 16);
	const word b = *(const word *)(from + length - 8);

	if (length >= BLOCK) {
		__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
		return;
	}
	for (; length > 16; length -= 16, to += 16, from += 16) {
		const word c = *(const word *)from, d = *(const word *)(from + 8);

		*(word *)to = c;
		*(word *)(to + 8) = d;
		KEEP_LOOP();
	}
	*(word *)(to + length - 16) = a;
	*(word *)(to + length - 8) = b;
}

/* More than 32 bytes, downwards: `to` is above `from`. */
static inline void copy_down(uint8_t *to, const uint8_t *from, size_t length)
{
	const word a = *(const word *)from, b = *(const word *)(from + 8);

	for (; length > 16; length -= 16) {
		const word c = *(const word *)(from + length - 16);
		const word d = *(const word *)(from + length - 8);

		*(word *)(to + length - 16) = c;
		*(word *)(to + length - 8) = d;
		KEEP_LOOP();
	}
	*(word *)to = a;
	*(word *)(to + 8) = b;
}

void *PG_STRING(memcpy)(void *restrict to, const void *restrict from, size_t length)
{
	if (length <= 32)
		copy_few(to, from, length);
	else
		copy_up(to, from, length);
	return to;
}

void *PG_STRING(memmove)(void *to, const void *from, size_t length)
{
	if (length <= 32)
		copy_few(to, from, length);
	else if ((uintptr_t)to - (uintptr_t)from < length)
		copy_down(to, from, length);
	else
		copy_up(to, from, length);
	return to;
}

void *PG_STRING(memset)(void *to, int byte, size_t length)
{
	uint8_t *at = to;
	const word fill = 0x0101010101010101 * (uint64_t)(uint8_t)byte;

	if (length >= BLOCK) {
		__asm__ volatile("rep stosb" : "+D"(at), "+c"(length) : "a"(byte) : "memory");
	} else if (length >= 8) {
		/* The last word may overlap the one before. */
		*(word *)(at + length - 8) = fill;
		for (; length > 8; length -= 8, at += 8) {
			*(word *)at = fill;
			KEEP_LOOP();
		}
	} else if (length >= 4) {
		*(half *)at = (half)fill;
		*(half *)(at + length - 4) = (half)fill;
	} else if (length >= 2) {
		*(quarter *)at = (quarter)fill;
		*(quarter *)(at + length - 2) = (quarter)fill;
	} else if (length) {
		*at = (uint8_t)fill;
	}
	return to;
}

int PG_STRING(memcmp)(const void *a, const void *b, size_t length)
{
	const uint8_t *x = a, *y = b;

	for (; length >= 8; length -= 8, x += 8, y += 8) {
		/* Swapped, the first byte that differs weighs most. */
		const uint64_t u = __builtin_bswap64(*(const word *)x);
		const uint64_t v = __builtin_bswap64(*(const word *)y);

		if (u != v)
			return u < v ? -1 : 1;
	}
	for (; length; length--, x++, y++) {
		if (*x != *y)
			return *x - *y;
	}
	return 0;
}

size_t PG_STRING(strlen)(const char *string)
{
	size_t length = 0;

	while (string[length]) {
		length++;
		KEEP_LOOP();
	}
	return length;
}

size_t PG_STRING(strnlen)(const char *string, size_t max)
{
	size_t length = 0;

	while (length < max && string[length]) {
		length++;
		KEEP_LOOP();
	}
	return length;
}

int PG_STRING(strcmp)(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (uint8_t)*a - (uint8_t)*b;
}

int PG_STRING(strncmp)(const char *a, const char *b, size_t max)
{
	for (; max; max--, a++, b++) {
		if (*a != *b || !*a)
			return (uint8_t)*a - (uint8_t)*b;
	}
	return 0;
}

size_t pg_strlcpy(char *to, const char *from, size_t size)
{
	const size_t length = PG_STRING(strlen)(from);

	if (size) {
		const size_t fits = length < size ? length : size - 1;

		PG_STRING(memcpy)(to, from, fits);
		to[fits] = '\0';
	}
	return length;
}
