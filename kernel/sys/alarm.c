#include "alarm.h"

enum pg_poll pg_alarm_poll(struct pg_alarm *alarm, uint64_t deadline, struct pg_task *waker)
{
	if (alarm->set && alarm->sleep.timer.deadline != deadline)
		pg_alarm_drop(alarm);
	if (deadline == PG_NEVER)
		return PG_PENDING;
	if (!alarm->set)
		pg_sleep_init(&alarm->sleep, deadline);
	alarm->set = pg_future_poll(&alarm->sleep.future, waker) == PG_PENDING;
	return alarm->set ? PG_PENDING : PG_READY;
}

void pg_alarm_drop(struct pg_alarm *alarm)
{
	if (alarm->set)
		pg_future_drop(&alarm->sleep.future);
	alarm->set = false;
}
