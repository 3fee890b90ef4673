#include "sys/user.h"

#include "lib/errno.h"

/* user.S; each returns -EFAULT if an access faults. */
int pg_user_copy(void *to, const void *from, size_t length);
int64_t pg_user_copy_string(char *to, const char *from, size_t size);
int pg_user_load(const uint32_t *from, uint32_t *old);
int pg_user_cas(uint32_t *at, uint32_t expected, uint32_t desired, uint32_t *old);
int pg_user_xchg(uint32_t *at, uint32_t desired, uint32_t *old);

int pg_user_read(void *to, uint64_t from, size_t length)
{
	return pg_user_copy(to, (const void *)from, length);
}

int pg_user_write(uint64_t to, const void *from, size_t length)
{
	return pg_user_copy((void *)to, from, length);
}

int64_t pg_user_string(char *to, uint64_t from, size_t size)
{
	int64_t length = pg_user_copy_string(to, (const char *)from, size);

	return length == (int64_t)size ? -ENAMETOOLONG : length;
}

int pg_user_load32(uint64_t address, uint32_t *old)
{
	return address & 3 ? -EINVAL : pg_user_load((const uint32_t *)address, old);
}

int pg_user_cas32(uint64_t address, uint32_t expected, uint32_t desired, uint32_t *old)
{
	return address & 3 ? -EINVAL : pg_user_cas((uint32_t *)address, expected, desired, old);
}

int pg_user_xchg32(uint64_t address, uint32_t desired, uint32_t *old)
{
	return address & 3 ? -EINVAL : pg_user_xchg((uint32_t *)address, desired, old);
}
