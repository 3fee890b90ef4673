/*
 * The table of file descriptors: one, since there is one process.
 *
 * Of fixed size (RLIMIT_NOFILE): pages of it that are never used are never backed by
 * the host. One spinlock; a descriptor is found, and its file referenced, under it.
 * Any vCPU, and nothing here waits.
 */
#ifndef PG_FD_H
#define PG_FD_H

#include <stdbool.h>
#include <stdint.h>

struct pg_file;

#define PG_FD_MAX 1024

/* The console on 0, 1 and 2, and the working directory. Once, at boot. 0 or -ENOMEM. */
int pg_files_init(void);

/*
 * Take the lowest free descriptor from `from` on: -EMFILE if there is none. It is not
 * to be used (-EBADF) before pg_fd_install() has given it a file, or it is unreserved.
 */
int pg_fd_reserve(uint32_t from, bool cloexec);
void pg_fd_install(int fd, struct pg_file *file); /* takes the caller's reference over */
void pg_fd_unreserve(int fd);

/* The file, with a reference for the caller. NULL: -EBADF. Not for those opened with O_PATH. */
struct pg_file *pg_fd_get(int fd);

/* Any file. */
struct pg_file *pg_fd_get_any(int fd);

/* Free the descriptor. Its reference is the caller's then. NULL: -EBADF. */
struct pg_file *pg_fd_remove(int fd);

/*
 * Put `file` there, whatever `fd` was before: that goes to `*old` (or NULL), with its
 * reference. Takes the caller's reference over. -EBADF (out of range) and -EBUSY (an
 * open is about to use it) leave everything as it was.
 */
int pg_fd_replace(int fd, struct pg_file *file, bool cloexec, struct pg_file **old);

/* FD_CLOEXEC: 0, 1 or -EBADF; 0 or -EBADF. */
int pg_fd_cloexec(int fd);
int pg_fd_set_cloexec(int fd, bool cloexec);

#endif
