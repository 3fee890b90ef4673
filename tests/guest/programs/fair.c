/*
 * Threads that never stop, and others that get their turns all the same. usage:
 *	fair compute|yield|getppid|futex|trap|mixed FILE	those, and all kinds of work beside them
 *	fair together		two threads whose sleeps end at the same time
 *	fair alone MS		computes, undisturbed
 *	fair idle MS		sleeps
 *	fair turns		another thread computes for a while; tells if we ran meanwhile
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

static void fail(const char *what, long value)
{
	printf("%s: %ld\n", what, value);
	exit(1);
}

static pthread_t start(void *(*run)(void *), void *argument)
{
	pthread_t thread;
	int code = pthread_create(&thread, NULL, run, argument);

	if (code)
		fail("pthread_create", code);
	return thread;
}

static long cpus(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN);
}

/* ---- those that never stop ---- */

#define HOGS 64

static _Atomic bool running[HOGS];

static void *compute(void *argument)
{
	*(_Atomic bool *)argument = true;
	for (;;)
		__asm__ volatile("pause");
	return NULL;
}

static void *yield(void *argument)
{
	*(_Atomic bool *)argument = true;
	for (;;)
		sched_yield();
	return NULL;
}

static void *call(void *argument)
{
	*(_Atomic bool *)argument = true;
	for (;;)
		getppid();
	return NULL;
}

/* Two of them wake each other for ever; each wait is bounded, should a wake come too early. */
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1

static uint32_t futex_word;

static void *wake_and_wait(void *argument)
{
	const struct timespec limit = { .tv_nsec = 1000000 };

	*(_Atomic bool *)argument = true;
	for (;;) {
		__atomic_fetch_add(&futex_word, 1, __ATOMIC_SEQ_CST);
		syscall(SYS_futex, &futex_word, FUTEX_WAKE, 1, NULL, NULL, 0);
		syscall(SYS_futex, &futex_word, FUTEX_WAIT, futex_word, &limit, NULL, 0);
	}
	return NULL;
}

/* Little but exceptions: where they are dear, nearly all interrupts come during one. */
static void trapped(int signal)
{
	(void)signal;
}

static void *trap(void *argument)
{
	struct sigaction action = { .sa_handler = trapped };

	if (sigaction(SIGTRAP, &action, NULL))
		fail("sigaction", 0);
	*(_Atomic bool *)argument = true;
	for (;;)
		__asm__ volatile("int3");
	return NULL;
}

#define KINDS 5

static void start_hogs(const char *kind)
{
	static void *(*const all[KINDS])(void *) = { compute, yield, call, wake_and_wait, trap };
	static const char *const names[KINDS] = { "compute", "yield", "getppid", "futex", "trap" };
	int count = 2 * (int)cpus(), which = -1;

	for (int i = 0; i < KINDS; i++)
		if (!strcmp(names[i], kind))
			which = i;
	if (which < 0)
		count *= 2; /* of each kind */
	for (int i = 0; i < count; i++)
		start(all[which < 0 ? i % KINDS : which], (void *)&running[i]);
	for (int i = 0; i < count; i++)
		while (!running[i])
			usleep(1000);
}

/* ---- those that get their turns ---- */

static uint64_t last, worst;

static void step(void)
{
	uint64_t time = now();

	if (last && time - last > worst)
		worst = time - last;
	last = time;
}

static void do_sleeps(void)
{
	for (int i = 0; i < 20; i++) {
		uint64_t before = now();
		const struct timespec pause = { .tv_nsec = 1000000 };

		if (nanosleep(&pause, NULL))
			fail("nanosleep", i);
		if (now() - before < 1000000)
			fail("too short", i);
		step();
	}
}

static void do_reads(const char *path)
{
	for (int i = 0; i < 20; i++) {
		char buffer[4096];
		int fd = open(path, O_RDONLY);

		if (fd < 0 || read(fd, buffer, sizeof(buffer)) != sizeof(buffer))
			fail("read", i);
		close(fd);
		step();
	}
}

static sem_t there, back;

static void *partner(void *argument)
{
	for (int i = 0; i < 20; i++) {
		sem_wait(&there);
		sem_post(&back);
	}
	return argument;
}

static void do_semaphores(void)
{
	pthread_t thread;

	sem_init(&there, 0, 0);
	sem_init(&back, 0, 0);
	thread = start(partner, NULL);
	for (int i = 0; i < 20; i++) {
		sem_post(&there);
		sem_wait(&back);
		step();
	}
	pthread_join(thread, NULL);
}

static void *nothing(void *argument)
{
	return argument;
}

static void do_threads(void)
{
	for (long i = 0; i < 10; i++) {
		void *result;

		pthread_join(start(nothing, (void *)i), &result);
		if (result != (void *)i)
			fail("result", i);
		step();
	}
}

/* Nothing ever comes: the clock ends it, and the call to the loader is taken back. */
static void do_timeouts(void)
{
	for (int i = 0; i < 10; i++) {
		struct pollfd fd = { .fd = 0, .events = POLLIN };
		int code = poll(&fd, 1, 2);

		if (code)
			fail("poll", code);
		step();
	}
}

/* It computes as well, and is counted on. */
static _Atomic long counted;

static void *count(void *argument)
{
	for (;;) {
		for (volatile int i = 0; i < 100000; i++)
			;
		counted++;
	}
	return argument;
}

static void beside(const char *kind, const char *path)
{
	start_hogs(kind);
	start(count, NULL);
	step();
	do_sleeps();
	do_reads(path);
	do_semaphores();
	do_threads();
	do_timeouts();
	long before = counted;
	while (counted < before + 10)
		usleep(1000);
	printf("worst %lu us\n", (unsigned long)(worst / 1000));
}

/* ---- two that wake at the same time ---- */

static uint64_t meeting;
static _Atomic int came;

static void *come_together(void *argument)
{
	struct timespec at = { .tv_sec = (time_t)(meeting / 1000000000),
			       .tv_nsec = (long)(meeting % 1000000000) };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
	atomic_fetch_add(&came, 1);
	/* Whoever comes first computes until the others are there too. */
	while (atomic_load(&came) < 3)
		__asm__ volatile("pause");
	return argument;
}

static void together(void)
{
	for (int i = 0; i < 20; i++) {
		pthread_t threads[3];

		came = 0;
		meeting = now() + 3000000;
		for (int t = 0; t < 3; t++)
			threads[t] = start(come_together, NULL);
		for (int t = 0; t < 3; t++)
			pthread_join(threads[t], NULL);
	}
}

/* ---- without anybody else ---- */

static void alone(const char *ms)
{
	uint64_t until = now() + (uint64_t)atoi(ms) * 1000000;

	while (now() < until)
		for (volatile int i = 0; i < 1000000; i++)
			;
}

static void idle(const char *ms)
{
	usleep((unsigned)atoi(ms) * 1000);
}

/* ---- whether there are turns ---- */

static _Atomic bool computing, computed;

static void *compute_for_a_while(void *argument)
{
	uint64_t until = now() + 200000000;

	computing = true;
	while (now() < until)
		for (volatile int i = 0; i < 10000; i++)
			;
	computed = true;
	return argument;
}

static void turns(void)
{
	pthread_t thread = start(compute_for_a_while, NULL);

	while (!computing)
		usleep(100);
	printf("computed %d\n", computed);
	pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	const char *test = argc > 1 ? argv[1] : "", *argument = argc > 2 ? argv[2] : "0";

	if (!strcmp(test, "together"))
		together();
	else if (!strcmp(test, "alone"))
		alone(argument);
	else if (!strcmp(test, "idle"))
		idle(argument);
	else if (!strcmp(test, "turns"))
		turns();
	else
		beside(test, argument);
	/* Those are undisturbed: no output. */
	if (!strcmp(test, "alone") || !strcmp(test, "idle"))
		_exit(0);
	puts("ok");
	fflush(stdout);
	_exit(0); /* the others still run */
}
