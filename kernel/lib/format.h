/*
 * Formatted text into a buffer: a small, freestanding snprintf().
 *
 * Conversions: %s %c %d %u %x %p %%, where d, u and x take the lengths l, ll and z.
 * Between '%' and those: an optional 0 (pad with zeros, numbers only) and a width of at
 * most PG_FORMAT_WIDTH. A NULL string is "(null)"; %p is 0x and hexadecimal digits, NULL
 * too. From a conversion that isn't known on, the format is copied as it is.
 */
#ifndef PG_LIB_FORMAT_H
#define PG_LIB_FORMAT_H

#include <stdarg.h>
#include <stddef.h>

#define PG_FORMAT_WIDTH 255

/*
 * Writes at most `size` bytes, the terminator included, which is always there (unless
 * `size` is 0; then `out` may be NULL). Returns the length of the whole text, without
 * terminator: the text was cut if that is not less than `size`.
 */
int pg_format(char *out, size_t size, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));

int pg_formatf(char *out, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
