/*
 * The C library's functions on bytes and strings, as far as the kernel needs them.
 *
 * In the guest they have their usual names: the compiler calls them too. They are hidden,
 * so the application's libc keeps its own. Where there is a libc (unit tests), the usual
 * names are libc's, and these are pg_memcpy() and so on, to be tested beside them.
 */
#ifndef PG_LIB_STRING_H
#define PG_LIB_STRING_H

#include <stddef.h>

#if __STDC_HOSTED__
#include <string.h>
#define PG_STRING(name) pg_##name
#else
#define PG_STRING(name) name
#endif

#pragma GCC visibility push(hidden)

void *PG_STRING(memcpy)(void *restrict to, const void *restrict from, size_t length);
void *PG_STRING(memmove)(void *to, const void *from, size_t length);
void *PG_STRING(memset)(void *to, int byte, size_t length);
int PG_STRING(memcmp)(const void *a, const void *b, size_t length);

size_t PG_STRING(strlen)(const char *string);
size_t PG_STRING(strnlen)(const char *string, size_t max);
int PG_STRING(strcmp)(const char *a, const char *b);
int PG_STRING(strncmp)(const char *a, const char *b, size_t max);

/*
 * Copy as much of the string `from` as fits into `size` bytes, and terminate it (unless
 * `size` is 0). Returns the length of `from`: the copy is whole if that is less than `size`.
 */
size_t pg_strlcpy(char *to, const char *from, size_t size);

#pragma GCC visibility pop

#endif
