/*
 * Events of files that live in the kernel, and who is told of them.
 *
 * Such a file has a lock, which guards its state. It tells of changes twice:
 *
 *	pg_spin_lock(file->lock);
 *	... change the state ...
 *	pg_events_changed_locked(file, &wake);
 *	pg_spin_unlock(file->lock);
 *	pg_task_list_enqueue(&wake);
 *	pg_events_tell(file, PG_POLLIN | ...);
 *
 * The first one is for those that poll: they look at the state under the lock, and are in
 * file->pollers only if they did not find what they want. The second is for epolls (epoll.h),
 * which have a lock of their own: it must not be taken under the file's.
 *
 * The file's `events` reads its state as it is: atomic fields, relaxed. Under the file's lock that
 * is exact. An epoll looks without it, and may see an old state: then whoever changed it
 * has yet to tell, and the epoll looks again.
 */
#ifndef PG_EVENTS_H
#define PG_EVENTS_H

#include "file.h"
#include "core/task.h"

/* pg_file_ops.ready of these files: on a struct pg_ready. */
enum pg_poll pg_events_poll(struct pg_future *future, struct pg_task *waker);
void pg_events_drop(struct pg_future *future);

#define PG_EVENTS_READY                                                                            \
	{                                                                                          \
		pg_events_poll, pg_events_drop                                                     \
	}

/* What fstat tells of files without a name: a number, and that is all. */
void pg_events_stat(struct pg_file *file, struct pg_statx *to);

/* Give a new file a descriptor; or put it, and return -EMFILE. */
int64_t pg_events_install(struct pg_file *file, bool cloexec);

/* With file->lock held. What is to be enqueued is appended to `wake`. */
static inline void pg_events_changed_locked(struct pg_file *file, struct pg_task_list *wake)
{
	if (file->pollers.head)
		pg_waitq_notify_locked(&file->pollers, SIZE_MAX, PG_NOTIFIED_ALL, wake);
}

/* epoll.c: tell the epolls that `file` is in of `events`; 0: that `expires` has changed. */
void pg_watch_tell(struct pg_file *file, uint32_t events);

/* epoll.c: the program has read or written; for files of the loader. */
void pg_watch_touched(struct pg_file *file);

/* epoll.c: the last reference is gone. Take it out of all epolls. */
void pg_watch_forget(struct pg_file *file);

/*
 * After file->lock was released. Whoever adds the file to an epoll sets `watched`, and looks at the
 * file under file->lock only then. So the load, which comes after our taking that
 * lock, may be relaxed: if it finds nothing, our change is seen there.
 */
static inline void pg_events_tell(struct pg_file *file, uint32_t events)
{
	if (atomic_load_explicit(&file->watched, memory_order_relaxed))
		pg_watch_tell(file, events);
}

/* The program has read or written a file of the loader. Relaxed: any order is right. */
static inline void pg_events_touched(struct pg_file *file)
{
	if (atomic_load_explicit(&file->watched, memory_order_relaxed))
		pg_watch_touched(file);
}

#endif
