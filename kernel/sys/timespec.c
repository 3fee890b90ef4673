#include "timespec.h"

#include "core/port.h"
#include "core/timer.h"
#include "lib/errno.h"
#include "time.h"
#include "user.h"

bool pg_timespec_valid(const struct pg_timespec *time)
{
	return time->seconds >= 0 && time->nanoseconds >= 0 &&
	       time->nanoseconds < (int64_t)PG_SECOND;
}

uint64_t pg_timespec_ns(const struct pg_timespec *time)
{
	return pg_time_add((uint64_t)time->seconds, (uint64_t)time->nanoseconds);
}

struct pg_timespec pg_timespec_of(uint64_t ns)
{
	return (struct pg_timespec){ (int64_t)(ns / PG_SECOND), (int64_t)(ns % PG_SECOND) };
}

int pg_timeout_read(uint64_t address, uint64_t *deadline)
{
	struct pg_timespec time;

	*deadline = PG_NEVER;
	if (!address)
		return 0;
	if (pg_user_read(&time, address, sizeof(time)))
		return -EFAULT;
	if (!pg_timespec_valid(&time))
		return -EINVAL;
	*deadline = 0;
	if (time.seconds || time.nanoseconds)
		*deadline = pg_time_after(pg_timespec_ns(&time));
	return 0;
}

void pg_timeout_write(uint64_t address, uint64_t deadline)
{
	uint64_t now = pg_port_now();
	const struct pg_timespec left = pg_timespec_of(deadline > now ? deadline - now : 0);

	(void)pg_user_write(address, &left, sizeof(left));
}
