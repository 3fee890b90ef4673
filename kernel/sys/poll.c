/* poll and ppoll. */
#include "core/port.h"
#include "fd.h"
#include "linux.h"
#include "mm/heap.h"
#include "syscall.h"
#include "time.h"
#include "timespec.h"
#include "user.h"
#include "wait_files.h"

/* The program's entries are `fds`, a copy, which belongs to the frame. */
struct poll_frame {
	struct pg_wait_files wait;
	struct pg_pollfd *fds;
};

static void poll_cleanup(struct pg_syscall *call)
{
	struct poll_frame *frame = PG_FRAME(call, struct poll_frame);

	pg_wait_files_free(&frame->wait);
	pg_free(frame->fds);
}

/* What one descriptor is waited for; or what can be said of it already. */
static void set_entry(struct pg_wait_files *wait, uint32_t index, const struct pg_pollfd *pollfd)
{
	struct pg_file *file;

	if (pollfd->fd < 0)
		return;
	file = pg_fd_get(pollfd->fd);
	if (file)
		pg_wait_files_set(wait, index, file, (uint16_t)pollfd->events);
	else
		wait->file[index].revents = PG_POLLNVAL;
}

static int64_t start(struct pg_syscall *call, struct poll_frame *frame)
{
	uint32_t count = (uint32_t)call->arg[1];

	if (count > PG_FD_MAX)
		return -EINVAL;
	call->cleanup = poll_cleanup;
	if (count) {
		frame->fds = pg_alloc(count * sizeof(*frame->fds));
		if (!frame->fds || pg_wait_files_alloc(&frame->wait, count))
			return -ENOMEM;
		if (pg_user_read(frame->fds, call->arg[0], count * sizeof(*frame->fds)))
			return -EFAULT;
	}
	for (uint32_t i = 0; i < count; i++)
		set_entry(&frame->wait, i, &frame->fds[i]);
	pg_wait_files_start(&frame->wait);
	return 0;
}

/* The number of descriptors with events, which go to the program. */
static int64_t finish(struct pg_syscall *call, struct poll_frame *frame)
{
	uint64_t address = call->arg[0] + offsetof(struct pg_pollfd, revents);
	int64_t found = 0;

	for (uint32_t i = 0; i < frame->wait.count; i++) {
		int16_t revents = (int16_t)frame->wait.file[i].revents;

		if (pg_user_write(address, &revents, sizeof(revents)))
			return -EFAULT;
		found += revents != 0;
		address += sizeof(struct pg_pollfd);
	}
	return found;
}

/*
 * A signal has interrupted it, and all is settled: what was found by then is told, since events
 * that a dropped operation has reported may not be reported again.
 */
static int64_t poll_interrupt(struct pg_syscall *call)
{
	struct poll_frame *frame = PG_FRAME(call, struct poll_frame);
	int64_t found;

	pg_wait_files_dropped(&frame->wait);
	found = finish(call, frame);
	return found ? found : -EINTR;
}

/* frame->wait.deadline is set; `interrupt` is the call's. */
PG_ASYNC static enum pg_poll wait_for(struct pg_syscall *call, struct pg_task *waker,
				      int64_t (*interrupt)(struct pg_syscall *call))
{
	struct poll_frame *frame = PG_FRAME(call, struct poll_frame);
	int64_t code;

	PG_BEGIN(&call->async);
	code = start(call, frame);
	if (code)
		PG_FINISH(call, code);
	/* Without waiting it ends soon, and files come before signals. */
	if (frame->wait.deadline)
		call->interrupt = interrupt;
	PG_AWAIT(&call->async, &frame->wait.async.future, waker);
	code = finish(call, frame);
	if (code)
		PG_FINISH(call, code);
	/* Nothing in time: but a signal that has come as well counts. */
	call->interrupt = interrupt;
	while (pg_signal_interrupts(call))
		PG_YIELD(&call->async, waker);
	PG_FINISH(call, 0);
}

static bool first_poll(const struct pg_syscall *call)
{
	return !call->async.resume;
}

PG_WAITING_CALL(poll, struct poll_frame)
{
	struct poll_frame *frame = PG_FRAME(call, struct poll_frame);
	int32_t timeout = (int32_t)call->arg[2];

	if (first_poll(call) && timeout < 0)
		frame->wait.deadline = PG_NEVER;
	else if (first_poll(call) && timeout > 0)
		frame->wait.deadline = pg_time_after((uint64_t)timeout * 1000000);
	return wait_for(call, waker, poll_interrupt);
}

/* How much is left of ppoll's time. */
static void tell_time(struct pg_syscall *call)
{
	struct poll_frame *frame = PG_FRAME(call, struct poll_frame);

	if (frame->wait.deadline != PG_NEVER)
		pg_timeout_write(call->arg[2], frame->wait.deadline);
}

static int64_t ppoll_interrupt(struct pg_syscall *call)
{
	tell_time(call);
	return poll_interrupt(call);
}

/* ppoll(descriptors, count, timeout, mask, size of a mask) */
PG_WAITING_CALL(ppoll, struct poll_frame)
{
	if (first_poll(call)) {
		struct poll_frame *frame = PG_FRAME(call, struct poll_frame);
		int code = pg_timeout_read(call->arg[2], &frame->wait.deadline);

		if (!code && call->arg[3])
			code = pg_signal_mask_during(call, call->arg[3], call->arg[4]);
		if (code)
			PG_FINISH(call, code);
	}
	if (wait_for(call, waker, ppoll_interrupt) == PG_PENDING)
		return PG_PENDING;
	tell_time(call);
	return PG_READY;
}
