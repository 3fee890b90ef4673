/*
 * Pipes: a ring of bytes between the threads of the program.
 *
 * One lock guards all of a pipe. It is held for at most PG_PIPE_BUF bytes at a time, which
 * are copied under it: that is what makes writes of so many bytes atomic. Nothing is
 * allocated after pipe() but by F_SETPIPE_SZ.
 *
 * A reader or writer that waits is woken when there is something for it, the longest
 * waiting first; one that has been served wakes the next one if anything is left, and one
 * that was chosen and gives up passes its turn on.
 *
 * Unlike Linux's, a pipe holds as many bytes as it says, in whatever pieces they came. There
 * is no packet mode (O_DIRECT: -EINVAL).
 */
#ifndef PG_PIPE_H
#define PG_PIPE_H

#include <stdint.h>

#define PG_PIPE_BUF     4096
#define PG_PIPE_DEFAULT 65536
#define PG_PIPE_MAX     (1u << 20)

struct pg_file;
struct pg_task;

/* F_SETPIPE_SZ and F_GETPIPE_SZ: the size, or -EBADF: it is no pipe of the kernel. Any vCPU. */
int64_t pg_pipe_set_size(struct pg_file *file, uint64_t size);
int64_t pg_pipe_size(struct pg_file *file);

/*
 * The thread of this task has written where nobody reads: send it SIGPIPE. During its poll, under
 * no lock. Doesn't return if the signal ends the process. In a file of its own, pipe_broken.c,
 * since tests run pipes without threads.
 */
void pg_pipe_broken(struct pg_task *task);

#endif
