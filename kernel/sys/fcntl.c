/* What is done to descriptors themselves. */
#include "fd.h"
#include "file.h"
#include "linux.h"
#include "pipe.h"
#include "syscall.h"
#include "user.h"

#define F_DUPFD         0
#define F_GETFD         1
#define F_SETFD         2
#define F_GETFL         3
#define F_SETFL         4
#define F_GETLK         5
#define F_SETLK         6
#define F_SETLKW        7
#define F_DUPFD_CLOEXEC 1030
#define F_SETPIPE_SZ    1031
#define F_GETPIPE_SZ    1032

#define FD_CLOEXEC 1

#define F_RDLCK 0
#define F_WRLCK 1
#define F_UNLCK 2

/* What F_SETFL may change. Others it ignores. */
#define SETTABLE (PG_O_APPEND | PG_O_NONBLOCK | PG_O_DIRECT | PG_O_NOATIME)

struct flock {
	int16_t type, whence;
	int64_t start, length;
	int32_t pid;
};

_Static_assert(sizeof(struct flock) == 32, "as Linux's struct flock");

/* A further descriptor for `file`. */
static int64_t duplicate(struct pg_file *file, uint32_t from, bool cloexec)
{
	int fd = pg_fd_reserve(from, cloexec);

	if (fd >= 0)
		pg_fd_install(fd, pg_file_ref(file));
	return fd;
}

static int64_t set_flags(struct pg_file *file, uint64_t flags)
{
	uint32_t old = pg_file_flags(file), new;

	/* Of files in the kernel only pipes could do something about it, and ours don't. */
	if (file->handle < 0 && (flags & PG_O_DIRECT))
		return -EINVAL;
	/* Two that change them at once: neither's change to other bits is lost. */
	do {
		new = (old & ~(uint32_t)SETTABLE) | ((uint32_t)flags & SETTABLE);
	} while (!atomic_compare_exchange_weak_explicit(
		&file->flags, &old, new, memory_order_relaxed, memory_order_relaxed));
	return 0;
}

/*
 * Record locks are between processes, and there is one: it never meets another's. (What
 * the host's processes lock is not seen.)
 */
static int64_t lock(struct pg_file *file, uint64_t command, uint64_t address)
{
	struct flock wanted;
	uint32_t mode = pg_file_flags(file) & PG_O_ACCMODE;

	if (pg_user_read(&wanted, address, sizeof(wanted)))
		return -EFAULT;
	if (wanted.type < F_RDLCK || wanted.type > F_UNLCK || wanted.whence < PG_SEEK_SET ||
	    wanted.whence > PG_SEEK_END)
		return -EINVAL;
	if (command == F_GETLK) {
		if (wanted.type == F_UNLCK)
			return -EINVAL;
		wanted.type = F_UNLCK;
		return pg_user_write(address, &wanted, sizeof(wanted));
	}
	if ((wanted.type == F_RDLCK && mode == PG_O_WRONLY) ||
	    (wanted.type == F_WRLCK && mode == PG_O_RDONLY))
		return -EBADF;
	return 0;
}

static int64_t control(struct pg_file *file, int fd, uint64_t command, uint64_t argument)
{
	int code;

	switch (command) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		if (argument >= PG_FD_MAX)
			return -EINVAL;
		return duplicate(file, (uint32_t)argument, command == F_DUPFD_CLOEXEC);
	case F_GETFD:
		code = pg_fd_cloexec(fd);
		return code > 0 ? FD_CLOEXEC : code;
	case F_SETFD:
		return pg_fd_set_cloexec(fd, argument & FD_CLOEXEC);
	case F_GETFL:
		return pg_file_flags(file);
	}
	if (pg_file_flags(file) & PG_O_PATH)
		return -EBADF;
	switch (command) {
	case F_SETFL:
		return set_flags(file, argument);
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
		return lock(file, command, argument);
	case F_SETPIPE_SZ:
		return pg_pipe_set_size(file, argument);
	case F_GETPIPE_SZ:
		return pg_pipe_size(file);
	default:
		return -EINVAL;
	}
}

PG_CALL(fcntl)
{
	int fd = (int)arg[0];
	struct pg_file *file = pg_fd_get_any(fd);
	int64_t result;

	if (!file)
		return -EBADF;
	result = control(file, fd, (uint32_t)arg[1], arg[2]);
	pg_file_put(file);
	return result;
}

PG_CALL(dup)
{
	struct pg_file *file = pg_fd_get_any((int)arg[0]);
	int64_t fd;

	if (!file)
		return -EBADF;
	fd = duplicate(file, 0, false);
	pg_file_put(file);
	return fd;
}

/* The file that was there is closed some time: dup2 doesn't tell how that went. */
static int64_t replace(struct pg_file *file, int fd, bool cloexec)
{
	struct pg_file *old;
	int code = pg_fd_replace(fd, file, cloexec, &old);

	pg_file_put(code ? file : old);
	return code ? code : fd;
}

PG_CALL(dup2)
{
	struct pg_file *file = pg_fd_get_any((int)arg[0]);

	if (!file)
		return -EBADF;
	if ((int)arg[0] == (int)arg[1]) {
		pg_file_put(file);
		return (int)arg[1];
	}
	return replace(file, (int)arg[1], false);
}

PG_CALL(dup3)
{
	uint32_t flags = (uint32_t)arg[2];
	struct pg_file *file;

	if (flags & ~(uint32_t)PG_O_CLOEXEC || (int)arg[0] == (int)arg[1])
		return -EINVAL;
	file = pg_fd_get_any((int)arg[0]);
	if (!file)
		return -EBADF;
	return replace(file, (int)arg[1], flags & PG_O_CLOEXEC);
}
