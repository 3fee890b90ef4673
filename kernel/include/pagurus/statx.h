/* What Linux's statx tells about a file: not every C library has it. Shared by kernel and tasks. */
#ifndef PAGURUS_STATX_H
#define PAGURUS_STATX_H

#include <stdint.h>

#define PG_STATX_BASIC 0x7ff /* mask: all that stat tells (Linux's STATX_BASIC_STATS) */

struct pg_statx_time {
	int64_t seconds;
	uint32_t nanoseconds;
	int32_t reserved;
};

struct pg_statx {
	uint32_t mask;
	uint32_t blksize;
	uint64_t attributes;
	uint32_t nlink;
	uint32_t uid, gid;
	uint16_t mode;
	uint16_t reserved0;
	uint64_t ino, size, blocks;
	uint64_t attributes_mask;
	struct pg_statx_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor;
	uint32_t dev_major, dev_minor;
	uint64_t reserved1[14];
};

_Static_assert(sizeof(struct pg_statx) == 256, "as Linux's struct statx");

#endif
