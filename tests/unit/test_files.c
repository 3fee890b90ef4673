#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>

#include "sys_calls.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/linux.h"
#include "sys/path.h"

/* The numbers of linux.h are Linux's. */
_Static_assert(PG_O_CREAT == O_CREAT && PG_O_EXCL == O_EXCL && PG_O_NOCTTY == O_NOCTTY &&
		       PG_O_TRUNC == O_TRUNC && PG_O_APPEND == O_APPEND &&
		       PG_O_NONBLOCK == O_NONBLOCK && PG_O_DSYNC == O_DSYNC &&
		       PG_O_DIRECT == O_DIRECT && PG_O_DIRECTORY == O_DIRECTORY &&
		       PG_O_NOFOLLOW == O_NOFOLLOW && PG_O_NOATIME == O_NOATIME &&
		       PG_O_CLOEXEC == O_CLOEXEC && PG_O_SYNC == O_SYNC && PG_O_PATH == O_PATH &&
		       PG_O_TMPFILE == O_TMPFILE,
	       "open");
_Static_assert(PG_AT_FDCWD == AT_FDCWD && PG_AT_SYMLINK_NOFOLLOW == AT_SYMLINK_NOFOLLOW &&
		       PG_AT_EACCESS == AT_EACCESS && PG_AT_REMOVEDIR == AT_REMOVEDIR &&
		       PG_AT_NO_AUTOMOUNT == AT_NO_AUTOMOUNT && PG_AT_EMPTY_PATH == AT_EMPTY_PATH,
	       "at");
#define SAME(ours, theirs, field, other)                                                           \
	_Static_assert(offsetof(struct ours, field) == offsetof(struct theirs, other), #field)
SAME(pg_statx, statx, mode, stx_mode);
SAME(pg_statx, statx, ino, stx_ino);
SAME(pg_statx, statx, blocks, stx_blocks);
SAME(pg_statx, statx, mtime, stx_mtime);
SAME(pg_statx, statx, rdev_major, stx_rdev_major);
SAME(pg_statx, statx, dev_minor, stx_dev_minor);
SAME(pg_stat, stat, nlink, st_nlink);
SAME(pg_stat, stat, mode, st_mode);
SAME(pg_stat, stat, rdev, st_rdev);
SAME(pg_stat, stat, size, st_size);
SAME(pg_stat, stat, blocks, st_blocks);
SAME(pg_stat, stat, atime, st_atim);
SAME(pg_stat, stat, mtime, st_mtim);
SAME(pg_stat, stat, ctime, st_ctim);

static void setup(void)
{
	sys_setup("/home");
}

TestSuite(files, .init = setup, .timeout = 20);

#define HANDLER(name) enum pg_poll pg_sys_##name(struct pg_future *, struct pg_task *)
#define CALL(name)    int64_t pg_sys_##name(struct pg_thread *thread, const uint64_t *arg)
HANDLER(open);
HANDLER(openat);
HANDLER(creat);
HANDLER(close);
HANDLER(stat);
HANDLER(lstat);
HANDLER(fstat);
HANDLER(newfstatat);
HANDLER(statx);
HANDLER(getdents64);
HANDLER(mkdir);
HANDLER(mkdirat);
HANDLER(rmdir);
HANDLER(unlink);
HANDLER(unlinkat);
HANDLER(rename);
HANDLER(renameat);
HANDLER(renameat2);
HANDLER(readlink);
HANDLER(readlinkat);
HANDLER(symlink);
HANDLER(symlinkat);
HANDLER(access);
HANDLER(faccessat);
HANDLER(faccessat2);
HANDLER(chdir);
HANDLER(fchdir);
HANDLER(ioctl);
CALL(getcwd);
CALL(umask);
CALL(fcntl);

#define NOW(name, ...) pg_sys_##name(NULL, (const uint64_t[6]){ __VA_ARGS__ })
#define P(text)        ((uintptr_t)(text))

static struct sys_call call;

static void expect_result(int64_t result)
{
	cr_assert(call.done, "the call still waits");
	cr_assert_eq(call.call.result, result, "%ld instead of %ld", (long)call.call.result,
		     (long)result);
	sys_expect_none();
}

/* The next entry: `op` on `path`. */
static struct pg_sqe take_path(enum pg_op op, const char *path)
{
	struct pg_sqe entry = sys_take(op);

	cr_assert(sys_path_is(entry.arg[0], entry.arg[1], path), "%.*s instead of %s",
		  (int)entry.arg[1], (const char *)entry.arg[0], path);
	return entry;
}

/* ---- open ---- */

Test(files, open)
{
	struct pg_sqe entry;

	sys_start(&call, pg_sys_open, P("f"), O_RDWR | O_CREAT | O_CLOEXEC | 0x40000000, 07666);
	entry = take_path(PG_OP_OPENAT, "/home/f");
	cr_assert_eq(entry.arg[2], O_RDWR | O_CREAT);
	cr_assert_eq(entry.arg[3], 07644, "the umask is 022");
	cr_assert_null(pg_fd_get(3), "not before it is open");
	sys_answer(&entry, 17);
	expect_result(3);
	cr_assert_eq(pg_fd_get(3)->handle, 17);
	cr_assert_eq(pg_fd_cloexec(3), 1);
	cr_assert_eq(NOW(fcntl, 3, F_GETFL), O_RDWR | PG_O_LARGEFILE);
	cr_assert_eq(NOW(umask, 0), 022);
	cr_assert_eq(NOW(umask, 07777), 0);
	cr_assert_eq(NOW(umask, 0), 0777);

	sys_start(&call, pg_sys_creat, P("/g"), 0666);
	entry = take_path(PG_OP_OPENAT, "/g");
	cr_assert_eq(entry.arg[2], O_WRONLY | O_CREAT | O_TRUNC);
	cr_assert_eq(entry.arg[3], 0666);
	sys_answer(&entry, 18);
	expect_result(4);
	cr_assert_eq(pg_fd_cloexec(4), 0);
}

Test(files, open_errors)
{
	sys_start(&call, pg_sys_open, P("f"), O_RDONLY);
	sys_serve(PG_OP_OPENAT, -ENOENT);
	expect_result(-ENOENT);
	cr_assert_eq(sys_now(pg_sys_open, P(""), O_RDONLY), -ENOENT);
	cr_assert_eq(sys_now(pg_sys_open, SYS_HOLE, O_RDONLY), -EFAULT);
	cr_assert_eq(sys_now(pg_sys_openat, 99, P("f"), O_RDONLY), -EBADF);
	cr_assert_eq(sys_now(pg_sys_openat, 0, P("f"), O_RDONLY), -ENOTDIR);
	for (int i = 0; i < 2; i++) {
		sys_fail_after = i;
		cr_assert_eq(sys_now(pg_sys_open, P("f"), O_RDONLY), -ENOMEM);
	}
	sys_fail_after = -1;
	cr_assert_eq(sys_allocated, 0);
	cr_assert_eq(pg_fd_reserve(0, false), 3, "no descriptor was lost");
}

Test(files, open_without_a_descriptor)
{
	while (pg_fd_reserve(0, false) >= 0)
		;
	cr_assert_eq(sys_now(pg_sys_open, P("f"), O_WRONLY | O_CREAT, 0666), -EMFILE);
	sys_expect_none();
	cr_assert_eq(sys_allocated, 0);
}

Test(files, open_beneath_a_directory)
{
	struct pg_sqe entry;
	int dir;

	sys_start(&call, pg_sys_open, P("/srv/./data/"), O_RDONLY);
	sys_serve(PG_OP_OPENAT, 17);
	dir = (int)call.call.result;
	sys_start(&call, pg_sys_openat, dir, P("f"), O_WRONLY);
	entry = take_path(PG_OP_OPENAT, "/srv/data/f");
	sys_answer(&entry, 18);
	expect_result(4);
	cr_assert_eq(sys_now(pg_sys_openat, 4, P("f"), O_RDONLY), -ENOTDIR);
}

/* The loader has opened it all the same: that must not stay open for ever. */
Test(files, open_cancelled_too_late)
{
	struct pg_sqe entry;

	sys_start(&call, pg_sys_open, P("f"), O_RDONLY);
	entry = sys_take(PG_OP_OPENAT);
	sys_cancel(&call);
	cr_assert_not(call.done);
	cr_assert(sys_path_is(entry.arg[0], entry.arg[1], "/home/f"), "the path is still there");
	sys_answer(&entry, 17);
	cr_assert(call.done);
	entry = sys_take(PG_OP_CLOSE);
	cr_assert_eq(entry.handle, 17);
	sys_answer(&entry, 0);
	cr_assert_eq(sys_allocated, 0);
	cr_assert_eq(pg_fd_reserve(0, false), 3);
}

Test(files, open_cancelled_in_time)
{
	static char path[1000];
	struct pg_sqe entry;

	memset(path, 'x', sizeof(path) - 1);
	sys_start(&call, pg_sys_open, P(path), O_RDONLY);
	entry = sys_take(PG_OP_OPENAT);
	sys_cancel(&call);
	/* It is in memory of its own, which is not freed before the loader has let go of it. */
	cr_assert_eq(((const char *)entry.arg[0])[500], 'x');
	cr_assert_eq(sys_allocated, 3);
	sys_answer(&entry, -ECANCELED);
	cr_assert(call.done);
	sys_expect_none();
	cr_assert_eq(sys_allocated, 0);
}

/* ---- stat ---- */

static void fill(const struct pg_sqe *entry)
{
	*(struct statx *)entry->arg[2] = (struct statx){
		.stx_mode = S_IFREG | 0640,
		.stx_nlink = 2,
		.stx_uid = 3,
		.stx_gid = 4,
		.stx_ino = 5,
		.stx_size = 6,
		.stx_blocks = 7,
		.stx_blksize = 512,
		.stx_atime = { .tv_sec = -8, .tv_nsec = 9 },
		.stx_mtime = { .tv_sec = 10, .tv_nsec = 11 },
		.stx_ctime = { .tv_sec = 12, .tv_nsec = 13 },
		.stx_dev_major = 0x123,
		.stx_dev_minor = 0x45678,
		.stx_rdev_major = 1,
		.stx_rdev_minor = 3,
	};
}

Test(files, stat_converts)
{
	struct stat st;
	struct pg_sqe entry;

	memset(&st, 0xff, sizeof(st));
	sys_start(&call, pg_sys_stat, P("f"), P(&st));
	entry = take_path(PG_OP_STATX, "/home/f");
	cr_assert_lt(entry.handle, 0);
	cr_assert_eq(entry.arg[3], 0);
	cr_assert_eq(entry.arg[4], STATX_BASIC_STATS);
	fill(&entry);
	sys_answer(&entry, 0);
	expect_result(0);
	cr_assert_eq(st.st_mode, S_IFREG | 0640);
	cr_assert_eq(st.st_nlink, 2);
	cr_assert_eq(st.st_uid, 3);
	cr_assert_eq(st.st_gid, 4);
	cr_assert_eq(st.st_ino, 5);
	cr_assert_eq(st.st_size, 6);
	cr_assert_eq(st.st_blocks, 7);
	cr_assert_eq(st.st_blksize, 512);
	cr_assert_eq(st.st_atim.tv_sec, -8);
	cr_assert_eq(st.st_atim.tv_nsec, 9);
	cr_assert_eq(st.st_mtim.tv_sec, 10);
	cr_assert_eq(st.st_ctim.tv_nsec, 13);
	cr_assert_eq(st.st_dev, makedev(0x123, 0x45678));
	cr_assert_eq(st.st_rdev, makedev(1, 3));

	sys_start(&call, pg_sys_lstat, P("f"), P(&st));
	entry = sys_take(PG_OP_STATX);
	cr_assert_eq(entry.arg[3], AT_SYMLINK_NOFOLLOW);
	sys_answer(&entry, -ENOENT);
	expect_result(-ENOENT);
	sys_start(&call, pg_sys_stat, P("f"), SYS_HOLE);
	sys_serve(PG_OP_STATX, 0);
	expect_result(-EFAULT);
}

Test(files, fstat)
{
	int fd = sys_open(7, O_RDWR);
	struct stat st;
	struct pg_sqe entry;

	for (int i = 0; i < 3; i++) {
		if (i == 0)
			sys_start(&call, pg_sys_fstat, fd, P(&st));
		else
			sys_start(&call, pg_sys_newfstatat, fd, i == 1 ? P("") : 0, P(&st),
				  AT_EMPTY_PATH);
		entry = sys_take(PG_OP_STATX);
		cr_assert_eq(entry.handle, 7);
		cr_assert_eq(entry.arg[1], 0);
		fill(&entry);
		sys_answer(&entry, 0);
		expect_result(0);
		cr_assert_eq(st.st_ino, 5);
	}
	cr_assert_eq(sys_now(pg_sys_fstat, 99, P(&st)), -EBADF);
	cr_assert_eq(sys_now(pg_sys_fstat, AT_FDCWD, P(&st)), -EBADF);
	cr_assert_eq(sys_now(pg_sys_newfstatat, fd, P(""), P(&st), 0), -ENOENT);
	cr_assert_eq(sys_now(pg_sys_newfstatat, fd, P("f"), P(&st), 1), -EINVAL);
	cr_assert_eq(atomic_load(&pg_fd_get(fd)->refs), 2);

	sys_start(&call, pg_sys_newfstatat, AT_FDCWD, P(""), P(&st), AT_EMPTY_PATH);
	entry = take_path(PG_OP_STATX, "/home");
	sys_answer(&entry, 0);
	expect_result(0);
}

Test(files, statx)
{
	struct statx st;
	struct pg_sqe entry;

	sys_start(&call, pg_sys_statx, AT_FDCWD, P("f"), AT_STATX_DONT_SYNC, STATX_ALL, P(&st));
	entry = take_path(PG_OP_STATX, "/home/f");
	cr_assert_eq(entry.arg[3], AT_STATX_DONT_SYNC);
	cr_assert_eq(entry.arg[4], STATX_ALL);
	fill(&entry);
	sys_answer(&entry, 0);
	expect_result(0);
	cr_assert_eq(st.stx_size, 6);
	cr_assert_eq(sys_now(pg_sys_statx, AT_FDCWD, P("f"), 0x6000, 0, P(&st)), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_statx, AT_FDCWD, P("f"), 0, 1u << 31, P(&st)), -EINVAL);
}

Test(files, stat_of_a_device)
{
	struct stat st[2];
	int64_t fd = sys_now(pg_sys_open, P("/dev/zero"), O_RDONLY);

	cr_assert_eq(sys_now(pg_sys_stat, P("/dev/zero"), P(&st[0])), 0);
	cr_assert_eq(sys_now(pg_sys_fstat, fd, P(&st[1])), 0);
	cr_assert_eq(memcmp(&st[0], &st[1], sizeof(st[0])), 0);
	cr_assert(S_ISCHR(st[0].st_mode));
	cr_assert_eq(st[0].st_rdev, makedev(1, 5));
}

Test(files, stat_cancelled)
{
	struct stat st;
	int fd = sys_open(7, O_RDWR);
	struct pg_sqe entry;

	sys_start(&call, pg_sys_fstat, fd, P(&st));
	entry = sys_take(PG_OP_STATX);
	sys_cancel(&call);
	fill(&entry); /* the loader may still write */
	sys_answer(&entry, 0);
	cr_assert(call.done);
	cr_assert_eq(atomic_load(&pg_fd_get(fd)->refs), 2);
}

/* ---- directories ---- */

/* A call that is one operation on one path, with two more arguments. */
struct simple {
	sys_handler handler;
	uint64_t arg[6];
	enum pg_op op;
	const char *path;
	uint64_t first, second;
};

Test(files, one_operation_on_a_path)
{
	const struct simple calls[] = {
		{ pg_sys_mkdir, { P("d"), 01777 }, PG_OP_MKDIRAT, "/home/d", 01755, 0 },
		{ pg_sys_mkdirat, { AT_FDCWD, P("d"), 0700 }, PG_OP_MKDIRAT, "/home/d", 0700, 0 },
		{ pg_sys_rmdir, { P("d") }, PG_OP_UNLINKAT, "/home/d", AT_REMOVEDIR, 0 },
		{ pg_sys_unlink, { P("/d") }, PG_OP_UNLINKAT, "/d", 0, 0 },
		{ pg_sys_unlinkat, { AT_FDCWD, P("d"), 0 }, PG_OP_UNLINKAT, "/home/d", 0, 0 },
		{ pg_sys_unlinkat,
		  { 99, P("/d"), AT_REMOVEDIR },
		  PG_OP_UNLINKAT,
		  "/d",
		  AT_REMOVEDIR,
		  0 },
		{ pg_sys_readlink, { P("l"), 0x5000, 9 }, PG_OP_READLINKAT, "/home/l", 0x5000, 9 },
		{ pg_sys_readlinkat,
		  { AT_FDCWD, P("l"), 0x5000, 9 },
		  PG_OP_READLINKAT,
		  "/home/l",
		  0x5000,
		  9 },
		{ pg_sys_access, { P("f"), 6 }, PG_OP_FACCESSAT, "/home/f", 6, 0 },
		{ pg_sys_faccessat, { AT_FDCWD, P("f"), 1, 77 }, PG_OP_FACCESSAT, "/home/f", 1, 0 },
		{ pg_sys_faccessat2,
		  { AT_FDCWD, P("f"), 0, AT_EACCESS },
		  PG_OP_FACCESSAT,
		  "/home/f",
		  0,
		  AT_EACCESS },
	};

	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct pg_sqe entry;

		sys_start_args(&call, calls[i].handler, calls[i].arg);
		entry = take_path(calls[i].op, calls[i].path);
		cr_assert_eq(entry.arg[2], calls[i].first, "call %u", i);
		cr_assert_eq(entry.arg[3], calls[i].second, "call %u", i);
		sys_answer(&entry, -EXDEV);
		expect_result(-EXDEV);
		/* The first wait is where it can be dropped. */
		sys_start_args(&call, calls[i].handler, calls[i].arg);
		entry = sys_take(calls[i].op);
		sys_cancel(&call);
		sys_answer(&entry, -ECANCELED);
		cr_assert(pg_task_cancelled(&call.task));
		cr_assert_eq(sys_allocated, 0);
	}
}

Test(files, two_paths)
{
	struct pg_sqe entry;

	for (int i = 0; i < 3; i++) {
		if (i == 0)
			sys_start(&call, pg_sys_rename, P("a"), P("/b"));
		else if (i == 1)
			sys_start(&call, pg_sys_renameat, AT_FDCWD, P("a"), 99, P("/b"));
		else
			sys_start(&call, pg_sys_renameat2, AT_FDCWD, P("a"), AT_FDCWD, P("/b"), 1);
		entry = take_path(PG_OP_RENAMEAT, "/home/a");
		cr_assert(sys_path_is(entry.arg[2], entry.arg[3], "/b"));
		cr_assert_eq(entry.arg[4], i == 2);
		sys_answer(&entry, 0);
		expect_result(0);
	}
	for (int i = 0; i < 2; i++) {
		if (i == 0)
			sys_start(&call, pg_sys_symlink, P("../target"), P("l"));
		else
			sys_start(&call, pg_sys_symlinkat, P("../target"), AT_FDCWD, P("l"));
		entry = take_path(PG_OP_SYMLINKAT, "../target");
		cr_assert(sys_path_is(entry.arg[2], entry.arg[3], "/home/l"));
		sys_answer(&entry, 0);
		expect_result(0);
	}
	cr_assert_eq(sys_now(pg_sys_symlink, P(""), P("l")), -ENOENT);
	cr_assert_eq(sys_now(pg_sys_rename, P("a"), P("")), -ENOENT);
	cr_assert_eq(sys_now(pg_sys_renameat2, AT_FDCWD, P("a"), AT_FDCWD, P("b"), 3), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_renameat2, AT_FDCWD, P("a"), AT_FDCWD, P("b"), 8), -EINVAL);
}

Test(files, arguments_that_are_wrong)
{
	cr_assert_eq(sys_now(pg_sys_readlink, P("l"), 0x5000, 0), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_readlink, P("l"), 0x5000, -1), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_readlink, P("/dev/null"), 0x5000, 9), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_unlinkat, AT_FDCWD, P("f"), 1), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_access, P("f"), 8), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_faccessat2, AT_FDCWD, P("f"), 0, 1), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_access, P("/dev/null"), R_OK | W_OK), 0);
	cr_assert_eq(sys_now(pg_sys_access, P("/dev/null"), X_OK), -EACCES);
	cr_assert_eq(sys_now(pg_sys_mkdir, 0, 0), -EFAULT);
	sys_expect_none();
	cr_assert_eq(sys_allocated, 0);
}

Test(files, getdents)
{
	int fd = sys_open(7, O_RDONLY | O_DIRECTORY);
	struct pg_sqe entry;

	sys_start(&call, pg_sys_getdents64, fd, 0x5000, 4096);
	entry = sys_take(PG_OP_GETDENTS);
	cr_assert_eq(entry.handle, 7);
	cr_assert_eq(entry.arg[0], 0x5000);
	cr_assert_eq(entry.arg[1], 4096);
	sys_answer(&entry, 48);
	expect_result(48);
	cr_assert_eq(sys_now(pg_sys_getdents64, 99, 0x5000, 4096), -EBADF);
	fd = (int)sys_now(pg_sys_open, P("/dev/null"), O_RDONLY);
	cr_assert_eq(sys_now(pg_sys_getdents64, fd, 0x5000, 4096), -ENOTDIR);
}

/* ---- the working directory ---- */

static void expect_cwd(const char *path)
{
	char text[64];

	cr_assert_eq(NOW(getcwd, P(text), sizeof(text)), (int64_t)strlen(path) + 1);
	cr_assert_str_eq(text, path);
}

static void answer_mode(const struct pg_sqe *entry, unsigned mode)
{
	fill(entry);
	((struct statx *)entry->arg[2])->stx_mode = (uint16_t)mode;
	sys_answer(entry, 0);
}

Test(files, chdir)
{
	struct pg_sqe entry;

	expect_cwd("/home");
	sys_start(&call, pg_sys_chdir, P("./me//"));
	entry = take_path(PG_OP_STATX, "/home/me");
	expect_cwd("/home");
	answer_mode(&entry, S_IFDIR | 0755);
	expect_result(0);
	expect_cwd("/home/me");

	sys_start(&call, pg_sys_chdir, P("../you"));
	entry = take_path(PG_OP_STATX, "/home/you");
	answer_mode(&entry, S_IFREG | 0755);
	expect_result(-ENOTDIR);
	sys_start(&call, pg_sys_chdir, P("nowhere"));
	sys_serve(PG_OP_STATX, -ENOENT);
	expect_result(-ENOENT);
	expect_cwd("/home/me");
	cr_assert_eq(sys_now(pg_sys_chdir, P("../..")), 0);
	expect_cwd("/");
	/* The initial directory is gone as well. */
	cr_assert_eq(sys_allocated, 0);
}

Test(files, fchdir)
{
	struct pg_sqe entry;
	int fd;

	sys_start(&call, pg_sys_open, P("/srv"), O_RDONLY | O_DIRECTORY);
	sys_serve(PG_OP_OPENAT, 17);
	fd = (int)call.call.result;
	sys_start(&call, pg_sys_fchdir, fd);
	entry = take_path(PG_OP_STATX, "/srv");
	answer_mode(&entry, S_IFDIR);
	expect_result(0);
	expect_cwd("/srv");
	/* It outlives the descriptor. */
	sys_start(&call, pg_sys_close, fd);
	sys_serve(PG_OP_CLOSE, 0);
	expect_cwd("/srv");
	cr_assert_eq(sys_now(pg_sys_fchdir, fd), -EBADF);
	cr_assert_eq(sys_now(pg_sys_fchdir, 0), -ENOTDIR);
}

Test(files, getcwd_errors)
{
	char text[6];

	cr_assert_eq(NOW(getcwd, P(text), 5), -ERANGE);
	cr_assert_eq(NOW(getcwd, P(text), 0), -ERANGE);
	cr_assert_eq(NOW(getcwd, SYS_HOLE, 100), -EFAULT);
	cr_assert_eq(NOW(getcwd, P(text), 6), 6);
}

/* ---- ioctl ---- */

Test(files, terminals)
{
	struct termios_of_kernel {
		uint32_t input, output, control, local;
		uint8_t line, characters[19];
	} settings;
	struct pg_sqe entry;
	int32_t group = 0;

	sys_start(&call, pg_sys_ioctl, 1, TCGETS, P(&settings));
	entry = sys_take(PG_OP_ISATTY);
	cr_assert_eq(entry.handle, 1);
	sys_answer(&entry, 0);
	expect_result(-ENOTTY);
	sys_start(&call, pg_sys_ioctl, 1, TCGETS, P(&settings));
	sys_serve(PG_OP_ISATTY, 1);
	expect_result(0);
	cr_assert_eq(settings.input, ICRNL | IXON);
	cr_assert_eq(settings.output, OPOST | ONLCR);
	cr_assert_eq(settings.control, B38400 | CS8 | CREAD);
	cr_assert_eq(settings.local,
		     ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN);
	cr_assert_eq(settings.characters[VEOF], 4);
	cr_assert_eq(settings.characters[VERASE], 127);
	sys_start(&call, pg_sys_ioctl, 1, TCSETSW, P(&settings));
	sys_serve(PG_OP_ISATTY, 1);
	expect_result(0);
	sys_start(&call, pg_sys_ioctl, 1, TIOCGPGRP, P(&group));
	sys_serve(PG_OP_ISATTY, 1);
	expect_result(0);
	cr_assert_eq(group, 1);

	sys_start(&call, pg_sys_ioctl, 1, TIOCGWINSZ, 0x5000);
	entry = sys_take(PG_OP_WINSIZE);
	cr_assert_eq(entry.arg[0], 0x5000);
	sys_answer(&entry, -EFAULT);
	expect_result(-EFAULT);
	cr_assert_eq(sys_now(pg_sys_ioctl, 1, TIOCSTI, P("x")), -ENOTTY);
}

Test(files, descriptor_settings)
{
	int fd = (int)sys_now(pg_sys_open, P("/dev/null"), O_RDWR), on = 1, off = 0;

	cr_assert_eq(sys_now(pg_sys_ioctl, fd, FIONBIO, P(&on)), 0);
	cr_assert(NOW(fcntl, fd, F_GETFL) & O_NONBLOCK);
	cr_assert_eq(sys_now(pg_sys_ioctl, fd, FIONBIO, P(&off)), 0);
	cr_assert_not(NOW(fcntl, fd, F_GETFL) & O_NONBLOCK);
	cr_assert_eq(sys_now(pg_sys_ioctl, fd, FIONBIO, SYS_HOLE), -EFAULT);
	cr_assert_eq(sys_now(pg_sys_ioctl, fd, FIOCLEX), 0);
	cr_assert_eq(pg_fd_cloexec(fd), 1);
	cr_assert_eq(sys_now(pg_sys_ioctl, fd, FIONCLEX), 0);
	cr_assert_eq(pg_fd_cloexec(fd), 0);
	cr_assert_eq(sys_now(pg_sys_ioctl, fd, TCGETS, P(&on)), -ENOTTY);
	cr_assert_eq(sys_now(pg_sys_ioctl, 99, TCGETS, P(&on)), -EBADF);
}
