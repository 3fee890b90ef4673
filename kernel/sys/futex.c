/*
 * Futexes: waiters in a hash of buckets, keyed by address (there is one address space).
 *
 * A waiter looks at the word with its bucket locked, and a waker changes the word before it
 * locks the bucket: so either the waiter sees the new value, or the waker sees the waiter.
 * As in core/waitq.h, whom to wake is decided under the lock, and the tasks are enqueued
 * after it was released.
 */
#include "futex.h"

#include "core/container.h"
#include "core/port.h"
#include "core/spinlock.h"
#include "core/timer.h"
#include "syscall.h"
#include "time.h"
#include "user.h"

#define BUCKETS 1024 /* power of two */

#define FUTEX_WAIT           0
#define FUTEX_WAKE           1
#define FUTEX_REQUEUE        3
#define FUTEX_CMP_REQUEUE    4
#define FUTEX_WAKE_OP        5
#define FUTEX_WAIT_BITSET    9
#define FUTEX_WAKE_BITSET    10
#define FUTEX_PRIVATE        128
#define FUTEX_CLOCK_REALTIME 256

#define MATCH_ANY UINT32_MAX

struct bucket;

/* Links, address and bucket change under the bucket's lock; `woken` too. */
struct waiter {
	struct pg_future future;
	struct waiter *next, *prev;
	_Atomic(struct bucket *) bucket; /* where it is queued; NULL: it isn't, or no more */
	struct pg_task *task;
	uint64_t address;
	uint32_t expected, bits;
	bool started, timed;
	bool woken; /* dropped, but a wake-up came first        */
	int64_t result;
	struct pg_sleep sleep;
};

struct bucket {
	struct pg_spinlock lock;
	struct waiter *head, *tail;
};

static struct bucket buckets[BUCKETS];

static struct bucket *bucket_of(uint64_t address)
{
	/* Fibonacci hashing: words of one structure go to different buckets. */
	return &buckets[(address >> 2) * 0x9e3779b97f4a7c15ull >> 54];
}

_Static_assert(BUCKETS == 1 << (64 - 54), "bucket_of");

static void append(struct bucket *bucket, struct waiter *waiter)
{
	waiter->next = NULL;
	waiter->prev = bucket->tail;
	*(bucket->tail ? &bucket->tail->next : &bucket->head) = waiter;
	bucket->tail = waiter;
	atomic_store_explicit(&waiter->bucket, bucket, memory_order_relaxed);
}

static void unlink(struct bucket *bucket, struct waiter *waiter)
{
	*(waiter->prev ? &waiter->prev->next : &bucket->head) = waiter->next;
	*(waiter->next ? &waiter->next->prev : &bucket->tail) = waiter->prev;
}

/*
 * Lock the bucket the waiter is in: a requeue may move it meanwhile. NULL: it was woken
 * (acquire: and what the waker did is visible).
 */
static struct bucket *lock_own_bucket(struct waiter *waiter)
{
	for (;;) {
		struct bucket *bucket = atomic_load_explicit(&waiter->bucket, memory_order_acquire);

		if (!bucket)
			return NULL;
		pg_spin_lock(&bucket->lock);
		if (atomic_load_explicit(&waiter->bucket, memory_order_relaxed) == bucket)
			return bucket;
		pg_spin_unlock(&bucket->lock);
	}
}

/* First poll: look at the word and queue. True: READY, with a result. */
static bool start(struct waiter *waiter, struct pg_task *waker)
{
	struct bucket *bucket = bucket_of(waiter->address);
	uint32_t value = 0;

	waiter->started = true;
	waiter->task = waker;
	pg_spin_lock(&bucket->lock);
	waiter->result = pg_user_load32(waiter->address, &value);
	if (!waiter->result && value != waiter->expected)
		waiter->result = -EAGAIN;
	if (!waiter->result)
		append(bucket, waiter);
	pg_spin_unlock(&bucket->lock);
	return waiter->result != 0;
}

static enum pg_poll wait_poll(struct pg_future *future, struct pg_task *waker)
{
	struct waiter *waiter = pg_container_of(future, struct waiter, future);

	if (!waiter->started && start(waiter, waker))
		return PG_READY;
	if (!atomic_load_explicit(&waiter->bucket, memory_order_acquire)) {
		if (waiter->timed)
			pg_future_drop(&waiter->sleep.future);
		waiter->result = 0;
		return PG_READY;
	}
	if (!waiter->timed || pg_future_poll(&waiter->sleep.future, waker) == PG_PENDING)
		return PG_PENDING;

	/* Too late; but a wake-up that was meant for us counts. */
	struct bucket *bucket = lock_own_bucket(waiter);
	waiter->result = bucket ? -ETIMEDOUT : 0;
	if (bucket) {
		unlink(bucket, waiter);
		pg_spin_unlock(&bucket->lock);
	}
	return PG_READY;
}

static void wait_drop(struct pg_future *future)
{
	struct waiter *waiter = pg_container_of(future, struct waiter, future);
	struct bucket *bucket = waiter->started ? lock_own_bucket(waiter) : NULL;

	waiter->woken = waiter->started && !bucket;
	if (bucket) {
		unlink(bucket, waiter);
		pg_spin_unlock(&bucket->lock);
	}
	if (waiter->timed)
		pg_future_drop(&waiter->sleep.future);
}

static const struct pg_future_ops wait_ops = { wait_poll, wait_drop };

/* Take `waiter` out of its locked bucket for good; its task goes to `wake` if it must. */
static void notify(struct bucket *bucket, struct waiter *waiter, struct pg_task_list *wake)
{
	struct pg_task *task = waiter->task;

	unlink(bucket, waiter);
	/* Mark first: once `bucket` is NULL the waiter may be gone at any time. */
	enum pg_wake next = pg_task_mark_queued(task);
	atomic_store_explicit(&waiter->bucket, NULL, memory_order_release);
	if (next == PG_WAKE_ENQUEUE)
		pg_task_list_append(wake, task);
}

int64_t pg_futex_wake(uint64_t address, uint32_t count, uint32_t bits)
{
	struct bucket *bucket = bucket_of(address);
	struct pg_task_list wake = { 0 };
	int64_t woken = 0;

	pg_spin_lock(&bucket->lock);
	for (struct waiter *waiter = bucket->head, *next; waiter && woken < count; waiter = next) {
		next = waiter->next;
		if (waiter->address != address || !(waiter->bits & bits))
			continue;
		notify(bucket, waiter, &wake);
		woken++;
	}
	pg_spin_unlock(&bucket->lock);
	pg_task_list_enqueue(&wake);
	return woken;
}

/* Two buckets, in order of address; once if they are the same. */
static void lock_two(struct bucket *a, struct bucket *b)
{
	pg_spin_lock(a < b ? &a->lock : &b->lock);
	if (a != b)
		pg_spin_lock(a < b ? &b->lock : &a->lock);
}

static void unlock_two(struct bucket *a, struct bucket *b)
{
	pg_spin_unlock(&a->lock);
	if (a != b)
		pg_spin_unlock(&b->lock);
}

/* Wake `wake_count`, move `move_count` others to `to`. `expected` NULL: don't compare. */
static int64_t requeue(uint64_t from, uint64_t to, uint32_t wake_count, uint32_t move_count,
		       const uint32_t *expected)
{
	struct bucket *source = bucket_of(from), *target = bucket_of(to);
	struct pg_task_list wake = { 0 };
	uint32_t value = 0, woken = 0, moved = 0;
	int64_t result = 0;

	lock_two(source, target);
	if (expected) {
		result = pg_user_load32(from, &value);
		if (!result && value != *expected)
			result = -EAGAIN;
	}
	for (struct waiter *waiter = result ? NULL : source->head, *next; waiter; waiter = next) {
		next = waiter->next;
		if (waiter->address != from)
			continue;
		if (woken < wake_count) {
			notify(source, waiter, &wake);
			woken++;
		} else if (moved < move_count) {
			moved++;
			waiter->address = to;
			if (source != target) {
				unlink(source, waiter);
				append(target, waiter);
			}
		} else {
			break;
		}
	}
	unlock_two(source, target);
	pg_task_list_enqueue(&wake);
	return result ? result : (int64_t)woken + moved;
}

/* FUTEX_WAKE_OP's second half: change the word, tell whether the old value satisfies. */
static int wake_op(uint64_t address, uint32_t operation, bool *satisfied)
{
	uint32_t kind = operation >> 28 & 7, compare = operation >> 24 & 15;
	int32_t argument = (int32_t)(operation << 8) >> 20,
		against = (int32_t)(operation << 20) >> 20;
	uint32_t old, seen;

	if (operation >> 31)
		argument = (int32_t)(1u << (argument & 31));
	int result = pg_user_load32(address, &old);
	while (!result) {
		uint32_t fresh;

		switch (kind) {
		case 0:
			fresh = (uint32_t)argument;
			break;
		case 1:
			fresh = old + (uint32_t)argument;
			break;
		case 2:
			fresh = old | (uint32_t)argument;
			break;
		case 3:
			fresh = old & ~(uint32_t)argument;
			break;
		case 4:
			fresh = old ^ (uint32_t)argument;
			break;
		default:
			return -ENOSYS;
		}
		result = pg_user_cas32(address, old, fresh, &seen);
		if (!result && seen == old)
			break;
		old = seen;
	}
	if (result)
		return result;
	switch (compare) {
	case 0:
		*satisfied = (int32_t)old == against;
		break;
	case 1:
		*satisfied = (int32_t)old != against;
		break;
	case 2:
		*satisfied = (int32_t)old < against;
		break;
	case 3:
		*satisfied = (int32_t)old <= against;
		break;
	case 4:
		*satisfied = (int32_t)old > against;
		break;
	case 5:
		*satisfied = (int32_t)old >= against;
		break;
	default:
		return -ENOSYS;
	}
	return 0;
}

/* The timeout argument of the waiting operations, as CLOCK_MONOTONIC ns. */
static int deadline(uint64_t address, uint32_t operation, uint64_t *ns)
{
	struct {
		int64_t seconds, nanoseconds;
	} time;
	int result = pg_user_read(&time, address, sizeof(time));

	if (result)
		return result;
	if (time.seconds < 0 || time.nanoseconds < 0 || time.nanoseconds >= 1000000000)
		return -EINVAL;
	*ns = pg_time_add((uint64_t)time.seconds, (uint64_t)time.nanoseconds);
	if ((operation & 127 & ~FUTEX_PRIVATE) == FUTEX_WAIT)
		*ns = pg_time_after(*ns);
	else if (operation & FUTEX_CLOCK_REALTIME)
		*ns = pg_time_from_realtime(*ns);
	return 0;
}

struct futex_frame {
	struct waiter waiter;
};

/* A signal has interrupted it. Whoever was chosen by a waker has been woken, signal or not. */
static int64_t wait_interrupt(struct pg_syscall *call)
{
	const struct waiter *waiter = &PG_FRAME(call, struct futex_frame)->waiter;

	if (waiter->woken)
		return 0;
	/* With a timeout it is not made again: that may be relative. */
	return waiter->timed ? -EINTR : PG_RESTART;
}

/* futex(word, operation, value, timeout or value2, word2, value3) */
PG_WAITING_CALL(futex, struct futex_frame)
{
	struct futex_frame *frame = PG_FRAME(call, struct futex_frame);
	const uint64_t *arg = call->arg;

	PG_BEGIN(&call->async);
	switch (arg[1] & 127) {
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
		frame->waiter.future.ops = &wait_ops;
		frame->waiter.address = arg[0];
		frame->waiter.expected = (uint32_t)arg[2];
		frame->waiter.bits = (arg[1] & 127) == FUTEX_WAIT ? MATCH_ANY : (uint32_t)arg[5];
		if (!frame->waiter.bits)
			PG_FINISH(call, -EINVAL);
		if (arg[3]) {
			uint64_t ns;
			int result = deadline(arg[3], (uint32_t)arg[1], &ns);

			if (result)
				PG_FINISH(call, result);
			frame->waiter.timed = true;
			pg_sleep_init(&frame->waiter.sleep, ns);
		}
		call->interrupt = wait_interrupt;
		PG_AWAIT(&call->async, &frame->waiter.future, waker);
		PG_FINISH(call, frame->waiter.result);
	case FUTEX_WAKE:
		PG_FINISH(call, pg_futex_wake(arg[0], (uint32_t)arg[2], MATCH_ANY));
	case FUTEX_WAKE_BITSET:
		if (!(uint32_t)arg[5])
			PG_FINISH(call, -EINVAL);
		PG_FINISH(call, pg_futex_wake(arg[0], (uint32_t)arg[2], (uint32_t)arg[5]));
	case FUTEX_REQUEUE:
		PG_FINISH(call, requeue(arg[0], arg[4], (uint32_t)arg[2], (uint32_t)arg[3], NULL));
	case FUTEX_CMP_REQUEUE: {
		uint32_t expected = (uint32_t)arg[5];

		PG_FINISH(call,
			  requeue(arg[0], arg[4], (uint32_t)arg[2], (uint32_t)arg[3], &expected));
	}
	case FUTEX_WAKE_OP: {
		bool satisfied = false;
		int result = wake_op(arg[4], (uint32_t)arg[5], &satisfied);

		if (result)
			PG_FINISH(call, result);
		int64_t woken = pg_futex_wake(arg[0], (uint32_t)arg[2], MATCH_ANY);
		if (satisfied)
			woken += pg_futex_wake(arg[4], (uint32_t)arg[3], MATCH_ANY);
		PG_FINISH(call, woken);
	}
	default:
		PG_FINISH(call, -ENOSYS);
	}
	PG_END(&call->async);
}
