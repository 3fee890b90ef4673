/*
 * Calls that wait for files, and signals. usage: interrupted [TEST [FIFO]] (default: all but
 * "default"). Prints what it found, a line for each, and "ok". It runs on Linux, too, and has to
 * print the same there: nothing of it depends on timing.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000L

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("%s:%d: %s (errno %d)\n", __func__, __LINE__, #condition, errno);   \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static const char *fifo;
static char bytes[1 << 18];
static _Atomic unsigned handled;
static _Atomic long handled_by;

static void on_signal(int signal)
{
	(void)signal;
	handled++;
	handled_by = syscall(SYS_gettid);
}

static void handle(int signal, void (*handler)(int), int flags)
{
	const struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	CHECK(sigaction(signal, &action, NULL) == 0);
}

static void say(const char *what, long value)
{
	if (value == -1)
		printf("%s: %s\n", what, strerror(errno));
	else
		printf("%s: %ld\n", what, value);
}

#define SAY(call) say(#call, (long)(call))

static void pause_us(long us)
{
	const struct timespec time = { us / 1000000, us % 1000000 * 1000 };

	syscall(SYS_nanosleep, &time, NULL);
}

static sigset_t set_of(int signal)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal);
	return set;
}

static void block(int signal)
{
	const sigset_t set = set_of(signal);

	CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
}

static bool is_blocked(int signal)
{
	sigset_t set;

	CHECK(pthread_sigmask(SIG_BLOCK, NULL, &set) == 0);
	return sigismember(&set, signal);
}

/* ---- the calls ---- */

static int empty[2], full[2], nothing, most, timer, epoll;

static void open_all(void)
{
	struct epoll_event event = { .events = EPOLLIN };

	CHECK(pipe(empty) == 0 && pipe(full) == 0);
	CHECK(write(full[1], bytes, 65536) == 65536);
	nothing = eventfd(0, 0);
	most = eventfd(0, 0);
	timer = timerfd_create(CLOCK_MONOTONIC, 0);
	epoll = epoll_create1(0);
	CHECK(eventfd_write(most, UINT64_MAX - 1) == 0);
	CHECK(nothing >= 0 && timer >= 0 && epoll >= 0);
	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, empty[0], &event) == 0);
}

static void close_all(void)
{
	for (int i = 0; i < 2; i++) {
		close(empty[i]);
		close(full[i]);
	}
	close(nothing);
	close(most);
	close(timer);
	close(epoll);
}

static long read_pipe(void)
{
	return read(empty[0], bytes, 10);
}

static long readv_pipe(void)
{
	const struct iovec iov[2] = { { bytes, 1 }, { bytes + 1, 9 } };

	return readv(empty[0], iov, 2);
}

static long write_pipe(void)
{
	return write(full[1], bytes, 10);
}

static long read_event(void)
{
	uint64_t value;

	return read(nothing, &value, sizeof(value));
}

static long write_event(void)
{
	uint64_t value = 1;

	return write(most, &value, sizeof(value));
}

static long read_timer(void)
{
	uint64_t value;

	return read(timer, &value, sizeof(value));
}

static struct pollfd wanted;

static long poll_forever(void)
{
	wanted = (struct pollfd){ empty[0], POLLIN, 0 };
	return poll(&wanted, 1, -1);
}

static long poll_long(void)
{
	wanted = (struct pollfd){ empty[0], POLLIN, 0 };
	return poll(&wanted, 1, 20000);
}

static const sigset_t none;

static long ppoll_long(void)
{
	struct timespec time = { 20, 0 };
	long result;

	wanted = (struct pollfd){ empty[0], POLLIN, 0 };
	result = syscall(SYS_ppoll, &wanted, 1, &time, &none, 8);
	if (result == -1)
		CHECK(time.tv_sec < 20 && time.tv_sec > 0);
	return result;
}

static long select_long(void)
{
	struct timeval time = { 20, 0 };
	fd_set readable;
	long result;

	FD_ZERO(&readable);
	FD_SET(empty[0], &readable);
	result = syscall(SYS_select, empty[0] + 1, &readable, NULL, NULL, &time);
	CHECK(FD_ISSET(empty[0], &readable));
	if (result == -1)
		CHECK(time.tv_sec < 20 && time.tv_sec > 0);
	return result;
}

static long pselect_long(void)
{
	struct timespec time = { 20, 0 };
	const uint64_t mask[2] = { (uintptr_t)&none, 8 };
	fd_set readable;
	long result;

	FD_ZERO(&readable);
	FD_SET(empty[0], &readable);
	result = syscall(SYS_pselect6, empty[0] + 1, &readable, NULL, NULL, &time, mask);
	CHECK(FD_ISSET(empty[0], &readable));
	if (result == -1)
		CHECK(time.tv_sec < 20 && time.tv_sec > 0);
	return result;
}

static struct epoll_event found;

static long epoll_forever(void)
{
	return epoll_wait(epoll, &found, 1, -1);
}

static long epoll_long(void)
{
	return epoll_wait(epoll, &found, 1, 20000);
}

static long epoll_masked(void)
{
	return epoll_pwait(epoll, &found, 1, 20000, &none);
}

static long epoll_masked2(void)
{
	const struct timespec time = { 20, 0 };

	return syscall(SYS_epoll_pwait2, epoll, &found, 1, &time, &none, 8);
}

/* Let each of the calls come to its end. */
static void release_all(void)
{
	const struct itimerspec soon = { .it_value = { 0, 1 } };

	CHECK(write(empty[1], "0123456789", 10) == 10);
	CHECK(eventfd_write(nothing, 1) == 0);
	CHECK(timerfd_settime(timer, 0, &soon, NULL) == 0);
	CHECK(read(full[0], bytes, 8192) == 8192);
	CHECK(read(most, bytes, 8) == 8);
}

static const struct {
	const char *name;
	long (*call)(void);
	bool masks;
} calls[] = {
	{ "read a pipe", read_pipe, false },
	{ "readv a pipe", readv_pipe, false },
	{ "write a pipe", write_pipe, false },
	{ "read an eventfd", read_event, false },
	{ "write an eventfd", write_event, false },
	{ "read a timerfd", read_timer, false },
	{ "poll for ever", poll_forever, false },
	{ "poll", poll_long, false },
	{ "ppoll", ppoll_long, true },
	{ "select", select_long, false },
	{ "pselect6", pselect_long, true },
	{ "epoll_wait for ever", epoll_forever, false },
	{ "epoll_wait", epoll_long, false },
	{ "epoll_pwait", epoll_masked, true },
	{ "epoll_pwait2", epoll_masked2, true },
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

/* ---- one who sends signals ---- */

struct sender {
	pthread_t thread, to[2]; /* the same one twice, or two */
	long pause;              /* microseconds                */
	unsigned count;          /* then release; 0: until `over` */
	void (*release)(void);
	_Atomic bool over;
};

static void *send_signals(void *argument)
{
	struct sender *sender = argument;

	block(SIGUSR1);
	for (unsigned i = 0; !sender->over && (!sender->count || i < sender->count); i++) {
		pause_us(sender->pause);
		CHECK(pthread_kill(sender->to[i % 2], SIGUSR1) == 0);
	}
	if (sender->release)
		sender->release();
	return NULL;
}

static void start(struct sender *sender)
{
	CHECK(pthread_create(&sender->thread, NULL, send_signals, sender) == 0);
}

static void finish(struct sender *sender)
{
	sender->over = true;
	CHECK(pthread_join(sender->thread, NULL) == 0);
}

/* ---- interrupted ---- */

static int bytes_in(int fd)
{
	int used;

	return ioctl(fd, FIONREAD, &used) ? -1 : used;
}

static void interrupted(void)
{
	handle(SIGUSR1, on_signal, 0);
	for (size_t i = 0; i < CALLS; i++) {
		struct sender sender = { .to = { pthread_self(), pthread_self() }, .pause = 3000 };

		open_all();
		start(&sender);
		say(calls[i].name, calls[i].call());
		finish(&sender);
		/* It has left everything as it was. */
		SAY(bytes_in(empty[0]));
		SAY(bytes_in(full[0]));
		SAY(fcntl(nothing, F_SETFL, O_NONBLOCK));
		SAY(read_event());
		SAY(read(most, bytes, 8));
		CHECK(*(uint64_t *)bytes == UINT64_MAX - 1);
		close_all();
	}
	CHECK(handled > 0);
}

/* With SA_RESTART: transfers go on, the others never. */
static void restarted(void)
{
	handle(SIGUSR1, on_signal, SA_RESTART);
	for (size_t i = 0; i < CALLS; i++) {
		struct sender sender = { .to = { pthread_self(), pthread_self() },
					 .pause = 3000,
					 .count = 10,
					 .release = release_all };

		open_all();
		start(&sender);
		say(calls[i].name, calls[i].call());
		CHECK(pthread_join(sender.thread, NULL) == 0);
		close_all();
	}
}

/* ---- masks ---- */

static long ppoll_now(void)
{
	const struct timespec zero = { 0, 0 };

	wanted = (struct pollfd){ empty[0], POLLIN, 0 };
	return ppoll(&wanted, 1, &zero, &none);
}

static long pselect_now(void)
{
	const struct timespec zero = { 0, 0 };
	fd_set readable;

	FD_ZERO(&readable);
	FD_SET(empty[0], &readable);
	return pselect(empty[0] + 1, &readable, NULL, NULL, &zero, &none);
}

static long epoll_now(void)
{
	return epoll_pwait(epoll, &found, 1, 0, &none);
}

static void after(const char *what, long result)
{
	say(what, result);
	say("  handlers", handled);
	say("  blocked", is_blocked(SIGUSR1));
}

static void masks(void)
{
	struct sender sender = { .to = { pthread_self(), pthread_self() },
				 .pause = 10000,
				 .count = 2 };
	const sigset_t usr1 = set_of(SIGUSR1), old = none;
	const struct timespec some = { 0, 100 * MS };

	/* Blocked, pending, and let in. */
	handle(SIGUSR1, on_signal, SA_RESTART);
	block(SIGUSR1);
	open_all();
	for (size_t i = 0; i < CALLS; i++) {
		if (!calls[i].masks)
			continue;
		handled = 0;
		raise(SIGUSR1);
		after(calls[i].name, calls[i].call());
	}
	/* Those that don't wait. */
	raise(SIGUSR1);
	handled = 0;
	after("epoll_pwait, no time", epoll_now());
	after("ppoll, no time", ppoll_now());
	raise(SIGUSR1);
	after("pselect, no time", pselect_now());
	/* What is ready comes first, and the signal waits. */
	CHECK(write(empty[1], "x", 1) == 1);
	raise(SIGUSR1);
	handled = 0;
	after("ppoll, ready", ppoll_long());
	after("pselect, ready", pselect_now());
	after("epoll_pwait, ready", epoll_masked());
	CHECK(read(empty[0], bytes, 1) == 1);
	after("ppoll, at last", ppoll_long());
	/* Kept out while it waits. */
	CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
	handled = 0;
	start(&sender);
	wanted = (struct pollfd){ empty[0], POLLIN, 0 };
	say("ppoll, kept out", ppoll(&wanted, 1, &some, &usr1));
	CHECK(pthread_join(sender.thread, NULL) == 0);
	CHECK(handled > 0);
	SAY(syscall(SYS_ppoll, &wanted, 1, &some, &usr1, 4));
	SAY(syscall(SYS_ppoll, &wanted, 1, &some, 8, 8));
	SAY(syscall(SYS_epoll_pwait, epoll, &found, 1, 0, &usr1, 4));
	SAY(is_blocked(SIGUSR1));
	close_all();
}

/* ---- SIGPIPE ---- */

static int broken[2];

static void *write_much(void *argument)
{
	*(long *)argument = syscall(SYS_gettid);
	say("write", write(broken[1], bytes, 100000));
	say("write", write(broken[1], bytes, 1));
	return NULL;
}

static void sigpipe(void)
{
	sigset_t pending;
	pthread_t writer;
	long tid;
	int used;

	CHECK(pipe(broken) == 0);
	close(broken[0]);
	handle(SIGPIPE, SIG_IGN, 0);
	SAY(write(broken[1], "x", 1));
	SAY(write(broken[1], "x", 0));
	handled = 0;
	handle(SIGPIPE, on_signal, SA_RESTART);
	SAY(write(broken[1], "x", 1));
	SAY(handled);
	block(SIGPIPE);
	SAY(write(broken[1], "x", 1));
	CHECK(sigpending(&pending) == 0);
	SAY(sigismember(&pending, SIGPIPE));
	SAY(handled);
	CHECK(pthread_sigmask(SIG_SETMASK, &none, NULL) == 0);
	SAY(handled);
	close(broken[1]);

	/* One that waits: what is written counts, and its thread gets the signal. */
	CHECK(pipe(broken) == 0);
	handled = 0;
	CHECK(pthread_create(&writer, NULL, write_much, &tid) == 0);
	do {
		pause_us(1000);
		CHECK(ioctl(broken[0], FIONREAD, &used) == 0);
	} while (used < 65536);
	close(broken[0]);
	CHECK(pthread_join(writer, NULL) == 0);
	SAY(handled);
	CHECK(handled_by == tid);
	close(broken[1]);
	handle(SIGPIPE, SIG_DFL, 0);
}

static void sigpipe_default(void)
{
	CHECK(pipe(broken) == 0);
	close(broken[0]);
	printf("writing\n");
	fflush(stdout);
	SAY(write(broken[1], "x", 1));
}

/* ---- nothing is lost ---- */

struct stream {
	int from, to;
	uint32_t length;        /* bytes */
	unsigned interruptions; /* of the reader */
};

/* Byte `at` of the stream. */
static uint8_t byte_at(uint32_t at)
{
	return (uint8_t)(at * 2654435761u >> 24);
}

static void *write_stream(void *argument)
{
	struct stream *stream = argument;
	uint8_t piece[30011];
	uint32_t at = 0;

	while (at < stream->length) {
		uint32_t size = 1 + at * 7 % sizeof(piece);
		ssize_t count;

		if (size > stream->length - at)
			size = stream->length - at;
		for (uint32_t i = 0; i < size; i++)
			piece[i] = byte_at(at + i);
		count = write(stream->to, piece, size);
		CHECK(count > 0 || (count == -1 && errno == EINTR));
		if (count > 0)
			at += (uint32_t)count;
	}
	return NULL;
}

static void *read_stream(void *argument)
{
	struct stream *stream = argument;
	uint8_t piece[20011];
	uint32_t at = 0;

	while (at < stream->length) {
		ssize_t count = read(stream->from, piece, 1 + at * 5 % sizeof(piece));

		CHECK(count > 0 || (count == -1 && errno == EINTR));
		for (ssize_t i = 0; i < count; i++)
			CHECK(piece[i] == byte_at(at + (uint32_t)i));
		stream->interruptions += count < 0;
		if (count > 0)
			at += (uint32_t)count;
		else
			pause_us(500); /* the writer gets ahead, and waits as well */
	}
	return NULL;
}

static _Atomic unsigned running;

static void *read_then_end(void *argument)
{
	read_stream(argument);
	running--;
	return NULL;
}

static void *write_then_end(void *argument)
{
	write_stream(argument);
	running--;
	return NULL;
}

/* Both sides are interrupted over and over. */
static void run_stream(const char *name, int from, int to, uint32_t length, int flags)
{
	struct stream stream = { .from = from, .to = to, .length = length };
	struct sender sender = { .pause = 200 };

	handle(SIGUSR1, on_signal, flags);
	running = 2;
	CHECK(pthread_create(&sender.to[0], NULL, read_then_end, &stream) == 0);
	/* The reader has something to wait for. */
	pause_us(1000);
	CHECK(pthread_create(&sender.to[1], NULL, write_then_end, &stream) == 0);
	start(&sender);
	while (running)
		pause_us(1000);
	finish(&sender);
	CHECK(pthread_join(sender.to[0], NULL) == 0 && pthread_join(sender.to[1], NULL) == 0);
	CHECK(!(flags & SA_RESTART) || stream.interruptions == 0);
	say(name, length);
}

static void streams(void)
{
	int fd[2];

	CHECK(pipe(fd) == 0);
	run_stream("pipe", fd[0], fd[1], 3000000, 0);
	run_stream("pipe, restarted", fd[0], fd[1], 3000000, SA_RESTART);
	CHECK(fcntl(fd[0], F_SETPIPE_SZ, 4096) == 4096);
	run_stream("small pipe", fd[0], fd[1], 500000, 0);
	close(fd[0]);
	close(fd[1]);
	if (!fifo)
		return;
	fd[0] = open(fifo, O_RDWR);
	CHECK(fd[0] >= 0);
	run_stream("FIFO", fd[0], fd[0], 500000, 0);
	close(fd[0]);
}

/* ---- edges ---- */

#define ROUNDS 300

struct rounds {
	int there[2], back[2];
	uint32_t events;
};

static void read_one(int fd)
{
	char byte;
	ssize_t count;

	do {
		count = read(fd, &byte, 1);
	} while (count == -1 && errno == EINTR);
	CHECK(count == 1);
}

static void *ask_rounds(void *argument)
{
	struct rounds *rounds = argument;

	for (unsigned i = 0; i < ROUNDS; i++) {
		CHECK(write(rounds->there[1], "x", 1) == 1);
		read_one(rounds->back[0]);
	}
	running--;
	return NULL;
}

/* Each byte is an edge, or what re-arms it finds it: if one gets lost, this never ends. */
static void *answer_rounds(void *argument)
{
	struct rounds *rounds = argument;
	struct epoll_event event = { .events = rounds->events, .data.u32 = 7 };
	int ep = epoll_create1(0);

	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, rounds->there[0], &event) == 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		int count;

		do {
			count = epoll_pwait(ep, &found, 1, -1, i % 2 ? &none : NULL);
		} while (count == -1 && errno == EINTR);
		CHECK(count == 1 && found.data.u32 == 7 && found.events == EPOLLIN);
		read_one(rounds->there[0]);
		CHECK(write(rounds->back[1], "x", 1) == 1);
		if (rounds->events & EPOLLONESHOT)
			CHECK(epoll_ctl(ep, EPOLL_CTL_MOD, rounds->there[0], &event) == 0);
	}
	close(ep);
	running--;
	return NULL;
}

static void run_rounds(const char *name, uint32_t events)
{
	struct rounds rounds = { .events = events };
	struct sender sender = { .pause = 200 };

	handle(SIGUSR1, on_signal, 0);
	CHECK(pipe(rounds.there) == 0 && pipe(rounds.back) == 0);
	running = 2;
	CHECK(pthread_create(&sender.to[0], NULL, answer_rounds, &rounds) == 0);
	CHECK(pthread_create(&sender.to[1], NULL, ask_rounds, &rounds) == 0);
	start(&sender);
	while (running)
		pause_us(1000);
	finish(&sender);
	CHECK(pthread_join(sender.to[0], NULL) == 0 && pthread_join(sender.to[1], NULL) == 0);
	for (int i = 0; i < 2; i++) {
		close(rounds.there[i]);
		close(rounds.back[i]);
	}
	say(name, ROUNDS);
}

static void edges(void)
{
	run_rounds("level", EPOLLIN);
	run_rounds("edge", EPOLLIN | EPOLLET);
	run_rounds("once", EPOLLIN | EPOLLET | EPOLLONESHOT);
}

/* ---- counts ---- */

#define ADDS 2000

static void *add_counts(void *argument)
{
	int fd = *(int *)argument;
	uint64_t value = UINT64_MAX / 2; /* there is room for one of them, at a time */

	for (unsigned i = 0; i < ADDS; i++) {
		while (write(fd, &value, 8) != 8)
			CHECK(errno == EINTR);
	}
	running--;
	return NULL;
}

static void *take_counts(void *argument)
{
	int fd = *(int *)argument;
	uint64_t value, taken = 0;

	while (taken < ADDS) {
		if (read(fd, &value, 8) == 8) {
			CHECK(value == UINT64_MAX / 2 || value == UINT64_MAX / 2 * 2);
			taken += value / (UINT64_MAX / 2);
		} else {
			CHECK(errno == EINTR);
		}
	}
	running--;
	return NULL;
}

static void counts(void)
{
	struct sender sender = { .pause = 200 };
	int fd = eventfd(0, 0);

	handle(SIGUSR1, on_signal, 0);
	running = 2;
	CHECK(pthread_create(&sender.to[0], NULL, take_counts, &fd) == 0);
	CHECK(pthread_create(&sender.to[1], NULL, add_counts, &fd) == 0);
	start(&sender);
	while (running)
		pause_us(1000);
	finish(&sender);
	CHECK(pthread_join(sender.to[0], NULL) == 0 && pthread_join(sender.to[1], NULL) == 0);
	SAY(fcntl(fd, F_SETFL, O_NONBLOCK));
	SAY(read(fd, bytes, 8));
	close(fd);
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "interrupted", interrupted }, { "restarted", restarted }, { "masks", masks },
	{ "sigpipe", sigpipe },         { "streams", streams },     { "edges", edges },
	{ "counts", counts },
};

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 2)
		fifo = argv[2];
	if (argc > 1 && strcmp(argv[1], "default") == 0)
		sigpipe_default();
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (argc > 1 && strcmp(argv[1], "all") != 0 && strcmp(argv[1], tests[i].name) != 0)
			continue;
		printf("-- %s\n", tests[i].name);
		tests[i].run();
	}
	printf("ok\n");
	return 0;
}
