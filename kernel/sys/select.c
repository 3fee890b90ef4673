/* select and pselect6. */
#include "core/port.h"
#include "fd.h"
#include "linux.h"
#include "mm/heap.h"
#include "syscall.h"
#include "time.h"
#include "timespec.h"
#include "user.h"
#include "wait_files.h"

#define SETS  3
#define WORDS (PG_FD_MAX / 64)

/* What a set asks for, and which events count for it (POLLIN_SET and so on in Linux). */
static const struct {
	uint32_t asks, counts;
} sets[SETS] = {
	{ PG_POLLIN | PG_POLLRDNORM, PG_POLLIN | PG_POLLRDNORM | PG_POLLHUP | PG_POLLERR },
	{ PG_POLLOUT | PG_POLLWRNORM, PG_POLLOUT | PG_POLLWRNORM | PG_POLLERR },
	{ PG_POLLPRI, PG_POLLPRI },
};

/* The descriptors and their sets: as many as there are entries in `wait`. */
struct member {
	uint16_t fd;
	uint8_t sets; /* a bit for each */
};

/* `members` belongs to the frame. */
struct select_frame {
	struct pg_wait_files wait;
	struct member *members;
	uint32_t limit; /* descriptors below this, as asked, but not above PG_FD_MAX */
};

static void select_cleanup(struct pg_syscall *call)
{
	struct select_frame *frame = PG_FRAME(call, struct select_frame);

	pg_wait_files_free(&frame->wait);
	pg_free(frame->members);
}

static uint32_t set_bytes(const struct select_frame *frame)
{
	return (frame->limit + 63) / 64 * 8;
}

/* The sets as the program has them; the bits from the limit on are cleared. */
static int read_sets(const struct pg_syscall *call, const struct select_frame *frame,
		     uint64_t bits[SETS][WORDS])
{
	for (int set = 0; set < SETS; set++) {
		if (call->arg[1 + set] &&
		    pg_user_read(bits[set], call->arg[1 + set], set_bytes(frame)))
			return -EFAULT;
		if (frame->limit % 64)
			bits[set][frame->limit / 64] &= (1ull << frame->limit % 64) - 1;
	}
	return 0;
}

static uint8_t sets_of(uint64_t bits[SETS][WORDS], uint32_t fd)
{
	uint8_t in = 0;

	for (int set = 0; set < SETS; set++)
		in |= (uint8_t)((bits[set][fd / 64] >> fd % 64 & 1) << set);
	return in;
}

static int64_t start(struct pg_syscall *call, struct select_frame *frame)
{
	uint64_t bits[SETS][WORDS] = { 0 };
	int32_t limit = (int32_t)call->arg[0];
	uint32_t count = 0, index = 0;

	if (limit < 0)
		return -EINVAL;
	frame->limit = limit < PG_FD_MAX ? (uint32_t)limit : PG_FD_MAX;
	if (read_sets(call, frame, bits))
		return -EFAULT;
	for (uint32_t fd = 0; fd < frame->limit; fd++)
		count += sets_of(bits, fd) != 0;
	call->cleanup = select_cleanup;
	if (count) {
		frame->members = pg_alloc(count * sizeof(*frame->members));
		if (!frame->members || pg_wait_files_alloc(&frame->wait, count))
			return -ENOMEM;
	}
	for (uint32_t fd = 0; fd < frame->limit; fd++) {
		uint8_t in = sets_of(bits, fd);
		uint32_t events = 0;
		struct pg_file *file;

		if (!in)
			continue;
		file = pg_fd_get((int)fd);
		if (!file)
			return -EBADF;
		for (int set = 0; set < SETS; set++)
			events |= in >> set & 1 ? sets[set].asks : 0;
		frame->members[index] = (struct member){ (uint16_t)fd, in };
		pg_wait_files_set(&frame->wait, index++, file, events);
	}
	pg_wait_files_start(&frame->wait);
	return 0;
}

/* The number of bits that are set in the end. They go to the program, unless there are none. */
static int64_t finish(struct pg_syscall *call, struct select_frame *frame, bool tell_none)
{
	uint64_t bits[SETS][WORDS] = { 0 };
	int64_t found = 0;

	for (uint32_t i = 0; i < frame->wait.count; i++) {
		const struct member *member = &frame->members[i];

		for (int set = 0; set < SETS; set++) {
			if (!(member->sets >> set & 1) ||
			    !(frame->wait.file[i].revents & sets[set].counts))
				continue;
			bits[set][member->fd / 64] |= 1ull << member->fd % 64;
			found++;
		}
	}
	if (!found && !tell_none)
		return 0;
	for (int set = 0; set < SETS; set++) {
		if (call->arg[1 + set] &&
		    pg_user_write(call->arg[1 + set], bits[set], set_bytes(frame)))
			return -EFAULT;
	}
	return found;
}

/* A signal has interrupted it, and all is settled. As for poll: what was found is told. */
static int64_t interrupted(struct pg_syscall *call)
{
	struct select_frame *frame = PG_FRAME(call, struct select_frame);
	int64_t found;

	pg_wait_files_dropped(&frame->wait);
	found = finish(call, frame, false);
	return found ? found : -EINTR;
}

/* frame->wait.deadline is set; `interrupt` is the call's. */
PG_ASYNC static enum pg_poll wait_for(struct pg_syscall *call, struct pg_task *waker,
				      int64_t (*interrupt)(struct pg_syscall *call))
{
	struct select_frame *frame = PG_FRAME(call, struct select_frame);
	int64_t code;

	PG_BEGIN(&call->async);
	code = start(call, frame);
	if (code)
		PG_FINISH(call, code);
	/* Without waiting it ends soon, and files come before signals. */
	if (frame->wait.deadline)
		call->interrupt = interrupt;
	PG_AWAIT(&call->async, &frame->wait.async.future, waker);
	code = finish(call, frame, false);
	if (code)
		PG_FINISH(call, code);
	/* Nothing in time: but a signal that has come as well counts. */
	call->interrupt = interrupt;
	while (pg_signal_interrupts(call))
		PG_YIELD(&call->async, waker);
	PG_FINISH(call, finish(call, frame, true));
}

static bool first_poll(const struct pg_syscall *call)
{
	return !call->async.resume;
}

/* select's timeout has microseconds, of any number; what is left is written back. */
static int read_timeval(uint64_t address, uint64_t *deadline)
{
	int64_t time[2];

	*deadline = PG_NEVER;
	if (!address)
		return 0;
	if (pg_user_read(time, address, sizeof(time)))
		return -EFAULT;
	if (time[0] < 0 || time[1] < 0)
		return -EINVAL;
	*deadline = 0;
	if (time[0] || time[1])
		*deadline =
			pg_time_after(pg_time_add((uint64_t)time[0] + (uint64_t)time[1] / 1000000,
						  (uint64_t)time[1] % 1000000 * 1000));
	return 0;
}

static void write_timeval(uint64_t address, uint64_t deadline)
{
	uint64_t now = pg_port_now(), left = deadline > now ? deadline - now : 0;
	const int64_t time[2] = { (int64_t)(left / PG_SECOND), (int64_t)(left % PG_SECOND / 1000) };

	(void)pg_user_write(address, time, sizeof(time));
}

/* How much is left of the time. */
static void tell_timeval(struct pg_syscall *call)
{
	struct select_frame *frame = PG_FRAME(call, struct select_frame);

	if (frame->wait.deadline != PG_NEVER)
		write_timeval(call->arg[4], frame->wait.deadline);
}

static void tell_timespec(struct pg_syscall *call)
{
	struct select_frame *frame = PG_FRAME(call, struct select_frame);

	if (frame->wait.deadline != PG_NEVER)
		pg_timeout_write(call->arg[4], frame->wait.deadline);
}

static int64_t select_interrupt(struct pg_syscall *call)
{
	tell_timeval(call);
	return interrupted(call);
}

static int64_t pselect_interrupt(struct pg_syscall *call)
{
	tell_timespec(call);
	return interrupted(call);
}

/* select(limit, readable, writable, exceptional, timeout) */
PG_WAITING_CALL(select, struct select_frame)
{
	if (first_poll(call)) {
		struct select_frame *frame = PG_FRAME(call, struct select_frame);
		int code = read_timeval(call->arg[4], &frame->wait.deadline);

		if (code)
			PG_FINISH(call, code);
	}
	if (wait_for(call, waker, select_interrupt) == PG_PENDING)
		return PG_PENDING;
	tell_timeval(call);
	return PG_READY;
}

/* Timeout and mask: the sixth argument leads to the mask, and its size. */
static int start_pselect(struct pg_syscall *call)
{
	struct select_frame *frame = PG_FRAME(call, struct select_frame);
	uint64_t mask[2] = { 0 };
	int code;

	if (call->arg[5] && pg_user_read(mask, call->arg[5], sizeof(mask)))
		return -EFAULT;
	code = pg_timeout_read(call->arg[4], &frame->wait.deadline);
	if (!code && mask[0])
		code = pg_signal_mask_during(call, mask[0], mask[1]);
	return code;
}

/* pselect6(limit, readable, writable, exceptional, timeout, mask and size) */
PG_WAITING_CALL(pselect6, struct select_frame)
{
	if (first_poll(call)) {
		int code = start_pselect(call);

		if (code)
			PG_FINISH(call, code);
	}
	if (wait_for(call, waker, pselect_interrupt) == PG_PENDING)
		return PG_PENDING;
	tell_timespec(call);
	return PG_READY;
}
