#include "wait_mask.h"

#include "lib/errno.h"
#include "user.h"

int pg_wait_mask_read(struct pg_wait_mask *mask, uint64_t address, uint64_t size)
{
	if (!address)
		return 0;
	if (size != sizeof(mask->blocked))
		return -EINVAL;
	mask->set = true;
	return pg_user_read(&mask->blocked, address, sizeof(mask->blocked));
}
