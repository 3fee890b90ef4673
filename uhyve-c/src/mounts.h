/*
 * What the guest sees of the host's files: directories and files the user has
 * mapped, and nothing else. Each mapped directory is an open O_PATH descriptor,
 * and every lookup goes beneath it (openat2 RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS).
 */
#ifndef UHYVE_MOUNTS_H
#define UHYVE_MOUNTS_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

struct uhyve_mounts;

/* An empty set; NULL when memory is short. */
struct uhyve_mounts *uhyve_mounts_new(void);
void uhyve_mounts_free(struct uhyve_mounts *mounts);

/*
 * Add what a `host[:guest[:ro|rw]]` specification says. `guest` is absolute; without
 * it a directory appears at "/" and a file at "/name". Writable unless "ro".
 * Neither path may contain ':'. Errors with a sentence: host path missing, guest path
 * relative or taken, a file at "/", malformed specification.
 */
int uhyve_mounts_add(struct uhyve_mounts *mounts, const char *specification,
		     struct uhyve_error *error);

/*
 * Find the mount with the longest guest prefix of `path` (absolute; "." and ".." are
 * resolved lexically). On success: `*dirfd` is the mount's descriptor (borrowed),
 * `rest` (at least PG_PATH_MAX + 1 bytes) the path below it, "." for the mount itself;
 * `*is_file` when the mount is a single file (then dirfd is that file's own O_PATH
 * descriptor and rest is ""). -ENOENT: not under any mount (a directory that only
 * leads to a mount point is not listed; see CAVEATS). -ENOTDIR: below a single file, or a
 * single file as a directory ("/file/"). -EINVAL: not absolute. -ENAMETOOLONG. A '/' that
 * `path` ends in (or "/.", "/..") is kept at the end of `rest`, so that the host refuses a
 * file there. Any thread, once nothing is added any more.
 */
int uhyve_mounts_find(const struct uhyve_mounts *mounts, const char *path, int *dirfd, char *rest,
		      bool *read_only, bool *is_file);

#endif
