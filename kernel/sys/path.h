/*
 * Paths: from what the program says to what the loader takes, which is absolute.
 *
 * The loader knows no working directory: relative paths are completed here, with the
 * kernel's, or with the path by which a directory's descriptor was opened. Like the
 * loader's mounts, this resolves ".." by the names alone: it leads back out of a symbolic
 * link to a directory.
 */
#ifndef PG_PATH_H
#define PG_PATH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "abi/ops.h"

/* ---- directories that are remembered ---- */

/* An absolute path without "//", "." and "..". Never changes; counted references. */
struct pg_path {
	_Atomic uint32_t refs;
	uint32_t length; /* without the terminating zero                    */
	char text[];
};

/* From an absolute path of any form. One reference, the caller's; NULL: no memory. */
struct pg_path *pg_path_new(const char *text, uint32_t length);

struct pg_path *pg_path_ref(struct pg_path *path);
void pg_path_put(struct pg_path *path); /* NULL is fine */

/* The working directory of the process, with a reference for the caller. */
struct pg_path *pg_cwd(void);

/* Set it; takes the caller's reference over. */
void pg_cwd_set(struct pg_path *path);

/* The initial one is the loader's choice: pg_boot->cwd. 0 or -ENOMEM. */
int pg_cwd_init(void);

/* ---- a path for one call ---- */

#define PG_PATH_SMALL 240

/* All zero at first. Lives in a system call's frame; longer paths get memory. */
struct pg_path_buffer {
	char *text; /* `small`, or allocated; NULL: nothing yet             */
	uint32_t length;
	char small[PG_PATH_SMALL];
};

/*
 * Complete the path at the user address `path`: an absolute one in `buffer`, terminated.
 * `dirfd` is a descriptor or PG_AT_FDCWD, looked at for relative paths only. An empty path
 * gives length 0 with `may_be_empty` (so does a null pointer then), -ENOENT without.
 * -EFAULT, -ENAMETOOLONG, -EBADF, -ENOTDIR, -ENOMEM. Whatever it returns, the buffer is
 * to be released.
 */
int pg_path_resolve(struct pg_path_buffer *buffer, int dirfd, uint64_t path, bool may_be_empty);

/* Only copy it: the text of a symbolic link. Errors as above. */
int pg_path_copy(struct pg_path_buffer *buffer, uint64_t path);

/* Free what it holds. The loader has nothing to do with it any more. */
void pg_path_release(struct pg_path_buffer *buffer);

#endif
