/*
 * The backend without io_uring: workers for what blocks, and one thread, the poller,
 * that waits for all descriptors that are not ready.
 */
#include "backend.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "thread.h"

struct threads {
	struct uhyve_io io;
	struct uhyve_inbox *inbox;
	struct uhyve_workers *workers;
	pthread_t poller;
	int changed_fd;     /* eventfd: `waiting` has grown, or it is time to stop */
	struct pollfd *fds; /* the poller's own: changed_fd, then one per request */

	pthread_mutex_t lock; /* guards all below                             */
	struct uhyve_queue waiting;
	bool stopping;
};

static struct threads *threads_of(struct uhyve_io *io)
{
	return (struct threads *)io;
}

/* The lock is held. */
static void finish(struct threads *threads, struct uhyve_request *request, int64_t result)
{
	uhyve_queue_remove(&threads->waiting, request);
	request->result = result;
	uhyve_inbox_put(threads->inbox, request);
}

/* Fill the array; how many descriptors. The lock is held. */
static nfds_t collect(struct threads *threads)
{
	nfds_t count = 1;

	for (struct uhyve_request *at = threads->waiting.first; at; at = at->next) {
		at->poll_slot = (int)count;
		threads->fds[count++] = (struct pollfd){ .fd = at->fd, .events = at->events };
	}
	return count;
}

/*
 * Requests may have come and gone while the array was waited on: the list says who is
 * there, and a newcomer has no slot yet. The lock is held.
 */
static void finish_ready(struct threads *threads)
{
	struct uhyve_request *next;

	for (struct uhyve_request *at = threads->waiting.first; at; at = next) {
		next = at->next;
		if (at->poll_slot >= 0 && threads->fds[at->poll_slot].revents)
			finish(threads, at, threads->fds[at->poll_slot].revents);
	}
}

static void *poller_main(void *argument)
{
	struct threads *threads = argument;

	pthread_mutex_lock(&threads->lock);
	while (!threads->stopping) {
		nfds_t count = collect(threads);
		int ready;

		pthread_mutex_unlock(&threads->lock);
		ready = poll(threads->fds, count, -1);
		if (ready > 0 && threads->fds[0].revents) {
			uint64_t ignored;
			ssize_t bytes = read(threads->changed_fd, &ignored, sizeof(ignored));

			(void)bytes;
		}
		pthread_mutex_lock(&threads->lock);
		if (ready > 0)
			finish_ready(threads);
	}
	pthread_mutex_unlock(&threads->lock);
	return NULL;
}

static void tell_poller(struct threads *threads)
{
	uint64_t one = 1;
	ssize_t ignored = write(threads->changed_fd, &one, sizeof(one));

	(void)ignored; /* the counter is full: the poller is being woken anyway */
}

static void threads_submit(struct uhyve_io *io, struct uhyve_request *request)
{
	struct threads *threads = threads_of(io);

	if (request->step != UHYVE_STEP_WAIT) {
		uhyve_workers_submit(threads->workers, request);
		return;
	}
	request->poll_slot = -1;
	pthread_mutex_lock(&threads->lock);
	uhyve_queue_add(&threads->waiting, request);
	pthread_mutex_unlock(&threads->lock);
	tell_poller(threads);
}

static void threads_flush(struct uhyve_io *io)
{
}

static struct uhyve_request *threads_reap(struct uhyve_io *io)
{
	return NULL;
}

static int64_t threads_cancel(struct uhyve_io *io, struct uhyve_request *target,
			      struct uhyve_request *canceller)
{
	struct threads *threads = threads_of(io);
	bool found;

	if (target->step != UHYVE_STEP_WAIT)
		return uhyve_workers_cancel(threads->workers, target) ? 0 : -EALREADY;
	pthread_mutex_lock(&threads->lock);
	found = uhyve_queue_has(&threads->waiting, target);
	if (found)
		finish(threads, target, -ECANCELED);
	pthread_mutex_unlock(&threads->lock);
	return found ? 0 : -EALREADY;
}

static void threads_free(struct threads *threads)
{
	if (threads->changed_fd >= 0)
		close(threads->changed_fd);
	pthread_mutex_destroy(&threads->lock);
	free(threads->fds);
	free(threads);
}

static void threads_stop(struct uhyve_io *io)
{
	struct threads *threads = threads_of(io);

	pthread_mutex_lock(&threads->lock);
	threads->stopping = true;
	while (threads->waiting.first)
		finish(threads, threads->waiting.first, -ECANCELED);
	pthread_mutex_unlock(&threads->lock);
	tell_poller(threads);
	pthread_join(threads->poller, NULL);
	threads_free(threads);
}

static const struct uhyve_io_ops threads_ops = {
	.name = "threads",
	.submit = threads_submit,
	.flush = threads_flush,
	.reap = threads_reap,
	.cancel = threads_cancel,
	.stop = threads_stop,
};

int uhyve_threads_start(struct uhyve_io **io, struct uhyve_inbox *inbox,
			struct uhyve_workers *workers, unsigned requests, struct uhyve_error *error)
{
	struct threads *threads = calloc(1, sizeof(*threads));
	int code;

	if (!threads)
		return uhyve_fail(error, -ENOMEM, "out of memory");
	pthread_mutex_init(&threads->lock, NULL);
	threads->io.ops = &threads_ops;
	threads->io.fd = -1;
	threads->inbox = inbox;
	threads->workers = workers;
	threads->fds = calloc(requests + 1, sizeof(*threads->fds));
	threads->changed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!threads->fds || threads->changed_fd < 0) {
		code = threads->fds ? -errno : -ENOMEM;
		threads_free(threads);
		return uhyve_fail(error, code, "the threads backend has no memory or descriptors");
	}
	threads->fds[0] = (struct pollfd){ .fd = threads->changed_fd, .events = POLLIN };
	code = uhyve_thread_start(&threads->poller, "uhyve-poller", poller_main, threads);
	if (code) {
		threads_free(threads);
		return uhyve_fail(error, code, "cannot start a thread: %s", strerror(-code));
	}
	*io = &threads->io;
	return 0;
}
