/*
 * System calls: what a handler looks like, and how the table is made.
 *
 * A handler that never waits is a function:
 *
 *	PG_CALL(getpid) { return 1; }
 *
 * with `thread` and `arg` (six words) in scope, and a result or negative errno to return.
 * One that may wait is a future, written from top to bottom (core/async.h):
 *
 *	struct fsync_frame { struct pg_file *file; struct pg_hypercall call; };
 *
 *	PG_WAITING_CALL(fsync, struct fsync_frame)
 *	{
 *		struct fsync_frame *frame = PG_FRAME(call, struct fsync_frame);
 *
 *		PG_BEGIN(&call->async);
 *		...
 *		PG_AWAIT(&call->async, &frame->call.future, waker);
 *		PG_FINISH(call, frame->call.result);
 *	}
 *
 * with `call` (struct pg_syscall) and `waker` in scope. The frame is zero at first, and
 * is all that survives a wait. Both kinds are entered in syscalls.def.
 *
 * A waiting call that holds something (a reference, memory) sets call->cleanup to a
 * function that lets go of it. That is called exactly once, on the same vCPU: after the
 * call was READY; or, if it was dropped, when the thread's task is done. By then every
 * hypercall of the frame is settled (core/hypercall.h), so what the loader was
 * given may be freed, and its result may be looked at. Cleanups never wait.
 *
 * A call that a signal may interrupt while it waits sets call->interrupt, at any time before
 * its first wait. If it is interrupted, its future is dropped; once every hypercall of the
 * frame is settled, that function is called, and tells the call's result: -EINTR, for calls
 * that are never restarted; PG_RESTART (signal/signal.h), for those that are if the handler
 * has SA_RESTART; or a result after all, if what was dropped has come to something: what
 * can't be had a second time must not get lost. The cleanup follows. Without `interrupt`
 * the call goes on to its end, and the signal waits: right for calls that end soon.
 *
 * Pointers from the program are used through user.h (-EFAULT), or handed to the loader,
 * which checks them. Handlers run on the vCPU of their thread, on its kernel stack.
 */
#ifndef PG_SYSCALL_H
#define PG_SYSCALL_H

#include "core/async.h"
#include "core/container.h"
#include "core/hypercall.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "thread/thread.h"

struct pg_syscall_entry {
	const char *name;
	/* Exactly one of the two; neither: ENOSYS. */
	int64_t (*call)(struct pg_thread *thread, const uint64_t *arg);
	enum pg_poll (*poll)(struct pg_future *future, struct pg_task *waker);
};

#define PG_SYSCALLS 462 /* numbers below this are in the table (x86-64, Linux 6.8) */

extern const struct pg_syscall_entry pg_syscall_table[PG_SYSCALLS];

#define PG_CALL(name)                                                                              \
	int64_t pg_sys_##name(struct pg_thread *thread, const uint64_t *arg);                      \
	int64_t pg_sys_##name(struct pg_thread *thread, const uint64_t *arg)

/* For calls that keep nothing while they wait. */
struct pg_no_frame {
};

#define PG_WAITING_CALL(name, frame_type)                                                          \
	enum pg_poll pg_sys_##name(struct pg_future *future, struct pg_task *waker);               \
	PG_ASYNC static enum pg_poll name##_poll(struct pg_syscall *call, struct pg_task *waker);  \
	enum pg_poll pg_sys_##name(struct pg_future *future, struct pg_task *waker)                \
	{                                                                                          \
		struct pg_syscall *call =                                                          \
			pg_container_of(future, struct pg_syscall, async.future);                  \
                                                                                                   \
		if (!call->async.resume) /* the first poll */                                      \
			memset(call->frame, 0, sizeof(frame_type));                                \
		return name##_poll(call, waker);                                                   \
	}                                                                                          \
	PG_ASYNC static enum pg_poll name##_poll(struct pg_syscall *call, struct pg_task *waker)

#define PG_FRAME(call, type)                                                                       \
	({                                                                                         \
		_Static_assert(sizeof(type) <= PG_SYSCALL_FRAME, "the frame is too large");        \
		(type *)(call)->frame;                                                             \
	})

/* The thread that made the call. */
static inline struct pg_thread *pg_syscall_thread(struct pg_syscall *call)
{
	return pg_container_of(call, struct pg_thread, syscall);
}

/* Run the call's cleanup, if it has one. For the dispatcher, and the thread's done(). */
static inline void pg_syscall_cleanup(struct pg_syscall *call)
{
	void (*cleanup)(struct pg_syscall *) = call->cleanup;

	call->cleanup = NULL;
	if (cleanup)
		cleanup(call);
}

#define PG_FINISH(call_, value)                                                                    \
	do {                                                                                       \
		(call_)->result = (int64_t)(value);                                                \
		return PG_READY;                                                                   \
	} while (0)

#endif
