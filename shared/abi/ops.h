/*
 * Operations a guest can ask the loader for.
 *
 * Addresses are guest-virtual. The loader translates them through the page
 * tables it keeps for the guest, with the permissions found there: an operation
 * can't write where the program itself could not (-EFAULT). Names, flags and
 * results are Linux's (x86-64). An operation not listed gives -ENOSYS.
 *
 * Buffers: at most PG_IO_MAX bytes are moved by one operation; more is asked
 * for in pieces (a read or write may be short, as on Linux). A buffer must stay
 * mapped until its completion has arrived, cancelled or not.
 *
 * Paths: (address, length) without a terminating zero, absolute, at most
 * PG_PATH_MAX bytes, no zero byte inside. They name what the user has mapped,
 * and never lead out of it.
 *
 * Completions: each entry gets exactly one, whatever becomes of it: a cancelled operation its
 * result or -ECANCELED, a CANCEL its own. There is none for deadlines: see ring.h, Looking.
 *
 * Busy memory: UNMAP, and PROTECT to executable, of memory that an operation under way
 * uses give -EBUSY: wait for that operation, or cancel it, and ask again.
 *
 * Handles: small non-negative integers given out by PG_OP_OPENAT. 0, 1 and 2
 * are the console: the loader's standard input, output and error.
 *
 * op                handle  arg[0]  arg[1]  arg[2]  arg[3]  arg[4]  result
 */
#ifndef PG_ABI_OPS_H
#define PG_ABI_OPS_H

#include <stdint.h>

#define PG_IO_MAX   (1u << 20)
#define PG_PATH_MAX 4096
#define PG_IOV_MAX  64

/* Offset argument of reads and writes: use (and move) the stream's position. */
#define PG_OFFSET_STREAM UINT64_MAX

/* X(number, NAME, arguments): one place for the enum, its names and docs. */
#define PG_OPS(X)                                                                                  \
	X(0, NOP, "-")                                                                             \
	X(1, READ, "handle, buffer, length, offset -> bytes")                                      \
	X(2, WRITE, "handle, buffer, length, offset -> bytes")                                     \
	X(3, READV, "handle, struct pg_iovec[], count, offset -> bytes")                           \
	X(4, WRITEV, "handle, struct pg_iovec[], count, offset -> bytes")                          \
	X(5, OPENAT, "path, length, flags, mode -> handle")                                        \
	X(6, CLOSE, "handle -> 0")                                                                 \
	X(7, STATX, "handle (or -1), path, length, struct statx *, AT_* flags, mask -> 0")         \
	X(8, GETDENTS, "handle, buffer, length -> bytes of struct linux_dirent64")                 \
	X(9, FSYNC, "handle, 1 for data only -> 0")                                                \
	X(10, FTRUNCATE, "handle, length -> 0")                                                    \
	X(11, UNLINKAT, "path, length, AT_REMOVEDIR or 0 -> 0")                                    \
	X(12, MKDIRAT, "path, length, mode -> 0")                                                  \
	X(13, RENAMEAT, "old path, length, new path, length, RENAME_* flags -> 0")                 \
	X(14, READLINKAT, "path, length, buffer, length -> bytes")                                 \
	X(15, FACCESSAT, "path, length, mode, flags -> 0")                                         \
	X(16, LSEEK, "handle, offset, SEEK_* -> position")                                         \
	X(17, POLL, "handle, POLL* events -> events")                                              \
	X(18, CANCEL, "user_data of an operation of this vCPU -> 0, -ENOENT or -EALREADY")         \
	X(19, MAP, "address, length, PG_PROT_* -> 0: fresh zeroed memory where nothing is mapped") \
	X(20, PROTECT, "address, length, PG_PROT_* -> 0: pages that are not mapped are skipped")   \
	X(21, UNMAP, "address, length -> 0: the memory goes back to the host")                     \
	X(22, DISCARD, "address, length -> 0: contents become zero, mapping stays")                \
	X(23, ISATTY, "handle -> 1 or 0")                                                          \
	X(24, WINSIZE, "handle, struct winsize * -> 0")                                            \
	X(25, SYMLINKAT, "target, length, path, length -> 0")

enum pg_op {
#define PG_OP_ENUM(number, name, args) PG_OP_##name = (number),
	PG_OPS(PG_OP_ENUM)
#undef PG_OP_ENUM
	PG_OP_COUNT
};

/* Page permissions. Writable and executable together is refused (-EACCES). */
#define PG_PROT_READ  1
#define PG_PROT_WRITE 2
#define PG_PROT_EXEC  4

/* With MAP, as well: it is used from its upper end on, as a stack is. A hint. */
#define PG_PROT_GROWSDOWN 8

/* As Linux's struct iovec. */
struct pg_iovec {
	uint64_t base;
	uint64_t length;
};

_Static_assert(sizeof(struct pg_iovec) == 16, "as Linux's struct iovec");

#endif
