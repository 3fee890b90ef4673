/*
 * Futures of several steps that read from top to bottom.
 *
 *	struct copy {
 *		struct pg_async async;
 *		struct pg_hypercall call;
 *		char buffer[512];
 *		int64_t result;
 *	};
 *
 *	PG_ASYNC static enum pg_poll copy_poll(struct pg_future *future, struct pg_task *waker)
 *	{
 *		struct copy *self = pg_container_of(future, struct copy, async.future);
 *
 *		PG_BEGIN(&self->async);
 *		for (;;) {
 *			pg_hypercall_init(&self->call, PG_OP_READ, 0, (uint64_t)self->buffer,
 *					  sizeof(self->buffer), PG_OFFSET_STREAM);
 *			PG_AWAIT(&self->async, &self->call.future, waker);
 *			if (self->call.result <= 0)
 *				break;
 *			pg_hypercall_init(&self->call, PG_OP_WRITE, 1, (uint64_t)self->buffer,
 *					  self->call.result, PG_OFFSET_STREAM);
 *			PG_AWAIT(&self->async, &self->call.future, waker);
 *		}
 *		self->result = self->call.result;
 *		PG_END(&self->async);
 *	}
 *
 *	static const struct pg_future_ops copy_ops = { copy_poll, pg_async_drop };
 *
 *	pg_async_init(&copy.async, &copy_ops);
 *
 * Each PG_AWAIT is a point where the function may return PENDING, and where the next
 * poll goes on. What must survive one lives in the struct: C locals don't. The
 * struct remembers which future it awaits, so pg_async_drop() cancels any such
 * function wherever it stands.
 *
 * The resume point is the address of a label (GNU C, which gcc and clang share),
 * not a case of a switch (__LINE__): so an await may stand inside a switch of the
 * function's own, and twice on a line, and -Wimplicit-fallthrough stays silent.
 * Resuming is one indirect jump. PG_ASYNC is needed since the address is only
 * meaningful in the one copy of the function that took it.
 */
#ifndef PG_CORE_ASYNC_H
#define PG_CORE_ASYNC_H

#include <stddef.h>

#include "future.h"

#ifdef __clang__
#define PG_ASYNC __attribute__((noinline))
#else
#define PG_ASYNC __attribute__((noinline, noclone))
#endif

struct pg_async {
	struct pg_future future;
	void *resume;               /* where the next poll goes on; NULL: from the top */
	struct pg_future *awaiting; /* what has to be dropped with us, or NULL */
};

static inline void pg_async_init(struct pg_async *async, const struct pg_future_ops *ops)
{
	*async = (struct pg_async){ .future.ops = ops };
}

/* For ops.drop: drops what is being awaited. */
void pg_async_drop(struct pg_future *future);

/* First and last statement of the poll function. */
#define PG_BEGIN(async)                                                                            \
	do {                                                                                       \
		if ((async)->resume)                                                               \
			goto *(async)->resume;                                                     \
	} while (0)

#define PG_END(async) return PG_READY

/* Leave early, as PG_END does. */
#define PG_RETURN(async) return PG_READY

/* Go on when `awaited` (a struct pg_future *, which must survive the wait) is READY. */
#define PG_AWAIT(async, awaited, waker)                                                            \
	do {                                                                                       \
		__label__ resume;                                                                  \
		(async)->awaiting = (awaited);                                                     \
		(async)->resume = &&resume;                                                        \
	resume:                                                                                    \
		if (pg_future_poll((async)->awaiting, (waker)) == PG_PENDING)                      \
			return PG_PENDING;                                                         \
		(async)->awaiting = NULL;                                                          \
	} while (0)

/* Let every other task that is runnable run first. Needs task.h. */
#define PG_YIELD(async, waker)                                                                     \
	do {                                                                                       \
		__label__ resume;                                                                  \
		(async)->resume = &&resume;                                                        \
		pg_task_wake(waker);                                                               \
		return PG_PENDING;                                                                 \
	resume:;                                                                                   \
	} while (0)

#endif
