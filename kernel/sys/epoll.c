/*
 * epoll. A watch is a file in an epoll; it is in two lists, its file's and its epoll's, and in
 * a third one, the epoll's `ready`, while there may be something to tell of it.
 *
 * Files in the kernel tell of their changes (events.h): that puts their watches into `ready`,
 * wakes somebody who waits, and goes on to epolls that watch this one. So edges are
 * counted where they happen. What is in `ready` is looked at before it is told: a
 * level-triggered watch leaves the list only when its file turns out not to be ready.
 *
 * A timer's expiration is nobody's doing. Whoever waits for an epoll has an alarm for the nearest
 * one among its watches, and puts those that are due into `ready` itself.
 *
 * A file of the loader has a task for each watch, which has one PG_OP_POLL outstanding: its
 * completion is the change. What it has said is told once, then the loader is asked again:
 * at once if level-triggered, after the program has read or written if edge-triggered.
 *
 * One lock guards all epolls and watches: a change may go from a file to several epolls, and from
 * there to others, and none of them may end meanwhile. It is taken for files that are
 * watched only. No other lock is taken under it; so files are looked at without theirs.
 *
 * Lifetime. A watch refers to its file and its epoll without a reference of its own:
 * the last reference to either takes it out first. Both is done under the lock, so
 * a watch that is found in a list has a file and an epoll whose memory is there.
 */
#include "core/container.h"
#include "core/port.h"
#include "core/spinlock.h"
#include "core/task.h"
#include "events.h"
#include "fd.h"
#include "linux.h"
#include "mm/heap.h"
#include "syscall.h"
#include "time.h"
#include "timespec.h"
#include "user.h"
#include "wait_files.h"

#define CTL_ADD 1
#define CTL_DEL 2
#define CTL_MOD 3

#define EPOLLEXCLUSIVE (1u << 28)
#define EPOLLWAKEUP    (1u << 29)
#define EPOLLONESHOT   (1u << 30)
#define EPOLLET        (1u << 31)

/* How to tell, as opposed to what. */
#define HOW (EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET)

/* What may go with EPOLLEXCLUSIVE. */
#define WITH_EXCLUSIVE (PG_POLLIN | PG_POLLOUT | ALWAYS | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE)

#define ALWAYS   (PG_POLLERR | PG_POLLHUP)
#define READABLE (PG_POLLIN | PG_POLLRDNORM)

/* Epolls in a row that watch each other, at most. */
#define NEST_MAX 6

/* More events than any program has room for: Linux's limit. */
#define EVENTS_MAX (INT32_MAX / (int32_t)sizeof(struct event))

/* Told to the program at a time; more go in several steps. */
#define WINDOW 32

struct __attribute__((packed)) event {
	uint32_t events;
	uint64_t data;
};

_Static_assert(sizeof(struct event) == 12, "as Linux's struct epoll_event");

struct epoll;

/* Intrusive, with both ends; a link's own `prev` and `next` are NULL outside. */
struct link {
	struct link *prev, *next;
};

struct list {
	struct link *head, *tail;
};

/* All by the lock. */
struct pg_watch {
	struct pg_watch *next_of_file;
	struct link of_epoll, in_ready, in_timed;
	struct epoll *epoll; /* NULL: it was taken out                              */
	struct pg_file *file;
	int fd;
	bool ready;          /* in the epoll's `ready`                                */
	bool timed;          /* in the epoll's `timed`                                */
	uint32_t events;     /* as the program asked, with ALWAYS; without: ONESHOT is over */
	uint64_t data;       /* the program's                                         */
	uint64_t told;       /* the last epoll_wait that was told of it               */
	uint64_t seen;       /* timers: the expiration that was noticed, or PG_NEVER ... */
			     /* ... epolls: how many expirations were noticed of theirs   */
	struct asker *asker; /* files of the loader                                 */
};

struct epoll {
	struct pg_file file;
	struct list watches, ready;
	struct list timed; /* watches whose files change by themselves: timers, epolls */
	uint64_t noticed;  /* expirations found by look_at_timers()                    */
	struct pg_waitq waiters;
};

static struct pg_spinlock lock;
static uint64_t serial; /* of epoll_wait; by the lock */

static const struct pg_file_ops ops;

static struct epoll *epoll_of(const struct pg_file *file)
{
	return pg_container_of(file, struct epoll, file);
}

static bool is_epoll(const struct pg_file *file)
{
	return file->ops == &ops;
}

/* ---- lists ---- */

static void append(struct list *list, struct link *link)
{
	link->next = NULL;
	link->prev = list->tail;
	if (list->tail)
		list->tail->next = link;
	else
		list->head = link;
	list->tail = link;
}

static void take_out(struct list *list, struct link *link)
{
	if (link->prev)
		link->prev->next = link->next;
	else
		list->head = link->next;
	if (link->next)
		link->next->prev = link->prev;
	else
		list->tail = link->prev;
	link->prev = NULL;
	link->next = NULL;
}

/* ---- files of the loader: a task that asks ---- */

/*
 * One for each watch of such a file, on the vCPU that added it. Ended by the one who takes the
 * watch out; then the task frees it all.
 */
struct asker {
	struct pg_task task;
	struct pg_async async;
	struct pg_hypercall call;
	struct pg_settle settle;
	int32_t handle; /* the file's: it may be gone before we are */
	struct pg_watch watch;
	/* By the lock. */
	struct pg_waitq waiting; /* the task, for `wanted` */
	struct pg_waiter waiter;
	bool wanted;    /* ask (again)                       */
	bool changed;   /* what is asked for has changed      */
	uint32_t found; /* what the loader has said           */
};

static void tell_watch(struct pg_watch *watch, unsigned depth, struct pg_task_list *wake);

/* The loader is to be asked again, maybe for something else. The lock is held. */
static void ask_again(struct asker *asker, bool changed, struct pg_task_list *wake)
{
	asker->found = 0;
	asker->wanted = true;
	asker->changed |= changed;
	pg_waitq_notify_locked(&asker->waiting, 1, PG_NOTIFIED_ALL, wake);
}

/* Is the loader to be asked? If not, we are told when it is. */
static bool take_wanted(struct asker *asker, struct pg_task *waker, uint32_t *events)
{
	bool wanted;

	pg_spin_lock(&lock);
	*events = asker->watch.events & ~HOW;
	wanted = asker->wanted && *events;
	asker->wanted = false;
	asker->changed = false;
	if (!wanted)
		pg_waitq_add_locked(&asker->waiting, &asker->waiter, waker);
	pg_spin_unlock(&lock);
	return wanted;
}

/* While it is being asked: is it for something else now? If not, we are told when it is. */
static bool is_changed(struct asker *asker, struct pg_task *waker)
{
	bool changed;

	pg_spin_lock(&lock);
	changed = asker->changed;
	if (!changed)
		pg_waitq_add_locked(&asker->waiting, &asker->waiter, waker);
	pg_spin_unlock(&lock);
	return changed;
}

static void answered(struct asker *asker)
{
	struct pg_task_list wake = { 0 };
	int64_t result = asker->call.result;

	if (result == -ECANCELED)
		return;
	pg_spin_lock(&lock);
	/*
	 * Not if the question is out of date, or was answered otherwise (take_answers); and not
	 * if the watch was taken out, and we are about to be cancelled.
	 */
	if (!asker->wanted && !asker->found && asker->watch.epoll) {
		asker->found = result > 0 ? (uint32_t)result : PG_POLLERR;
		tell_watch(&asker->watch, 0, &wake);
	}
	pg_spin_unlock(&lock);
	pg_task_list_enqueue(&wake);
}

/* Never READY by itself. */
static enum pg_poll ask(struct pg_future *future, struct pg_task *waker)
{
	struct asker *asker = pg_container_of(future, struct asker, async.future);
	uint32_t events;

	for (;;) {
		if (!asker->async.awaiting) {
			if (!take_wanted(asker, waker, &events))
				return PG_PENDING;
			pg_hypercall_init(&asker->call, PG_OP_POLL, asker->handle, events);
			asker->async.awaiting = &asker->call.future;
		}
		if (asker->async.awaiting == &asker->call.future) {
			if (pg_future_poll(asker->async.awaiting, waker) == PG_PENDING) {
				if (!is_changed(asker, waker))
					return PG_PENDING;
				pg_future_drop(&asker->call.future);
				pg_settle_init(&asker->settle, &asker->call);
				asker->async.awaiting = &asker->settle.future;
				continue;
			}
		} else if (pg_future_poll(asker->async.awaiting, waker) == PG_PENDING) {
			return PG_PENDING;
		}
		asker->async.awaiting = NULL;
		answered(asker);
	}
}

static void ask_drop(struct pg_future *future)
{
	struct asker *asker = pg_container_of(future, struct asker, async.future);

	pg_spin_lock(&lock);
	pg_waitq_remove_locked(&asker->waiting, &asker->waiter);
	pg_spin_unlock(&lock);
	pg_async_drop(future);
}

static const struct pg_future_ops ask_ops = { ask, ask_drop };

static void asked(struct pg_task *task)
{
	pg_free(pg_container_of(task, struct asker, task));
}

/* ---- changes: the lock is held ---- */

static void tell_waiters(struct epoll *epoll, unsigned depth, size_t count,
			 struct pg_task_list *wake)
{
	if (epoll->waiters.head)
		pg_waitq_notify_locked(&epoll->waiters, count,
				       count == 1 ? PG_NOTIFIED_ONE : PG_NOTIFIED_ALL, wake);
	pg_events_changed_locked(&epoll->file, wake);
	/* No deeper than they could be nested. */
	if (depth >= NEST_MAX)
		return;
	for (struct pg_watch *above = epoll->file.watches; above; above = above->next_of_file) {
		if (count > 1)
			tell_waiters(above->epoll, depth + 1, count, wake);
		else if (above->events & READABLE)
			tell_watch(above, depth + 1, wake);
	}
}

static void set_ready(struct pg_watch *watch)
{
	if (!watch->ready)
		append(&watch->epoll->ready, &watch->in_ready);
	watch->ready = true;
}

static void set_not_ready(struct pg_watch *watch)
{
	if (watch->ready)
		take_out(&watch->epoll->ready, &watch->in_ready);
	watch->ready = false;
}

static void tell_watch(struct pg_watch *watch, unsigned depth, struct pg_task_list *wake)
{
	if (!(watch->events & ~HOW))
		return;
	set_ready(watch);
	tell_waiters(watch->epoll, depth, 1, wake);
}

void pg_watch_tell(struct pg_file *file, uint32_t events)
{
	struct pg_task_list wake = { 0 };
	struct pg_watch *watch;
	bool served = false;

	pg_spin_lock(&lock);
	for (watch = file->watches; watch; watch = watch->next_of_file) {
		if (!events) {
			watch->seen = PG_NEVER;
			tell_waiters(watch->epoll, 0, SIZE_MAX, &wake);
			continue;
		}
		if ((watch->events & events) && !(watch->events & EPOLLEXCLUSIVE))
			tell_watch(watch, 0, &wake);
	}
	/* Of those that want to be alone, one with somebody who waits; if there is none, all. */
	for (watch = file->watches; watch && events && !served; watch = watch->next_of_file) {
		if ((watch->events & events) && (watch->events & EPOLLEXCLUSIVE)) {
			served = watch->epoll->waiters.head;
			tell_watch(watch, 0, &wake);
		}
	}
	pg_spin_unlock(&lock);
	pg_task_list_enqueue(&wake);
}

void pg_watch_touched(struct pg_file *file)
{
	struct pg_task_list wake = { 0 };

	pg_spin_lock(&lock);
	for (struct pg_watch *watch = file->watches; watch; watch = watch->next_of_file) {
		if (!watch->asker)
			continue;
		/* What the loader has said, or is about to say, may not be so any more. */
		if (watch->asker->found) {
			set_not_ready(watch);
			ask_again(watch->asker, false, &wake);
		}
		watch->asker->wanted = true;
	}
	pg_spin_unlock(&lock);
	pg_task_list_enqueue(&wake);
}

/* Take it out of all lists. The lock is held; the watch is the caller's then. */
static void unlink_watch(struct pg_watch *watch)
{
	struct pg_watch **at = &watch->file->watches;

	while (*at != watch)
		at = &(*at)->next_of_file;
	*at = watch->next_of_file;
	/* Relaxed: see pg_events_tell(). */
	if (!watch->file->watches)
		atomic_store_explicit(&watch->file->watched, false, memory_order_relaxed);
	set_not_ready(watch);
	take_out(&watch->epoll->watches, &watch->of_epoll);
	if (watch->timed)
		take_out(&watch->epoll->timed, &watch->in_timed);
	watch->epoll = NULL;
}

/* It is in no list. Not with the lock held. */
static void free_watch(struct pg_watch *watch)
{
	if (watch->asker)
		pg_task_cancel(&watch->asker->task);
	else
		pg_free(watch);
}

void pg_watch_forget(struct pg_file *file)
{
	struct pg_watch *watch;

	do {
		pg_spin_lock(&lock);
		watch = file->watches;
		if (watch)
			unlink_watch(watch);
		pg_spin_unlock(&lock);
		if (watch)
			free_watch(watch);
	} while (watch);
}

/* ---- looking: the lock is held ---- */

static uint32_t events_of(struct pg_watch *watch)
{
	uint32_t events =
		watch->asker ? watch->asker->found : watch->file->ops->events(watch->file);

	return events & watch->events & ~HOW;
}

static uint64_t look_at_timers(struct epoll *epoll);

/* The watch of a timer, or of an epoll: when there is something to see, or PG_NEVER. */
static uint64_t look_at_timer(struct pg_watch *watch, uint64_t now)
{
	uint64_t time;
	bool news;

	if (is_epoll(watch->file)) {
		struct epoll *inner = epoll_of(watch->file);

		time = look_at_timers(inner);
		news = inner->noticed != watch->seen;
		watch->seen = inner->noticed;
	} else {
		time = watch->file->ops->expires(watch->file);
		news = time <= now && time != PG_NEVER && time != watch->seen;
		if (news)
			watch->seen = time;
		if (time <= now)
			time = PG_NEVER;
	}
	if (news) {
		set_ready(watch);
		watch->epoll->noticed++;
	}
	return time;
}

/* Timers that are due become ready. The next time to do this, or PG_NEVER. */
static uint64_t look_at_timers(struct epoll *epoll)
{
	uint64_t next = PG_NEVER, now = epoll->timed.head ? pg_port_now() : 0;

	for (struct link *link = epoll->timed.head; link; link = link->next) {
		struct pg_watch *watch = pg_container_of(link, struct pg_watch, in_timed);
		uint64_t time = PG_NEVER;

		if (watch->events & ~HOW)
			time = look_at_timer(watch, now);
		if (time < next)
			next = time;
	}
	return next;
}

static uint32_t epoll_events(struct pg_file *file)
{
	struct epoll *epoll = epoll_of(file);
	struct link *link;

	(void)look_at_timers(epoll);
	while ((link = epoll->ready.head)) {
		struct pg_watch *watch = pg_container_of(link, struct pg_watch, in_ready);

		if (events_of(watch))
			return READABLE;
		set_not_ready(watch);
	}
	return 0;
}

static uint64_t epoll_expires(struct pg_file *file)
{
	return look_at_timers(epoll_of(file));
}

/* One watch with events becomes one event to tell. */
static bool tell(struct pg_watch *watch, struct event *event, struct pg_task_list *wake)
{
	uint32_t events = events_of(watch);

	set_not_ready(watch);
	if (!events)
		return false;
	event->events = events;
	event->data = watch->data;
	if (watch->events & EPOLLONESHOT)
		watch->events &= HOW;
	else if (watch->asker && !(watch->events & EPOLLET))
		ask_again(watch->asker, false, wake);
	else if (!(watch->events & EPOLLET))
		set_ready(watch); /* at the end: looked at again next time */
	return true;
}

/* Up to `room` events, each watch once in all steps of `call`. */
static uint32_t collect(struct epoll *epoll, struct event *event, uint32_t room, uint64_t call,
			struct pg_task_list *wake)
{
	uint32_t count = 0;
	struct link *link;

	while (count < room && (link = epoll->ready.head)) {
		struct pg_watch *watch = pg_container_of(link, struct pg_watch, in_ready);

		if (watch->told == call)
			break;
		if (tell(watch, &event[count], wake)) {
			watch->told = call;
			count++;
		}
	}
	return count;
}

/* ---- epoll_wait ---- */

struct wait_frame {
	struct pg_future any; /* READY: there are events in `event`, or the time is over */
	struct pg_file *file;
	struct pg_wait_files asking;
	struct pg_waiter waiter;
	struct pg_alarm alarm;
	uint64_t deadline; /* 0: don't wait; PG_NEVER */
	uint64_t call;     /* see collect()           */
	uint64_t address;
	uint32_t room, told, count;
	struct event event[WINDOW];
};

static void wait_cleanup(struct pg_syscall *call)
{
	struct wait_frame *frame = PG_FRAME(call, struct wait_frame);

	pg_wait_files_free(&frame->asking);
	pg_file_put(frame->file);
}

/* Events into the frame: how many. If there are none, and `waker` is given, be told of them. */
static uint32_t look(struct wait_frame *frame, struct pg_task *waker, uint64_t *next)
{
	struct epoll *epoll = epoll_of(frame->file);
	uint32_t left = frame->room - frame->told;
	struct pg_task_list wake = { 0 };

	pg_spin_lock(&lock);
	pg_waitq_remove_locked(&epoll->waiters, &frame->waiter);
	if (!frame->call)
		frame->call = ++serial;
	*next = look_at_timers(epoll);
	frame->count =
		collect(epoll, frame->event, left < WINDOW ? left : WINDOW, frame->call, &wake);
	if (!frame->count && waker)
		pg_waitq_add_locked(&epoll->waiters, &frame->waiter, waker);
	else if (epoll->ready.head && epoll->waiters.head)
		pg_waitq_notify_locked(&epoll->waiters, 1, PG_NOTIFIED_ONE, &wake);
	pg_spin_unlock(&lock);
	pg_task_list_enqueue(&wake);
	return frame->count;
}

static enum pg_poll any_poll(struct pg_future *future, struct pg_task *waker)
{
	struct wait_frame *frame = pg_container_of(future, struct wait_frame, any);
	uint64_t next;

	for (;;) {
		if (look(frame, frame->deadline ? waker : NULL, &next) || !frame->deadline)
			break;
		if (frame->deadline < next)
			next = frame->deadline;
		if (pg_alarm_poll(&frame->alarm, next, waker) == PG_PENDING)
			return PG_PENDING;
		/* A timer, or the end: then look once more. */
		if (pg_port_now() >= frame->deadline)
			frame->deadline = 0;
	}
	pg_alarm_drop(&frame->alarm);
	return PG_READY;
}

static void any_drop(struct pg_future *future)
{
	struct wait_frame *frame = pg_container_of(future, struct wait_frame, any);
	struct epoll *epoll = epoll_of(frame->file);
	struct pg_task_list wake = { 0 };

	pg_alarm_drop(&frame->alarm);
	pg_spin_lock(&lock);
	if (pg_waitq_remove_locked(&epoll->waiters, &frame->waiter) && epoll->ready.head)
		pg_waitq_notify_locked(&epoll->waiters, 1, PG_NOTIFIED_ONE, &wake);
	pg_spin_unlock(&lock);
	pg_task_list_enqueue(&wake);
}

static const struct pg_future_ops any_ops = { any_poll, any_drop };

/*
 * Without waiting: the loader may not have said yet what is ready. Ask it about the watches
 * that are not known to be. 0, or -ENOMEM.
 */
static int prepare_asking(struct wait_frame *frame)
{
	struct epoll *epoll = epoll_of(frame->file);
	uint32_t count = 0, index = 0;
	struct link *link;
	int code;

	pg_spin_lock(&lock);
	for (link = epoll->watches.head; link; link = link->next)
		count += pg_container_of(link, struct pg_watch, of_epoll)->asker != NULL;
	pg_spin_unlock(&lock);
	code = pg_wait_files_alloc(&frame->asking, count);
	if (code || !count)
		return code;
	pg_spin_lock(&lock);
	for (link = epoll->watches.head; link && index < count; link = link->next) {
		struct pg_watch *watch = pg_container_of(link, struct pg_watch, of_epoll);
		uint32_t events = watch->events & ~HOW;

		/* An edge that was told already is none. */
		if (watch->asker && events && !watch->asker->found &&
		    pg_file_try_ref(watch->file)) {
			pg_wait_files_set(&frame->asking, index, watch->file, events);
			index++;
		}
	}
	pg_spin_unlock(&lock);
	pg_wait_files_start(&frame->asking);
	return 0;
}

static void take_answers(struct wait_frame *frame)
{
	struct epoll *epoll = epoll_of(frame->file);
	struct pg_task_list wake = { 0 };

	pg_spin_lock(&lock);
	for (uint32_t i = 0; i < frame->asking.count; i++) {
		const struct pg_wait_file *entry = &frame->asking.file[i];
		struct pg_watch *watch =
			entry->file && entry->revents ? entry->file->watches : NULL;

		for (; watch; watch = watch->next_of_file) {
			if (watch->epoll != epoll || !watch->asker || watch->asker->found)
				continue;
			watch->asker->found = entry->revents;
			tell_watch(watch, 0, &wake);
		}
	}
	pg_spin_unlock(&lock);
	pg_task_list_enqueue(&wake);
}

static int64_t start_wait(struct pg_syscall *call, struct wait_frame *frame)
{
	int32_t room = (int32_t)call->arg[2];

	if (room <= 0 || room > EVENTS_MAX)
		return -EINVAL;
	frame->file = pg_fd_get((int)call->arg[0]);
	if (!frame->file)
		return -EBADF;
	call->cleanup = wait_cleanup;
	if (!is_epoll(frame->file))
		return -EINVAL;
	frame->address = call->arg[1];
	frame->room = (uint32_t)room;
	frame->any.ops = &any_ops;
	return 0;
}

/* What was found goes to the program, and so does what else there is. The result. */
static int64_t finish_wait(struct wait_frame *frame)
{
	uint64_t next;

	while (frame->count) {
		uint32_t bytes = frame->count * (uint32_t)sizeof(struct event);

		if (pg_user_write(frame->address, frame->event, bytes))
			return frame->told ? (int64_t)frame->told : -EFAULT;
		frame->address += bytes;
		frame->told += frame->count;
		frame->count = 0;
		if (frame->told < frame->room)
			(void)look(frame, NULL, &next);
	}
	return frame->told;
}

/*
 * A signal has interrupted it. Nothing was taken out of the epoll: a look that finds events ends
 * the wait, and the next look finds the others.
 */
static int64_t wait_interrupt(struct pg_syscall *call)
{
	return -EINTR;
}

/* frame->deadline is set. */
PG_ASYNC static enum pg_poll wait_for(struct pg_syscall *call, struct pg_task *waker)
{
	struct wait_frame *frame = PG_FRAME(call, struct wait_frame);
	int64_t code;

	PG_BEGIN(&call->async);
	code = start_wait(call, frame);
	if (code)
		PG_FINISH(call, code);
	call->interrupt = wait_interrupt;
	PG_AWAIT(&call->async, &frame->any, waker);
	/* From here on it ends soon, with what there is: signals come too late. */
	call->interrupt = NULL;
	if (!frame->count) {
		code = prepare_asking(frame);
		if (code)
			PG_FINISH(call, code);
		if (frame->asking.count) {
			PG_AWAIT(&call->async, &frame->asking.async.future, waker);
			take_answers(frame);
			frame->deadline = 0;
			PG_AWAIT(&call->async, &frame->any, waker);
		}
	}
	PG_FINISH(call, finish_wait(frame));
}

static bool first_poll(const struct pg_syscall *call)
{
	return !call->async.resume;
}

static uint64_t milliseconds(uint64_t timeout)
{
	int32_t ms = (int32_t)timeout;

	if (ms < 0)
		return PG_NEVER;
	return ms ? pg_time_after((uint64_t)ms * 1000000) : 0;
}

/* epoll_pwait's mask, if there is one. */
static int set_mask(struct pg_syscall *call)
{
	return call->arg[4] ? pg_signal_mask_during(call, call->arg[4], call->arg[5]) : 0;
}

PG_WAITING_CALL(epoll_wait, struct wait_frame)
{
	if (first_poll(call))
		PG_FRAME(call, struct wait_frame)->deadline = milliseconds(call->arg[3]);
	return wait_for(call, waker);
}

PG_WAITING_CALL(epoll_pwait, struct wait_frame)
{
	if (first_poll(call)) {
		int code = set_mask(call);

		if (code)
			PG_FINISH(call, code);
		PG_FRAME(call, struct wait_frame)->deadline = milliseconds(call->arg[3]);
	}
	return wait_for(call, waker);
}

PG_WAITING_CALL(epoll_pwait2, struct wait_frame)
{
	if (first_poll(call)) {
		struct wait_frame *frame = PG_FRAME(call, struct wait_frame);
		int code = pg_timeout_read(call->arg[3], &frame->deadline);

		if (!code)
			code = set_mask(call);
		if (code)
			PG_FINISH(call, code);
	}
	return wait_for(call, waker);
}

/* ---- epoll_ctl ---- */

struct ctl_frame {
	struct pg_file *file, *target;
	struct pg_hypercall call;
	struct pg_statx statx;
	struct event event;
};

static void ctl_cleanup(struct pg_syscall *call)
{
	struct ctl_frame *frame = PG_FRAME(call, struct ctl_frame);

	pg_file_put(frame->file);
	pg_file_put(frame->target);
}

/* The lock is held. */
static struct pg_watch *find(struct epoll *epoll, struct pg_file *file, int fd)
{
	struct pg_watch *watch = file->watches;

	while (watch && (watch->epoll != epoll || watch->fd != fd))
		watch = watch->next_of_file;
	return watch;
}

/* Epolls in a row from this one on, downwards; more than NEST_MAX if it leads to `to`. */
static unsigned depth_below(const struct epoll *epoll, const struct epoll *to, unsigned depth)
{
	unsigned deepest = depth;

	if (epoll == to)
		return NEST_MAX + 1;
	for (struct link *link = epoll->timed.head; link && deepest <= NEST_MAX;
	     link = link->next) {
		struct pg_watch *watch = pg_container_of(link, struct pg_watch, in_timed);
		unsigned below;

		if (!is_epoll(watch->file))
			continue;
		below = depth_below(epoll_of(watch->file), to, depth + 1);
		if (below > deepest)
			deepest = below;
	}
	return deepest;
}

static unsigned height_above(const struct epoll *epoll, unsigned height)
{
	unsigned highest = height;
	struct pg_watch *watch = epoll->file.watches;

	for (; watch && highest <= NEST_MAX; watch = watch->next_of_file) {
		unsigned above = height_above(watch->epoll, height + 1);

		if (above > highest)
			highest = above;
	}
	return highest;
}

/* The lock is held. The watch is in the lists afterwards, and nothing is known of its file. */
static int link_watch(struct pg_watch *watch)
{
	struct epoll *epoll = watch->epoll;
	struct pg_file *file = watch->file;
	struct pg_watch **at = &file->watches;

	if (find(epoll, file, watch->fd)) {
		watch->epoll = NULL;
		return -EEXIST;
	}
	if (is_epoll(file) &&
	    depth_below(epoll_of(file), epoll, 1) + height_above(epoll, 1) > NEST_MAX) {
		watch->epoll = NULL;
		return -ELOOP;
	}
	while (*at)
		at = &(*at)->next_of_file;
	*at = watch;
	/* Relaxed: the file's lock, which we take next, orders it (pg_events_tell()). */
	atomic_store_explicit(&file->watched, true, memory_order_relaxed);
	append(&epoll->watches, &watch->of_epoll);
	watch->timed = file->ops->expires;
	if (watch->timed)
		append(&epoll->timed, &watch->in_timed);
	return 0;
}

/* After a watch was added or changed: is there something already? Changes from now on are told. */
static void look_first(struct epoll *epoll, struct pg_file *file, int fd)
{
	struct pg_task_list wake = { 0 };
	struct pg_watch *watch;
	uint32_t events = 0;

	if (file->lock && !file->ops->expires) {
		pg_spin_lock(file->lock);
		events = file->ops->events(file);
		pg_spin_unlock(file->lock);
	} else if (file->ops->events && !file->lock) {
		events = file->ops->events(file); /* always the same */
	}
	pg_spin_lock(&lock);
	if (is_epoll(file))
		events = file->ops->events(file);
	watch = find(epoll, file, fd);
	if (watch && watch->asker)
		ask_again(watch->asker, true, &wake);
	else if (watch && (events & watch->events))
		tell_watch(watch, 0, &wake);
	if (watch && watch->timed) {
		/* Those that wait have another time to look at. */
		watch->seen = is_epoll(file) ? epoll_of(file)->noticed : PG_NEVER;
		tell_waiters(epoll, 0, SIZE_MAX, &wake);
	}
	pg_spin_unlock(&lock);
	pg_task_list_enqueue(&wake);
}

static struct pg_watch *new_watch(struct ctl_frame *frame, int fd)
{
	struct asker *asker = NULL;
	struct pg_watch *watch;

	if (frame->target->handle >= 0) {
		asker = pg_alloc_zero(sizeof(*asker));
		watch = asker ? &asker->watch : NULL;
	} else {
		watch = pg_alloc_zero(sizeof(*watch));
	}
	if (!watch)
		return NULL;
	if (asker)
		asker->handle = frame->target->handle;
	watch->asker = asker;
	watch->epoll = epoll_of(frame->file);
	watch->file = frame->target;
	watch->fd = fd;
	watch->events = frame->event.events | ALWAYS;
	watch->data = frame->event.data;
	return watch;
}

static int64_t add(struct ctl_frame *frame, int fd)
{
	struct pg_watch *watch = new_watch(frame, fd);
	int code;

	if (!watch)
		return -ENOMEM;
	/* It waits to be told to ask. From now on it is ended, not freed. */
	if (watch->asker) {
		pg_async_init(&watch->asker->async, &ask_ops);
		pg_task_spawn(pg_port_executor(), &watch->asker->task, &watch->asker->async.future,
			      asked);
	}
	pg_spin_lock(&lock);
	code = link_watch(watch);
	pg_spin_unlock(&lock);
	if (code) {
		free_watch(watch);
		return code;
	}
	look_first(epoll_of(frame->file), frame->target, fd);
	return 0;
}

static int64_t modify(struct ctl_frame *frame, int fd)
{
	struct epoll *epoll = epoll_of(frame->file);
	struct pg_watch *watch;
	int code = 0;

	pg_spin_lock(&lock);
	watch = find(epoll, frame->target, fd);
	if (!watch) {
		code = -ENOENT;
	} else if (watch->events & EPOLLEXCLUSIVE) {
		code = -EINVAL;
	} else {
		watch->events = frame->event.events | ALWAYS;
		watch->data = frame->event.data;
	}
	pg_spin_unlock(&lock);
	if (!code)
		look_first(epoll, frame->target, fd);
	return code;
}

static int64_t delete (struct ctl_frame *frame, int fd)
{
	struct pg_watch *watch;

	pg_spin_lock(&lock);
	watch = find(epoll_of(frame->file), frame->target, fd);
	if (watch)
		unlink_watch(watch);
	pg_spin_unlock(&lock);
	if (!watch)
		return -ENOENT;
	free_watch(watch);
	return 0;
}

/* The checks, in Linux's order. 0, or -errno. */
static int64_t start_ctl(struct pg_syscall *call, struct ctl_frame *frame)
{
	uint32_t operation = (uint32_t)call->arg[1];
	uint32_t events;

	if (operation != CTL_DEL && pg_user_read(&frame->event, call->arg[3], sizeof(frame->event)))
		return -EFAULT;
	call->cleanup = ctl_cleanup;
	frame->file = pg_fd_get((int)call->arg[0]);
	frame->target = frame->file ? pg_fd_get((int)call->arg[2]) : NULL;
	if (!frame->target)
		return -EBADF;
	if (frame->target->handle < 0 && !frame->target->ops->events)
		return -EPERM;
	if (frame->file == frame->target || !is_epoll(frame->file))
		return -EINVAL;
	events = frame->event.events;
	if (operation != CTL_DEL && (events & EPOLLEXCLUSIVE) &&
	    (operation == CTL_MOD || is_epoll(frame->target) || (events & ~WITH_EXCLUSIVE)))
		return -EINVAL;
	return 0;
}

static int64_t control(struct ctl_frame *frame, uint32_t operation, int fd)
{
	switch (operation) {
	case CTL_ADD:
		return add(frame, fd);
	case CTL_MOD:
		return modify(frame, fd);
	case CTL_DEL:
		return delete (frame, fd);
	default:
		return -EINVAL;
	}
}

static bool is_watched(const struct ctl_frame *frame, int fd)
{
	bool watched;

	pg_spin_lock(&lock);
	watched = find(epoll_of(frame->file), frame->target, fd);
	pg_spin_unlock(&lock);
	return watched;
}

PG_WAITING_CALL(epoll_ctl, struct ctl_frame)
{
	struct ctl_frame *frame = PG_FRAME(call, struct ctl_frame);
	int64_t code;

	PG_BEGIN(&call->async);
	code = start_ctl(call, frame);
	if (code)
		PG_FINISH(call, code);
	/* Only what can make one wait. What is in the epoll already is such a file. */
	if (frame->target->handle >= 0 && !is_watched(frame, (int)call->arg[2])) {
		pg_hypercall_init(&frame->call, PG_OP_STATX, frame->target->handle, 0, 0,
				  (uintptr_t)&frame->statx, 0, PG_STATX_BASIC_STATS);
		PG_AWAIT(&call->async, &frame->call.future, waker);
		code = frame->call.result;
		if (code >= 0 && ((frame->statx.mode & PG_S_IFMT) == PG_S_IFREG ||
				  (frame->statx.mode & PG_S_IFMT) == PG_S_IFDIR))
			code = -EPERM;
		if (code < 0)
			PG_FINISH(call, code);
	}
	PG_FINISH(call, control(frame, (uint32_t)call->arg[1], (int)call->arg[2]));
}

/* ---- making one ---- */

static void release(struct pg_file *file)
{
	struct epoll *epoll = epoll_of(file);
	struct link *link;

	do {
		struct pg_watch *watch = NULL;

		pg_spin_lock(&lock);
		link = epoll->watches.head;
		if (link) {
			watch = pg_container_of(link, struct pg_watch, of_epoll);
			unlink_watch(watch);
		}
		pg_spin_unlock(&lock);
		if (watch)
			free_watch(watch);
	} while (link);
	pg_free(epoll);
}

static const struct pg_file_ops ops = {
	.ready = PG_EVENTS_READY,
	.stat = pg_events_stat,
	.seeks_to_0 = true,
	.release = release,
	.events = epoll_events,
	.expires = epoll_expires,
};

static int64_t make_epoll(bool cloexec)
{
	struct epoll *epoll = pg_alloc_zero(sizeof(*epoll));

	if (!epoll)
		return -ENOMEM;
	pg_file_init(&epoll->file, &ops, PG_O_RDWR);
	epoll->file.lock = &lock;
	return pg_events_install(&epoll->file, cloexec);
}

PG_CALL(epoll_create)
{
	return (int32_t)arg[0] <= 0 ? -EINVAL : make_epoll(false);
}

PG_CALL(epoll_create1)
{
	if ((uint32_t)arg[0] & ~(uint32_t)PG_O_CLOEXEC)
		return -EINVAL;
	return make_epoll(arg[0] & PG_O_CLOEXEC);
}
