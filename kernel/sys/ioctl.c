/* ioctl: what programs ask terminals, and two settings of descriptors. */
#include "fd.h"
#include "file.h"
#include "linux.h"
#include "process.h"
#include "syscall.h"
#include "user.h"

#define TCGETS     0x5401
#define TCSETS     0x5402
#define TCSETSW    0x5403
#define TCSETSF    0x5404
#define TIOCGPGRP  0x540f
#define TIOCGWINSZ 0x5413
#define FIONBIO    0x5421
#define FIONCLEX   0x5450
#define FIOCLEX    0x5451

/* struct termios of the system call, and the usual settings (Linux's tty_std_termios). */
struct termios {
	uint32_t input, output, control, local;
	uint8_t line;
	uint8_t characters[19];
};

_Static_assert(sizeof(struct termios) == 36, "as Linux's struct termios");

static const struct termios cooked = {
	.input = 0x500,  /* ICRNL | IXON                                       */
	.output = 0x5,   /* OPOST | ONLCR                                      */
	.control = 0xbf, /* B38400 | CS8 | CREAD                               */
	.local = 0x8a3b, /* ISIG ICANON ECHO ECHOE ECHOK ECHOCTL ECHOKE IEXTEN */
	.characters = { 3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22 },
};

struct ioctl_frame {
	struct pg_file *file;
	struct pg_hypercall call;
};

static void ioctl_cleanup(struct pg_syscall *call)
{
	struct ioctl_frame *frame = PG_FRAME(call, struct ioctl_frame);

	pg_file_put(frame->file);
}

static int64_t set_nonblocking(struct pg_file *file, uint64_t address)
{
	int32_t on;

	if (pg_user_read(&on, address, sizeof(on)))
		return -EFAULT;
	if (on)
		atomic_fetch_or_explicit(&file->flags, PG_O_NONBLOCK, memory_order_relaxed);
	else
		atomic_fetch_and_explicit(&file->flags, ~(uint32_t)PG_O_NONBLOCK,
					  memory_order_relaxed);
	return 0;
}

/* The result; or 1, and the loader is to be asked. */
static int64_t start(struct pg_syscall *call, struct ioctl_frame *frame)
{
	const uint64_t *arg = call->arg;
	int fd = (int)arg[0];

	frame->file = pg_fd_get(fd);
	if (!frame->file)
		return -EBADF;
	call->cleanup = ioctl_cleanup;
	switch ((uint32_t)arg[1]) {
	case FIONBIO:
		return set_nonblocking(frame->file, arg[2]);
	case FIOCLEX:
		return pg_fd_set_cloexec(fd, true);
	case FIONCLEX:
		return pg_fd_set_cloexec(fd, false);
	}
	if (frame->file->handle < 0)
		return frame->file->ops->ioctl
			       ? frame->file->ops->ioctl(frame->file, (uint32_t)arg[1], arg[2])
			       : -ENOTTY;
	switch ((uint32_t)arg[1]) {
	case TIOCGWINSZ:
		pg_hypercall_init(&frame->call, PG_OP_WINSIZE, frame->file->handle, arg[2]);
		return 1;
	case TCGETS:
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
	case TIOCGPGRP:
		pg_hypercall_init(&frame->call, PG_OP_ISATTY, frame->file->handle);
		return 1;
	default:
		return -ENOTTY;
	}
}

/*
 * The loader has answered. The terminal is the user's: a program may look at settings, but
 * changing them has no effect.
 */
static int64_t finish(const struct pg_syscall *call, int64_t answer)
{
	const int32_t group = PG_PID;

	if (answer < 0 || (uint32_t)call->arg[1] == TIOCGWINSZ)
		return answer;
	if (answer == 0)
		return -ENOTTY;
	switch ((uint32_t)call->arg[1]) {
	case TCGETS:
		return pg_user_write(call->arg[2], &cooked, sizeof(cooked));
	case TIOCGPGRP:
		return pg_user_write(call->arg[2], &group, sizeof(group));
	default:
		return 0;
	}
}

PG_WAITING_CALL(ioctl, struct ioctl_frame)
{
	struct ioctl_frame *frame = PG_FRAME(call, struct ioctl_frame);
	int64_t code;

	PG_BEGIN(&call->async);
	code = start(call, frame);
	if (code <= 0)
		PG_FINISH(call, code);
	PG_AWAIT(&call->async, &frame->call.future, waker);
	PG_FINISH(call, finish(call, frame->call.result));
}
