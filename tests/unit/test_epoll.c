/* epoll: lifetime, files of the loader, giving up, memory. What it tells: tests/guest/waiting. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

#include "sys_calls.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/linux.h"

#define HANDLER(name) enum pg_poll pg_sys_##name(struct pg_future *, struct pg_task *)
#define CALL(name)    int64_t pg_sys_##name(struct pg_thread *thread, const uint64_t *arg)
HANDLER(read);
HANDLER(write);
HANDLER(close);
HANDLER(lseek);
HANDLER(open);
HANDLER(epoll_ctl);
HANDLER(epoll_wait);
HANDLER(epoll_pwait);
HANDLER(epoll_pwait2);
CALL(epoll_create1);
CALL(pipe);
CALL(eventfd);
CALL(timerfd_create);
CALL(timerfd_settime);
CALL(dup);

#define NOW(name, ...) pg_sys_##name(NULL, (const uint64_t[6]){ __VA_ARGS__ })

static int ep, end[2];
static struct sys_call call, other;
static struct epoll_event found[100];
static char bytes[100];

#define FOUND ((uintptr_t)found)
#define BYTES ((uintptr_t)bytes)

static void setup(void)
{
	sys_setup("/");
	ep = (int)NOW(epoll_create1, 0);
	cr_assert_geq(ep, 0);
	cr_assert_eq(NOW(pipe, (uintptr_t)end), 0);
}

TestSuite(epoll, .init = setup, .timeout = 20);

static int64_t control(int epoll, int operation, int fd, uint32_t events)
{
	struct epoll_event event = { events, { .fd = fd } };

	return sys_now(pg_sys_epoll_ctl, epoll, operation, fd, (uintptr_t)&event);
}

static void add(int fd, uint32_t events)
{
	cr_assert_eq(control(ep, EPOLL_CTL_ADD, fd, events), 0);
}

static int64_t look(int epoll)
{
	return sys_now(pg_sys_epoll_wait, epoll, FOUND, 100, 0);
}

static void write_now(void)
{
	cr_assert_eq(sys_now(pg_sys_write, end[1], BYTES, 1), 1);
	host_settle(&sys_vcpu);
}

static void expect(const struct sys_call *of, int64_t result)
{
	cr_assert(of->done, "the call still waits");
	cr_assert_not(pg_task_cancelled(&of->task));
	cr_assert_eq(of->call.result, result, "%ld instead of %ld", (long)of->call.result,
		     (long)result);
}

static void cancel(struct sys_call *of)
{
	cr_assert_not(of->done);
	pg_task_cancel(&of->task);
	host_settle(&sys_vcpu);
	cr_assert(of->done);
	cr_assert(pg_task_cancelled(&of->task));
	cr_assert_null(sys_vcpu.executor.timers.first);
}

static void close_now(int fd)
{
	cr_assert_eq(sys_now(pg_sys_close, fd), 0);
}

static void close_all(void)
{
	close_now(end[0]);
	close_now(end[1]);
	close_now(ep);
	host_settle(&sys_vcpu);
	sys_expect_none();
	cr_assert_eq(sys_allocated, 0);
}

/* ---- waiting ---- */

Test(epoll, one_of_those_that_wait)
{
	add(end[0], EPOLLIN | EPOLLET);
	sys_start(&call, pg_sys_epoll_wait, ep, FOUND, 10, -1);
	sys_start(&other, pg_sys_epoll_wait, ep, FOUND, 10, -1);
	pg_task_wake(&call.task); /* spurious: it is the last now, or still the first */
	host_settle(&sys_vcpu);
	write_now();
	cr_assert_eq(call.done + other.done, 1);
	cr_assert_eq(found[0].data.fd, end[0]);
	write_now();
	expect(&call, 1);
	expect(&other, 1);
	close_all();
}

Test(epoll, the_chosen_one_gives_up)
{
	struct sys_call writer;

	add(end[0], EPOLLIN | EPOLLET);
	sys_start(&call, pg_sys_epoll_wait, ep, FOUND, 10, -1);
	sys_start(&other, pg_sys_epoll_wait, ep, FOUND, 10, 100000);
	sys_prepare(&writer, pg_sys_write, (const uint64_t[6]){ end[1], BYTES, 1 });
	pg_executor_step(&sys_vcpu.executor);
	pg_task_cancel(&call.task);
	host_settle(&sys_vcpu);
	cr_assert(pg_task_cancelled(&call.task));
	expect(&other, 1);
	cr_assert_null(sys_vcpu.executor.timers.first);
}

Test(epoll, cancelled_and_timed_out)
{
	struct timespec time = { 0, 500 };

	host_set_clock(1000);
	add(end[0], EPOLLIN);
	sys_start(&call, pg_sys_epoll_pwait2, ep, FOUND, 10, (uintptr_t)&time);
	host_set_clock(1500);
	host_settle(&sys_vcpu);
	expect(&call, 0);
	sys_start(&call, pg_sys_epoll_pwait, ep, FOUND, 10, 1000, 0, 0);
	cancel(&call);
	cr_assert_eq(sys_now(pg_sys_epoll_pwait, ep, FOUND, 10, 0, BYTES, 4), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_epoll_pwait, ep, FOUND, 10, 0, SYS_HOLE, 8), -EFAULT);
	cr_assert_eq(sys_now(pg_sys_epoll_pwait2, ep, FOUND, 10, SYS_HOLE), -EFAULT);
	close_all();
}

Test(epoll, many_events_in_one_call)
{
	int fd[80];

	for (int i = 0; i < 80; i++) {
		fd[i] = (int)NOW(eventfd, 1);
		add(fd[i], EPOLLIN);
	}
	cr_assert_eq(look(ep), 80);
	cr_assert_eq(found[79].data.fd, fd[79]);
	cr_assert_eq(sys_now(pg_sys_epoll_wait, ep, FOUND, 50, 0), 50);
	/* Those that were left out come first. */
	cr_assert_eq(sys_now(pg_sys_epoll_wait, ep, FOUND, 50, 0), 50);
	cr_assert_eq(found[0].data.fd, fd[50]);
	cr_assert_eq(sys_now(pg_sys_epoll_wait, ep, SYS_HOLE, 50, 0), -EFAULT);
	for (int i = 0; i < 80; i++)
		close_now(fd[i]);
	cr_assert_eq(look(ep), 0);
	close_all();
}

/* ---- lifetime ---- */

Test(epoll, closed_in_any_order)
{
	int outer = (int)NOW(epoll_create1, 0);

	add(end[0], EPOLLIN);
	add(end[1], EPOLLOUT);
	cr_assert_eq(control(outer, EPOLL_CTL_ADD, ep, EPOLLIN), 0);
	cr_assert_eq(look(outer), 1);
	close_now(end[0]);
	cr_assert_eq(look(ep), 1);
	cr_assert_eq(found[0].events, EPOLLOUT | EPOLLERR);
	close_now(ep);
	cr_assert_eq(look(outer), 0);
	close_now(end[1]);
	close_now(outer);
	cr_assert_eq(sys_allocated, 0);
}

Test(epoll, closed_while_somebody_waits)
{
	add(end[0], EPOLLIN);
	sys_start(&call, pg_sys_epoll_wait, ep, FOUND, 10, -1);
	close_now(ep);
	write_now();
	expect(&call, 1);
	close_now(end[0]);
	close_now(end[1]);
	cr_assert_eq(sys_allocated, 0);
}

Test(epoll, no_memory)
{
	sys_fail_after = 0;
	cr_assert_eq(NOW(epoll_create1, 0), -ENOMEM);
	cr_assert_eq(control(ep, EPOLL_CTL_ADD, end[0], EPOLLIN), -ENOMEM);
	sys_fail_after = -1;
	cr_assert_eq(look(ep), 0);
	close_all();
}

Test(epoll, exclusive)
{
	int second = (int)NOW(epoll_create1, 0);

	add(end[0], EPOLLIN | EPOLLEXCLUSIVE);
	cr_assert_eq(control(second, EPOLL_CTL_ADD, end[0], EPOLLIN | EPOLLEXCLUSIVE), 0);
	sys_start(&call, pg_sys_epoll_wait, ep, FOUND, 10, -1);
	sys_start(&other, pg_sys_epoll_wait, second, FOUND, 10, -1);
	write_now();
	expect(&call, 1);
	cr_assert_not(other.done);
	/* The first one has nobody who waits any more. */
	write_now();
	expect(&other, 1);
	close_now(second);
	close_all();
}

Test(epoll, timers)
{
	const struct itimerspec time = { { 0, 0 }, { 0, 500 } }, sooner = { { 0, 0 }, { 0, 100 } };
	int fd, outer = (int)NOW(epoll_create1, 0);

	host_set_clock(1000);
	fd = (int)NOW(timerfd_create, CLOCK_MONOTONIC, 0);
	add(fd, EPOLLIN | EPOLLET);
	cr_assert_eq(control(outer, EPOLL_CTL_ADD, ep, EPOLLIN), 0);
	sys_start(&call, pg_sys_epoll_wait, ep, FOUND, 10, -1);
	sys_start(&other, pg_sys_epoll_wait, outer, FOUND, 10, -1);
	cr_assert_null(sys_vcpu.executor.timers.first);
	cr_assert_eq(NOW(timerfd_settime, fd, 0, (uintptr_t)&time, 0), 0);
	host_settle(&sys_vcpu);
	cr_assert_eq(sys_vcpu.executor.timers.first->deadline, 1500);
	cr_assert_eq(NOW(timerfd_settime, fd, 0, (uintptr_t)&sooner, 0), 0);
	host_settle(&sys_vcpu);
	cr_assert_eq(sys_vcpu.executor.timers.first->deadline, 1100);
	pg_task_cancel(&other.task);
	host_settle(&sys_vcpu);
	cr_assert(pg_task_cancelled(&other.task));
	host_set_clock(1100);
	host_settle(&sys_vcpu);
	expect(&call, 1);
	cr_assert_null(sys_vcpu.executor.timers.first);
	/* The edge is used up, so the inner one has nothing for the outer one. */
	cr_assert_eq(look(outer), 0);
}

Test(epoll, timer_edge_is_told_once)
{
	const struct itimerspec time = { { 0, 100 }, { 0, 500 } };
	int fd;

	host_set_clock(1000);
	fd = (int)NOW(timerfd_create, CLOCK_MONOTONIC, 0);
	add(fd, EPOLLIN | EPOLLET);
	cr_assert_eq(NOW(timerfd_settime, fd, 0, (uintptr_t)&time, 0), 0);
	cr_assert_eq(look(ep), 0);
	sys_start(&call, pg_sys_epoll_wait, ep, FOUND, 10, -1);
	host_set_clock(1500);
	host_settle(&sys_vcpu);
	expect(&call, 1);
	host_set_clock(1700);
	cr_assert_eq(look(ep), 0);
	cr_assert_eq(sys_now(pg_sys_read, fd, BYTES, 8), 8);
	cr_assert_eq(look(ep), 0);
	host_set_clock(1800);
	cr_assert_eq(look(ep), 1);
	cr_assert_null(sys_vcpu.executor.timers.first);
}

/* ---- files of the loader ---- */

static int64_t add_loaders(int fd, uint32_t events, uint16_t mode)
{
	struct epoll_event event = { events, { .fd = fd } };
	struct pg_sqe entry;

	sys_start(&call, pg_sys_epoll_ctl, ep, EPOLL_CTL_ADD, fd, (uintptr_t)&event);
	entry = sys_take(PG_OP_STATX);
	((struct pg_statx *)entry.arg[2])->mode = mode;
	sys_answer(&entry, 0);
	cr_assert(call.done);
	return call.call.result;
}

Test(epoll, only_files_that_can_wait)
{
	int fd = sys_open(7, O_RDWR);

	cr_assert_eq(add_loaders(fd, EPOLLIN, S_IFREG), -EPERM);
	cr_assert_eq(add_loaders(fd, EPOLLIN, S_IFDIR), -EPERM);
	sys_expect_none();
	sys_fail_after = 0;
	cr_assert_eq(add_loaders(fd, EPOLLIN, S_IFIFO), -ENOMEM);
	sys_fail_after = -1;
	cr_assert_eq(add_loaders(fd, EPOLLIN, S_IFIFO), 0);
	sys_serve(PG_OP_POLL, EPOLLIN);
	/* Known to be one that can wait: the loader is not asked for its kind again. */
	cr_assert_eq(control(ep, EPOLL_CTL_ADD, fd, EPOLLIN), -EEXIST);
	sys_expect_none();
	cr_assert_eq(control(ep, EPOLL_CTL_DEL, fd, 0), 0);
	host_settle(&sys_vcpu);
	sys_expect_none();
}

static int64_t control_unknown(int operation, int fd, uint16_t mode)
{
	struct epoll_event event = { EPOLLIN, { .fd = fd } };
	struct pg_sqe entry;

	sys_start(&call, pg_sys_epoll_ctl, ep, operation, fd, (uintptr_t)&event);
	entry = sys_take(PG_OP_STATX);
	((struct pg_statx *)entry.arg[2])->mode = mode;
	sys_answer(&entry, 0);
	cr_assert(call.done);
	return call.call.result;
}

Test(epoll, what_cannot_wait_is_refused_by_all_operations)
{
	int fd = sys_open(7, O_RDWR);

	cr_assert_eq(control_unknown(EPOLL_CTL_MOD, fd, S_IFREG), -EPERM);
	cr_assert_eq(control_unknown(EPOLL_CTL_DEL, fd, S_IFREG), -EPERM);
	cr_assert_eq(control_unknown(EPOLL_CTL_MOD, fd, S_IFIFO), -ENOENT);
	cr_assert_eq(control_unknown(EPOLL_CTL_DEL, fd, S_IFIFO), -ENOENT);
}

static int open_device(const char *path)
{
	return (int)sys_now(pg_sys_open, (uintptr_t)path, O_RDWR);
}

Test(epoll, devices)
{
	int fd = open_device("/dev/random");

	add(fd, EPOLLIN);
	cr_assert_eq(look(ep), 1);
	cr_assert_eq(found[0].events, EPOLLIN);
	cr_assert_eq(look(ep), 1);
	close_now(fd);
	cr_assert_eq(look(ep), 0);
	cr_assert_eq(control(ep, EPOLL_CTL_ADD, open_device("/dev/urandom"), EPOLLIN), -EPERM);
	cr_assert_eq(control(ep, EPOLL_CTL_ADD, open_device("/dev/null"), EPOLLIN), -EPERM);
	cr_assert_eq(sys_now(pg_sys_lseek, ep, 5, SEEK_SET), 0);
	cr_assert_eq(sys_now(pg_sys_lseek, end[0], 0, SEEK_SET), -ESPIPE);
}

Test(epoll, asked_again_after_it_was_told)
{
	int fd = sys_open(7, O_RDWR);
	struct pg_sqe entry;
	long before = sys_allocated;

	cr_assert_eq(add_loaders(fd, EPOLLIN, S_IFIFO), 0);
	entry = sys_take(PG_OP_POLL);
	cr_assert_eq(entry.handle, 7);
	cr_assert_eq(entry.arg[0], EPOLLIN | EPOLLERR | EPOLLHUP);
	sys_start(&call, pg_sys_epoll_wait, ep, FOUND, 10, -1);
	cr_assert_not(call.done);
	sys_answer(&entry, EPOLLIN);
	expect(&call, 1);
	cr_assert_eq(found[0].events, EPOLLIN);
	/* One question is outstanding again: its answer is for a file that was read meanwhile. */
	entry = sys_take(PG_OP_POLL);
	sys_expect_none();
	sys_start(&call, pg_sys_read, fd, BYTES, 10);
	sys_serve(PG_OP_READ, 10);
	expect(&call, 10);
	sys_answer(&entry, EPOLLIN);
	sys_start(&call, pg_sys_epoll_wait, ep, FOUND, 10, -1);
	cr_assert_not(call.done);
	entry = sys_take(PG_OP_POLL);
	sys_answer(&entry, -EBADF);
	expect(&call, 1);
	cr_assert_eq(found[0].events, EPOLLERR);

	/* Taken out while the loader is asked. */
	entry = sys_take(PG_OP_POLL);
	cr_assert_eq(control(ep, EPOLL_CTL_DEL, fd, 0), 0);
	host_settle(&sys_vcpu);
	cr_assert_gt(sys_allocated, before);
	sys_serve(PG_OP_CANCEL, 0);
	sys_answer(&entry, EPOLLIN);
	cr_assert_eq(sys_allocated, before);
	cr_assert_eq(look(ep), 0);
}

Test(epoll, modified_while_the_loader_is_asked)
{
	int fd = sys_open(7, O_RDWR);
	struct pg_sqe entry, again;

	cr_assert_eq(add_loaders(fd, EPOLLIN, S_IFIFO), 0);
	entry = sys_take(PG_OP_POLL);
	cr_assert_eq(control(ep, EPOLL_CTL_MOD, fd, EPOLLOUT | EPOLLONESHOT), 0);
	host_settle(&sys_vcpu);
	sys_serve(PG_OP_CANCEL, 0);
	sys_expect_none();
	/* It came all the same; but that is not what is wanted now. */
	sys_answer(&entry, EPOLLIN);
	again = sys_take(PG_OP_POLL);
	cr_assert_eq(again.arg[0], EPOLLOUT | EPOLLERR | EPOLLHUP);
	sys_start(&call, pg_sys_epoll_wait, ep, FOUND, 10, -1);
	sys_answer(&again, EPOLLOUT);
	expect(&call, 1);
	/* Once. */
	sys_expect_none();
	cr_assert_eq(look(ep), 0);
	cr_assert_eq(control(ep, EPOLL_CTL_MOD, fd, EPOLLIN), 0);
	host_settle(&sys_vcpu);
	sys_serve(PG_OP_POLL, EPOLLIN);
}

Test(epoll, without_waiting_the_loader_is_asked)
{
	int fd = sys_open(7, O_RDWR);
	struct pg_sqe first, entry;

	cr_assert_eq(add_loaders(fd, EPOLLIN, S_IFIFO), 0);
	first = sys_take(PG_OP_POLL);
	for (int i = 0; i < 2; i++) {
		sys_start(&call, pg_sys_epoll_wait, ep, FOUND, 10, 0);
		entry = sys_take(PG_OP_POLL);
		sys_serve(PG_OP_CANCEL, 0);
		cr_assert_not(call.done);
		sys_answer(&entry, i ? EPOLLIN : -ECANCELED);
		expect(&call, i);
	}
	/* The question that was there is out of date. */
	sys_answer(&first, EPOLLIN);
	sys_take(PG_OP_POLL);

	/* Cancelled, in the middle of it; and no memory for it. */
	sys_start(&call, pg_sys_epoll_wait, ep, FOUND, 10, 0);
	entry = sys_take(PG_OP_POLL);
	pg_task_cancel(&call.task);
	host_settle(&sys_vcpu);
	sys_serve(PG_OP_CANCEL, 0);
	cr_assert_not(call.done);
	sys_answer(&entry, -ECANCELED);
	cr_assert(call.done);
	sys_fail_after = 0;
	cr_assert_eq(look(ep), -ENOMEM);
}

Test(epoll, edges_of_the_loader)
{
	int fd = sys_open(7, O_RDWR);

	cr_assert_eq(add_loaders(fd, EPOLLIN | EPOLLET, S_IFIFO), 0);
	sys_serve(PG_OP_POLL, EPOLLIN);
	cr_assert_eq(look(ep), 1);
	sys_expect_none();
	cr_assert_eq(look(ep), 0);
	sys_start(&call, pg_sys_read, fd, BYTES, 10);
	sys_serve(PG_OP_READ, 10);
	sys_serve(PG_OP_POLL, EPOLLIN);
	cr_assert_eq(look(ep), 1);
}

/* A read that a signal interrupts may have taken bytes: the loader is asked again. */
Test(epoll, edges_of_the_loader_and_signals)
{
	int fd = sys_open(7, O_RDWR);
	struct pg_sqe entry;

	cr_assert_eq(add_loaders(fd, EPOLLIN | EPOLLET, S_IFIFO), 0);
	sys_serve(PG_OP_POLL, EPOLLIN);
	cr_assert_eq(look(ep), 1);
	sys_start(&call, pg_sys_read, fd, BYTES, 10);
	entry = sys_take(PG_OP_READ);
	sys_interrupt(&call);
	sys_serve(PG_OP_CANCEL, 0);
	sys_answer(&entry, 5);
	expect(&call, 5);
	sys_serve(PG_OP_POLL, EPOLLIN);
	cr_assert_eq(look(ep), 1);
}

/* Interrupted, it takes nothing along; once it only asks what there is, it goes on to its end. */
Test(epoll, interrupted)
{
	int fd = sys_open(7, O_RDWR);
	struct pg_sqe entry;

	add(end[0], EPOLLIN | EPOLLET | EPOLLONESHOT);
	sys_start(&call, pg_sys_epoll_wait, ep, FOUND, 10, 1000);
	sys_interrupt(&call);
	expect(&call, -EINTR);
	cr_assert_null(sys_vcpu.executor.timers.first);
	write_now();
	cr_assert_eq(look(ep), 1);

	cr_assert_eq(add_loaders(fd, EPOLLIN, S_IFIFO), 0);
	sys_take(PG_OP_POLL);
	sys_start(&call, pg_sys_epoll_wait, ep, FOUND, 10, 0);
	entry = sys_take(PG_OP_POLL);
	sys_interrupt(&call);
	cr_assert_not(call.done);
	sys_serve(PG_OP_CANCEL, 0);
	sys_answer(&entry, EPOLLIN);
	expect(&call, 1);
}

Test(epoll, loaders_file_is_closed)
{
	int fd = sys_open(7, O_RDWR);
	struct pg_sqe entry, more;

	cr_assert_eq(add_loaders(fd, EPOLLIN, S_IFIFO), 0);
	entry = sys_take(PG_OP_POLL);
	sys_start(&call, pg_sys_close, fd);
	for (int i = 0; i < 2; i++) {
		cr_assert(host_take(&sys_vcpu, &more));
		cr_assert(more.op == PG_OP_CLOSE || more.op == PG_OP_CANCEL);
		sys_answer(&more, 0);
	}
	expect(&call, 0);
	sys_answer(&entry, EPOLLIN);
	cr_assert_eq(look(ep), 0);
	close_all();
}

Test(epoll, closed_with_a_loaders_file_in_it)
{
	int fd = sys_open(7, O_RDWR);
	struct pg_sqe entry;

	cr_assert_eq(add_loaders(fd, EPOLLIN, S_IFIFO), 0);
	entry = sys_take(PG_OP_POLL);
	close_now(ep);
	host_settle(&sys_vcpu);
	sys_serve(PG_OP_CANCEL, 0);
	sys_answer(&entry, EPOLLIN);
	close_now(end[0]);
	close_now(end[1]);
	sys_start(&call, pg_sys_close, fd);
	sys_serve(PG_OP_CLOSE, 0);
	expect(&call, 0);
	cr_assert_eq(sys_allocated, 0);
}
