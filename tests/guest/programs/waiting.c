/*
 * What threads wait on: pipes, eventfds, timers, poll, select, epoll. usage: waiting [TEST]
 * (default: all). Prints what it found, a line for each, and "ok". It runs on Linux, too, and
 * has to print the same there: nothing of it depends on timing.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <signal.h>
#include <unistd.h>

#define MS 1000000L

static char bytes[1 << 18];

/* The value, or the name of the error. */
static void say(const char *what, long value)
{
	if (value == -1)
		printf("%s: %s\n", what, strerror(errno));
	else
		printf("%s: %ld\n", what, value);
}

#define SAY(call) say(#call, (long)(call))

static pthread_t start(void *(*run)(void *), void *argument)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, argument)) {
		printf("pthread_create\n");
		exit(1);
	}
	return thread;
}

static void pause_ms(long ms)
{
	const struct timespec time = { ms / 1000, ms % 1000 * MS };

	nanosleep(&time, NULL);
}

static int events_of(int fd)
{
	struct pollfd pollfd = { fd, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM, 0 };

	return poll(&pollfd, 1, 0) < 0 ? -1 : pollfd.revents;
}

/* ---- pipes ---- */

static void pipe_basics(void)
{
	struct stat stat;
	int fd[2], used;

	SAY(pipe2(fd, O_NONBLOCK | O_CLOEXEC));
	SAY(fcntl(fd[0], F_GETFD));
	SAY(fcntl(fd[0], F_GETFL) & O_ACCMODE);
	SAY(fcntl(fd[1], F_GETFL) & (O_ACCMODE | O_NONBLOCK));
	SAY(read(fd[0], bytes, 10));
	SAY(read(fd[1], bytes, 10));
	SAY(write(fd[0], bytes, 10));
	SAY(events_of(fd[0]));
	SAY(events_of(fd[1]));
	SAY(write(fd[1], "hello", 5));
	SAY(events_of(fd[0]));
	SAY(ioctl(fd[0], FIONREAD, &used));
	SAY(used);
	SAY(read(fd[0], bytes, 0));
	SAY(write(fd[1], bytes, 0));
	SAY(read(fd[0], bytes, 3));
	SAY(memcmp(bytes, "hel", 3));
	SAY(read(fd[0], bytes, 3));
	SAY(memcmp(bytes, "lo", 2));
	SAY(lseek(fd[0], 0, SEEK_SET));
	SAY(pread(fd[0], bytes, 1, 0));
	SAY(fsync(fd[0]));
	SAY(fstat(fd[0], &stat));
	SAY(S_ISFIFO(stat.st_mode));
	SAY(fcntl(fd[0], F_GETPIPE_SZ));
	SAY(write(fd[1], bytes, 65536));
	SAY(events_of(fd[1]));
	SAY(write(fd[1], bytes, 1));
	SAY(fcntl(fd[0], F_SETPIPE_SZ, 4096));
	SAY(fcntl(fd[0], F_SETPIPE_SZ, 100000));
	SAY(events_of(fd[1]));
	SAY(write(fd[1], bytes, 100000));
	SAY(read(fd[0], bytes, 140000));
	SAY(fcntl(fd[0], F_SETPIPE_SZ, 1));
	SAY(write(fd[1], bytes, 10000));
	SAY(fcntl(1000, F_GETPIPE_SZ));
	SAY(close(fd[1]));
	SAY(events_of(fd[0]));
	SAY(read(fd[0], bytes, 5000));
	SAY(events_of(fd[0]));
	SAY(read(fd[0], bytes, 5000));
	SAY(close(fd[0]));
	SAY(pipe2(fd, 1));
	SAY(syscall(SYS_pipe, 8));

	signal(SIGPIPE, SIG_IGN);
	SAY(pipe(fd));
	SAY(close(fd[0]));
	SAY(events_of(fd[1]));
	SAY(write(fd[1], bytes, 1));
	SAY(write(fd[1], bytes, 0));
	close(fd[1]);
}

static void pipe_atomic(void)
{
	int fd[2];
	struct iovec iov[3] = { { bytes, 100 }, { (void *)8, 100 }, { bytes, 100 } };

	SAY(pipe2(fd, O_NONBLOCK));
	SAY(write(fd[1], bytes, 65536 - 4096));
	SAY(write(fd[1], bytes, 4096));
	SAY(read(fd[0], bytes, 4096));
	SAY(write(fd[1], bytes, 4096));
	SAY(write(fd[1], bytes, 4096));
	SAY(write(fd[1], bytes, 8192));
	SAY(read(fd[0], bytes, 8192));
	SAY(write(fd[1], bytes, 16384));
	while (read(fd[0], bytes, sizeof(bytes)) > 0)
		;
	SAY(write(fd[1], (void *)8, 10));
	SAY(writev(fd[1], iov, 3));
	SAY(read(fd[0], bytes, 100));
	SAY(write(fd[1], "data", 4));
	SAY(read(fd[0], (void *)8, 10));
	SAY(readv(fd[0], iov, 1));
	close(fd[0]);
	close(fd[1]);
}

#define WRITERS 4
#define RECORDS 300

struct record {
	uint32_t writer, number;
	unsigned char fill[500];
};

static int records[2];
static _Atomic long counts[WRITERS], wrong;

static void *write_records(void *argument)
{
	struct record record = { .writer = (uint32_t)(uintptr_t)argument };

	for (; record.number < RECORDS; record.number++) {
		memset(record.fill, (int)(record.writer + record.number), sizeof(record.fill));
		if (write(records[1], &record, sizeof(record)) != sizeof(record))
			wrong++;
	}
	return NULL;
}

static void *read_records(void *argument)
{
	struct record record;
	ssize_t size;

	while ((size = read(records[0], &record, sizeof(record))) > 0) {
		if (size != sizeof(record) || record.writer >= WRITERS) {
			wrong++;
			continue;
		}
		for (size_t i = 0; i < sizeof(record.fill); i++)
			wrong += record.fill[i] != (unsigned char)(record.writer + record.number);
		counts[record.writer]++;
	}
	return argument;
}

static void pipe_many(void)
{
	pthread_t writers[WRITERS], readers[3];

	SAY(pipe(records));
	SAY(fcntl(records[1], F_SETPIPE_SZ, 4096));
	for (long i = 0; i < 3; i++)
		readers[i] = start(read_records, NULL);
	for (uintptr_t i = 0; i < WRITERS; i++)
		writers[i] = start(write_records, (void *)i);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	SAY(close(records[1]));
	for (int i = 0; i < 3; i++)
		pthread_join(readers[i], NULL);
	for (int i = 0; i < WRITERS; i++)
		SAY(counts[i]);
	SAY(wrong);
	close(records[0]);
}

static void *write_large(void *argument)
{
	const int *fd = argument;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 7 >> 3);
	SAY(write(fd[1], bytes, sizeof(bytes)));
	close(fd[1]);
	return NULL;
}

static void pipe_large(void)
{
	static char got[sizeof(bytes)];
	size_t done = 0;
	pthread_t thread;
	ssize_t size;
	int fd[2];

	SAY(pipe(fd));
	thread = start(write_large, fd);
	while ((size = read(fd[0], got + done, 777)) > 0)
		done += (size_t)size;
	pthread_join(thread, NULL);
	SAY(done);
	SAY(memcmp(got, bytes, sizeof(bytes)));
	close(fd[0]);
}

struct echo {
	int in, out;
};

static void *echo(void *argument)
{
	const struct echo *ends = argument;
	char byte;

	while (read(ends->in, &byte, 1) == 1)
		if (write(ends->out, &byte, 1) != 1)
			wrong++;
	return NULL;
}

static void pipe_ping_pong(void)
{
	int there[2], back[2];
	struct echo ends;
	pthread_t thread;

	SAY(pipe(there));
	SAY(pipe(back));
	ends = (struct echo){ there[0], back[1] };
	thread = start(echo, &ends);
	for (int i = 0; i < 500; i++) {
		char byte = (char)i, answer = 0;

		if (write(there[1], &byte, 1) != 1 || read(back[0], &answer, 1) != 1 ||
		    answer != byte)
			wrong++;
	}
	close(there[1]);
	pthread_join(thread, NULL);
	SAY(wrong);
	close(there[0]);
	close(back[0]);
	close(back[1]);
}

/* ---- eventfd ---- */

static uint64_t value;

static void eventfds(void)
{
	int fd;

	SAY(eventfd(0, 123456));
	fd = eventfd(3, EFD_NONBLOCK);
	SAY(events_of(fd));
	SAY(read(fd, &value, 7));
	SAY(read(fd, &value, 100));
	SAY(value);
	SAY(events_of(fd));
	SAY(read(fd, &value, 8));
	value = UINT64_MAX;
	SAY(write(fd, &value, 8));
	value = UINT64_MAX - 1;
	SAY(write(fd, &value, 7));
	SAY(write(fd, &value, 8));
	SAY(events_of(fd));
	value = 1;
	SAY(write(fd, &value, 8));
	value = 0;
	SAY(write(fd, &value, 8));
	SAY(read(fd, &value, 8));
	SAY(value == UINT64_MAX - 1);
	SAY(read(fd, (void *)8, 8));
	close(fd);
	fd = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
	SAY(read(fd, &value, 8));
	SAY(value);
	SAY(read(fd, &value, 8));
	SAY(read(fd, &value, 8));
	close(fd);
}

static int counter;

static void *add_many(void *argument)
{
	const uint64_t one = 1;

	for (int i = 0; i < 500; i++)
		if (write(counter, &one, 8) != 8)
			wrong++;
	return argument;
}

static void eventfd_threads(void)
{
	pthread_t threads[3];
	uint64_t sum = 0, got;

	counter = eventfd(0, 0);
	for (int i = 0; i < 3; i++)
		threads[i] = start(add_many, NULL);
	while (sum < 1500) {
		if (read(counter, &got, 8) != 8)
			wrong++;
		sum += got;
	}
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	SAY(sum);
	SAY(wrong);
	close(counter);
}

/* ---- timerfd ---- */

static struct itimerspec after(long ms, long interval)
{
	return (struct itimerspec){ { interval / 1000, interval % 1000 * MS },
				    { ms / 1000, ms % 1000 * MS } };
}

static int timer_fd;

static void *rearm(void *argument)
{
	struct itimerspec soon = after(1, 0);

	pause_ms(20);
	/* Says nothing: the one that waits may be first to say that it has ended. */
	if (timerfd_settime(timer_fd, 0, &soon, NULL))
		wrong++;
	return argument;
}

static void timers(void)
{
	struct itimerspec time = after(1, 0), old, bad = { { 0, 0 }, { 0, 1000000000 } };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	pthread_t thread;

	SAY(timerfd_create(77, 0));
	SAY(timerfd_create(CLOCK_MONOTONIC, 1));
	SAY(timerfd_settime(fd, 77, &time, NULL));
	SAY(timerfd_settime(fd, 0, &bad, NULL));
	SAY(timerfd_settime(0, 0, &time, NULL));
	SAY(timerfd_settime(1000, 0, &time, NULL));
	SAY(timerfd_gettime(fd, &old));
	SAY(old.it_value.tv_sec + old.it_value.tv_nsec);
	SAY(read(fd, &value, 8));
	SAY(events_of(fd));
	SAY(timerfd_settime(fd, 0, &time, &old));
	pause_ms(3);
	SAY(events_of(fd));
	SAY(timerfd_gettime(fd, &old));
	SAY(old.it_value.tv_sec + old.it_value.tv_nsec);
	SAY(read(fd, &value, 4));
	SAY(read(fd, &value, 8));
	SAY(value);
	SAY(read(fd, &value, 8));
	time = after(1, 1);
	SAY(timerfd_settime(fd, 0, &time, NULL));
	pause_ms(20);
	SAY(read(fd, &value, 8));
	SAY(value >= 10);
	SAY(timerfd_gettime(fd, &old));
	SAY(old.it_interval.tv_nsec);
	SAY(old.it_value.tv_nsec > 0);
	time = after(0, 0);
	SAY(timerfd_settime(fd, 0, &time, NULL));
	SAY(read(fd, &value, 8));
	close(fd);

	/* Blocking; at a point of time that is over; for what another thread changes. */
	fd = timerfd_create(CLOCK_REALTIME, 0);
	time = after(5, 0);
	SAY(timerfd_settime(fd, 0, &time, NULL));
	SAY(read(fd, &value, 8));
	SAY(timerfd_settime(fd, TFD_TIMER_ABSTIME, &time, NULL));
	SAY(read(fd, &value, 8));
	SAY(value);
	time = after(1000000, 0);
	SAY(timerfd_settime(fd, 0, &time, NULL));
	timer_fd = fd;
	thread = start(rearm, NULL);
	SAY(read(fd, &value, 8));
	pthread_join(thread, NULL);
	thread = start(rearm, NULL);
	SAY(poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, -1));
	pthread_join(thread, NULL);
	close(fd);
}

/* ---- poll and select ---- */

static void *write_soon(void *argument)
{
	pause_ms(20);
	if (write(*(int *)argument, "12345678", 8) != 8)
		wrong++;
	return NULL;
}

static void polls(void)
{
	static struct pollfd fds[300];
	int fd[2], other[2];
	pthread_t thread;

	SAY(pipe(fd));
	SAY(pipe(other));
	for (int i = 0; i < 300; i++)
		fds[i] = (struct pollfd){ i % 2 ? fd[0] : other[0], POLLIN, 0 };
	SAY(poll(fds, 300, 0));
	SAY(poll(fds, 300, 5));
	thread = start(write_soon, &fd[1]);
	SAY(poll(fds, 300, -1));
	SAY(fds[0].revents);
	SAY(fds[1].revents);
	pthread_join(thread, NULL);
	SAY(poll(fds, 100000, 0));
	close(other[1]);
	SAY(poll(fds, 2, 0));
	SAY(fds[0].revents);
	close(fd[0]);
	close(fd[1]);
	close(other[0]);
}

static void selects(void)
{
	struct timeval time = { 0, 5000 }, bad = { -1, 0 };
	struct timespec times = { 0, 5 * MS };
	fd_set read_set, write_set;
	pthread_t thread;
	int fd[2];

	SAY(pipe(fd));
	FD_ZERO(&read_set);
	FD_ZERO(&write_set);
	FD_SET(fd[0], &read_set);
	FD_SET(fd[1], &write_set);
	SAY(select(fd[1] + 1, &read_set, &write_set, NULL, &time));
	SAY(FD_ISSET(fd[0], &read_set) != 0);
	SAY(FD_ISSET(fd[1], &write_set) != 0);
	FD_SET(fd[0], &read_set);
	SAY(select(fd[0] + 1, &read_set, NULL, NULL, &time));
	SAY(time.tv_sec + time.tv_usec);
	FD_SET(fd[0], &read_set);
	SAY(pselect(fd[0] + 1, &read_set, NULL, NULL, &times, NULL));
	FD_SET(fd[0], &read_set);
	SAY(select(fd[0], &read_set, NULL, NULL, &(struct timeval){ 0, 0 }));
	FD_SET(fd[0], &read_set);
	thread = start(write_soon, &fd[1]);
	SAY(select(fd[0] + 1, &read_set, NULL, NULL, NULL));
	SAY(FD_ISSET(fd[0], &read_set) != 0);
	pthread_join(thread, NULL);
	SAY(syscall(SYS_select, -1, NULL, NULL, NULL, &time));
	SAY(syscall(SYS_select, 1, NULL, NULL, NULL, &bad));
	SAY(syscall(SYS_select, 1, 8, NULL, NULL, NULL));
	close(fd[1]);
	SAY(select(fd[0] + 1, &read_set, NULL, NULL, NULL));
	FD_SET(fd[1], &read_set);
	SAY(select(fd[1] + 1, &read_set, NULL, NULL, NULL));
	close(fd[0]);
}

/* ---- epoll ---- */

static int ep;

static long control(int operation, int fd, uint32_t events)
{
	struct epoll_event event = { events, { .u32 = (uint32_t)fd } };

	return epoll_ctl(ep, operation, fd, &event);
}

/* Events at once: of which descriptors, and what. */
static void look(const char *what)
{
	struct epoll_event events[8];
	int count = epoll_wait(ep, events, 8, 0);

	printf("%s: %d", what, count);
	for (int i = 0; i < count; i++)
		printf(" %u:%x", events[i].data.u32, events[i].events);
	printf("\n");
}

static void epoll_levels(void)
{
	struct epoll_event event;
	int fd[2], dup_fd;

	ep = epoll_create1(EPOLL_CLOEXEC);
	SAY(syscall(SYS_epoll_create, 0));
	SAY(epoll_create1(1));
	SAY(pipe2(fd, O_NONBLOCK));
	SAY(control(EPOLL_CTL_ADD, fd[0], EPOLLIN));
	SAY(control(EPOLL_CTL_ADD, fd[0], EPOLLIN));
	SAY(control(EPOLL_CTL_MOD, fd[1], EPOLLIN));
	SAY(control(EPOLL_CTL_DEL, fd[1], EPOLLIN));
	SAY(control(77, fd[0], EPOLLIN));
	SAY(control(EPOLL_CTL_ADD, ep, EPOLLIN));
	SAY(control(EPOLL_CTL_ADD, 1000, EPOLLIN));
	SAY(epoll_ctl(fd[0], EPOLL_CTL_ADD, fd[1], &event));
	SAY(epoll_ctl(1000, EPOLL_CTL_ADD, fd[1], &event));
	SAY(epoll_ctl(ep, EPOLL_CTL_ADD, fd[1], NULL));
	SAY(epoll_wait(ep, &event, 0, 0));
	SAY(epoll_wait(fd[0], &event, 1, 0));
	SAY(epoll_wait(ep, &event, 1, 5));
	look("nothing");
	SAY(write(fd[1], "abc", 3));
	SAY(epoll_wait(ep, (void *)8, 1, 0));
	look("level");
	look("level again");
	SAY(events_of(ep));
	SAY(read(fd[0], bytes, 10));
	look("read");
	SAY(events_of(ep));
	SAY(control(EPOLL_CTL_ADD, fd[1], EPOLLOUT));
	look("writable");
	SAY(write(fd[1], bytes, 65536));
	look("full");
	SAY(read(fd[0], bytes, 65536));
	look("empty");
	SAY(control(EPOLL_CTL_MOD, fd[1], 0));
	look("nothing asked");

	/* A descriptor that is closed stays while there is another one for its file. */
	SAY(write(fd[1], "abc", 3));
	dup_fd = dup(fd[0]);
	close(fd[0]);
	look("closed, but there is another");
	close(dup_fd);
	look("closed; the other end sees that");
	close(fd[1]);
	look("gone");
	close(ep);
}

static void epoll_edges(void)
{
	int fd[2];

	ep = epoll_create1(0);
	SAY(pipe2(fd, O_NONBLOCK));
	SAY(control(EPOLL_CTL_ADD, fd[0], EPOLLIN | EPOLLET));
	SAY(control(EPOLL_CTL_ADD, fd[1], EPOLLOUT | EPOLLET));
	look("writable");
	look("writable once");
	SAY(write(fd[1], "abc", 3));
	look("edge");
	look("edge once");
	SAY(write(fd[1], "abc", 3));
	look("another edge");
	SAY(read(fd[0], bytes, 1));
	look("no edge");
	SAY(control(EPOLL_CTL_MOD, fd[0], EPOLLIN | EPOLLET));
	look("modified");
	look("modified once");
	SAY(control(EPOLL_CTL_MOD, fd[0], EPOLLIN | EPOLLONESHOT));
	look("one shot");
	SAY(write(fd[1], "abc", 3));
	look("shot");
	SAY(control(EPOLL_CTL_MOD, fd[0], EPOLLIN | EPOLLONESHOT));
	look("armed");
	SAY(close(fd[1]));
	look("shot, hangs up");
	SAY(control(EPOLL_CTL_MOD, fd[0], 0));
	look("hung up");
	SAY(control(EPOLL_CTL_DEL, fd[0], 0));
	look("deleted");
	close(fd[0]);

	fd[0] = eventfd(0, EFD_NONBLOCK);
	SAY(control(EPOLL_CTL_ADD, fd[0], EPOLLEXCLUSIVE | EPOLLONESHOT));
	SAY(control(EPOLL_CTL_ADD, fd[0], EPOLLEXCLUSIVE | EPOLLIN));
	SAY(control(EPOLL_CTL_MOD, fd[0], EPOLLIN));
	value = 1;
	SAY(write(fd[0], &value, 8));
	look("exclusive");
	close(fd[0]);
	close(ep);
}

static void epoll_nested(void)
{
	int chain[12], event = eventfd(0, EFD_NONBLOCK), inner;

	for (int i = 0; i < 12; i++)
		chain[i] = epoll_create1(0);
	ep = chain[0];
	inner = chain[0];
	SAY(control(EPOLL_CTL_ADD, event, EPOLLIN));
	ep = chain[1];
	SAY(control(EPOLL_CTL_ADD, chain[0], EPOLLIN));
	ep = chain[2];
	SAY(control(EPOLL_CTL_ADD, chain[1], EPOLLIN | EPOLLET));
	look("nothing");
	value = 1;
	SAY(write(event, &value, 8));
	look("edge of the inner ones");
	look("edge once");
	ep = chain[1];
	look("level of the inner one");
	SAY(read(event, &value, 8));
	look("nothing");
	ep = inner;
	SAY(control(EPOLL_CTL_ADD, chain[2], EPOLLIN));
	wrong = 1;
	for (int i = 3; i < 12; i++) {
		ep = chain[i];
		if (control(EPOLL_CTL_ADD, chain[i - 1], EPOLLIN) < 0 && errno == ELOOP)
			wrong = 0;
	}
	SAY(wrong);
	for (int i = 0; i < 12; i++)
		close(chain[i]);
	close(event);
}

static void epoll_timers(void)
{
	struct itimerspec time = after(5, 0);
	struct epoll_event event;
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), outer;

	ep = epoll_create1(0);
	outer = epoll_create1(0);
	SAY(control(EPOLL_CTL_ADD, fd, EPOLLIN));
	look("not set");
	SAY(timerfd_settime(fd, 0, &time, NULL));
	SAY(epoll_wait(ep, &event, 1, -1));
	look("expired");
	SAY(read(fd, &value, 8));
	look("read");
	SAY(control(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLET));
	SAY(timerfd_settime(fd, 0, &time, NULL));
	SAY(epoll_wait(ep, &event, 1, -1));
	look("edge once");
	SAY(timerfd_settime(fd, TFD_TIMER_ABSTIME, &time, NULL));
	SAY(epoll_wait(ep, &event, 1, -1));
	SAY(timerfd_settime(fd, TFD_TIMER_ABSTIME, &time, NULL));
	SAY(epoll_wait(ep, &event, 1, -1));

	/* Through another epoll, and while somebody waits. */
	event = (struct epoll_event){ EPOLLIN, { .fd = ep } };
	SAY(epoll_ctl(outer, EPOLL_CTL_ADD, ep, &event));
	SAY(timerfd_settime(fd, 0, &time, NULL));
	SAY(epoll_wait(outer, &event, 1, -1));
	look("inner");
	timer_fd = fd;
	pthread_t thread = start(rearm, NULL);
	SAY(epoll_wait(outer, &event, 1, -1));
	pthread_join(thread, NULL);
	look("inner");
	SAY(wrong);
	close(fd);
	close(outer);
	close(ep);
}

#define SHARED 1000

static int shared;
static _Atomic long taken;

/* Threads share an epoll; each byte of the pipe is taken once. */
static void *take(void *argument)
{
	struct epoll_event event;
	char byte;

	for (;;) {
		if (epoll_wait(ep, &event, 1, -1) != 1)
			wrong++;
		if (event.data.fd != shared)
			return argument;
		while (read(shared, &byte, 1) == 1)
			taken++;
	}
}

static void epoll_threads(uint32_t how)
{
	int fd[2], end = eventfd(0, 0);
	pthread_t threads[3];

	ep = epoll_create1(0);
	taken = 0;
	SAY(pipe2(fd, O_NONBLOCK));
	shared = fd[0];
	SAY(control(EPOLL_CTL_ADD, shared, EPOLLIN | how));
	for (int i = 0; i < 3; i++)
		threads[i] = start(take, NULL);
	for (int i = 0; i < SHARED; i++) {
		if (write(fd[1], "x", 1) != 1)
			wrong++;
		if (i % 16 == 0)
			sched_yield();
	}
	while (taken < SHARED)
		pause_ms(1);
	value = 1;
	SAY(control(EPOLL_CTL_ADD, end, EPOLLIN));
	SAY(write(end, &value, 8));
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	SAY(taken);
	close(fd[0]);
	close(fd[1]);
	close(end);
	close(ep);
}

static void epoll_shared(void)
{
	epoll_threads(0);
	epoll_threads(EPOLLET);
	SAY(wrong);
}

/* ---- files of the host: argument 2 is a FIFO, 3 a regular file ---- */

static const char *fifo, *regular;

static void host_files(void)
{
	struct epoll_event event;
	int reader, writer, file;
	pthread_t thread;

	if (!fifo)
		return;
	reader = open(fifo, O_RDONLY | O_NONBLOCK);
	writer = open(fifo, O_WRONLY);
	file = open(regular, O_RDONLY);
	ep = epoll_create1(0);
	SAY(control(EPOLL_CTL_ADD, file, EPOLLIN));
	SAY(control(EPOLL_CTL_ADD, reader, EPOLLIN));
	look("nothing");
	SAY(write(writer, "abc", 3));
	look("level");
	look("level again");
	SAY(read(reader, bytes, 10));
	look("read");
	thread = start(write_soon, &writer);
	SAY(epoll_wait(ep, &event, 1, -1));
	pthread_join(thread, NULL);
	SAY(read(reader, bytes, 10));
	SAY(control(EPOLL_CTL_MOD, reader, EPOLLIN | EPOLLET));
	SAY(write(writer, "abc", 3));
	look("edge");
	look("edge once");
	SAY(read(reader, bytes, 10));
	SAY(write(writer, "abc", 3));
	look("edge");
	SAY(control(EPOLL_CTL_MOD, reader, EPOLLIN | EPOLLONESHOT));
	look("one shot");
	look("shot");
	SAY(control(EPOLL_CTL_MOD, reader, EPOLLIN));
	look("level");
	SAY(control(EPOLL_CTL_DEL, reader, 0));
	look("deleted");
	SAY(control(EPOLL_CTL_ADD, reader, EPOLLIN));
	close(reader);
	look("closed");
	close(writer);
	close(file);
	close(ep);
}

/* ---- no children, one policy; without what depends on the user's privileges ---- */

static void others(void)
{
	struct sched_param param = { .sched_priority = 0 };
	struct timespec interval;
	siginfo_t info;
	int status;

	SAY(waitpid(-1, &status, WNOHANG));
	SAY(waitpid(-1, &status, 0x40));
	SAY(waitid(P_ALL, 0, &info, WEXITED));
	SAY(waitid(P_ALL, 0, &info, 0));
	SAY(waitid(P_PID, 0, &info, WEXITED));
	SAY(syscall(SYS_sched_getscheduler, 0));
	SAY(syscall(SYS_sched_getscheduler, -1));
	SAY(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &param));
	SAY(syscall(SYS_sched_setscheduler, 0, 77, &param));
	SAY(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, NULL));
	SAY(syscall(SYS_sched_getparam, 0, &param));
	SAY(param.sched_priority);
	SAY(sched_get_priority_max(SCHED_FIFO));
	SAY(sched_get_priority_min(SCHED_RR));
	SAY(sched_get_priority_max(SCHED_OTHER));
	SAY(sched_get_priority_max(77));
	SAY(syscall(SYS_sched_rr_get_interval, -1, &interval));
	SAY(syscall(SYS_getpriority, 5, 0));
	SAY(setpriority(7, 0, 0));
	SAY(syscall(SYS_ioprio_set, 1, 0, 5 << 13));
	SAY(syscall(SYS_ioprio_get, 9, 0));
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "pipe-basics", pipe_basics },
	{ "pipe-atomic", pipe_atomic },
	{ "pipe-many", pipe_many },
	{ "pipe-large", pipe_large },
	{ "pipe-ping-pong", pipe_ping_pong },
	{ "eventfds", eventfds },
	{ "eventfd-threads", eventfd_threads },
	{ "timers", timers },
	{ "polls", polls },
	{ "selects", selects },
	{ "epoll-levels", epoll_levels },
	{ "epoll-edges", epoll_edges },
	{ "epoll-nested", epoll_nested },
	{ "epoll-timers", epoll_timers },
	{ "epoll-shared", epoll_shared },
	{ "host-files", host_files },
	{ "others", others },
};

int main(int argc, char **argv)
{
	/* Numbers of descriptors are printed: no more than the usual ones are open. */
	for (int fd = 3; fd < 256; fd++)
		close(fd);
	/* So that it can be seen where it stops. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 3) {
		fifo = argv[2];
		regular = argv[3];
	}
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (argc > 1 && strcmp(argv[1], "all") != 0 && strcmp(argv[1], tests[i].name) != 0)
			continue;
		printf("-- %s\n", tests[i].name);
		fflush(stdout);
		tests[i].run();
	}
	printf("ok\n");
	return 0;
}
