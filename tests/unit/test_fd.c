#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "sys_calls.h"
#include "sys/fd.h"
#include "sys/file.h"

static void setup(void)
{
	sys_setup("/");
}

TestSuite(fd, .init = setup, .timeout = 20);

enum pg_poll pg_sys_close(struct pg_future *future, struct pg_task *waker);
int64_t pg_sys_dup(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_dup2(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_dup3(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_fcntl(struct pg_thread *thread, const uint64_t *arg);

#define NOW(name, ...) pg_sys_##name(NULL, (const uint64_t[6]){ __VA_ARGS__ })

/* A loader's file, and its descriptor. */
static struct pg_file *add(int32_t handle, int *fd)
{
	struct pg_file *file = pg_file_new(&pg_host_file_ops, O_RDWR);

	file->handle = handle;
	*fd = pg_fd_reserve(0, false);
	pg_fd_install(*fd, file);
	return file;
}

static bool valid(int fd)
{
	struct pg_file *file = pg_fd_get_any(fd);

	pg_file_put(file);
	return file;
}

Test(fd, lowest_is_given_out)
{
	int fd;

	add(10, &fd);
	cr_assert_eq(fd, 3);
	add(11, &fd);
	cr_assert_eq(fd, 4);
	cr_assert_eq(pg_fd_reserve(64, false), 64);
	cr_assert_eq(pg_fd_reserve(64, false), 65);
	cr_assert_eq(pg_fd_reserve(3, false), 5);
	pg_file_put(pg_fd_remove(3));
	cr_assert_eq(pg_fd_reserve(0, false), 3);
	cr_assert_eq(pg_fd_reserve(PG_FD_MAX - 1, false), PG_FD_MAX - 1);
	cr_assert_eq(pg_fd_reserve(PG_FD_MAX - 1, false), -EMFILE);
	cr_assert_eq(pg_fd_reserve(PG_FD_MAX, false), -EMFILE);
}

Test(fd, all_of_them)
{
	for (int fd = 3; fd < PG_FD_MAX; fd++)
		cr_assert_eq(pg_fd_reserve(0, false), fd);
	cr_assert_eq(pg_fd_reserve(0, false), -EMFILE);
	pg_fd_unreserve(700);
	cr_assert_eq(pg_fd_reserve(0, false), 700);
}

Test(fd, reserved_is_not_usable)
{
	struct pg_file *old;
	int fd = pg_fd_reserve(0, false), other;
	struct pg_file *file = add(10, &other);

	cr_assert_not(valid(fd));
	cr_assert_null(pg_fd_remove(fd));
	cr_assert_eq(pg_fd_cloexec(fd), -EBADF);
	cr_assert_eq(pg_fd_replace(fd, file, false, &old), -EBUSY);
	cr_assert_null(old);
	cr_assert_eq(NOW(dup2, other, fd), -EBUSY);
	cr_assert_eq(atomic_load(&file->refs), 1);
	pg_fd_install(fd, pg_file_new(&pg_host_file_ops, O_RDONLY));
	cr_assert(valid(fd));
}

Test(fd, out_of_range)
{
	struct pg_file *old;

	for (int i = 0; i < 3; i++) {
		int fd = (const int[]){ -1, PG_FD_MAX, INT32_MIN }[i];

		cr_assert_not(valid(fd));
		cr_assert_null(pg_fd_remove(fd));
		cr_assert_eq(pg_fd_cloexec(fd), -EBADF);
		cr_assert_eq(pg_fd_set_cloexec(fd, true), -EBADF);
		cr_assert_eq(pg_fd_replace(fd, NULL, true, &old), -EBADF);
	}
}

Test(fd, opened_for_its_path_only)
{
	struct pg_file *file;
	int fd = pg_fd_reserve(0, false);

	pg_fd_install(fd, pg_file_new(&pg_host_file_ops, O_PATH));
	cr_assert_null(pg_fd_get(fd));
	file = pg_fd_get_any(fd);
	cr_assert_eq(atomic_load(&file->refs), 2);
	pg_file_put(file);
	cr_assert_eq(NOW(fcntl, fd, F_SETFL, O_NONBLOCK), -EBADF);
	cr_assert_eq(NOW(fcntl, fd, F_GETFL), O_PATH);
}

Test(fd, cloexec)
{
	int fd;

	add(10, &fd);
	cr_assert_eq(NOW(fcntl, fd, F_GETFD), 0);
	cr_assert_eq(NOW(fcntl, fd, F_SETFD, FD_CLOEXEC), 0);
	cr_assert_eq(NOW(fcntl, fd, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(NOW(dup, fd), fd + 1);
	cr_assert_eq(NOW(fcntl, fd + 1, F_GETFD), 0, "dup does not copy it");
	cr_assert_eq(NOW(dup3, fd, 9, O_CLOEXEC), 9);
	cr_assert_eq(NOW(fcntl, 9, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(NOW(fcntl, fd, F_DUPFD_CLOEXEC, 20), 20);
	cr_assert_eq(NOW(fcntl, 20, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(NOW(fcntl, fd, F_DUPFD, 20), 21);
	cr_assert_eq(NOW(fcntl, 21, F_GETFD), 0);
	cr_assert_eq(NOW(fcntl, fd, F_DUPFD, PG_FD_MAX), -EINVAL);
	cr_assert_eq(NOW(fcntl, 99, F_GETFD), -EBADF);
	/* What was there before does not count. */
	pg_file_put(pg_fd_remove(9));
	cr_assert_eq(pg_fd_reserve(9, false), 9);
	pg_fd_install(9, pg_file_new(&pg_host_file_ops, O_RDONLY));
	cr_assert_eq(NOW(fcntl, 9, F_GETFD), 0);
}

Test(fd, flags)
{
	int fd;

	add(10, &fd);
	cr_assert_eq(NOW(dup, fd), fd + 1);
	cr_assert_eq(NOW(fcntl, fd, F_SETFL, O_APPEND | O_NONBLOCK | O_RDONLY | O_CREAT), 0);
	cr_assert_eq(NOW(fcntl, fd + 1, F_GETFL), O_RDWR | O_APPEND | O_NONBLOCK, "shared by dup");
	cr_assert_eq(NOW(fcntl, fd, F_SETFL, 0), 0);
	cr_assert_eq(NOW(fcntl, fd, F_GETFL), O_RDWR);
	cr_assert_eq(NOW(fcntl, fd, 999), -EINVAL);
}

Test(fd, locks_never_meet_another_process)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd;

	add(10, &fd);
	cr_assert_eq(NOW(fcntl, fd, F_SETLK, (uintptr_t)&lock), 0);
	cr_assert_eq(NOW(fcntl, fd, F_GETLK, (uintptr_t)&lock), 0);
	cr_assert_eq(lock.l_type, F_UNLCK);
	lock.l_type = 7;
	cr_assert_eq(NOW(fcntl, fd, F_SETLKW, (uintptr_t)&lock), -EINVAL);
	cr_assert_eq(NOW(fcntl, fd, F_SETLK, SYS_HOLE), -EFAULT);
}

Test(fd, dup2_errors)
{
	int fd;

	add(10, &fd);
	cr_assert_eq(NOW(dup2, fd, fd), fd);
	cr_assert_eq(NOW(dup2, 99, 99), -EBADF);
	cr_assert_eq(NOW(dup2, fd, PG_FD_MAX), -EBADF);
	cr_assert_eq(NOW(dup2, fd, -1), -EBADF);
	cr_assert_eq(NOW(dup3, fd, fd, 0), -EINVAL);
	cr_assert_eq(NOW(dup3, fd, 9, O_APPEND), -EINVAL);
	cr_assert_eq(NOW(dup3, 99, 9, 0), -EBADF);
	cr_assert_eq(NOW(dup, 99), -EBADF);
}

Test(fd, dup2_closes_what_was_there)
{
	struct pg_sqe entry;
	int first, second;
	struct pg_file *file = add(10, &first);

	add(11, &second);
	cr_assert_eq(NOW(dup2, first, second), second);
	cr_assert_eq(atomic_load(&file->refs), 2);
	host_settle(&sys_vcpu);
	entry = sys_take(PG_OP_CLOSE);
	cr_assert_eq(entry.handle, 11);
	sys_answer(&entry, 0);
	cr_assert_eq(sys_allocated, 1);
}

/* Files may come while the reaper waits, and after it has ended. */
Test(fd, reaper_closes_all)
{
	struct pg_sqe entry;
	bool seen[8] = { false };
	int fd[8];

	for (int i = 0; i < 8; i++)
		add(20 + i, &fd[i]);
	for (int i = 0; i < 3; i++)
		pg_file_put(pg_fd_remove(fd[i]));
	host_settle(&sys_vcpu);
	entry = sys_take(PG_OP_CLOSE);
	seen[entry.handle - 20] = true;
	for (int i = 3; i < 6; i++)
		pg_file_put(pg_fd_remove(fd[i]));
	for (int i = 0; i < 5; i++) {
		sys_answer(&entry, 0);
		entry = sys_take(PG_OP_CLOSE);
		cr_assert_not(seen[entry.handle - 20]);
		seen[entry.handle - 20] = true;
	}
	sys_answer(&entry, 0);
	sys_expect_none();
	for (int i = 6; i < 8; i++) {
		pg_file_put(pg_fd_remove(fd[i]));
		host_settle(&sys_vcpu);
		entry = sys_take(PG_OP_CLOSE);
		cr_assert_eq(entry.handle, 20 + i);
		sys_answer(&entry, 0);
	}
	cr_assert_eq(sys_allocated, 0);
}

Test(fd, close_waits_for_the_loader)
{
	struct sys_call call;
	struct pg_sqe entry;
	int fd;

	add(10, &fd);
	sys_start(&call, pg_sys_close, fd);
	cr_assert_not(valid(fd), "free at once");
	entry = sys_take(PG_OP_CLOSE);
	cr_assert_eq(entry.handle, 10);
	cr_assert_not(call.done);
	sys_answer(&entry, 0);
	cr_assert(call.done);
	cr_assert_eq(call.call.result, 0);
	cr_assert_eq(sys_allocated, 0);
	cr_assert_eq(sys_now(pg_sys_close, fd), -EBADF);
	cr_assert_eq(sys_now(pg_sys_close, -1), -EBADF);
}

Test(fd, close_leaves_a_file_others_use)
{
	int fd;
	struct pg_file *file = add(10, &fd), *used = pg_fd_get(fd);

	cr_assert_eq(used, file);
	cr_assert_eq(sys_now(pg_sys_close, fd), 0);
	sys_expect_none();
	pg_file_put(used);
	host_settle(&sys_vcpu);
	sys_serve(PG_OP_CLOSE, 0);
	cr_assert_eq(sys_allocated, 0);
}

Test(fd, close_cancelled_under_way)
{
	struct sys_call call;
	struct pg_sqe entry;
	int fd;

	add(10, &fd);
	sys_start(&call, pg_sys_close, fd);
	entry = sys_take(PG_OP_CLOSE);
	sys_cancel(&call);
	cr_assert_not(call.done);
	cr_assert_eq(sys_allocated, 1);
	sys_answer(&entry, 0);
	cr_assert(call.done);
	sys_expect_none();
	cr_assert_eq(sys_allocated, 0);
}

/* There is no room on the ring, so the loader does not know: somebody must tell it. */
Test(fd, close_cancelled_before_submission)
{
	static struct pg_hypercall fill[PG_HYPERCALL_MAX];
	static struct pg_task tasks[PG_HYPERCALL_MAX];
	struct pg_sqe entry;
	struct sys_call call;
	int fd;

	for (unsigned i = 0; i < PG_HYPERCALL_MAX; i++) {
		pg_hypercall_init(&fill[i], PG_OP_NOP, 0);
		pg_task_spawn(&sys_vcpu.executor, &tasks[i], &fill[i].future, NULL);
		host_settle(&sys_vcpu);
		entry = sys_take(PG_OP_NOP);
	}
	add(10, &fd);
	sys_start(&call, pg_sys_close, fd);
	sys_expect_none();
	pg_task_cancel(&call.task);
	host_settle(&sys_vcpu);
	cr_assert(call.done);
	cr_assert_eq(sys_allocated, 1);
	sys_answer(&entry, 0);
	entry = sys_take(PG_OP_CLOSE);
	cr_assert_eq(entry.handle, 10);
	sys_answer(&entry, 0);
	cr_assert_eq(sys_allocated, 0);
}

/* ---- two vCPUs ---- */

#define ROUNDS 3000

static struct host_vcpu vcpus[2];
static _Atomic int putting = 2;

/* Files come from both, also just when the reaper has found no more. */
static void *put_files(void *vcpu)
{
	host_enter(vcpu);
	for (int i = 0; i < ROUNDS; i++) {
		struct pg_file *file = pg_file_new(&pg_host_file_ops, O_RDWR);

		file->handle = 5;
		pg_file_put(file);
		host_settle(vcpu);
	}
	atomic_fetch_sub(&putting, 1);
	while (atomic_load(&putting) || sys_allocated) {
		host_settle(vcpu);
		sched_yield();
	}
	return NULL;
}

Test(fd, reaper_on_two_vcpus)
{
	pthread_t threads[2];

	for (int i = 0; i < 2; i++) {
		host_vcpu_init(&vcpus[i], 0);
		pthread_create(&threads[i], NULL, put_files, &vcpus[i]);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	/* Each was closed once, and each close was answered. */
	cr_assert_eq(vcpus[0].counters.hypercalls + vcpus[1].counters.hypercalls, 2 * ROUNDS);
	cr_assert_eq(sys_allocated, 0);
}
