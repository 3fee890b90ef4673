/*
 * The engine, driven through its rings as a guest does, on both backends. Guest memory
 * is a buffer (fake_mmu.h); files, pipes and terminals are the host's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine_rig.h"

static int64_t open_path(struct rig *rig, const char *path, uint64_t flags)
{
	uint64_t length = put(PATH_A, path);

	return CALL(rig, OPENAT, -1, PATH_A, length, flags, 0644);
}

static int64_t unlink_path(struct rig *rig, const char *path, uint64_t flags)
{
	uint64_t length = put(PATH_A, path);

	return CALL(rig, UNLINKAT, -1, PATH_A, length, flags);
}

static int64_t make_dir(struct rig *rig, const char *path)
{
	uint64_t length = put(PATH_A, path);

	return CALL(rig, MKDIRAT, -1, PATH_A, length, 0755);
}

static int64_t rename_path(struct rig *rig, const char *from, const char *to, uint64_t flags)
{
	uint64_t from_length = put(PATH_A, from), to_length = put(PATH_B, to);

	return CALL(rig, RENAMEAT, -1, PATH_A, from_length, PATH_B, to_length, flags);
}

static int64_t symlink_path(struct rig *rig, const char *target, const char *path)
{
	uint64_t target_length = put(PATH_A, target), length = put(PATH_B, path);

	return CALL(rig, SYMLINKAT, -1, PATH_A, target_length, PATH_B, length);
}

static int64_t access_path(struct rig *rig, const char *path, uint64_t mode)
{
	uint64_t length = put(PATH_A, path);

	return CALL(rig, FACCESSAT, -1, PATH_A, length, mode, 0);
}

static int64_t stat_path(struct rig *rig, const char *path, uint64_t flags)
{
	uint64_t length = put(PATH_A, path);

	return CALL(rig, STATX, -1, PATH_A, length, BUFFER, flags, STATX_BASIC_STATS);
}

static int64_t read_link(struct rig *rig, const char *path, uint64_t size)
{
	uint64_t length = put(PATH_A, path);

	return CALL(rig, READLINKAT, -1, PATH_A, length, BUFFER, size);
}

/* ---- simple things ---- */

ENGINE_TEST(nothing_and_unknown)
{
	struct rig *rig = rig_start(backend);

	cr_assert_eq(CALL(rig, NOP, 0, 0), 0);
	cr_assert_eq(call(rig, (struct pg_sqe){ .op = PG_OP_COUNT }), -ENOSYS);
	cr_assert_eq(call(rig, (struct pg_sqe){ .op = UINT16_MAX }), -ENOSYS);
	cr_assert_eq(call(rig, (struct pg_sqe){ .op = PG_OP_NOP, .flags = 1 }), -EINVAL);
	rig_stop(rig);
	cr_assert_eq(atomic_load(&rig->stats.operations), 4);
	cr_assert_eq(atomic_load(&rig->stats.completions), 4);
	cr_assert_eq(atomic_load(&rig->stats.by_op[PG_OP_NOP]), 2);
	rig_end(rig);
}

ENGINE_TEST(a_file_from_open_to_close)
{
	struct rig *rig = rig_start(backend);
	struct statx *st = fake_at(BUFFER);
	int64_t h = open_path(rig, "/file", O_RDWR | O_CREAT | O_EXCL);

	cr_assert_geq(h, 3);
	cr_assert_eq(open_path(rig, "/file", O_RDWR | O_CREAT | O_EXCL), -EEXIST);
	put(BUFFER, "hello, world");
	cr_assert_eq(CALL(rig, WRITE, h, BUFFER, 12, 0), 12);
	cr_assert_eq(CALL(rig, READ, h, BUFFER + 100, 100, 7), 5);
	cr_assert_eq(memcmp(fake_at(BUFFER + 100), "world", 5), 0);
	cr_assert_eq(CALL(rig, READ, h, BUFFER, 10, 12), 0, "end of file");
	cr_assert_eq(CALL(rig, READ, h, BUFFER, 0, 0), 0);

	/* The position of the stream. */
	cr_assert_eq(CALL(rig, LSEEK, h, 7, SEEK_SET), 7);
	cr_assert_eq(CALL(rig, READ, h, BUFFER, 3, PG_OFFSET_STREAM), 3);
	cr_assert_eq(memcmp(fake_at(BUFFER), "wor", 3), 0);
	cr_assert_eq(CALL(rig, LSEEK, h, 0, SEEK_CUR), 10);
	cr_assert_eq(CALL(rig, LSEEK, h, 0, SEEK_END), 12);
	cr_assert_eq(CALL(rig, LSEEK, h, 0, SEEK_HOLE), 12);
	cr_assert_eq(CALL(rig, LSEEK, h, 0, 99), -EINVAL);
	cr_assert_eq(CALL(rig, WRITE, h, BUFFER, 3, PG_OFFSET_STREAM), 3);

	cr_assert_eq(CALL(rig, FSYNC, h, 0), 0);
	cr_assert_eq(CALL(rig, FSYNC, h, 1), 0);
	cr_assert_eq(CALL(rig, FSYNC, h, 2), -EINVAL);
	cr_assert_eq(CALL(rig, STATX, h, 0, 0, BUFFER, 0, STATX_BASIC_STATS), 0);
	cr_assert_eq(st->stx_size, 15);
	cr_assert_eq(CALL(rig, FTRUNCATE, h, 4), 0);
	cr_assert_eq(stat_path(rig, "/file", 0), 0);
	cr_assert_eq(st->stx_size, 4);
	cr_assert_eq(CALL(rig, POLL, h, POLLIN | POLLOUT), POLLIN | POLLOUT);
	cr_assert_eq(CALL(rig, ISATTY, h, 0), 0);
	cr_assert_eq(CALL(rig, WINSIZE, h, BUFFER), -ENOTTY);
	cr_assert_eq(CALL(rig, GETDENTS, h, BUFFER, 1000), -ENOTDIR);

	cr_assert_eq(CALL(rig, CLOSE, h, 0), 0);
	cr_assert_eq(CALL(rig, CLOSE, h, 0), -EBADF);
	cr_assert_eq(CALL(rig, READ, h, BUFFER, 1, 0), -EBADF);
	cr_assert_eq(open_path(rig, "/file", O_RDONLY), h, "the number is free again");
	cr_assert_eq(CALL(rig, WRITE, h, BUFFER, 1, 0), -EBADF);
	cr_assert_eq(CALL(rig, FTRUNCATE, h, 0), -EINVAL);
	cr_assert_eq(open_path(rig, "/file", O_WRONLY | O_TRUNC | O_APPEND), h + 1);
	cr_assert_eq(stat_path(rig, "/file", 0), 0);
	cr_assert_eq(st->stx_size, 0);
	rig_end(rig);
}

ENGINE_TEST(vectors)
{
	struct rig *rig = rig_start(backend);
	struct pg_iovec *iov = fake_at(IOVECS);
	int64_t h = open_path(rig, "/file", O_RDWR | O_CREAT);

	put(BUFFER, "abcdefgh");
	iov[0] = (struct pg_iovec){ BUFFER + 4, 4 };
	iov[1] = (struct pg_iovec){ 0, 0 };
	iov[2] = (struct pg_iovec){ BUFFER, 4 };
	cr_assert_eq(CALL(rig, WRITEV, h, IOVECS, 3, 0), 8);
	cr_assert_eq(CALL(rig, READ, h, BUFFER, 8, 0), 8);
	cr_assert_eq(memcmp(fake_at(BUFFER), "efghabcd", 8), 0);
	iov[0] = (struct pg_iovec){ BUFFER + 100, 3 };
	iov[1] = (struct pg_iovec){ BUFFER + 200, 10 };
	cr_assert_eq(CALL(rig, READV, h, IOVECS, 2, 1), 7);
	cr_assert_eq(memcmp(fake_at(BUFFER + 200), "abcd", 4), 0);

	/* A bad piece: what is before it is moved. */
	iov[1].base = FAKE_END;
	cr_assert_eq(CALL(rig, READV, h, IOVECS, 2, 0), 3);
	iov[0].base = 8;
	cr_assert_eq(CALL(rig, READV, h, IOVECS, 2, 0), -EFAULT);
	cr_assert_eq(CALL(rig, READV, h, IOVECS, 0, 0), 0);
	cr_assert_eq(CALL(rig, READV, h, IOVECS, PG_IOV_MAX + 1, 0), -EINVAL);
	cr_assert_eq(CALL(rig, READV, h, IOVECS, UINT64_MAX, 0), -EINVAL);
	cr_assert_eq(CALL(rig, READV, h, FAKE_END - 16, 2, 0), -EFAULT);

	/* The sum is capped, and can't wrap around. */
	iov[0] = (struct pg_iovec){ LARGE, PG_IO_MAX - 1 };
	iov[1] = (struct pg_iovec){ LARGE, 4096 };
	cr_assert_eq(CALL(rig, WRITEV, h, IOVECS, 2, 0), PG_IO_MAX);
	iov[0] = (struct pg_iovec){ LARGE, UINT64_MAX };
	cr_assert_eq(CALL(rig, WRITEV, h, IOVECS, 2, 0), PG_IO_MAX);
	rig_end(rig);
}

ENGINE_TEST(large_transfers_in_scattered_pages)
{
	struct rig *rig = rig_prepare(backend);
	uint8_t *memory;
	int64_t h;

	fake_mmu.scatter = true;
	memory = fake_at(LARGE + 5);
	rig_run(rig);
	h = open_path(rig, "/file", O_RDWR | O_CREAT);
	for (unsigned i = 0; i < PG_IO_MAX; i++)
		memory[i] = (uint8_t)(i * 7 + i / 4096);
	cr_assert_eq(CALL(rig, WRITE, h, LARGE + 5, UINT64_MAX, 0), PG_IO_MAX, "capped");
	memset(memory, 0, PG_IO_MAX);
	cr_assert_eq(CALL(rig, READ, h, LARGE + 5, 2 * PG_IO_MAX, 0), PG_IO_MAX);
	for (unsigned i = 0; i < PG_IO_MAX; i++)
		cr_assert_eq(memory[i], (uint8_t)(i * 7 + i / 4096), "at %u", i);
	cr_assert_eq(CALL(rig, READ, h, LARGE, PG_IO_MAX, 1000), PG_IO_MAX - 1000, "end of file");
	rig_end(rig);
}

/* What is not in the page cache comes through the backend, and is no short read. */
ENGINE_TEST(a_file_that_is_cached_in_part)
{
	struct rig *rig = rig_start(backend);
	int64_t h = open_path(rig, "/file", O_RDWR | O_CREAT);
	uint8_t *memory = fake_at(LARGE);
	char path[128];
	int fd;

	memset(memory, 'x', PG_IO_MAX);
	cr_assert_eq(CALL(rig, WRITE, h, LARGE, PG_IO_MAX, 0), PG_IO_MAX);
	cr_assert_eq(CALL(rig, FSYNC, h, 0), 0);
	(void)snprintf(path, sizeof(path), "%s/file", rig->dir);
	fd = open(path, O_RDONLY);
	for (int i = 0; i < 20; i++) {
		(void)posix_fadvise(fd, 4096 * i, 0, POSIX_FADV_DONTNEED);
		memset(memory, 0, PG_IO_MAX);
		cr_assert_eq(CALL(rig, READ, h, LARGE, PG_IO_MAX, 0), PG_IO_MAX);
		cr_assert_eq(memory[PG_IO_MAX - 1], 'x');
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		cr_assert_eq(CALL(rig, LSEEK, h, 4096, SEEK_SET), 4096);
		cr_assert_eq(CALL(rig, READ, h, LARGE, PG_IO_MAX, PG_OFFSET_STREAM),
			     PG_IO_MAX - 4096);
		cr_assert_eq(CALL(rig, LSEEK, h, 0, SEEK_CUR), PG_IO_MAX);
	}
	close(fd);
	rig_end(rig);
}

ENGINE_TEST(bad_buffers_and_offsets)
{
	struct rig *rig = rig_start(backend);
	int64_t h = open_path(rig, "/file", O_RDWR | O_CREAT);
	uint64_t length = put(PATH_A, "/file");

	cr_assert_eq(CALL(rig, WRITE, h, FAKE_READ_ONLY, 100, 0), 100, "reading it is allowed");
	cr_assert_eq(CALL(rig, READ, h, FAKE_READ_ONLY, 100, 0), -EFAULT);
	cr_assert_eq(CALL(rig, READ, h, FAKE_READ_ONLY - 1, 2, 0), -EFAULT);
	cr_assert_eq(CALL(rig, READ, h, 0, 1, 0), -EFAULT);
	cr_assert_eq(CALL(rig, READ, h, UINT64_MAX - 1, 100, 0), -EFAULT);
	cr_assert_eq(CALL(rig, WRITE, h, FAKE_END - 1, 2, 0), -EFAULT);
	cr_assert_eq(CALL(rig, STATX, h, 0, 0, FAKE_READ_ONLY, 0, 0), -EFAULT);
	cr_assert_eq(CALL(rig, STATX, -1, PATH_A, length, FAKE_READ_ONLY, 0, 0), -EFAULT);
	cr_assert_eq(CALL(rig, STATX, -1, PATH_A, length, BUFFER, 1u << 30, 0), -EINVAL);
	cr_assert_eq(CALL(rig, STATX, -1, PATH_A, 0, BUFFER, 0, 0), -ENOENT);
	cr_assert_eq(CALL(rig, STATX, 77, 0, 0, BUFFER, 0, 0), -EBADF);
	cr_assert_eq(CALL(rig, READ, h, BUFFER, 1, (uint64_t)INT64_MIN), -EINVAL);
	cr_assert_eq(CALL(rig, READ, h, BUFFER, 1, (uint64_t)-2), -EINVAL);
	cr_assert_eq(CALL(rig, READ, -1, BUFFER, 1, 0), -EBADF);
	cr_assert_eq(CALL(rig, READ, INT32_MAX, BUFFER, 1, 0), -EBADF);
	cr_assert_eq(CALL(rig, READ, 0, BUFFER, 1, 0), -ESPIPE, "a pipe has no offsets");
	cr_assert_eq(CALL(rig, LSEEK, 0, 0, SEEK_CUR), -ESPIPE);
	rig_end(rig);
}

ENGINE_TEST(opening)
{
	struct rig *rig = rig_start(backend);
	int64_t h;

	cr_assert_eq(open_path(rig, "/none", O_RDONLY), -ENOENT);
	cr_assert_eq(open_path(rig, "/none/none", O_RDWR | O_CREAT), -ENOENT);
	cr_assert_eq(open_path(rig, "/", O_RDWR), -EISDIR);
	cr_assert_eq(open_path(rig, "/", O_TMPFILE | O_RDWR), -EOPNOTSUPP);
	cr_assert_eq(open_path(rig, "/", O_DIRECT), -EINVAL);
	cr_assert_eq(open_path(rig, "/", 1ull << 40), -EINVAL);
	cr_assert_eq(open_path(rig, "/", O_ACCMODE), -EINVAL);
	cr_assert_eq(open_path(rig, "relative", O_RDONLY), -EINVAL);
	cr_assert_eq(CALL(rig, OPENAT, -1, PATH_A, 0, 0, 0), -ENOENT);
	cr_assert_eq(CALL(rig, OPENAT, -1, PATH_A, PG_PATH_MAX + 1, 0, 0), -ENAMETOOLONG);
	cr_assert_eq(CALL(rig, OPENAT, -1, FAKE_END - 1, 2, 0, 0), -EFAULT);
	memcpy(fake_at(PATH_A), "/a\0b", 4);
	cr_assert_eq(CALL(rig, OPENAT, -1, PATH_A, 4, O_CREAT | O_RDWR, 0644), -EINVAL);

	h = open_path(rig, "/file", O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | 0100000);
	cr_assert_geq(h, 3);
	cr_assert_eq(open_path(rig, "/file", O_RDONLY | O_DIRECTORY), -ENOTDIR);
	cr_assert_eq(open_path(rig, "/file/", O_RDONLY), -ENOTDIR);
	h = open_path(rig, "/file", O_PATH | O_CREAT);
	cr_assert_geq(h, 3);
	cr_assert_eq(CALL(rig, READ, h, BUFFER, 1, 0), -EBADF);
	cr_assert_eq(CALL(rig, POLL, h, POLLIN), -EBADF);
	cr_assert_eq(CALL(rig, STATX, h, 0, 0, BUFFER, 0, 0), 0);

	/* The bits that would lend the host's identity are dropped. */
	put(PATH_A, "/mode");
	cr_assert_geq(CALL(rig, OPENAT, -1, PATH_A, 5, O_RDWR | O_CREAT, 06755), 3);
	cr_assert_eq(stat_path(rig, "/mode", 0), 0);
	cr_assert_eq(((struct statx *)fake_at(BUFFER))->stx_mode & 07000, 0);
	rig_end(rig);
}

ENGINE_TEST(directories)
{
	struct rig *rig = rig_start(backend);
	struct statx *st = fake_at(BUFFER);
	bool seen_file = false, seen_dir = false;
	int64_t h, bytes;

	cr_assert_eq(make_dir(rig, "/dir"), 0);
	cr_assert_eq(make_dir(rig, "/dir"), -EEXIST);
	cr_assert_eq(make_dir(rig, "/"), -EEXIST);
	cr_assert_eq(make_dir(rig, "/dir/sub/"), 0);
	cr_assert_eq(make_dir(rig, "/none/sub"), -ENOENT);
	cr_assert_geq(open_path(rig, "/dir/file", O_RDWR | O_CREAT), 3);

	h = open_path(rig, "/dir", O_RDONLY | O_DIRECTORY);
	cr_assert_geq(h, 3);
	cr_assert_eq(CALL(rig, READ, h, BUFFER, 1, 0), -EISDIR);
	cr_assert_eq(CALL(rig, GETDENTS, h, FAKE_READ_ONLY, 4096), -EFAULT);
	cr_assert_eq(CALL(rig, GETDENTS, h, BUFFER, 1), -EINVAL);
	cr_assert_eq(CALL(rig, GETDENTS, h, FAKE_READ_ONLY - 4096, UINT64_MAX), -EFAULT);
	bytes = CALL(rig, GETDENTS, h, BUFFER, 4096);
	cr_assert_gt(bytes, 0);
	for (int64_t at = 0; at < bytes;) {
		const struct dirent64 *entry = fake_at(BUFFER + (uint64_t)at);

		seen_file |= strcmp(entry->d_name, "file") == 0;
		seen_dir |= strcmp(entry->d_name, "sub") == 0;
		at += entry->d_reclen;
	}
	cr_assert(seen_file && seen_dir);
	cr_assert_eq(CALL(rig, GETDENTS, h, BUFFER, 4096), 0);
	cr_assert_eq(CALL(rig, LSEEK, h, 0, SEEK_SET), 0);
	cr_assert_eq(CALL(rig, GETDENTS, h, BUFFER, 4096), bytes);

	cr_assert_eq(rename_path(rig, "/dir/file", "/moved", 0), 0);
	cr_assert_eq(stat_path(rig, "/dir/file", 0), -ENOENT);
	cr_assert_eq(stat_path(rig, "/moved", 0), 0);
	cr_assert_eq(rename_path(rig, "/moved", "/dir", RENAME_NOREPLACE), -EEXIST);
	cr_assert_eq(rename_path(rig, "/moved", "/dir/sub", RENAME_EXCHANGE), 0);
	cr_assert_eq(stat_path(rig, "/moved", 0), 0);
	cr_assert(S_ISDIR(st->stx_mode));
	cr_assert_eq(rename_path(rig, "/moved", "/x", RENAME_WHITEOUT), -EINVAL);
	cr_assert_eq(rename_path(rig, "/", "/x", 0), -EBUSY);

	cr_assert_eq(unlink_path(rig, "/dir", 0), -EISDIR);
	cr_assert_eq(unlink_path(rig, "/dir", AT_REMOVEDIR), -ENOTEMPTY);
	cr_assert_eq(unlink_path(rig, "/dir/sub", AT_REMOVEDIR), -ENOTDIR);
	cr_assert_eq(unlink_path(rig, "/dir/sub", 0), 0);
	cr_assert_eq(unlink_path(rig, "/dir/sub", 0), -ENOENT);
	cr_assert_eq(unlink_path(rig, "/dir/", AT_REMOVEDIR), 0);
	cr_assert_eq(unlink_path(rig, "/", AT_REMOVEDIR), -EBUSY);
	cr_assert_eq(unlink_path(rig, "/moved", 1), -EINVAL);

	cr_assert_eq(access_path(rig, "/moved", R_OK | W_OK | X_OK), 0);
	cr_assert_eq(access_path(rig, "/none", F_OK), -ENOENT);
	cr_assert_eq(access_path(rig, "/moved", 8), -EINVAL);

	cr_assert_eq(symlink_path(rig, "moved", "/link"), 0);
	cr_assert_eq(symlink_path(rig, "moved", "/link"), -EEXIST);
	cr_assert_eq(read_link(rig, "/link", 100), 5);
	cr_assert_eq(memcmp(fake_at(BUFFER), "moved", 5), 0);
	cr_assert_eq(read_link(rig, "/link", 2), 2);
	cr_assert_eq(read_link(rig, "/link", 0), -EINVAL);
	cr_assert_eq(read_link(rig, "/moved", 100), -EINVAL);
	cr_assert_eq(stat_path(rig, "/link", 0), 0);
	cr_assert(S_ISDIR(st->stx_mode));
	cr_assert_eq(stat_path(rig, "/link", AT_SYMLINK_NOFOLLOW), 0);
	cr_assert(S_ISLNK(st->stx_mode));
	cr_assert_eq(open_path(rig, "/link", O_RDONLY | O_NOFOLLOW), -ELOOP);
	rig_end(rig);
}

/* ---- the border ---- */

ENGINE_TEST(nothing_leads_out_of_a_mount)
{
	struct rig *rig = rig_prepare(backend);

	/* A sibling directory with a secret, and every way to it we know of. */
	host_command("mkdir %s.out", rig->dir);
	host_command("echo secret > %s.out/secret", rig->dir);
	host_command("d=%s; ln -s ../$(basename $d).out/secret $d/relative", rig->dir);
	host_command("d=%s; ln -s $d.out/secret $d/absolute", rig->dir);
	host_command("d=%s; ln -s ../$(basename $d).out $d/directory", rig->dir);
	host_command("ln -s /proc/self/root %s/magic", rig->dir);
	host_command("d=%s; mkdir $d/in; ln -s ../inside $d/in/link; echo ok > $d/inside",
		     rig->dir);
	rig_run(rig);

	cr_assert_eq(open_path(rig, "/relative", O_RDONLY), -EACCES);
	cr_assert_eq(open_path(rig, "/absolute", O_RDONLY), -EACCES);
	cr_assert_eq(open_path(rig, "/directory/secret", O_RDONLY), -EACCES);
	cr_assert_eq(open_path(rig, "/directory/new", O_RDWR | O_CREAT), -EACCES);
	cr_assert_eq(open_path(rig, "/relative", O_PATH), -EACCES);
	cr_assert_lt(open_path(rig, "/magic/etc/passwd", O_RDONLY), 0);
	cr_assert_eq(open_path(rig, "/../../../etc/passwd", O_RDONLY), -ENOENT);
	cr_assert_eq(stat_path(rig, "/relative", 0), -EACCES);
	cr_assert_eq(access_path(rig, "/absolute", R_OK), -EACCES);
	cr_assert_eq(unlink_path(rig, "/directory/secret", 0), -EACCES);
	cr_assert_eq(make_dir(rig, "/directory/new"), -EACCES);
	cr_assert_eq(symlink_path(rig, "x", "/directory/new"), -EACCES);
	cr_assert_eq(rename_path(rig, "/inside", "/directory/new", 0), -EACCES);
	cr_assert_eq(rename_path(rig, "/directory/secret", "/x", 0), -EACCES);
	cr_assert_eq(read_link(rig, "/directory/x", 10), -EACCES);
	cr_assert_geq(open_path(rig, "/in/link", O_RDONLY), 3, "a link that stays inside");

	/* Links the guest makes itself are no better. */
	cr_assert_eq(symlink_path(rig, "/etc/passwd", "/own"), 0);
	cr_assert_eq(open_path(rig, "/own", O_RDONLY), -EACCES);
	cr_assert_eq(open_path(rig, "/own", O_RDWR | O_CREAT), -EACCES);
	host_command("test -e %s.out/secret", rig->dir);
	host_command("! test -e %s.out/new", rig->dir);
	host_command("rm -rf %s.out", rig->dir);
	rig_end(rig);
}

ENGINE_TEST(read_only_mounts_files_and_two_mounts)
{
	struct rig *rig = rig_prepare(backend);
	struct uhyve_error error = { 0 };
	char text[256];

	host_command("mkdir %s.ro", rig->dir);
	host_command("echo content > %s.ro/file", rig->dir);
	(void)snprintf(text, sizeof(text), "%s.ro:/ro:ro", rig->dir);
	cr_assert_eq(uhyve_mounts_add(rig->mounts, text, &error), 0, "%s", error.text);
	(void)snprintf(text, sizeof(text), "%s.ro/file:/etc/single:ro", rig->dir);
	cr_assert_eq(uhyve_mounts_add(rig->mounts, text, &error), 0, "%s", error.text);
	rig_run(rig);

	int64_t h = open_path(rig, "/ro/file", O_RDONLY);
	cr_assert_geq(h, 3);
	cr_assert_eq(CALL(rig, READ, h, BUFFER, 100, 0), 8);
	cr_assert_eq(open_path(rig, "/ro/file", O_RDWR), -EROFS);
	cr_assert_eq(open_path(rig, "/ro/file", O_RDONLY | O_TRUNC), -EROFS);
	cr_assert_geq(open_path(rig, "/ro/file", O_RDONLY | O_CREAT), 3, "it exists");
	cr_assert_eq(open_path(rig, "/ro/file", O_CREAT | O_EXCL), -EEXIST);
	cr_assert_eq(open_path(rig, "/ro/new", O_RDWR | O_CREAT), -EROFS);
	cr_assert_eq(open_path(rig, "/ro/new", O_RDWR | O_CREAT | O_EXCL), -EROFS);
	cr_assert_eq(open_path(rig, "/ro", O_RDWR), -EISDIR);
	cr_assert_eq(make_dir(rig, "/ro/dir"), -EROFS);
	cr_assert_eq(unlink_path(rig, "/ro/file", 0), -EROFS);
	cr_assert_eq(symlink_path(rig, "x", "/ro/link"), -EROFS);
	cr_assert_eq(rename_path(rig, "/ro/file", "/ro/other", 0), -EROFS);
	cr_assert_eq(access_path(rig, "/ro/file", R_OK), 0);
	cr_assert_eq(access_path(rig, "/ro/file", W_OK), -EROFS);

	/* From one mount to another. */
	cr_assert_geq(open_path(rig, "/mine", O_RDWR | O_CREAT), 3);
	cr_assert_eq(rename_path(rig, "/mine", "/ro/mine", 0), -EROFS);

	/* A mount that is one file. */
	h = open_path(rig, "/etc/single", O_RDONLY | O_NOFOLLOW);
	cr_assert_geq(h, 3);
	cr_assert_eq(CALL(rig, READ, h, BUFFER, 100, 0), 8);
	cr_assert_eq(stat_path(rig, "/etc/single", 0), 0);
	cr_assert_eq(((struct statx *)fake_at(BUFFER))->stx_size, 8);
	cr_assert_eq(open_path(rig, "/etc/single", O_RDWR), -EROFS);
	cr_assert_eq(open_path(rig, "/etc/single/x", O_RDONLY), -ENOTDIR);
	cr_assert_eq(open_path(rig, "/etc/single", O_DIRECTORY), -ENOTDIR);
	cr_assert_eq(unlink_path(rig, "/etc/single", 0), -EROFS);
	cr_assert_eq(access_path(rig, "/etc/single", R_OK), 0);
	host_command("rm -rf %s.ro", rig->dir);
	rig_end(rig);
}

ENGINE_TEST(rename_across_mounts)
{
	struct rig *rig = rig_prepare(backend);
	struct uhyve_error error = { 0 };
	char text[256];

	host_command("mkdir %s.two", rig->dir);
	(void)snprintf(text, sizeof(text), "%s.two:/two", rig->dir);
	cr_assert_eq(uhyve_mounts_add(rig->mounts, text, &error), 0, "%s", error.text);
	rig_run(rig);
	cr_assert_geq(open_path(rig, "/file", O_RDWR | O_CREAT), 3);
	cr_assert_eq(rename_path(rig, "/file", "/two/file", 0), -EXDEV);
	cr_assert_eq(unlink_path(rig, "/two", AT_REMOVEDIR), -EBUSY);
	host_command("rm -rf %s.two", rig->dir);
	rig_end(rig);
}

ENGINE_TEST(devices_are_not_reached_through_directories)
{
	struct rig *rig = rig_prepare(backend);
	struct uhyve_error error = { 0 };

	cr_assert_eq(uhyve_mounts_add(rig->mounts, "/dev:/dev", &error), 0, "%s", error.text);
	rig_run(rig);
	int64_t h = open_path(rig, "/dev/zero", O_RDWR);
	cr_assert_geq(h, 3);
	memset(fake_at(BUFFER), 1, 8);
	cr_assert_eq(CALL(rig, READ, h, BUFFER, 8, 0), 8);
	cr_assert_eq(*(uint64_t *)fake_at(BUFFER), 0);
	h = open_path(rig, "/dev/null", O_RDWR);
	cr_assert_eq(CALL(rig, WRITE, h, BUFFER, 8, PG_OFFSET_STREAM), 8);
	cr_assert_eq(CALL(rig, READ, h, BUFFER, 8, PG_OFFSET_STREAM), 0);
	cr_assert_eq(open_path(rig, "/dev/tty", O_RDWR), -EACCES);
	cr_assert_eq(open_path(rig, "/dev/ptmx", O_RDWR), -EACCES);
	cr_assert_eq(open_path(rig, "/dev/ptmx", O_RDONLY | O_CREAT), -EACCES);
	rig_end(rig);
}

ENGINE_TEST(handles_run_out_and_come_back)
{
	struct rig *rig = rig_prepare(backend);
	struct rlimit limit = { 4096, 4096 };
	unsigned before;
	int64_t h;

	(void)setrlimit(RLIMIT_NOFILE, &limit);
	rig_run(rig);
	before = open_descriptors();
	cr_assert_eq(open_path(rig, "/file", O_RDWR | O_CREAT), 3);
	for (int i = 4; i < 1024; i++)
		cr_assert_eq(open_path(rig, "/file", O_RDONLY), i);
	cr_assert_eq(open_path(rig, "/file", O_RDONLY), -EMFILE);
	cr_assert_eq(open_path(rig, "/other", O_RDONLY | O_CREAT), -EMFILE);
	cr_assert_eq(stat_path(rig, "/other", 0), -ENOENT, "nothing was made");
	cr_assert_eq(CALL(rig, CLOSE, 500, 0), 0);
	h = open_path(rig, "/file", O_RDONLY);
	cr_assert_eq(h, 500);
	cr_assert_eq(CALL(rig, CLOSE, 1, 0), 0);
	cr_assert_eq(open_path(rig, "/file", O_RDONLY), -EMFILE, "the console's are not reused");
	cr_assert_eq(open_descriptors(), before + 1021);
	rig_end(rig);
}

/* ---- waiting ---- */

static int64_t make_fifo(struct rig *rig, int *host_end)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/fifo", rig->dir);
	cr_assert_eq(mkfifo(path, 0600), 0);
	*host_end = open(path, O_RDWR);
	cr_assert_geq(*host_end, 0);
	return open_path(rig, "/fifo", O_RDONLY);
}

ENGINE_TEST(slow_reads_stall_nothing)
{
	struct rig *rig = rig_start(backend);
	uint64_t slow[64];
	int64_t file, fifo;
	int host_end;

	file = open_path(rig, "/file", O_RDWR | O_CREAT);
	cr_assert_eq(CALL(rig, WRITE, file, BUFFER, 100, 0), 100);
	fifo = make_fifo(rig, &host_end);
	cr_assert_geq(fifo, 3);
	for (int i = 0; i < 64; i++)
		slow[i] = PUSH(rig, READ, i % 2 ? 0 : fifo, LARGE + 16 * (uint64_t)i, 1,
			       PG_OFFSET_STREAM);
	for (int i = 0; i < 200; i++) {
		cr_assert_eq(CALL(rig, READ, file, BUFFER, 100, 0), 100);
		cr_assert_geq(open_path(rig, "/file", O_RDONLY), 3);
	}
	for (int i = 0; i < 64; i++)
		cr_assert_eq(rig->times[slow[i]], 0);

	/* One byte ends one of them each. */
	for (int i = 0; i < 32; i++) {
		cr_assert_eq(write(host_end, "f", 1), 1);
		cr_assert_eq(write(rig->console[0][1], "c", 1), 1);
	}
	for (int i = 0; i < 64; i++) {
		cr_assert_eq(wait_for(rig, slow[i]), 1);
		cr_assert_eq(*(char *)fake_at(LARGE + 16 * (uint64_t)i), i % 2 ? 'c' : 'f');
	}
	close(host_end);
	rig_end(rig);
}

ENGINE_TEST(the_console)
{
	struct rig *rig = rig_start(backend);
	char text[16] = { 0 };
	uint64_t token;
	int64_t total = 0;

	put(BUFFER, "hello");
	cr_assert_eq(CALL(rig, WRITE, 1, BUFFER, 5, PG_OFFSET_STREAM), 5);
	cr_assert_eq(read(rig->console[1][0], text, sizeof(text)), 5);
	cr_assert_str_eq(text, "hello");
	cr_assert_eq(fcntl(rig->console[1][1], F_GETFL) & O_NONBLOCK, 0);
	cr_assert_eq(CALL(rig, ISATTY, 1, 0), 0);
	cr_assert_eq(CALL(rig, READ, 1, BUFFER, 1, PG_OFFSET_STREAM), -EBADF);

	/* A full pipe: the write waits, other operations do not. */
	do {
		token = PUSH(rig, WRITE, 2, LARGE, 65536, PG_OFFSET_STREAM);
		if (still_pending(rig, token))
			break;
		cr_assert_gt(rig->result[token], 0);
		total += rig->result[token];
	} while (total < (1 << 24));
	cr_assert_lt(total, 1 << 24);
	for (int64_t left = total; left > 0;) {
		static char sink[65536];
		ssize_t bytes = read(rig->console[2][0], sink, sizeof(sink));

		cr_assert_gt(bytes, 0);
		left -= bytes;
	}
	cr_assert_gt(wait_for(rig, token), 0);

	/* End of input, and nobody left to read the output. */
	close(rig->console[0][1]);
	cr_assert_eq(CALL(rig, READ, 0, BUFFER, 10, PG_OFFSET_STREAM), 0);
	close(rig->console[1][0]);
	cr_assert_eq(CALL(rig, WRITE, 1, BUFFER, 5, PG_OFFSET_STREAM), -EPIPE);
	rig->console[0][1] = rig->console[1][0] = -1;
	rig_end(rig);
}

ENGINE_TEST(a_terminal)
{
	struct rig *rig = rig_prepare(backend);
	struct winsize size = { .ws_row = 50, .ws_col = 132 };
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	uint64_t token;
	int tty;

	cr_assert_eq(grantpt(master), 0);
	cr_assert_eq(unlockpt(master), 0);
	tty = open(ptsname(master), O_RDWR | O_NOCTTY);
	cr_assert_geq(tty, 0);
	cr_assert_eq(ioctl(master, TIOCSWINSZ, &size), 0);
	rig->config.console[0] = rig->config.console[1] = tty;
	rig->config.console[2] = -1;
	rig_run(rig);

	cr_assert_eq(CALL(rig, ISATTY, 0, 0), 1);
	cr_assert_eq(CALL(rig, ISATTY, 2, 0), -EBADF);
	cr_assert_eq(CALL(rig, WINSIZE, 0, BUFFER), 0);
	cr_assert_eq(((struct winsize *)fake_at(BUFFER))->ws_col, 132);
	cr_assert_eq(CALL(rig, WINSIZE, 0, FAKE_READ_ONLY), -EFAULT);
	put(BUFFER, "out");
	cr_assert_eq(CALL(rig, WRITE, 1, BUFFER, 3, PG_OFFSET_STREAM), 3);
	token = PUSH(rig, READ, 0, BUFFER, 100, PG_OFFSET_STREAM);
	cr_assert(still_pending(rig, token));
	cr_assert_eq(write(master, "line\n", 5), 5);
	cr_assert_eq(wait_for(rig, token), 5);
	cr_assert_eq(memcmp(fake_at(BUFFER), "line\n", 5), 0);
	cr_assert_eq(fcntl(tty, F_GETFL) & O_NONBLOCK, 0);

	token = PUSH(rig, READ, 0, BUFFER, 100, PG_OFFSET_STREAM);
	cr_assert(still_pending(rig, token));
	rig_stop(rig);
	close(master);
	close(tty);
	rig_end(rig);
}

ENGINE_TEST(polling)
{
	struct rig *rig = rig_start(backend);
	uint64_t token = PUSH(rig, POLL, 0, POLLIN);

	cr_assert(still_pending(rig, token));
	cr_assert_eq(CALL(rig, POLL, 1, POLLOUT), POLLOUT);
	cr_assert_eq(write(rig->console[0][1], "x", 1), 1);
	cr_assert_eq(wait_for(rig, token), POLLIN);
	cr_assert_eq(CALL(rig, POLL, 99, POLLIN), -EBADF);
	close(rig->console[1][0]);
	cr_assert_eq(CALL(rig, POLL, 1, 0), POLLERR);
	rig->console[1][0] = -1;
	rig_end(rig);
}

ENGINE_TEST(opening_a_fifo_waits_for_the_other_end)
{
	struct rig *rig = rig_start(backend);
	uint64_t token;
	char path[128];
	int host_end;

	(void)snprintf(path, sizeof(path), "%s/fifo", rig->dir);
	cr_assert_eq(mkfifo(path, 0600), 0);
	cr_assert_eq(open_path(rig, "/fifo", O_WRONLY | O_NONBLOCK), -ENXIO);
	token = PUSH(rig, OPENAT, -1, PATH_A, put(PATH_A, "/fifo"), O_RDONLY, 0);
	cr_assert(still_pending(rig, token));
	host_end = open(path, O_WRONLY);
	cr_assert_geq(host_end, 0);
	cr_assert_geq(wait_for(rig, token), 3);
	close(host_end);
	cr_assert_eq(CALL(rig, READ, rig->result[token], BUFFER, 1, PG_OFFSET_STREAM), 0);

	/* O_NONBLOCK: asked for by the guest, so it gets what it asked for. */
	int64_t h = open_path(rig, "/fifo", O_RDONLY | O_NONBLOCK);
	host_end = open(path, O_WRONLY);
	cr_assert_eq(CALL(rig, READ, h, BUFFER, 1, PG_OFFSET_STREAM), -EAGAIN);
	close(host_end);
	rig_end(rig);
}

ENGINE_TEST(cancelling)
{
	struct rig *rig = rig_start(backend);
	uint64_t read_token, poll_token, other;

	cr_assert_eq(CALL(rig, CANCEL, 0, 12345), -ENOENT);
	read_token = PUSH(rig, READ, 0, BUFFER, 100, PG_OFFSET_STREAM);
	poll_token = PUSH(rig, POLL, 0, POLLIN);
	cr_assert(still_pending(rig, read_token));
	cr_assert_eq(CALL(rig, CANCEL, 0, read_token), 0);
	cr_assert_eq(wait_for(rig, read_token), -ECANCELED);
	cr_assert_eq(rig->times[poll_token], 0);
	cr_assert_eq(CALL(rig, CANCEL, 0, poll_token), 0);
	cr_assert_eq(wait_for(rig, poll_token), -ECANCELED);
	cr_assert_eq(CALL(rig, CANCEL, 0, poll_token), -ENOENT);

	/* Another vCPU's operation is not found. */
	other = PUSH(rig, POLL, 0, POLLIN);
	push_on(rig, 1,
		(struct pg_sqe){ .op = PG_OP_CANCEL, .user_data = 20000, .arg = { other } });
	while (!pop_on(rig, 1))
		park_on(rig, 1);
	cr_assert_eq(rig->result[20000], -ENOENT);
	cr_assert(still_pending(rig, other));

	/* What was cancelled takes no input. */
	cr_assert_eq(write(rig->console[0][1], "abc", 3), 3);
	cr_assert_eq(wait_for(rig, other), POLLIN);
	cr_assert_eq(CALL(rig, READ, 0, BUFFER, 100, PG_OFFSET_STREAM), 3);
	rig_end(rig);
}

/* A cancel that races with the data: one completion, and the data is not lost. */
ENGINE_TEST(cancelling_in_a_race)
{
	struct rig *rig = rig_start(backend);

	for (int i = 0; i < 300; i++) {
		uint64_t read_token, cancel;
		int64_t result, cancelled;

		read_token = PUSH(rig, READ, 0, BUFFER, 100, PG_OFFSET_STREAM);
		if (i % 3)
			cr_assert(still_pending(rig, read_token));
		cr_assert_eq(write(rig->console[0][1], "x", 1), 1);
		cancel = PUSH(rig, CANCEL, 0, read_token);
		result = wait_for(rig, read_token);
		cancelled = wait_for(rig, cancel);
		if (result == -ECANCELED)
			cr_assert_eq(CALL(rig, READ, 0, BUFFER, 100, PG_OFFSET_STREAM), 1);
		else
			cr_assert_eq(result, 1);
		if (cancelled == 0)
			cr_assert_eq(result, -ECANCELED);
		else
			cr_assert(cancelled == -ENOENT || cancelled == -EALREADY);
	}
	rig_end(rig);
}

ENGINE_TEST(closing_while_reading)
{
	struct rig *rig = rig_start(backend);
	unsigned before = open_descriptors();
	int host_end;
	int64_t h = make_fifo(rig, &host_end);
	uint64_t token = PUSH(rig, READ, h, BUFFER, 10, PG_OFFSET_STREAM);

	cr_assert(still_pending(rig, token));
	cr_assert_eq(CALL(rig, CLOSE, h, 0), 0);
	/* The number is another file's now; the read goes on with the old one. */
	cr_assert_eq(open_path(rig, "/file", O_RDWR | O_CREAT), h);
	cr_assert_eq(write(host_end, "late", 4), 4);
	cr_assert_eq(wait_for(rig, token), 4);
	cr_assert_eq(CALL(rig, CLOSE, h, 0), 0);
	close(host_end);
	rig_stop(rig);
	cr_assert_lt(open_descriptors(), before);
	rig_end(rig);
}

/* ---- memory ---- */

ENGINE_TEST(memory_operations)
{
	struct rig *rig = rig_start(backend);
	uint64_t token;

	cr_assert_eq(CALL(rig, MAP, 0, 0x200000, 0x3000, PG_PROT_READ | PG_PROT_WRITE), 0);
	cr_assert_str_eq(fake_mmu.last, "map");
	cr_assert_eq(fake_mmu.va, 0x200000);
	cr_assert_eq(fake_mmu.length, 0x3000);
	cr_assert_eq(fake_mmu.prot, PG_PROT_READ | PG_PROT_WRITE);
	cr_assert_eq(CALL(rig, PROTECT, 0, 0x200000, 0x1000, PG_PROT_EXEC), 0);
	cr_assert_str_eq(fake_mmu.last, "protect");
	cr_assert_eq(CALL(rig, DISCARD, 0, 0x200000, 0x1000), 0);
	cr_assert_str_eq(fake_mmu.last, "discard");
	cr_assert_eq(CALL(rig, UNMAP, 0, PG_VA_USER_END - 0x1000, 0x1000), 0);
	cr_assert_str_eq(fake_mmu.last, "unmap");
	cr_assert_eq(fake_mmu.calls, 4);

	cr_assert_eq(CALL(rig, MAP, 0, 0x200001, 0x1000, 0), -EINVAL);
	cr_assert_eq(CALL(rig, MAP, 0, 0x200000, 0x1001, 0), -EINVAL);
	cr_assert_eq(CALL(rig, MAP, 0, 0x200000, 0, 0), -EINVAL);
	cr_assert_eq(CALL(rig, MAP, 0, 0, 0x1000, 0), -EINVAL);
	cr_assert_eq(CALL(rig, UNMAP, 0, PG_VA_MIN - 0x1000, 0x2000), -EINVAL);
	cr_assert_eq(CALL(rig, UNMAP, 0, PG_VA_USER_END, 0x1000), -EINVAL);
	cr_assert_eq(CALL(rig, PROTECT, 0, PG_VA_USER_END - 0x1000, 0x2000, 1), -EINVAL);
	cr_assert_eq(CALL(rig, DISCARD, 0, 0x200000, -4096ull), -EINVAL);
	cr_assert_eq(CALL(rig, MAP, 0, 0x200000, 0x1000, 16), -EINVAL);
	cr_assert_eq(CALL(rig, PROTECT, 0, 0x200000, 0x1000, PG_PROT_GROWSDOWN), -EINVAL);
	cr_assert_eq(CALL(rig, MAP, 0, 0x200000, 0x1000, 1ull << 32), -EINVAL);
	cr_assert_eq(CALL(rig, MAP, 0, 0x200000, 0x1000, PG_PROT_WRITE | PG_PROT_EXEC), -EACCES);
	cr_assert_eq(fake_mmu.calls, 4, "nothing of that has reached the tables");

	/* A buffer of an operation in flight: its frames must not become anything else. */
	token = PUSH(rig, READ, 0, BUFFER, 100, PG_OFFSET_STREAM);
	cr_assert(still_pending(rig, token));
	cr_assert_eq(CALL(rig, UNMAP, 0, BUFFER, 0x1000), -EBUSY);
	cr_assert_eq(CALL(rig, PROTECT, 0, BUFFER - 0x1000, 0x2000, PG_PROT_EXEC), -EBUSY);
	cr_assert_eq(CALL(rig, PROTECT, 0, BUFFER, 0x1000, PG_PROT_READ), 0);
	cr_assert_eq(CALL(rig, UNMAP, 0, BUFFER + 0x1000, 0x1000), 0);
	cr_assert_eq(CALL(rig, CANCEL, 0, token), 0);
	cr_assert_eq(wait_for(rig, token), -ECANCELED);
	cr_assert_eq(CALL(rig, UNMAP, 0, BUFFER, 0x1000), 0);
	rig_end(rig);
}

/* ---- guests that break the rules ---- */

static void expect_violation(struct rig *rig, const char *word)
{
	uint64_t one = 1;

	for (int i = 0; i < WAIT_MS && !atomic_load(&rig->violated); i++) {
		cr_assert_eq(write(rig->config.doorbell_fd, &one, sizeof(one)), sizeof(one));
		usleep(1000);
	}
	cr_assert(atomic_load(&rig->violated));
	cr_assert(strstr(rig->reason, word), "%s", rig->reason);
	rig_end(rig);
}

ENGINE_TEST(violation_submission_tail)
{
	struct rig *rig = rig_start(backend);

	cr_assert_eq(CALL(rig, NOP, 0, 0), 0);
	atomic_store(&rig->memory[0]->ring.sq_tail, PG_SQ_DEPTH + 2);
	expect_violation(rig, "submission queue");
}

ENGINE_TEST(violation_completion_head)
{
	struct rig *rig = rig_start(backend);

	atomic_store(&rig->memory[0]->ring.cq_head, 5);
	atomic_store(&rig->memory[0]->ring.sq_tail, 1);
	expect_violation(rig, "completion queue");
}

ENGINE_TEST(violation_outstanding)
{
	struct rig *rig = rig_start(backend);
	uint64_t last = 0;

	/* All that is allowed, without taking a completion: reads that wait, and NOPs. */
	for (int i = 0; i < PG_CQ_DEPTH; i++) {
		while (pg_sq_full(&rig->memory[0]->ring))
			usleep(100);
		last = i % 2 ? PUSH(rig, NOP, 0, 0)
			     : PUSH(rig, READ, 0, BUFFER, 1, PG_OFFSET_STREAM);
	}
	wait_for(rig, last);
	cr_assert_not(atomic_load(&rig->violated));
	while (pop_on(rig, 0))
		;
	/* 128 reads are in flight; one more than the rest is too much. */
	for (int i = 0; i <= PG_CQ_DEPTH / 2; i++) {
		while (pg_sq_full(&rig->memory[0]->ring) && !atomic_load(&rig->violated))
			usleep(100);
		if (atomic_load(&rig->violated))
			break;
		(void)PUSH(rig, NOP, 0, 0);
	}
	expect_violation(rig, "outstanding");
}

/* Entries of random bits, some of them near the truth. */
static uint64_t some_argument(void)
{
	switch (random() % 8) {
	case 0:
		return (uint64_t)random() << 33 | (uint64_t)random();
	case 1:
		return UINT64_MAX - (uint64_t)random() % 5;
	case 2:
		return FAKE_VA + (uint64_t)random() % FAKE_SIZE;
	case 3:
		return FAKE_END - (uint64_t)random() % 100;
	case 4:
		return 1ull << random() % 64;
	case 5:
		return PATH_A;
	default:
		return (uint64_t)random() % 200;
	}
}

ENGINE_TEST(garbage_is_answered)
{
	struct rig *rig = rig_prepare(backend);
	struct pg_ring *ring = &rig->memory[0]->ring;
	unsigned pushed = 0, popped = 0, count = 20000;
	struct rlimit limit = { 4096, 4096 };

	/* Output nobody reads would fill up; input never comes. */
	rig->config.console[1] = open("/dev/null", O_WRONLY | O_CLOEXEC);
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	rig_run(rig);
	srandom(20261123);
	for (uint64_t i = 0; i < FAKE_SIZE / 8; i++)
		((uint64_t *)fake_mmu.memory)[i] = (uint64_t)random() % 4 ? 0 : some_argument();

	while (popped < count) {
		while (pushed < count && pushed - popped < 100 && !pg_sq_full(ring)) {
			struct pg_sqe entry = {
				.op = (uint16_t)(random() % 40),
				.flags = random() % 16 == 0,
				.handle = (int32_t)(random() % 12) - 2,
			};

			for (int i = 0; i < 6; i++)
				entry.arg[i] = some_argument();
			memcpy(fake_at(PATH_A), "/aaa/../b/c", 11);
			/* What waits for ever is cancelled below, one token each. */
			(void)push(rig, entry);
			pushed++;
		}
		if (pop_on(rig, 0)) {
			popped++;
			continue;
		}
		/* All that is left waits: for input, the other end of something, or the clock. */
		usleep(200);
		if (pg_cq_ready(ring))
			continue;
		for (uint64_t token = 1; token <= rig->token; token++) {
			if (rig->times[token])
				continue;
			push_on(rig, 0,
				(struct pg_sqe){ .op = PG_OP_CANCEL,
						 .user_data = MAX_TOKENS - 1,
						 .arg = { token } });
			while (!rig->times[MAX_TOKENS - 1]) {
				if (!pop_on(rig, 0))
					park_on(rig, 0);
				else
					popped++;
			}
			popped--; /* the cancel itself */
			rig->times[MAX_TOKENS - 1] = 0;
		}
	}
	cr_assert_not(atomic_load(&rig->violated));
	for (uint64_t token = 1; token <= count; token++)
		cr_assert_eq(rig->times[token], 1, "entry %lu", (unsigned long)token);
	close(rig->config.console[1]);
	rig_end(rig);
}

/* ---- start, stop, sleep ---- */

ENGINE_TEST(stop_while_everything_waits)
{
	unsigned before = open_descriptors();
	struct rig *rig = rig_start(backend);
	int64_t fifo, file;
	uint8_t *memory;
	int host_end;

	fifo = make_fifo(rig, &host_end);
	file = open_path(rig, "/file", O_RDWR | O_CREAT);
	host_command("mkfifo %s/lonely", rig->dir);
	for (int i = 0; i < 20; i++) {
		PUSH(rig, READ, fifo, BUFFER, 10, PG_OFFSET_STREAM);
		PUSH(rig, READ, 0, BUFFER, 10, PG_OFFSET_STREAM);
		PUSH(rig, POLL, 0, POLLIN);
		PUSH(rig, FSYNC, file, 0);
	}
	/* More than there are workers: some of them have not even begun. */
	for (int i = 0; i < 40; i++)
		PUSH(rig, OPENAT, -1, PATH_B, put(PATH_B, "/lonely"), O_RDONLY, 0);
	/* All taken by the engine; the pause lets workers get as far as the open itself. */
	cr_assert_eq(CALL(rig, NOP, 0, 0), 0);
	usleep(20000);
	rig_stop(rig);

	/* Nothing touches the guest any more. */
	memory = fake_at(BUFFER);
	memset(memory, 0x55, 10);
	cr_assert_eq(write(host_end, "0123456789", 10), 10);
	cr_assert_eq(write(rig->console[0][1], "0123456789", 10), 10);
	usleep(1000);
	cr_assert_eq(memory[0], 0x55);
	close(host_end);
	rig_end(rig);
	cr_assert_eq(open_descriptors(), before);
}

ENGINE_TEST(start_and_stop_leave_nothing)
{
	unsigned before = open_descriptors();

	for (int i = 0; i < 5; i++) {
		struct rig *rig = rig_start(backend);

		cr_assert_geq(open_path(rig, "/file", O_RDWR | O_CREAT), 3);
		rig_end(rig);
	}
	uhyve_engine_stop(NULL);
	cr_assert_eq(open_descriptors(), before);
}

ENGINE_TEST(a_start_that_fails)
{
	struct rig *rig = rig_prepare(backend);
	unsigned before = open_descriptors();
	struct uhyve_error error = { 0 };

	rig->config.console[1] = 4000;
	cr_assert_eq(uhyve_engine_start(&rig->engine, &rig->config, &error), -EBADF);
	cr_assert_eq(error.code, -EBADF);
	cr_assert_gt(strlen(error.text), 0);
	cr_assert_eq(open_descriptors(), before);

	/* No descriptors for the backend. */
	rig->config.console[1] = -1;
	struct rlimit old, limit;
	(void)getrlimit(RLIMIT_NOFILE, &old);
	limit = (struct rlimit){ (rlim_t)dup(0) + 1, old.rlim_max };
	close((int)limit.rlim_cur - 1);
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	error = (struct uhyve_error){ 0 };
	cr_assert_lt(uhyve_engine_start(&rig->engine, &rig->config, &error), 0);
	cr_assert_gt(strlen(error.text), 0);
	(void)setrlimit(RLIMIT_NOFILE, &old);
	cr_assert_eq(open_descriptors(), before);
	rig_end(rig);
}

Test(engine, auto_takes_what_there_is, .timeout = 60)
{
	struct rig *rig = rig_prepare(UHYVE_BACKEND_AUTO);
	struct uhyve_error error = { 0 };

	cr_assert_eq(uhyve_engine_start(&rig->engine, &rig->config, &error), 0, "%s", error.text);
	cr_assert_eq(error.code, 0, "a fallback is no error");
	cr_assert_eq(CALL(rig, NOP, 0, 0), 0);
	rig_end(rig);
}

Test(engine, a_host_without_io_uring, .timeout = 60)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	struct rig *rig = rig_prepare(UHYVE_BACKEND_URING);
	struct uhyve_error error = { 0 };

	cr_assert_eq(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(io_uring_setup), 0),
		     0);
	cr_assert_eq(seccomp_load(filter), 0);
	seccomp_release(filter);
	cr_assert_eq(uhyve_engine_start(&rig->engine, &rig->config, &error), -EPERM);
	cr_assert(strstr(error.text, "io_uring"), "%s", error.text);

	rig->config.backend = UHYVE_BACKEND_AUTO;
	error = (struct uhyve_error){ 0 };
	cr_assert_eq(uhyve_engine_start(&rig->engine, &rig->config, &error), 0, "%s", error.text);
	cr_assert_str_eq(uhyve_engine_backend(rig->engine), "threads");
	cr_assert_eq(CALL(rig, NOP, 0, 0), 0);
	rig_end(rig);
}

/* Both sides sleep whenever they can; results come inline, from the backend, from workers. */
ENGINE_TEST(no_wake_up_is_lost)
{
	struct rig *rig = rig_prepare(backend);
	int64_t file;

	rig->config.spin_ns = 0;
	rig_run(rig);
	file = open_path(rig, "/file", O_RDWR | O_CREAT);
	for (int i = 0; i < 5000; i++) {
		uint64_t token = 0;

		for (int burst = i % 3; burst >= 0; burst--)
			token = PUSH(rig, NOP, 0, 0);
		if (i % 16 == 0) {
			token = PUSH(rig, READ, 0, BUFFER, 1, PG_OFFSET_STREAM);
			cr_assert_eq(write(rig->console[0][1], "x", 1), 1);
		} else if (i % 16 == 8) {
			token = PUSH(rig, FTRUNCATE, file, (uint64_t)i);
		}
		cr_assert_geq(wait_for(rig, token), 0);
	}
	cr_assert_gt(atomic_load(&rig->stats.sleeps), 0);
	cr_assert_gt(atomic_load(&rig->stats.doorbells), 0);
	cr_assert_gt(atomic_load(&rig->stats.interrupts), 0);
	rig_end(rig);
}

/* Indices that wrap around: the engine goes on where the rings are. */
ENGINE_TEST(indices_wrap_around)
{
	struct rig *rig = rig_prepare(backend);
	struct pg_ring *ring = &rig->memory[0]->ring;

	atomic_store(&ring->sq_head, UINT32_MAX - 50);
	atomic_store(&ring->sq_tail, UINT32_MAX - 50);
	atomic_store(&ring->cq_head, UINT32_MAX - 70);
	atomic_store(&ring->cq_tail, UINT32_MAX - 70);
	rig_run(rig);
	for (int i = 0; i < 200; i++)
		cr_assert_eq(CALL(rig, NOP, 0, 0), 0);
	cr_assert_eq(atomic_load(&ring->sq_head), 149);
	rig_end(rig);
}
