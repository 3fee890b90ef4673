/*
 * Pipes and eventfds between several vCPUs, each a thread. What goes in is counted, and so is
 * what comes out: a wake-up that is lost stops the test (its time limit fails it).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "sys_calls.h"
#include "sys/fd.h"

#define HANDLER(name) enum pg_poll pg_sys_##name(struct pg_future *, struct pg_task *)
HANDLER(read);
HANDLER(write);
HANDLER(close);
HANDLER(poll);
HANDLER(epoll_ctl);
HANDLER(epoll_wait);
int64_t pg_sys_dup(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_pipe2(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_fcntl(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_eventfd2(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_epoll_create1(struct pg_thread *thread, const uint64_t *arg);

#define NOW(name, ...) pg_sys_##name(NULL, (const uint64_t[6]){ __VA_ARGS__ })

#define VCPUS 3

static struct host_vcpu vcpus[VCPUS];
static _Atomic int unfinished;

/* A thread: it makes calls, one after the other, until step() says that it has done enough. */
struct worker {
	struct pg_future future;
	struct pg_task task;
	struct pg_syscall call;
	sys_handler handler;
	bool calling;
	/* Prepare the next call from what the last one gave; false: no more. */
	bool (*step)(struct worker *worker, int64_t result);
	int fd, other;
	uint64_t calls, sum;
	uint64_t buffer[64];
	struct epoll_event event;
};

static enum pg_poll worker_poll(struct pg_future *future, struct pg_task *waker)
{
	struct worker *worker = pg_container_of(future, struct worker, future);

	for (;;) {
		if (!worker->calling) {
			pg_async_init(&worker->call.async, NULL);
			worker->call.cleanup = NULL;
			if (!worker->step(worker, worker->call.result))
				return PG_READY;
			worker->calling = true;
		}
		if (worker->handler(&worker->call.async.future, waker) == PG_PENDING)
			return PG_PENDING;
		pg_syscall_cleanup(&worker->call);
		worker->calling = false;
		worker->calls++;
	}
}

static void worker_drop(struct pg_future *future)
{
	struct worker *worker = pg_container_of(future, struct worker, future);

	pg_async_drop(&worker->call.async.future);
}

static const struct pg_future_ops worker_ops = { worker_poll, worker_drop };

static void call(struct worker *worker, sys_handler handler, uint64_t a, uint64_t b, uint64_t c,
		 uint64_t d)
{
	const uint64_t arg[6] = { a, b, c, d };

	memcpy(worker->call.arg, arg, sizeof(arg));
	worker->handler = handler;
}

static void done(struct pg_task *task)
{
	struct worker *worker = pg_container_of(task, struct worker, task);

	if (worker->calling)
		pg_syscall_cleanup(&worker->call);
	if (atomic_fetch_sub(&unfinished, 1) > 1)
		return;
	for (int i = 0; i < VCPUS; i++)
		pg_executor_stop(&vcpus[i].executor);
}

static void *run_vcpu(void *argument)
{
	struct host_vcpu *vcpu = argument;

	host_enter(vcpu);
	pg_executor_run(&vcpu->executor);
	return NULL;
}

static struct worker workers[12];

static void spawn(int number, bool (*step)(struct worker *, int64_t), int fd, int other)
{
	struct worker *worker = &workers[number];

	worker->future.ops = &worker_ops;
	worker->step = step;
	worker->fd = fd;
	worker->other = other;
	atomic_fetch_add(&unfinished, 1);
	pg_task_spawn(&vcpus[number % VCPUS].executor, &worker->task, &worker->future, done);
}

static void run_all(void)
{
	pthread_t threads[VCPUS];

	for (int i = 0; i < VCPUS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, run_vcpu, &vcpus[i]), 0);
	for (int i = 0; i < VCPUS; i++)
		pthread_join(threads[i], NULL);
}

static void setup(void)
{
	sys_setup("/");
	for (int i = 0; i < VCPUS; i++)
		host_vcpu_init(&vcpus[i], 20000);
}

TestSuite(pipe_smp, .init = setup, .timeout = 60);

/* ---- records through one small pipe; the writers close it ---- */

#define WRITERS 4
#define READERS 3
#define RECORDS 2000

static bool write_record(struct worker *worker, int64_t result)
{
	if (worker->calls && result != sizeof(worker->buffer) && worker->calls <= RECORDS)
		abort();
	if (worker->calls == RECORDS) {
		call(worker, pg_sys_close, (uint64_t)worker->fd, 0, 0, 0);
		return true;
	}
	if (worker->calls > RECORDS)
		return false;
	for (int i = 0; i < 64; i++)
		worker->buffer[i] = worker->calls * 1000 + (uint64_t)worker->other;
	call(worker, pg_sys_write, (uint64_t)worker->fd, (uintptr_t)worker->buffer,
	     sizeof(worker->buffer), 0);
	return true;
}

static bool read_record(struct worker *worker, int64_t result)
{
	if (worker->calls) {
		if (result == 0)
			return false;
		if (result != sizeof(worker->buffer))
			abort();
		/* Whole, and nobody else's. */
		for (int i = 1; i < 64; i++)
			if (worker->buffer[i] != worker->buffer[0])
				abort();
		worker->sum += worker->buffer[0];
	}
	call(worker, pg_sys_read, (uint64_t)worker->fd, (uintptr_t)worker->buffer,
	     sizeof(worker->buffer), 0);
	return true;
}

Test(pipe_smp, records)
{
	uint64_t sum = 0, expected = 0;
	int end[2];

	cr_assert_eq(NOW(pipe2, (uintptr_t)end, 0), 0);
	cr_assert_eq(NOW(fcntl, end[0], F_SETPIPE_SZ, 4096), 4096);
	for (int i = 0; i < READERS; i++)
		spawn(i, read_record, end[0], 0);
	for (int i = 0; i < WRITERS; i++)
		spawn(READERS + i, write_record, i ? (int)NOW(dup, end[1]) : end[1], i);
	run_all();
	for (int i = 0; i < READERS; i++)
		sum += workers[i].sum;
	for (uint64_t i = 0; i < WRITERS; i++)
		expected += RECORDS * i + 1000ull * RECORDS * (RECORDS - 1) / 2;
	cr_assert_eq(sum, expected);
	cr_assert_eq(sys_broken_pipes, 0);
	cr_assert_eq(sys_now(pg_sys_close, end[0]), 0);
	cr_assert_eq(sys_allocated, 0);
}

/* ---- both ends are closed while others poll, read and write ---- */

static bool poll_both(struct worker *worker, int64_t result)
{
	struct {
		int32_t fd;
		int16_t events, revents;
	} *fds = (void *)worker->buffer;

	if (worker->calls && (fds[0].revents & 0x10 /* POLLHUP */))
		return false;
	fds[0].fd = worker->fd;
	fds[0].events = 0;
	call(worker, pg_sys_poll, (uintptr_t)fds, 1, (uint64_t)-1, 0);
	return true;
}

Test(pipe_smp, polled_to_the_end)
{
	int end[2];

	cr_assert_eq(NOW(pipe2, (uintptr_t)end, 0), 0);
	for (int i = 0; i < 3; i++)
		spawn(i, poll_both, end[0], 0);
	for (int i = 3; i < 5; i++)
		spawn(i, read_record, end[0], 0);
	for (int i = 5; i < 7; i++)
		spawn(i, write_record, i > 5 ? (int)NOW(dup, end[1]) : end[1], i);
	run_all();
	cr_assert_eq(workers[3].calls + workers[4].calls, 2 * RECORDS + 2);
	cr_assert_eq(sys_now(pg_sys_close, end[0]), 0);
	cr_assert_eq(sys_allocated, 0);
}

/* ---- an eventfd as a semaphore, and as a sum ---- */

#define ADDITIONS 3000

static bool add(struct worker *worker, int64_t result)
{
	if (worker->calls == ADDITIONS)
		return false;
	worker->buffer[0] = worker->calls % 3;
	worker->sum += worker->buffer[0];
	call(worker, pg_sys_write, (uint64_t)worker->fd, (uintptr_t)worker->buffer, 8, 0);
	return true;
}

static bool take(struct worker *worker, int64_t result)
{
	if (worker->calls && result != 8)
		abort();
	if (worker->calls)
		worker->sum += worker->buffer[0];
	/* As a semaphore: each of two takes half. */
	if (worker->calls == ADDITIONS)
		return false;
	call(worker, pg_sys_read, (uint64_t)worker->fd, (uintptr_t)worker->buffer, 8, 0);
	return true;
}

Test(pipe_smp, semaphore)
{
	int fd = (int)NOW(eventfd2, 0, EFD_SEMAPHORE);

	for (int i = 0; i < 2; i++)
		spawn(i, add, fd, 0);
	for (int i = 2; i < 4; i++)
		spawn(i, take, fd, 0);
	run_all();
	cr_assert_eq(workers[0].sum + workers[1].sum, 2 * ADDITIONS);
	cr_assert_eq(workers[2].sum + workers[3].sum, 2 * ADDITIONS);
	cr_assert_eq(sys_now(pg_sys_close, fd), 0);
	cr_assert_eq(sys_allocated, 0);
}

/* ---- threads share an epoll; what it watches comes and goes ---- */

#define BYTES 2000

static int ep, watched[2], stop;
static _Atomic uint64_t received;

static bool write_byte(struct worker *worker, int64_t result)
{
	if (worker->calls == BYTES)
		return false;
	call(worker, pg_sys_write, (uint64_t)worker->fd, (uintptr_t)worker->buffer, 1, 0);
	return true;
}

static bool wait_and_read(struct worker *worker, int64_t result)
{
	bool waited = worker->handler == pg_sys_epoll_wait, got = worker->handler == pg_sys_read;

	if (worker->calls && waited && result != 1)
		abort();
	if (worker->calls && waited && worker->event.data.fd == stop)
		return false;
	if (got && result > 0 &&
	    atomic_fetch_add(&received, (uint64_t)result) + (uint64_t)result == 2 * BYTES) {
		const uint64_t one = 1;

		/* The last byte: this wakes all, since nobody reads it. */
		worker->buffer[0] = one;
		call(worker, pg_sys_write, (uint64_t)stop, (uintptr_t)worker->buffer, 8, 0);
		return true;
	}
	/* Edges: until there is nothing left. */
	if (worker->calls && (waited || (got && result > 0)))
		call(worker, pg_sys_read, (uint64_t)watched[0], (uintptr_t)worker->buffer, 3, 0);
	else
		call(worker, pg_sys_epoll_wait, (uint64_t)ep, (uintptr_t)&worker->event, 1,
		     (uint64_t)-1);
	return true;
}

/* Adds a file, and closes it: its watch goes with it. */
static bool come_and_go(struct worker *worker, int64_t result)
{
	if (worker->calls == 600)
		return false;
	switch (worker->calls % 3) {
	case 0:
		worker->fd = (int)NOW(eventfd2, 1, EFD_NONBLOCK);
		worker->event = (struct epoll_event){ EPOLLOUT | EPOLLET | EPOLLONESHOT,
						      { .fd = watched[0] } };
		call(worker, pg_sys_epoll_ctl, (uint64_t)worker->other, EPOLL_CTL_ADD,
		     (uint64_t)worker->fd, (uintptr_t)&worker->event);
		break;
	case 1:
		if (result)
			abort();
		call(worker, pg_sys_write, (uint64_t)worker->fd, (uintptr_t) & (uint64_t){ 1 }, 8,
		     0);
		break;
	case 2:
		call(worker, pg_sys_close, (uint64_t)worker->fd, 0, 0, 0);
		break;
	}
	return true;
}

Test(pipe_smp, epoll)
{
	struct epoll_event event = { EPOLLIN | EPOLLET, { 0 } };

	ep = (int)NOW(epoll_create1, 0);
	stop = (int)NOW(eventfd2, 0, 0);
	cr_assert_eq(NOW(pipe2, (uintptr_t)watched, O_NONBLOCK), 0);
	event.data.fd = watched[0];
	cr_assert_eq(sys_now(pg_sys_epoll_ctl, ep, EPOLL_CTL_ADD, watched[0], (uintptr_t)&event),
		     0);
	event = (struct epoll_event){ EPOLLIN, { .fd = stop } };
	cr_assert_eq(sys_now(pg_sys_epoll_ctl, ep, EPOLL_CTL_ADD, stop, (uintptr_t)&event), 0);
	for (int i = 0; i < 3; i++)
		spawn(i, wait_and_read, 0, 0);
	spawn(3, write_byte, watched[1], 0);
	spawn(4, write_byte, watched[1], 0);
	spawn(5, come_and_go, 0, ep);
	spawn(6, come_and_go, 0, ep);
	run_all();
	cr_assert_eq(atomic_load(&received), 2 * BYTES);
	cr_assert_eq(sys_now(pg_sys_close, watched[0]), 0);
	cr_assert_eq(sys_now(pg_sys_close, watched[1]), 0);
	cr_assert_eq(sys_now(pg_sys_close, stop), 0);
	cr_assert_eq(sys_now(pg_sys_close, ep), 0);
	cr_assert_eq(sys_allocated, 0);
}
