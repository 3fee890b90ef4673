/*
 * What Linux's system calls on files mean by their numbers, and the structures
 * they fill in (x86-64). Our own names, so that the unit tests may include libc's headers.
 */
#ifndef PG_LINUX_H
#define PG_LINUX_H

#include <stdint.h>

#include "include/pagurus/statx.h"

/* open(2) */
#define PG_O_RDONLY    0
#define PG_O_WRONLY    1
#define PG_O_RDWR      2
#define PG_O_ACCMODE   3
#define PG_O_CREAT     0100
#define PG_O_EXCL      0200
#define PG_O_NOCTTY    0400
#define PG_O_TRUNC     01000
#define PG_O_APPEND    02000
#define PG_O_NONBLOCK  04000
#define PG_O_DSYNC     010000
#define PG_O_DIRECT    040000
#define PG_O_LARGEFILE 0100000
#define PG_O_DIRECTORY 0200000
#define PG_O_NOFOLLOW  0400000
#define PG_O_NOATIME   01000000
#define PG_O_CLOEXEC   02000000
#define PG_O_SYNC      04010000
#define PG_O_PATH      010000000
#define PG_O_TMPFILE   020200000

/* *at(2) */
#define PG_AT_FDCWD            (-100)
#define PG_AT_SYMLINK_NOFOLLOW 0x100
#define PG_AT_EACCESS          0x200
#define PG_AT_REMOVEDIR        0x200
#define PG_AT_NO_AUTOMOUNT     0x800
#define PG_AT_EMPTY_PATH       0x1000
#define PG_AT_STATX_SYNC_TYPE  0x6000

#define PG_R_OK 4
#define PG_W_OK 2
#define PG_X_OK 1

#define PG_RENAME_NOREPLACE 1
#define PG_RENAME_EXCHANGE  2
#define PG_RENAME_WHITEOUT  4

#define PG_S_IFMT  0170000
#define PG_S_IFDIR 0040000
#define PG_S_IFCHR 0020000
#define PG_S_IFREG 0100000
#define PG_S_IFIFO 0010000

#define PG_SEEK_SET  0
#define PG_SEEK_CUR  1
#define PG_SEEK_END  2
#define PG_SEEK_HOLE 4

#define PG_POLLIN     0x001
#define PG_POLLPRI    0x002
#define PG_POLLOUT    0x004
#define PG_POLLERR    0x008
#define PG_POLLHUP    0x010
#define PG_POLLNVAL   0x020
#define PG_POLLRDNORM 0x040
#define PG_POLLWRNORM 0x100

/* One read or write moves at most this many bytes. */
#define PG_RW_MAX 0x7ffff000u

/* readv(2) and its relatives take at most this many pieces. */
#define PG_UIO_MAXIOV 1024

#define PG_STATX_BASIC_STATS 0x7ffu
#define PG_STATX_RESERVED    0x80000000u

struct pg_stat {
	uint64_t dev, ino, nlink;
	uint32_t mode, uid, gid, pad;
	uint64_t rdev;
	int64_t size, blksize, blocks;
	int64_t atime, atime_ns;
	int64_t mtime, mtime_ns;
	int64_t ctime, ctime_ns;
	int64_t reserved[3];
};

_Static_assert(sizeof(struct pg_stat) == 144, "as Linux's struct stat");

struct pg_pollfd {
	int32_t fd;
	int16_t events, revents;
};

#endif
