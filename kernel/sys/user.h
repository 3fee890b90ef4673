/*
 * The program's memory, as seen by the kernel. It may be unmapped or read-only, and other
 * threads may change it meanwhile: copy once, look at the copy. All return 0 or
 * -EFAULT (then a part may have been copied); nothing here faults the kernel.
 */
#ifndef PG_USER_H
#define PG_USER_H

#include <stddef.h>
#include <stdint.h>

int pg_user_read(void *to, uint64_t from, size_t length);
int pg_user_write(uint64_t to, const void *from, size_t length);

/* A string of less than `size` bytes: its length, -EFAULT, or -ENAMETOOLONG. */
int64_t pg_user_string(char *to, uint64_t from, size_t size);

/*
 * Atomic operations on an aligned 32-bit word, sequentially consistent; the old value
 * goes to `old`. -EFAULT, or -EINVAL if misaligned.
 */
int pg_user_load32(uint64_t address, uint32_t *old);
int pg_user_cas32(uint64_t address, uint32_t expected, uint32_t desired, uint32_t *old);
int pg_user_xchg32(uint64_t address, uint32_t desired, uint32_t *old);

#endif
