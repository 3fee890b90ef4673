/* Pipes, eventfds and timerfds: waiting, and giving up, in each state; memory; select. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

#include "sys_calls.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/pipe.h"

static int end[2];
static struct sys_call call, other, third;
static char bytes[1 << 17];

#define BYTES ((uintptr_t)bytes)

#define HANDLER(name) enum pg_poll pg_sys_##name(struct pg_future *, struct pg_task *)
#define CALL(name)    int64_t pg_sys_##name(struct pg_thread *thread, const uint64_t *arg)
HANDLER(read);
HANDLER(readv);
HANDLER(write);
HANDLER(writev);
HANDLER(close);
HANDLER(poll);
HANDLER(ppoll);
HANDLER(select);
HANDLER(pselect6);
CALL(pipe);
CALL(pipe2);
CALL(eventfd);
CALL(eventfd2);
CALL(fcntl);
CALL(timerfd_create);
CALL(timerfd_settime);
CALL(timerfd_gettime);

#define NOW(name, ...) pg_sys_##name(NULL, (const uint64_t[6]){ __VA_ARGS__ })

static void setup(void)
{
	sys_setup("/");
	cr_assert_eq(NOW(pipe, (uintptr_t)end), 0);
}

TestSuite(pipe, .init = setup, .timeout = 20);

static void expect(const struct sys_call *of, int64_t result)
{
	cr_assert(of->done, "the call still waits");
	cr_assert_not(pg_task_cancelled(&of->task));
	cr_assert_eq(of->call.result, result, "%ld instead of %ld", (long)of->call.result,
		     (long)result);
}

/* Cancelled where it waits: it has no hypercall, so it ends at once. */
static void cancel(struct sys_call *of)
{
	cr_assert_not(of->done);
	pg_task_cancel(&of->task);
	host_settle(&sys_vcpu);
	cr_assert(of->done);
	cr_assert(pg_task_cancelled(&of->task));
	cr_assert_null(sys_vcpu.executor.timers.first);
}

static void fill(void)
{
	cr_assert_eq(sys_now(pg_sys_write, end[1], BYTES, PG_PIPE_DEFAULT), PG_PIPE_DEFAULT);
}

static void close_now(int fd)
{
	cr_assert_eq(sys_now(pg_sys_close, fd), 0);
}

/* ---- pipes ---- */

Test(pipe, a_reader_waits)
{
	sys_start(&call, pg_sys_read, end[0], BYTES, 100);
	cr_assert_not(call.done);
	pg_task_wake(&call.task); /* spurious */
	host_settle(&sys_vcpu);
	cr_assert_not(call.done);
	cr_assert_eq(sys_now(pg_sys_write, end[1], (uintptr_t) "hello", 5), 5);
	host_settle(&sys_vcpu);
	expect(&call, 5);
	cr_assert_eq(memcmp(bytes, "hello", 5), 0);
}

Test(pipe, a_reader_waits_for_the_end)
{
	sys_start(&call, pg_sys_read, end[0], BYTES, 100);
	sys_start(&other, pg_sys_read, end[0], BYTES, 100);
	close_now(end[1]);
	host_settle(&sys_vcpu);
	expect(&call, 0);
	expect(&other, 0);
}

Test(pipe, a_call_keeps_the_file)
{
	sys_start(&call, pg_sys_read, end[0], BYTES, 100);
	close_now(end[0]);
	cr_assert_eq(sys_now(pg_sys_write, end[1], BYTES, 5), 5);
	host_settle(&sys_vcpu);
	expect(&call, 5);
	cr_assert_eq(sys_now(pg_sys_write, end[1], BYTES, 5), -EPIPE);
	cr_assert_eq(sys_broken_pipes, 1);
	close_now(end[1]);
	cr_assert_eq(sys_allocated, 0);
}

Test(pipe, readers_in_turn)
{
	sys_start(&call, pg_sys_read, end[0], BYTES, 2);
	sys_start(&other, pg_sys_read, end[0], BYTES + 10, 2);
	sys_start(&third, pg_sys_read, end[0], BYTES + 20, 2);
	/* One write wakes one; that one wakes the next, for what it has left. */
	cr_assert_eq(sys_now(pg_sys_write, end[1], (uintptr_t) "abcd", 4), 4);
	host_settle(&sys_vcpu);
	expect(&call, 2);
	expect(&other, 2);
	cr_assert_not(third.done);
	cr_assert_eq(memcmp(bytes, "ab", 2), 0);
	cr_assert_eq(memcmp(bytes + 10, "cd", 2), 0);
	cancel(&third);
}

Test(pipe, the_chosen_one_gives_up)
{
	sys_start(&call, pg_sys_read, end[0], BYTES, 100);
	sys_start(&other, pg_sys_read, end[0], BYTES, 100);
	/* Chosen, and not polled since: it is cancelled first. */
	sys_prepare(&third, pg_sys_write, (const uint64_t[6]){ end[1], BYTES, 3 });
	pg_executor_step(&sys_vcpu.executor);
	pg_task_cancel(&call.task);
	host_settle(&sys_vcpu);
	cr_assert(pg_task_cancelled(&call.task));
	expect(&third, 3);
	expect(&other, 3);
}

Test(pipe, a_writer_waits)
{
	fill();
	sys_start(&call, pg_sys_write, end[1], BYTES, 10);
	cr_assert_not(call.done);
	/* Less than any write may need: not worth a wake-up. */
	cr_assert_eq(sys_now(pg_sys_read, end[0], BYTES, 4095), 4095);
	host_settle(&sys_vcpu);
	cr_assert_not(call.done);
	cr_assert_eq(sys_now(pg_sys_read, end[0], BYTES, 1), 1);
	host_settle(&sys_vcpu);
	expect(&call, 10);
}

Test(pipe, more_than_fits)
{
	int64_t got = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i >> 8 ^ i);
	sys_start(&call, pg_sys_write, end[1], BYTES, sizeof(bytes));
	cr_assert_not(call.done);
	while (got < (int64_t)sizeof(bytes)) {
		static char back[5000];
		int64_t size = sys_now(pg_sys_read, end[0], (uintptr_t)back, sizeof(back));

		cr_assert_gt(size, 0);
		cr_assert_eq(memcmp(back, bytes + got, (size_t)size), 0);
		got += size;
	}
	host_settle(&sys_vcpu);
	expect(&call, sizeof(bytes));
}

Test(pipe, writers_give_up)
{
	fill();
	sys_start(&call, pg_sys_write, end[1], BYTES, 10);
	sys_start(&other, pg_sys_write, end[1], BYTES, 20);
	cancel(&call);
	cr_assert_eq(sys_now(pg_sys_read, end[0], BYTES, 5000), 5000);
	host_settle(&sys_vcpu);
	expect(&other, 20);

	/* Chosen, then cancelled. */
	cr_assert_eq(sys_now(pg_sys_write, end[1], BYTES, 4980), 4980);
	sys_start(&call, pg_sys_write, end[1], BYTES, 10);
	sys_start(&other, pg_sys_write, end[1], BYTES, 20);
	sys_prepare(&third, pg_sys_read, (const uint64_t[6]){ end[0], BYTES, 4096 });
	pg_executor_step(&sys_vcpu.executor);
	pg_task_cancel(&call.task);
	host_settle(&sys_vcpu);
	cr_assert(pg_task_cancelled(&call.task));
	expect(&third, 4096);
	expect(&other, 20);
}

Test(pipe, nobody_reads)
{
	fill();
	sys_start(&call, pg_sys_write, end[1], BYTES, 10);
	sys_start(&other, pg_sys_write, end[1], BYTES, 100000);
	close_now(end[0]);
	host_settle(&sys_vcpu);
	expect(&call, -EPIPE);
	expect(&other, -EPIPE);
	cr_assert_eq(sys_broken_pipes, 2);
	close_now(end[1]);
	cr_assert_eq(sys_allocated, 0);
}

Test(pipe, part_of_it_was_written)
{
	sys_start(&call, pg_sys_write, end[1], BYTES, 100000);
	cr_assert_not(call.done);
	close_now(end[0]);
	host_settle(&sys_vcpu);
	expect(&call, PG_PIPE_DEFAULT);
	cr_assert_eq(sys_broken_pipes, 1);
}

Test(pipe, memory_that_faults)
{
	struct iovec iov[2] = { { bytes, 10 }, { (void *)SYS_HOLE, 10 } };

	/* All or nothing, if it is to be atomic. */
	cr_assert_eq(sys_now(pg_sys_writev, end[1], (uintptr_t)iov, 2), -EFAULT);
	cr_assert_eq(sys_now(pg_sys_write, end[1], SYS_HOLE, 1), -EFAULT);
	iov[0].iov_len = 8192;
	cr_assert_eq(sys_now(pg_sys_writev, end[1], (uintptr_t)iov, 2), 8192);
	/* What could not be read stays. */
	cr_assert_eq(sys_now(pg_sys_read, end[0], SYS_HOLE, 10), -EFAULT);
	iov[0].iov_len = 100;
	cr_assert_eq(sys_now(pg_sys_readv, end[0], (uintptr_t)iov, 2), 100);
	cr_assert_eq(sys_now(pg_sys_read, end[0], BYTES, sizeof(bytes)), 8092);
}

Test(pipe, many_pieces_are_atomic)
{
	static struct iovec iov[100];

	for (int i = 0; i < 100; i++)
		iov[i] = (struct iovec){ bytes, i % 2 ? 40 : 0 };
	fill();
	cr_assert_eq(sys_now(pg_sys_read, end[0], BYTES, 1999), 1999);
	sys_start(&call, pg_sys_writev, end[1], (uintptr_t)iov, 100);
	cr_assert_not(call.done);
	cr_assert_eq(call.call.result, 0);
	cr_assert_eq(sys_now(pg_sys_read, end[0], BYTES, 5000), 5000);
	host_settle(&sys_vcpu);
	expect(&call, 2000);
	cr_assert_eq(sys_now(pg_sys_read, end[0], BYTES, sizeof(bytes)),
		     PG_PIPE_DEFAULT - 6999 + 2000);
}

Test(pipe, no_memory)
{
	int fd[2] = { -1, -1 };

	for (long i = 0; i < 2; i++) {
		sys_fail_after = i;
		cr_assert_eq(NOW(pipe, (uintptr_t)fd), -ENOMEM);
	}
	sys_fail_after = 0;
	cr_assert_eq(NOW(fcntl, end[0], F_SETPIPE_SZ, 4096), -ENOMEM);
	cr_assert_eq(NOW(eventfd, 0), -ENOMEM);
	cr_assert_eq(NOW(timerfd_create, CLOCK_MONOTONIC, 0), -ENOMEM);
	sys_fail_after = -1;
	cr_assert_eq(NOW(pipe, SYS_HOLE), -EFAULT);
	cr_assert_eq(sys_allocated, 2);
	/* No descriptor was lost. */
	cr_assert_eq(NOW(pipe, (uintptr_t)fd), 0);
	cr_assert_eq(fd[0], end[1] + 1);
	close_now(fd[0]);
	close_now(fd[1]);
	/* None left: for both, and for the second one. */
	for (int i = 0; pg_fd_reserve(0, false) >= 0; i++)
		;
	cr_assert_eq(NOW(pipe, (uintptr_t)fd), -EMFILE);
	cr_assert_eq(NOW(eventfd, 0), -EMFILE);
	pg_fd_unreserve(500);
	cr_assert_eq(NOW(pipe, (uintptr_t)fd), -EMFILE);
	cr_assert_eq(pg_fd_reserve(0, false), 500);
	cr_assert_eq(sys_allocated, 2);
}

Test(pipe, size)
{
	cr_assert_eq(NOW(fcntl, end[0], F_GETPIPE_SZ), PG_PIPE_DEFAULT);
	cr_assert_eq(NOW(fcntl, end[0], F_SETPIPE_SZ, PG_PIPE_MAX + 1), -EPERM);
	cr_assert_eq(NOW(fcntl, end[0], F_SETPIPE_SZ, 0xffffffff), -EINVAL);
	cr_assert_eq(NOW(fcntl, 0, F_GETPIPE_SZ), -EBADF);
	fill();
	cr_assert_eq(NOW(fcntl, end[0], F_SETPIPE_SZ, 4096), -EBUSY);
	/* Growing lets a writer go on. What is in it stays, also if it had wrapped. */
	cr_assert_eq(sys_now(pg_sys_read, end[0], BYTES, 60000), 60000);
	memset(bytes, 'x', 60000);
	cr_assert_eq(sys_now(pg_sys_write, end[1], BYTES, 60000), 60000);
	sys_start(&call, pg_sys_write, end[1], BYTES, 10);
	cr_assert_not(call.done);
	cr_assert_eq(NOW(fcntl, end[1], F_SETPIPE_SZ, PG_PIPE_DEFAULT + 1), 2 * PG_PIPE_DEFAULT);
	host_settle(&sys_vcpu);
	expect(&call, 10);
	cr_assert_eq(sys_now(pg_sys_read, end[0], BYTES, PG_PIPE_DEFAULT - 60000),
		     PG_PIPE_DEFAULT - 60000);
	memset(bytes, 0, 60010);
	cr_assert_eq(sys_now(pg_sys_read, end[0], BYTES, 60010), 60010);
	for (int i = 0; i < 60010; i++)
		cr_assert_eq(bytes[i], 'x');
}

Test(pipe, polled)
{
	struct pollfd fds[2] = { { end[0], POLLIN, 0 }, { end[1], POLLIN, 0 } };

	sys_start(&call, pg_sys_poll, (uintptr_t)fds, 2, -1);
	sys_start(&other, pg_sys_poll, (uintptr_t)fds, 1, -1);
	sys_start(&third, pg_sys_poll, (uintptr_t)fds, 1, 1000);
	cancel(&third);
	cr_assert_not(call.done);
	cr_assert_eq(sys_now(pg_sys_write, end[1], BYTES, 5), 5);
	host_settle(&sys_vcpu);
	expect(&call, 1);
	expect(&other, 1);
	cr_assert_eq(fds[0].revents, POLLIN);

	fds[0].events = 0;
	sys_start(&call, pg_sys_poll, (uintptr_t)fds, 1, -1);
	close_now(end[1]);
	host_settle(&sys_vcpu);
	expect(&call, 1);
	cr_assert_eq(fds[0].revents, POLLHUP);
	sys_fail_after = 1;
	cr_assert_eq(sys_now(pg_sys_poll, (uintptr_t)fds, 1, 0), -ENOMEM);
}

/* ---- eventfd ---- */

static uint64_t value;

#define VALUE ((uintptr_t)&value)

Test(pipe, eventfd_waits)
{
	int fd = (int)NOW(eventfd, 0);
	const uint64_t much = UINT64_MAX - 1, one = 1;

	sys_start(&call, pg_sys_read, fd, VALUE, 8);
	sys_start(&other, pg_sys_read, fd, VALUE, 8);
	cr_assert_not(call.done);
	cr_assert_eq(sys_now(pg_sys_write, fd, (uintptr_t)&much, 8), 8);
	host_settle(&sys_vcpu);
	expect(&call, 8);
	cr_assert_eq(value, much);
	cancel(&other);

	cr_assert_eq(sys_now(pg_sys_write, fd, (uintptr_t)&much, 8), 8);
	sys_start(&call, pg_sys_write, fd, (uintptr_t)&one, 8);
	sys_start(&other, pg_sys_write, fd, (uintptr_t)&one, 8);
	cr_assert_not(call.done);
	cancel(&call);
	cr_assert_eq(sys_now(pg_sys_read, fd, VALUE, 8), 8);
	host_settle(&sys_vcpu);
	expect(&other, 8);
	cr_assert_eq(sys_now(pg_sys_read, fd, VALUE, 8), 8);
	cr_assert_eq(value, 1);
	close_now(fd);
	cr_assert_eq(sys_allocated, 2);
}

Test(pipe, no_packets)
{
	cr_assert_eq(NOW(fcntl, end[0], F_SETFL, O_DIRECT), -EINVAL);
	cr_assert_eq(NOW(fcntl, end[0], F_SETFL, O_NONBLOCK), 0);
	cr_assert_eq(NOW(fcntl, end[0], F_GETFL), O_NONBLOCK);
}

/* Though the value was copied from the program, nothing was written. */
Test(pipe, eventfd_interrupted)
{
	int fd = (int)NOW(eventfd, 0);
	const uint64_t much = UINT64_MAX - 1;

	sys_start(&call, pg_sys_read, fd, VALUE, 8);
	sys_interrupt(&call);
	expect(&call, PG_RESTART);
	cr_assert_eq(sys_now(pg_sys_write, fd, (uintptr_t)&much, 8), 8);
	sys_start(&call, pg_sys_write, fd, (uintptr_t)&much, 8);
	sys_interrupt(&call);
	expect(&call, PG_RESTART);
	cr_assert_eq(sys_now(pg_sys_read, fd, VALUE, 8), 8);
	cr_assert_eq(value, much);
}

Test(pipe, interrupted)
{
	sys_start(&call, pg_sys_read, end[0], BYTES, 10);
	sys_interrupt(&call);
	expect(&call, PG_RESTART);
	sys_start(&call, pg_sys_write, end[1], BYTES, 100000);
	sys_interrupt(&call);
	expect(&call, PG_PIPE_DEFAULT);
	sys_start(&call, pg_sys_write, end[1], BYTES, 10);
	sys_interrupt(&call);
	expect(&call, PG_RESTART);
	cr_assert_eq(sys_now(pg_sys_read, end[0], BYTES, 100000), PG_PIPE_DEFAULT);
}

Test(pipe, eventfd_semaphore)
{
	int fd = (int)NOW(eventfd2, 0, EFD_SEMAPHORE);
	const uint64_t two = 2;

	sys_start(&call, pg_sys_read, fd, VALUE, 8);
	sys_start(&other, pg_sys_read, fd, VALUE, 8);
	sys_start(&third, pg_sys_read, fd, VALUE, 8);
	cr_assert_eq(sys_now(pg_sys_write, fd, (uintptr_t)&two, 8), 8);
	host_settle(&sys_vcpu);
	expect(&call, 8);
	expect(&other, 8);
	cr_assert_eq(value, 1);
	cancel(&third);
}

Test(pipe, eventfd_chosen_one_gives_up)
{
	int fd = (int)NOW(eventfd, 0);
	const uint64_t two = 2;

	sys_start(&call, pg_sys_read, fd, VALUE, 8);
	sys_start(&other, pg_sys_read, fd, VALUE, 8);
	sys_prepare(&third, pg_sys_write, (const uint64_t[6]){ fd, (uintptr_t)&two, 8 });
	pg_executor_step(&sys_vcpu.executor);
	pg_task_cancel(&call.task);
	host_settle(&sys_vcpu);
	cr_assert(pg_task_cancelled(&call.task));
	expect(&other, 8);
	cr_assert_eq(value, 2);
}

/* ---- timerfd ---- */

static int64_t arm(int fd, long ns, long interval)
{
	const struct itimerspec time = { { 0, interval }, { 0, ns } };

	return NOW(timerfd_settime, fd, 0, (uintptr_t)&time, 0);
}

Test(pipe, timer_expires)
{
	int fd;

	host_set_clock(1000);
	fd = (int)NOW(timerfd_create, CLOCK_MONOTONIC, 0);
	sys_start(&call, pg_sys_read, fd, VALUE, 8);
	cr_assert_null(sys_vcpu.executor.timers.first);
	cr_assert_eq(arm(fd, 100, 50), 0);
	host_settle(&sys_vcpu);
	cr_assert_eq(sys_vcpu.executor.timers.first->deadline, 1100);
	/* Set anew while somebody waits: later, then earlier. */
	cr_assert_eq(arm(fd, 500, 50), 0);
	host_set_clock(1100);
	host_settle(&sys_vcpu);
	cr_assert_not(call.done);
	cr_assert_eq(sys_vcpu.executor.timers.first->deadline, 1500);
	cr_assert_eq(arm(fd, 10, 50), 0);
	host_set_clock(1110);
	host_settle(&sys_vcpu);
	expect(&call, 8);
	cr_assert_eq(value, 1);
	cr_assert_null(sys_vcpu.executor.timers.first);
	/* 1160, 1210, 1260. */
	host_set_clock(1260);
	cr_assert_eq(sys_now(pg_sys_read, fd, VALUE, 8), 8);
	cr_assert_eq(value, 3);
	sys_start(&call, pg_sys_read, fd, VALUE, 8);
	cr_assert_eq(sys_vcpu.executor.timers.first->deadline, 1310);
	cancel(&call);
	/* Two wait, one gets it: the other one waits for the next. */
	sys_start(&call, pg_sys_read, fd, VALUE, 8);
	sys_start(&other, pg_sys_read, fd, VALUE, 8);
	host_set_clock(1310);
	host_settle(&sys_vcpu);
	cr_assert_eq(call.done + other.done, 1);
	host_set_clock(1360);
	host_settle(&sys_vcpu);
	expect(&call, 8);
	expect(&other, 8);
	/* An interval that never ends before the end of time. */
	cr_assert_eq(NOW(timerfd_settime, fd, 0,
			 (uintptr_t) & (struct itimerspec){ { INT64_MAX, 0 }, { 0, 1 } }, 0),
		     0);
	host_set_clock(5000);
	cr_assert_eq(sys_now(pg_sys_read, fd, VALUE, 8), 8);
	cr_assert_eq(value, 1);
	close_now(fd);
	cr_assert_eq(sys_allocated, 2);
}

Test(pipe, timer_polled)
{
	struct pollfd pollfd = { .events = POLLIN };

	host_set_clock(1000);
	pollfd.fd = (int)NOW(timerfd_create, CLOCK_MONOTONIC, 0);
	cr_assert_eq(arm(pollfd.fd, 500, 0), 0);
	sys_start(&call, pg_sys_poll, (uintptr_t)&pollfd, 1, -1);
	sys_start(&other, pg_sys_poll, (uintptr_t)&pollfd, 1, -1);
	cr_assert_eq(arm(pollfd.fd, 200, 0), 0);
	host_settle(&sys_vcpu);
	cr_assert_eq(sys_vcpu.executor.timers.first->deadline, 1200);
	pg_task_cancel(&other.task);
	host_settle(&sys_vcpu);
	cr_assert(pg_task_cancelled(&other.task));
	host_set_clock(1200);
	host_settle(&sys_vcpu);
	expect(&call, 1);
	cr_assert_eq(pollfd.revents, POLLIN);
	cr_assert_null(sys_vcpu.executor.timers.first);
}

/* ---- select ---- */

Test(pipe, select)
{
	fd_set in, out;
	struct timeval time = { 0, 5 };

	host_set_clock(1000);
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_SET(end[0], &in);
	sys_start(&call, pg_sys_select, end[0] + 1, (uintptr_t)&in, (uintptr_t)&out, 0,
		  (uintptr_t)&time);
	cr_assert_not(call.done);
	host_set_clock(6000);
	host_settle(&sys_vcpu);
	expect(&call, 0);
	cr_assert_not(FD_ISSET(end[0], &in));
	cr_assert_eq(time.tv_usec, 0);

	FD_SET(end[0], &in);
	sys_start(&call, pg_sys_pselect6, end[0] + 1, (uintptr_t)&in);
	cancel(&call);
	sys_start(&call, pg_sys_pselect6, end[0] + 1, (uintptr_t)&in);
	cr_assert_eq(sys_now(pg_sys_write, end[1], BYTES, 1), 1);
	host_settle(&sys_vcpu);
	expect(&call, 1);
	cr_assert(FD_ISSET(end[0], &in));

	cr_assert_eq(sys_now(pg_sys_select, 8, SYS_HOLE), -EFAULT);
	cr_assert_eq(sys_now(pg_sys_select, 8, 0, 0, 0, SYS_HOLE), -EFAULT);
	cr_assert_eq(sys_now(pg_sys_pselect6, 8, 0, 0, 0, 0, SYS_HOLE), -EFAULT);
	cr_assert_eq(sys_now(pg_sys_pselect6, 8, 0, 0, 0, 0, (uintptr_t)(uint64_t[]){ BYTES, 4 }),
		     -EINVAL);
	for (long i = 0; i < 2; i++) {
		sys_fail_after = i;
		cr_assert_eq(sys_now(pg_sys_select, 8, (uintptr_t)&in), -ENOMEM);
	}
	cr_assert_eq(sys_allocated, 2);
}

/* ---- more files of the loader than are waited for on the ring ---- */

#define MANY 300

/* Answer all questions as a loader does that finds file `ready` ready. */
static void serve_questions(int ready, unsigned *asked)
{
	struct pg_sqe entry;

	do {
		while (host_take(&sys_vcpu, &entry)) {
			if (entry.op == PG_OP_POLL) {
				(*asked)++;
				host_complete(&sys_vcpu, entry.user_data,
					      entry.handle == ready ? POLLIN : -ECANCELED);
			} else if (entry.op == PG_OP_CANCEL) {
				host_complete(&sys_vcpu, entry.user_data, 0);
			}
		}
		host_settle(&sys_vcpu);
	} while (!call.done && sys_vcpu.executor.hypercalls.outstanding);
}

Test(pipe, many_files_of_the_loader)
{
	static struct pollfd fds[MANY];
	unsigned asked = 0;

	host_set_clock(1000);
	for (int i = 0; i < MANY; i++)
		fds[i] = (struct pollfd){ sys_open(1000 + i, O_RDWR), POLLIN, 0 };
	/* All are asked, although they don't fit on the ring together. */
	sys_start(&call, pg_sys_poll, (uintptr_t)fds, MANY, 0);
	serve_questions(1000 + MANY - 1, &asked);
	expect(&call, 1);
	cr_assert_eq(asked, MANY);
	cr_assert_eq(fds[MANY - 1].revents, POLLIN);

	/* And again and again, if there is nothing. */
	asked = 0;
	sys_start(&call, pg_sys_poll, (uintptr_t)fds, MANY, -1);
	serve_questions(0, &asked);
	cr_assert_not(call.done);
	cr_assert_eq(asked, MANY);
	host_set_clock(1000 + 10000000);
	host_settle(&sys_vcpu);
	serve_questions(1000, &asked);
	expect(&call, 1);
	cr_assert_eq(asked, 2 * MANY);
	cr_assert_eq(fds[0].revents, POLLIN);

	sys_start(&call, pg_sys_poll, (uintptr_t)fds, MANY, -1);
	pg_task_cancel(&call.task);
	serve_questions(0, &asked);
	host_settle(&sys_vcpu);
	cr_assert(call.done);
}
