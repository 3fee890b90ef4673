#include "async.h"

#include "container.h"

void pg_async_drop(struct pg_future *future)
{
	struct pg_async *async = pg_container_of(future, struct pg_async, future);

	if (async->awaiting)
		pg_future_drop(async->awaiting);
	async->awaiting = NULL;
}
