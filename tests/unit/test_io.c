#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "sys_calls.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/io.h"
#include "sys/process.h"

static void setup(void)
{
	sys_setup("/");
}

TestSuite(io, .init = setup, .timeout = 20);

#define HANDLER(name) enum pg_poll pg_sys_##name(struct pg_future *, struct pg_task *)
HANDLER(open);
HANDLER(close);
HANDLER(read);
HANDLER(write);
HANDLER(pread64);
HANDLER(pwrite64);
HANDLER(readv);
HANDLER(writev);
HANDLER(preadv);
HANDLER(preadv2);
HANDLER(pwritev2);
HANDLER(lseek);
HANDLER(fsync);
HANDLER(fdatasync);
HANDLER(ftruncate);
HANDLER(truncate);
HANDLER(poll);
HANDLER(ppoll);
int64_t pg_sys_fcntl(struct pg_thread *thread, const uint64_t *arg);

static struct sys_call call;
static char buffer[64];

#define BUFFER ((uintptr_t)buffer)

static void expect_result(int64_t result)
{
	cr_assert(call.done, "the call still waits");
	cr_assert_eq(call.call.result, result, "%ld instead of %ld", (long)call.call.result,
		     (long)result);
	sys_expect_none();
}

static void set_flags(int fd, uint64_t flags)
{
	cr_assert_eq(pg_sys_fcntl(NULL, (const uint64_t[6]){ fd, F_SETFL, flags }), 0);
}

/* ---- one operation ---- */

Test(io, read)
{
	int fd = sys_open(7, O_RDONLY);
	struct pg_sqe entry;

	sys_start(&call, pg_sys_read, fd, BUFFER, 20);
	entry = sys_take(PG_OP_READ);
	cr_assert_eq(entry.handle, 7);
	cr_assert_eq(entry.arg[0], BUFFER);
	cr_assert_eq(entry.arg[1], 20);
	cr_assert_eq(entry.arg[2], PG_OFFSET_STREAM);
	sys_answer(&entry, 5);
	expect_result(5);

	sys_start(&call, pg_sys_read, fd, BUFFER, 20);
	sys_serve(PG_OP_READ, 0);
	expect_result(0);
	sys_start(&call, pg_sys_read, fd, BUFFER, 20);
	sys_serve(PG_OP_READ, -EIO);
	expect_result(-EIO);
	sys_start(&call, pg_sys_read, fd, BUFFER, 0);
	sys_serve(PG_OP_READV, 0);
	expect_result(0);
}

Test(io, descriptors_and_modes)
{
	int reader = sys_open(7, O_RDONLY), writer = sys_open(8, O_WRONLY);
	int path = sys_open(9, O_PATH);

	cr_assert_eq(sys_now(pg_sys_read, 99, BUFFER, 1), -EBADF);
	cr_assert_eq(sys_now(pg_sys_read, -1, BUFFER, 1), -EBADF);
	cr_assert_eq(sys_now(pg_sys_read, writer, BUFFER, 1), -EBADF);
	cr_assert_eq(sys_now(pg_sys_write, reader, BUFFER, 1), -EBADF);
	cr_assert_eq(sys_now(pg_sys_read, path, BUFFER, 1), -EBADF);
	cr_assert_eq(sys_now(pg_sys_lseek, path, 0, SEEK_SET), -EBADF);
	cr_assert_eq(sys_now(pg_sys_fsync, path), -EBADF);
	cr_assert_eq(sys_now(pg_sys_writev, writer, BUFFER, 1025), -EINVAL);
	sys_expect_none();
}

Test(io, at_an_offset)
{
	int fd = sys_open(7, O_RDWR);
	struct iovec_pair {
		uint64_t base, length;
	} iov = { BUFFER, 9 };
	struct pg_sqe entry;

	sys_start(&call, pg_sys_pread64, fd, BUFFER, 20, 1000);
	entry = sys_take(PG_OP_READ);
	cr_assert_eq(entry.arg[2], 1000);
	sys_answer(&entry, 20);
	expect_result(20);
	sys_start(&call, pg_sys_pread64, fd, BUFFER, 20, 1000);
	sys_serve(PG_OP_READ, -ESPIPE);
	expect_result(-ESPIPE);

	cr_assert_eq(sys_now(pg_sys_pread64, fd, BUFFER, 20, -1), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_pwrite64, 99, BUFFER, 20, -5), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_preadv, fd, (uintptr_t)&iov, 1, -1), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_preadv2, fd, (uintptr_t)&iov, 1, -2, 0, 0), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_preadv2, fd, (uintptr_t)&iov, 1, 0, 0, 1), -EOPNOTSUPP);

	sys_start(&call, pg_sys_pwritev2, fd, (uintptr_t)&iov, 1, -1, 0, 0);
	entry = sys_take(PG_OP_WRITE);
	cr_assert_eq(entry.arg[1], 9);
	cr_assert_eq(entry.arg[2], PG_OFFSET_STREAM);
	sys_answer(&entry, 9);
	expect_result(9);
}

/* ---- more than one operation ---- */

Test(io, long_read_of_a_file)
{
	int fd = sys_open(7, O_RDONLY);
	uint64_t base = 0x200000000;
	struct pg_sqe entry;

	sys_start(&call, pg_sys_pread64, fd, base, 3 * (uint64_t)PG_IO_MAX + 5, 10);
	entry = sys_take(PG_OP_READ);
	cr_assert_eq(entry.arg[1], PG_IO_MAX);
	sys_answer(&entry, PG_IO_MAX);
	/* Is it a file? Asked once. */
	entry = sys_take(PG_OP_LSEEK);
	cr_assert_eq(entry.arg[1], SEEK_CUR);
	sys_answer(&entry, 0);
	for (uint64_t i = 1; i < 3; i++) {
		entry = sys_take(PG_OP_READ);
		cr_assert_eq(entry.arg[0], base + i * PG_IO_MAX);
		cr_assert_eq(entry.arg[1], PG_IO_MAX);
		cr_assert_eq(entry.arg[2], 10 + i * PG_IO_MAX);
		sys_answer(&entry, PG_IO_MAX);
	}
	entry = sys_take(PG_OP_READ);
	cr_assert_eq(entry.arg[1], 5);
	sys_answer(&entry, 5);
	expect_result(3 * (int64_t)PG_IO_MAX + 5);

	/* It ends early; then an error comes after some bytes. */
	sys_start(&call, pg_sys_read, fd, base, 3 * (uint64_t)PG_IO_MAX);
	sys_serve(PG_OP_READ, PG_IO_MAX);
	sys_serve(PG_OP_READ, 100);
	expect_result(PG_IO_MAX + 100);
	sys_start(&call, pg_sys_read, fd, base, 3 * (uint64_t)PG_IO_MAX);
	sys_serve(PG_OP_READ, PG_IO_MAX);
	sys_serve(PG_OP_READ, -EIO);
	expect_result(PG_IO_MAX);
	sys_start(&call, pg_sys_read, fd, base, UINT64_MAX);
	cr_assert_eq(call.call.result, 0);
	cr_assert_not(call.done);
	sys_serve(PG_OP_READ, 0);
	expect_result(0);
}

Test(io, long_read_of_a_stream_is_short)
{
	int fd = sys_open(7, O_RDONLY);

	for (int i = 0; i < 2; i++) {
		sys_start(&call, pg_sys_read, fd, 0x200000000, 2 * (uint64_t)PG_IO_MAX);
		sys_serve(PG_OP_READ, PG_IO_MAX);
		if (i == 0)
			sys_serve(PG_OP_LSEEK, -ESPIPE);
		expect_result(PG_IO_MAX);
	}
}

Test(io, a_write_goes_on)
{
	int fd = sys_open(7, O_WRONLY);
	struct pg_sqe entry;

	sys_start(&call, pg_sys_write, fd, BUFFER, 50);
	sys_serve(PG_OP_WRITE, 20);
	entry = sys_take(PG_OP_WRITE);
	cr_assert_eq(entry.arg[0], BUFFER + 20);
	cr_assert_eq(entry.arg[1], 30);
	sys_answer(&entry, 30);
	expect_result(50);

	sys_start(&call, pg_sys_write, fd, BUFFER, 50);
	sys_serve(PG_OP_WRITE, 20);
	sys_serve(PG_OP_WRITE, -ENOSPC);
	expect_result(20);
	sys_start(&call, pg_sys_write, fd, BUFFER, 50);
	sys_serve(PG_OP_WRITE, -ENOSPC);
	expect_result(-ENOSPC);
	sys_start(&call, pg_sys_write, fd, BUFFER, 50);
	sys_serve(PG_OP_WRITE, 0);
	expect_result(0);
}

/* ---- pieces ---- */

Test(io, vector_in_one_operation)
{
	int fd = sys_open(7, O_RDWR);
	struct pg_iovec iov[4] = {
		{ BUFFER, 0 }, { BUFFER, 10 }, { BUFFER + 10, 0 }, { BUFFER + 20, 5 }
	};
	const struct pg_iovec *sent;
	struct pg_sqe entry;

	sys_start(&call, pg_sys_writev, fd, (uintptr_t)iov, 4);
	entry = sys_take(PG_OP_WRITEV);
	cr_assert_eq(entry.arg[1], 3);
	sent = (const struct pg_iovec *)entry.arg[0];
	cr_assert_eq(sent[0].base, BUFFER);
	cr_assert_eq(sent[0].length, 10);
	cr_assert_eq(sent[2].base, BUFFER + 20);
	/* The program may change its own meanwhile. */
	memset(iov, 0xff, sizeof(iov));
	sys_answer(&entry, 12);
	entry = sys_take(PG_OP_WRITE);
	cr_assert_eq(entry.arg[0], BUFFER + 22);
	cr_assert_eq(entry.arg[1], 3);
	sys_answer(&entry, 3);
	expect_result(15);

	sys_start(&call, pg_sys_readv, fd, (uintptr_t)iov, 0);
	sys_serve(PG_OP_READV, 0);
	expect_result(0);
}

#define MANY 70

Test(io, vector_beyond_the_window)
{
	static struct pg_iovec iov[MANY];
	int fd = sys_open(7, O_RDWR);
	int64_t total = 0;
	unsigned seen = 0;

	for (unsigned i = 0; i < MANY; i++) {
		iov[i] = (struct pg_iovec){ BUFFER + i, i % 3 };
		total += i % 3;
	}
	sys_start(&call, pg_sys_writev, fd, (uintptr_t)iov, MANY);
	while (!call.done) {
		struct pg_sqe entry = sys_take(PG_OP_WRITEV);
		const struct pg_iovec *sent = (const struct pg_iovec *)entry.arg[0];
		int64_t bytes = 0;

		cr_assert_leq(entry.arg[1], PG_IO_WINDOW);
		while (iov[seen].length == 0)
			seen++;
		for (unsigned i = 0; i < entry.arg[1]; i++, seen++) {
			cr_assert_eq(sent[i].base, iov[seen].base);
			cr_assert_eq(sent[i].length, iov[seen].length);
			bytes += (int64_t)sent[i].length;
		}
		sys_answer(&entry, bytes);
	}
	cr_assert_eq(seen, MANY);
	expect_result(total);

	/* Nothing in the first window, and something behind it. */
	memset(iov, 0, sizeof(iov));
	iov[MANY - 1] = (struct pg_iovec){ BUFFER, 4 };
	sys_start(&call, pg_sys_readv, fd, (uintptr_t)iov, MANY);
	sys_serve(PG_OP_READ, 4);
	expect_result(4);
}

Test(io, bad_vectors)
{
	static struct pg_iovec iov[MANY];
	int fd = sys_open(7, O_RDWR);

	for (unsigned i = 0; i < MANY; i++)
		iov[i] = (struct pg_iovec){ BUFFER, 1 };
	iov[MANY - 1].length = UINT64_MAX;
	cr_assert_eq(sys_now(pg_sys_writev, fd, (uintptr_t)iov, MANY), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_writev, fd, (uintptr_t)(iov + MANY - 1), 1), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_writev, fd, 8, 1), -EFAULT);
	cr_assert_eq(sys_now(pg_sys_readv, fd, SYS_HOLE, 3), -EFAULT);
	sys_expect_none();
}

/* A change behind the kernel's back between looking and using: no harm is done. */
Test(io, vector_that_turns_bad)
{
	static struct pg_iovec iov[MANY];
	int fd = sys_open(7, O_RDWR);
	struct pg_sqe entry;

	for (unsigned i = 0; i < MANY; i++)
		iov[i] = (struct pg_iovec){ BUFFER, 1 };
	sys_start(&call, pg_sys_writev, fd, (uintptr_t)iov, MANY);
	entry = sys_take(PG_OP_WRITEV);
	iov[MANY - 1].length = UINT64_MAX;
	sys_answer(&entry, PG_IO_WINDOW);
	sys_serve(PG_OP_WRITEV, PG_IO_WINDOW);
	expect_result(2 * PG_IO_WINDOW);
}

/* All together never more than Linux moves. */
Test(io, total_is_limited)
{
	struct pg_iovec iov[3] = { { BUFFER, 0x70000000 }, { BUFFER, 0x70000000 }, { BUFFER, 9 } };
	const struct pg_iovec *sent;
	int fd = sys_open(7, O_RDONLY);
	struct pg_sqe entry;

	sys_start(&call, pg_sys_readv, fd, (uintptr_t)iov, 3);
	entry = sys_take(PG_OP_READV);
	sent = (const struct pg_iovec *)entry.arg[0];
	cr_assert_eq(sent[0].length, 0x70000000);
	cr_assert_eq(sent[1].length, 0x7ffff000 - 0x70000000);
	cr_assert_eq(sent[2].length, 0);
	sys_answer(&entry, 1);
	expect_result(1);
}

/* ---- O_NONBLOCK and O_APPEND ---- */

/* A POLL that is taken back at once; its answer. */
static void take_probe(uint64_t events, int64_t result)
{
	struct pg_sqe entry = sys_take(PG_OP_POLL), cancel = sys_take(PG_OP_CANCEL);

	cr_assert_eq(entry.arg[0], events);
	cr_assert_eq(cancel.arg[0], entry.user_data);
	sys_answer(&entry, result);
	sys_answer(&cancel, -ENOENT);
}

Test(io, nonblocking_on_a_stream)
{
	int fd = sys_open(7, O_RDWR);
	struct pg_sqe entry, cancel;

	set_flags(fd, O_NONBLOCK);
	sys_start(&call, pg_sys_read, fd, BUFFER, 20);
	sys_serve(PG_OP_LSEEK, -ESPIPE);
	entry = sys_take(PG_OP_READ);
	cancel = sys_take(PG_OP_CANCEL);
	cr_assert_eq(cancel.arg[0], entry.user_data);
	sys_answer(&entry, -ECANCELED);
	cr_assert_not(call.done, "the cancellation is the loader's still");
	sys_expect_none();
	sys_answer(&cancel, 0);
	take_probe(POLLIN, -ECANCELED);
	expect_result(-EAGAIN);

	/* It was possible at once. */
	sys_start(&call, pg_sys_read, fd, BUFFER, 20);
	entry = sys_take(PG_OP_READ);
	cancel = sys_take(PG_OP_CANCEL);
	sys_answer(&entry, 6);
	sys_answer(&cancel, -ENOENT);
	expect_result(6);

	/* A partial write is not gone on with. */
	sys_start(&call, pg_sys_write, fd, BUFFER, 20);
	entry = sys_take(PG_OP_WRITE);
	cancel = sys_take(PG_OP_CANCEL);
	sys_answer(&cancel, -ENOENT);
	sys_answer(&entry, 6);
	expect_result(6);

	/* Back to waiting. */
	set_flags(fd, 0);
	sys_start(&call, pg_sys_read, fd, BUFFER, 20);
	sys_serve(PG_OP_READ, 3);
	expect_result(3);
}

/* A terminal: the host has no way to try, so reading begins with waiting for the event. */
Test(io, nonblocking_where_the_host_cannot_try)
{
	int fd = sys_open(7, O_RDWR);
	struct pg_sqe entry, cancel;

	set_flags(fd, O_NONBLOCK);
	sys_start(&call, pg_sys_write, fd, BUFFER, 20);
	sys_serve(PG_OP_LSEEK, -ESPIPE);
	for (int i = 0; i < 2; i++) {
		entry = sys_take(PG_OP_WRITE);
		cancel = sys_take(PG_OP_CANCEL);
		sys_answer(&entry, -ECANCELED);
		sys_answer(&cancel, 0);
		take_probe(POLLOUT, POLLOUT);
		entry = sys_take(PG_OP_WRITE);
		cr_assert_eq(entry.arg[1], i ? 10 : 20);
		sys_answer(&entry, 10);
		if (i == 0) {
			expect_result(10);
			sys_start(&call, pg_sys_write, fd, BUFFER, 10);
		}
	}
	expect_result(10);
}

Test(io, nonblocking_on_a_file_is_as_always)
{
	int fd = sys_open(7, O_RDONLY | O_NONBLOCK);

	sys_start(&call, pg_sys_read, fd, BUFFER, 20);
	sys_serve(PG_OP_LSEEK, 0);
	sys_serve(PG_OP_READ, 20);
	expect_result(20);
}

/* The host's descriptor is O_NONBLOCK for good. */
Test(io, blocking_again)
{
	int fd = sys_open(7, O_RDWR | O_NONBLOCK);
	struct pg_sqe entry;

	set_flags(fd, 0);
	sys_start(&call, pg_sys_read, fd, BUFFER, 20);
	sys_serve(PG_OP_READ, -EAGAIN);
	entry = sys_take(PG_OP_POLL);
	cr_assert_eq(entry.arg[0], POLLIN);
	sys_answer(&entry, POLLIN);
	sys_serve(PG_OP_READ, 4);
	expect_result(4);

	sys_start(&call, pg_sys_write, fd, BUFFER, 20);
	sys_serve(PG_OP_WRITE, 5);
	sys_serve(PG_OP_WRITE, -EAGAIN);
	entry = sys_take(PG_OP_POLL);
	cr_assert_eq(entry.arg[0], POLLOUT);
	sys_answer(&entry, -EIO);
	expect_result(5);
}

Test(io, nonblocking_without_room_on_the_ring)
{
	static struct pg_hypercall fill[PG_HYPERCALL_MAX];
	static struct pg_task tasks[PG_HYPERCALL_MAX];
	int fd = sys_open(7, O_RDWR);
	struct pg_sqe entry, read, cancel;

	set_flags(fd, O_NONBLOCK);
	atomic_store(&pg_fd_get(fd)->seekable, PG_STREAM);
	for (unsigned i = 0; i < PG_HYPERCALL_MAX; i++) {
		pg_hypercall_init(&fill[i], PG_OP_NOP, 0);
		pg_task_spawn(&sys_vcpu.executor, &tasks[i], &fill[i].future, NULL);
		host_settle(&sys_vcpu);
		entry = sys_take(PG_OP_NOP);
	}
	sys_prepare(&call, pg_sys_read, (const uint64_t[6]){ fd, BUFFER, 20 });
	/* It keeps trying, so it is never settled before there is room. */
	for (int i = 0; i < 5; i++)
		cr_assert(pg_executor_step(&sys_vcpu.executor));
	sys_expect_none();
	cr_assert_not(call.done);
	sys_answer(&entry, 0);
	read = sys_take(PG_OP_READ);
	cancel = sys_take(PG_OP_CANCEL);
	sys_answer(&read, 2);
	sys_answer(&cancel, -ENOENT);
	expect_result(2);
}

Test(io, append_set_later)
{
	int fd = sys_open(7, O_WRONLY), always = sys_open(8, O_WRONLY | O_APPEND);
	struct pg_sqe entry;

	set_flags(fd, O_APPEND);
	sys_start(&call, pg_sys_write, fd, BUFFER, 20);
	entry = sys_take(PG_OP_LSEEK);
	cr_assert_eq(entry.arg[0], 0);
	cr_assert_eq(entry.arg[1], SEEK_END);
	sys_answer(&entry, 1000);
	sys_serve(PG_OP_WRITE, 20);
	expect_result(20);
	sys_start(&call, pg_sys_write, always, BUFFER, 20);
	sys_serve(PG_OP_WRITE, 20);
	expect_result(20);
}

/* ---- cancelled calls ---- */

/* The host's pipes have SIGPIPE as ours, also if a signal comes in between. */
Test(io, nobody_reads)
{
	int fd = sys_open(7, O_RDWR);
	struct pg_sqe entry;

	sys_start(&call, pg_sys_write, fd, BUFFER, 10);
	sys_serve(PG_OP_WRITE, -EPIPE);
	expect_result(-EPIPE);
	cr_assert_eq(sys_broken_pipes, 1);
	sys_start(&call, pg_sys_write, fd, BUFFER, 10);
	entry = sys_take(PG_OP_WRITE);
	sys_interrupt(&call);
	sys_serve(PG_OP_CANCEL, 0);
	sys_answer(&entry, -EPIPE);
	expect_result(-EPIPE);
	cr_assert_eq(sys_broken_pipes, 2);
}

Test(io, cancelled_read_keeps_its_file)
{
	struct sys_call closing;
	struct pg_sqe entry;
	int fd = sys_open(7, O_RDWR);

	sys_start(&call, pg_sys_read, fd, BUFFER, 20);
	entry = sys_take(PG_OP_READ);
	sys_start(&closing, pg_sys_close, fd);
	cr_assert(closing.done);
	cr_assert_eq(closing.call.result, 0);
	sys_expect_none();

	sys_cancel(&call);
	cr_assert_not(call.done);
	cr_assert_eq(sys_allocated, 2 - 1);
	sys_answer(&entry, -ECANCELED);
	cr_assert(call.done);
	cr_assert(pg_task_cancelled(&call.task));
	entry = sys_take(PG_OP_CLOSE);
	cr_assert_eq(entry.handle, 7);
	sys_answer(&entry, 0);
	cr_assert_eq(sys_allocated, 0);
}

Test(io, cancelled_while_it_settles)
{
	int fd = sys_open(7, O_RDWR);
	struct pg_sqe entry, cancel;

	set_flags(fd, O_NONBLOCK);
	sys_start(&call, pg_sys_read, fd, BUFFER, 20);
	sys_serve(PG_OP_LSEEK, -ESPIPE);
	entry = sys_take(PG_OP_READ);
	cancel = sys_take(PG_OP_CANCEL);
	pg_task_cancel(&call.task);
	host_settle(&sys_vcpu);
	sys_expect_none();
	sys_answer(&entry, -ECANCELED);
	cr_assert_not(call.done);
	sys_answer(&cancel, 0);
	cr_assert(call.done);
	cr_assert_eq(atomic_load(&pg_fd_get(fd)->refs), 2);
}

/* ---- devices ---- */

static int open_device(const char *path, uint64_t flags)
{
	return (int)sys_now(pg_sys_open, (uintptr_t)path, flags);
}

Test(io, dev_null)
{
	struct pg_iovec iov[2] = { { BUFFER, 10 }, { SYS_HOLE, 30 } };
	int fd = open_device("/dev/null", O_RDWR);

	cr_assert_eq(sys_now(pg_sys_read, fd, BUFFER, 20), 0);
	cr_assert_eq(sys_now(pg_sys_write, fd, SYS_HOLE, 20), 20);
	cr_assert_eq(sys_now(pg_sys_writev, fd, (uintptr_t)iov, 2), 40);
	cr_assert_eq(sys_now(pg_sys_write, fd, BUFFER, 0), 0);
	cr_assert_eq(sys_now(pg_sys_lseek, fd, 5, SEEK_SET), 0);
	cr_assert_eq(sys_now(pg_sys_fsync, fd), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_close, fd), 0);
	cr_assert_eq(sys_allocated, 0);
	sys_expect_none();
}

Test(io, dev_zero)
{
	static char large[200001];
	int fd = open_device("/dev/zero", O_RDONLY);

	memset(large, 1, sizeof(large));
	cr_assert_eq(sys_now(pg_sys_read, fd, (uintptr_t)large, 200000), 200000);
	for (unsigned i = 0; i < 200000; i++)
		cr_assert_eq(large[i], 0);
	cr_assert_eq(large[200000], 1);
	cr_assert_eq(sys_now(pg_sys_read, fd, SYS_HOLE, 10), -EFAULT);
	cr_assert_eq(sys_now(pg_sys_pread64, fd, BUFFER, 10, 99), 10);
	cr_assert_eq(sys_now(pg_sys_write, fd, BUFFER, 10), -EBADF);
}

Test(io, dev_full)
{
	int fd = open_device("/dev/full", O_RDWR);

	cr_assert_eq(sys_now(pg_sys_write, fd, BUFFER, 10), -ENOSPC);
	cr_assert_eq(sys_now(pg_sys_write, fd, BUFFER, 0), 0);
	cr_assert_eq(sys_now(pg_sys_read, fd, BUFFER, 10), 10);
}

Test(io, dev_random)
{
	uint8_t bytes[2][1000] = { { 0 } };
	int fd = open_device("/dev/urandom", O_RDONLY), other = open_device("/dev/random", O_RDWR);

	cr_assert_eq(sys_now(pg_sys_read, fd, (uintptr_t)bytes[0], 1000), 1000);
	cr_assert_eq(sys_now(pg_sys_read, other, (uintptr_t)bytes[1], 1000), 1000);
	cr_assert_neq(memcmp(bytes[0], bytes[1], 1000), 0);
	cr_assert_neq(memcmp(bytes[0] + 500, bytes[0], 500), 0);
}

Test(io, opening_devices)
{
	cr_assert_eq(open_device("/dev/null", O_RDONLY | O_DIRECTORY), -ENOTDIR);
	cr_assert_eq(open_device("/dev/null", O_WRONLY | O_CREAT | O_EXCL), -EEXIST);
	cr_assert_eq(open_device("/dev/null", O_WRONLY | O_CREAT | O_TRUNC), 3);
	cr_assert_eq(sys_allocated, 1);
}

/* ---- position and length ---- */

Test(io, lseek)
{
	int fd = sys_open(7, O_RDWR);
	struct pg_sqe entry;

	sys_start(&call, pg_sys_lseek, fd, -5, SEEK_END);
	entry = sys_take(PG_OP_LSEEK);
	cr_assert_eq(entry.handle, 7);
	cr_assert_eq((int64_t)entry.arg[0], -5);
	cr_assert_eq(entry.arg[1], SEEK_END);
	sys_answer(&entry, 95);
	expect_result(95);
	sys_start(&call, pg_sys_lseek, fd, 0, SEEK_CUR);
	sys_serve(PG_OP_LSEEK, -ESPIPE);
	expect_result(-ESPIPE);
	cr_assert_eq(sys_now(pg_sys_lseek, fd, 0, 5), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_lseek, 99, 0, 0), -EBADF);
}

Test(io, sync_and_ftruncate)
{
	int fd = sys_open(7, O_RDWR), reader = sys_open(8, O_RDONLY);
	struct pg_sqe entry;

	sys_start(&call, pg_sys_fsync, fd);
	entry = sys_take(PG_OP_FSYNC);
	cr_assert_eq(entry.arg[0], 0);
	sys_answer(&entry, 0);
	expect_result(0);
	sys_start(&call, pg_sys_fdatasync, fd);
	entry = sys_take(PG_OP_FSYNC);
	cr_assert_eq(entry.arg[0], 1);
	sys_answer(&entry, -EIO);
	expect_result(-EIO);
	sys_start(&call, pg_sys_ftruncate, fd, 77);
	entry = sys_take(PG_OP_FTRUNCATE);
	cr_assert_eq(entry.arg[0], 77);
	sys_answer(&entry, 0);
	expect_result(0);
	cr_assert_eq(sys_now(pg_sys_ftruncate, fd, -1), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_ftruncate, reader, 1), -EINVAL);
}

Test(io, truncate)
{
	struct pg_sqe entry;

	sys_start(&call, pg_sys_truncate, (uintptr_t) "f", 77);
	entry = sys_take(PG_OP_OPENAT);
	cr_assert(sys_path_is(entry.arg[0], entry.arg[1], "/f"));
	sys_answer(&entry, 12);
	entry = sys_take(PG_OP_FTRUNCATE);
	cr_assert_eq(entry.handle, 12);
	cr_assert_eq(entry.arg[0], 77);
	sys_answer(&entry, -EPERM);
	cr_assert(call.done);
	cr_assert_eq(call.call.result, -EPERM);
	entry = sys_take(PG_OP_CLOSE);
	cr_assert_eq(entry.handle, 12);
	sys_answer(&entry, 0);

	sys_start(&call, pg_sys_truncate, (uintptr_t) "f", 77);
	sys_serve(PG_OP_OPENAT, -ENOENT);
	expect_result(-ENOENT);
	cr_assert_eq(sys_allocated, 0);
}

/* ---- poll ---- */

Test(io, poll_answers_at_once)
{
	struct pollfd fds[4] = { { 99, POLLIN, 7 },
				 { -1, POLLIN, 7 },
				 { open_device("/dev/null", O_RDWR), POLLIN | POLLPRI, 7 },
				 { sys_open(7, O_RDWR), POLLIN, 7 } };
	struct pg_sqe entry, cancel;

	sys_start(&call, pg_sys_poll, (uintptr_t)fds, 4, -1);
	/* The others were looked at, too. */
	entry = sys_take(PG_OP_POLL);
	cr_assert_eq(entry.handle, 7);
	cr_assert_eq(entry.arg[0], POLLIN | POLLERR | POLLHUP);
	cancel = sys_take(PG_OP_CANCEL);
	cr_assert_eq(cancel.arg[0], entry.user_data);
	sys_answer(&cancel, -ENOENT);
	cr_assert_not(call.done);
	sys_answer(&entry, POLLIN);
	expect_result(3);
	cr_assert_eq(fds[0].revents, POLLNVAL);
	cr_assert_eq(fds[1].revents, 0);
	cr_assert_eq(fds[2].revents, POLLIN);
	cr_assert_eq(fds[3].revents, POLLIN);
	cr_assert_eq(sys_allocated, 2, "the two files: %ld", (long)sys_allocated);
}

Test(io, poll_waits_for_the_first)
{
	struct pollfd fds[3] = { { sys_open(7, O_RDWR), POLLIN, 0 },
				 { sys_open(8, O_RDWR), POLLOUT, 0 },
				 { sys_open(9, O_RDWR), POLLIN, 0 } };
	struct pg_sqe entry[3], cancel[2];
	long before = sys_allocated;

	sys_start(&call, pg_sys_poll, (uintptr_t)fds, 3, -1);
	for (int i = 0; i < 3; i++)
		entry[i] = sys_take(PG_OP_POLL);
	cr_assert_not(call.done);
	pg_task_wake(&call.task); /* spurious */
	host_settle(&sys_vcpu);
	sys_expect_none();
	sys_answer(&entry[1], POLLOUT | POLLERR);
	for (int i = 0; i < 2; i++)
		cancel[i] = sys_take(PG_OP_CANCEL);
	sys_answer(&cancel[0], 0);
	sys_answer(&cancel[1], 0);
	sys_answer(&entry[0], -ECANCELED);
	cr_assert_not(call.done);
	sys_answer(&entry[2], -ECANCELED);
	expect_result(1);
	cr_assert_eq(fds[0].revents, 0);
	cr_assert_eq(fds[1].revents, POLLOUT | POLLERR);
	cr_assert_eq(fds[2].revents, 0);
	cr_assert_eq(sys_allocated, before);
}

/* What a dropped operation has found is told all the same. */
Test(io, poll_interrupted)
{
	struct pollfd fds[2] = { { sys_open(7, O_RDWR), POLLIN, 0 },
				 { sys_open(8, O_RDWR), POLLIN, 0 } };
	long before = sys_allocated;

	for (int i = 0; i < 2; i++) {
		struct pg_sqe entry[2];

		sys_start(&call, pg_sys_poll, (uintptr_t)fds, 2, -1);
		entry[0] = sys_take(PG_OP_POLL);
		entry[1] = sys_take(PG_OP_POLL);
		sys_interrupt(&call);
		sys_serve(PG_OP_CANCEL, 0);
		sys_serve(PG_OP_CANCEL, 0);
		sys_answer(&entry[0], -ECANCELED);
		cr_assert_not(call.done);
		sys_answer(&entry[1], i ? POLLIN : -ECANCELED);
		expect_result(i ? 1 : -EINTR);
		cr_assert_eq(fds[0].revents, 0);
		cr_assert_eq(fds[1].revents, i ? POLLIN : 0);
	}
	cr_assert_eq(sys_allocated, before);
}

Test(io, poll_without_waiting)
{
	struct pollfd fd = { sys_open(7, O_RDWR), POLLIN, 0 };
	struct pg_sqe entry, cancel;

	for (int i = 0; i < 2; i++) {
		sys_start(&call, pg_sys_poll, (uintptr_t)&fd, 1, 0);
		entry = sys_take(PG_OP_POLL);
		cancel = sys_take(PG_OP_CANCEL);
		sys_answer(&entry, i ? POLLIN : -ECANCELED);
		sys_answer(&cancel, 0);
		expect_result(i);
		cr_assert_eq(fd.revents, i ? POLLIN : 0);
	}
	cr_assert_eq(sys_now(pg_sys_poll, 0, 0, 0), 0);
}

Test(io, poll_until_the_deadline)
{
	struct pollfd fd = { sys_open(7, O_RDWR), POLLIN, 0 };
	struct timespec time = { 0, 5000000 };
	struct pg_sqe entry, cancel;

	host_set_clock(1000);
	sys_start(&call, pg_sys_poll, (uintptr_t)&fd, 1, 5);
	entry = sys_take(PG_OP_POLL);
	host_set_clock(5000999);
	host_settle(&sys_vcpu);
	sys_expect_none();
	host_set_clock(5001000);
	host_settle(&sys_vcpu);
	cancel = sys_take(PG_OP_CANCEL);
	sys_answer(&entry, -ECANCELED);
	sys_answer(&cancel, 0);
	expect_result(0);

	/* ppoll tells how much time was left. */
	sys_start(&call, pg_sys_ppoll, (uintptr_t)&fd, 1, (uintptr_t)&time);
	entry = sys_take(PG_OP_POLL);
	host_set_clock(5001000 + 2000000);
	sys_answer(&entry, POLLIN);
	expect_result(1);
	cr_assert_eq(time.tv_nsec, 3000000);
	cr_assert_null(sys_vcpu.executor.timers.first);
	/* Nothing but the time. */
	sys_start(&call, pg_sys_ppoll, 0, 0, (uintptr_t)&time);
	cr_assert_not(call.done);
	host_set_clock(5001000 + 2000000 + 3000000);
	host_settle(&sys_vcpu);
	expect_result(0);
	cr_assert_eq(time.tv_nsec, 0);
}

Test(io, poll_errors)
{
	struct timespec bad = { 0, 1000000000 };
	struct pollfd fd = { 0, POLLIN, 0 };

	cr_assert_eq(sys_now(pg_sys_poll, (uintptr_t)&fd, 1025, 0), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_poll, SYS_HOLE, 1, 0), -EFAULT);
	cr_assert_eq(sys_now(pg_sys_ppoll, (uintptr_t)&fd, 1, (uintptr_t)&bad), -EINVAL);
	cr_assert_eq(sys_now(pg_sys_ppoll, (uintptr_t)&fd, 1, SYS_HOLE), -EFAULT);
	cr_assert_eq(sys_now(pg_sys_ppoll, (uintptr_t)&fd, 1, 0, BUFFER, 4), -EINVAL);
	sys_fail_after = 0;
	cr_assert_eq(sys_now(pg_sys_poll, (uintptr_t)&fd, 1, 0), -ENOMEM);
	cr_assert_eq(sys_allocated, 0);
	sys_expect_none();
}

Test(io, poll_cancelled)
{
	struct pollfd fds[2] = { { sys_open(7, O_RDWR), POLLIN, 0 },
				 { sys_open(8, O_RDWR), POLLIN, 0 } };
	struct pg_sqe entry[2], cancel[2];
	long before = sys_allocated;

	sys_start(&call, pg_sys_poll, (uintptr_t)fds, 2, 100000);
	entry[0] = sys_take(PG_OP_POLL);
	entry[1] = sys_take(PG_OP_POLL);
	pg_task_cancel(&call.task);
	host_settle(&sys_vcpu);
	cancel[0] = sys_take(PG_OP_CANCEL);
	cancel[1] = sys_take(PG_OP_CANCEL);
	cr_assert_gt(sys_allocated, before);
	for (int i = 0; i < 2; i++) {
		cr_assert_not(call.done);
		sys_answer(&entry[i], -ECANCELED);
		sys_answer(&cancel[i], 0);
	}
	cr_assert(call.done);
	cr_assert(pg_task_cancelled(&call.task));
	cr_assert_eq(sys_allocated, before);
	cr_assert_null(sys_vcpu.executor.timers.first);
}
