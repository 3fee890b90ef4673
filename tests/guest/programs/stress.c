/*
 * Thousands of threads that do everything at once, by chance, and a balance at the end: each
 * wake, each token, each thread and each byte is accounted for. usage:
 *	stress SECONDS SEED [THREADS [FILE]]
 * Standard input must be something that never has anything to read.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FUTEX_WAIT    0
#define FUTEX_WAKE    1
#define FUTEX_REQUEUE 3

#define THREADS_MAX 20000
#define STACK_SIZE  16384
#define WORDS       64 /* futexes                                         */
#define LOCKS       8
#define FILE_SIZE   65536
#define LEAVE_MS    60000 /* after the end, all threads have left by then     */

static _Atomic bool over;
static const char *path;

/* All that is counted, on either side. */
static _Atomic long operations, sleeps, yields, wakes, woken, timeouts, requeued, locked, given,
	taken, posted, acquired, not_acquired, reads, polls, started, joined, meetings, pinned,
	writes_seen;

static void fail(const char *what, long value)
{
	printf("WRONG: %s: %ld\n", what, value);
	fflush(stdout);
	_exit(1);
}

static uint64_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

/* ---- chance ---- */

struct worker {
	pthread_t thread;
	uint64_t seed;
	_Atomic int doing; /* index of the operation; -1: it has left          */
};

static struct worker workers[THREADS_MAX];

static uint32_t chance(struct worker *self, uint32_t below)
{
	self->seed = self->seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((self->seed >> 33) % below);
}

static struct timespec after(clockid_t clock, uint32_t us)
{
	struct timespec at;

	clock_gettime(clock, &at);
	at.tv_nsec += (long)us * 1000;
	at.tv_sec += at.tv_nsec / 1000000000;
	at.tv_nsec %= 1000000000;
	return at;
}

/* ---- operations ---- */

static void op_sleep(struct worker *self)
{
	uint32_t us = chance(self, 5000);
	const struct timespec pause = { .tv_nsec = us * 1000l };
	uint64_t before = now();

	if (nanosleep(&pause, NULL))
		fail("nanosleep", errno);
	if (now() - before < us * 1000ull)
		fail("slept too short", us);
	sleeps++;
}

static void op_yield(struct worker *self)
{
	for (uint32_t i = chance(self, 5); i; i--)
		sched_yield();
	yields++;
}

/* The words never change: only a wake or the clock ends a wait, and each is counted. */
static uint32_t words[WORDS][16];

static void op_wait(struct worker *self)
{
	uint32_t ns = chance(self, 8000000);
	const struct timespec limit = { .tv_nsec = ns };
	long code =
		syscall(SYS_futex, words[chance(self, WORDS)], FUTEX_WAIT, 0,
			chance(self, 16) ? &limit : &(struct timespec){ .tv_nsec = 1 }, NULL, 0);

	if (code == 0)
		woken++;
	else if (errno == ETIMEDOUT)
		timeouts++;
	else
		fail("futex wait", errno);
}

static void op_wake(struct worker *self)
{
	long count = syscall(SYS_futex, words[chance(self, WORDS)], FUTEX_WAKE, 1 + chance(self, 4),
			     NULL, NULL, 0);

	if (count < 0 || count > 4)
		fail("futex wake", count);
	wakes += count;
}

static void op_requeue(struct worker *self)
{
	long count = syscall(SYS_futex, words[chance(self, WORDS)], FUTEX_REQUEUE, 0, 2,
			     words[chance(self, WORDS)], 0);

	if (count < 0 || count > 2)
		fail("futex requeue", count);
	requeued += count;
}

/* Plain counters, each with a lock. */
static struct {
	pthread_mutex_t mutex;
	long count;
} locks[LOCKS];

static void op_lock(struct worker *self)
{
	uint32_t which = chance(self, LOCKS);

	pthread_mutex_lock(&locks[which].mutex);
	long count = locks[which].count;
	if (chance(self, 8) == 0)
		sched_yield();
	locks[which].count = count + 1;
	pthread_mutex_unlock(&locks[which].mutex);
	locked++;
}

/* Given before it is taken: so there is one for each that waits. */
static pthread_mutex_t token_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t token_given = PTHREAD_COND_INITIALIZER;
static long tokens;

static void op_token(struct worker *self)
{
	pthread_mutex_lock(&token_mutex);
	tokens++;
	pthread_cond_signal(&token_given);
	pthread_mutex_unlock(&token_mutex);
	given++;
	if (chance(self, 2))
		sched_yield();
	pthread_mutex_lock(&token_mutex);
	while (tokens == 0) {
		struct timespec limit = after(CLOCK_REALTIME, 1 + chance(self, 2000));
		int code = chance(self, 2)
				   ? pthread_cond_wait(&token_given, &token_mutex)
				   : pthread_cond_timedwait(&token_given, &token_mutex, &limit);

		if (code && code != ETIMEDOUT)
			fail("condition", code);
		/* Too late, and chosen as well? Then somebody else is to have it. */
		if (code && tokens)
			pthread_cond_signal(&token_given);
	}
	tokens--;
	pthread_mutex_unlock(&token_mutex);
	taken++;
}

static sem_t semaphore;

static void op_semaphore(struct worker *self)
{
	struct timespec limit = after(CLOCK_REALTIME, chance(self, 2000));

	if (chance(self, 2)) {
		sem_post(&semaphore);
		posted++;
	} else if (!sem_timedwait(&semaphore, &limit)) {
		acquired++;
	} else if (errno == ETIMEDOUT) {
		not_acquired++;
	} else {
		fail("sem_timedwait", errno);
	}
}

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static long first_half, second_half;

static void op_rwlock(struct worker *self)
{
	if (chance(self, 4)) {
		pthread_rwlock_rdlock(&rwlock);
		long seen = first_half;

		if (chance(self, 4) == 0)
			sched_yield();
		if (seen != first_half || seen != second_half)
			fail("changed while it was read", seen);
		pthread_rwlock_unlock(&rwlock);
	} else {
		pthread_rwlock_wrlock(&rwlock);
		first_half++;
		if (chance(self, 4) == 0)
			sched_yield();
		second_half++;
		pthread_rwlock_unlock(&rwlock);
		writes_seen++;
	}
}

static void op_read(struct worker *self)
{
	uint8_t buffer[512];
	uint32_t size = 1 + chance(self, sizeof(buffer)), at = chance(self, FILE_SIZE - size);
	int fd;

	if (!path)
		return;
	fd = open(path, O_RDONLY);
	if (fd < 0 || pread(fd, buffer, size, at) != size)
		fail("pread", errno);
	close(fd);
	for (uint32_t i = 0; i < size; i++)
		if (buffer[i] != (uint8_t)((at + i) * 2654435761u >> 13))
			fail("a byte of the file", at + i);
	reads++;
}

/* The call to the loader waits, and is taken back when the time is over. */
static void op_poll(struct worker *self)
{
	struct pollfd fd = { .fd = 0, .events = POLLIN };
	int code = poll(&fd, 1, (int)chance(self, 4));

	if (code)
		fail("poll", code);
	polls++;
}

static void *child(void *argument)
{
	if ((uintptr_t)argument % 3 == 0)
		sched_yield();
	return (void *)((uintptr_t)argument * 3);
}

static void op_thread(struct worker *self)
{
	uintptr_t number = chance(self, 1 << 30);
	pthread_attr_t attributes;
	pthread_t thread;
	void *result;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	int code = pthread_create(&thread, &attributes, child, (void *)number);
	if (code)
		fail("pthread_create", code);
	started++;
	pthread_join(thread, &result);
	if (result != (void *)(number * 3))
		fail("result of a thread", (long)(uintptr_t)result);
	joined++;
}

/* Floating point, which lives in registers that change hands. */
static void op_compute(struct worker *self)
{
	uint32_t count = chance(self, 100000);
	double a = chance(self, 1000), sum = 0;

	for (uint32_t i = 0; i < count; i++) {
		sum += a;
		__asm__ volatile("" : "+x"(sum), "+x"(a));
	}
	if (sum != a * count)
		fail("sum", (long)sum);
}

/* On one vCPU only, for a while. */
static void op_affinity(struct worker *self)
{
	cpu_set_t one, all;
	int cpu = (int)chance(self, (uint32_t)sysconf(_SC_NPROCESSORS_ONLN));

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_getaffinity(0, sizeof(all), &all))
		fail("sched_getaffinity", errno);
	if (sched_setaffinity(0, sizeof(one), &one)) {
		if (errno != ENOSYS)
			fail("sched_setaffinity", errno);
		return;
	}
	for (uint32_t i = chance(self, 4) + 1; i; i--) {
		if (sched_getcpu() != cpu)
			fail("on another vCPU than", cpu);
		if (chance(self, 2))
			sched_yield();
		else
			usleep(chance(self, 500));
	}
	if (sched_setaffinity(0, sizeof(all), &all))
		fail("sched_setaffinity", errno);
	pinned++;
}

static const struct {
	const char *name;
	void (*run)(struct worker *self);
	unsigned weight;
} all[] = {
	{ "sleep", op_sleep, 6 },     { "yield", op_yield, 4 },         { "wait", op_wait, 12 },
	{ "wake", op_wake, 8 },       { "requeue", op_requeue, 2 },     { "lock", op_lock, 4 },
	{ "token", op_token, 4 },     { "semaphore", op_semaphore, 4 }, { "rwlock", op_rwlock, 4 },
	{ "read", op_read, 2 },       { "poll", op_poll, 3 },           { "thread", op_thread, 1 },
	{ "compute", op_compute, 1 }, { "affinity", op_affinity, 1 },
};

#define ALL (int)(sizeof(all) / sizeof(all[0]))

static _Atomic long alive;

/* Held until all are there: otherwise the first ones would keep the last ones from coming. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void *work(void *argument)
{
	struct worker *self = argument;
	unsigned sum = 0;

	for (int i = 0; i < ALL; i++)
		sum += all[i].weight;
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	while (!over) {
		uint32_t at = chance(self, sum);
		int which = 0;

		while (at >= all[which].weight)
			at -= all[which++].weight;
		self->doing = which;
		all[which].run(self);
		operations++;
	}
	self->doing = -1;
	alive--;
	return self;
}

/* ---- a barrier, for as long as the first one of its threads says so ---- */

#define MEETERS 5

static pthread_barrier_t barrier;
static _Atomic long arrived;
static bool go_on = true;

static void *meet(void *argument)
{
	bool leader = argument != NULL;

	for (long round = 1;; round++) {
		arrived++;
		if (leader)
			go_on = !over;
		pthread_barrier_wait(&barrier);
		if (arrived < round * MEETERS)
			fail("passed a barrier that was not full", arrived);
		bool more = go_on;
		pthread_barrier_wait(&barrier);
		if (!more)
			break;
		if (leader)
			meetings++;
	}
	alive--;
	return argument;
}

/* ---- from beginning to end ---- */

static void start_thread(pthread_t *thread, void *(*run)(void *), void *argument)
{
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	alive++;
	int code = pthread_create(thread, &attributes, run, argument);
	if (code)
		fail("pthread_create", code);
}

/* Who has not left, and what he does: something was lost. */
static void say_who_is_left(long count)
{
	printf("WRONG: %ld threads have not left; operations:", alive);
	for (long i = 0; i < count; i++)
		if (workers[i].doing >= 0)
			printf(" %ld:%s", i, all[workers[i].doing].name);
	printf("\ntokens %ld given %ld taken %ld arrived %ld\n", tokens, given, taken, arrived);
	fflush(stdout);
	_exit(2);
}

static void same(const char *what, long a, long b)
{
	printf("%s: %ld, %ld\n", what, a, b);
	if (a != b)
		fail(what, a - b);
}

static void balance(void)
{
	long counts = 0;
	int left;

	for (int i = 0; i < LOCKS; i++)
		counts += locks[i].count;
	sem_getvalue(&semaphore, &left);
	same("wakes told and received", wakes, woken);
	same("locked and counted", locked, counts);
	same("tokens given and taken", given, taken);
	same("tokens left", tokens, 0);
	same("posted and acquired or left", posted, acquired + left);
	same("written under the lock", first_half, writes_seen);
	same("written under the lock, too", second_half, writes_seen);
	same("threads started and joined", started, joined);
	same("at the barrier", arrived, (meetings + 1) * MEETERS);
	printf("operations %ld: sleeps %ld, yields %ld, timeouts %ld, requeued %ld, not acquired "
	       "%ld, "
	       "reads %ld, polls %ld, pinned %ld\n",
	       operations, sleeps, yields, timeouts, requeued, not_acquired, reads, polls, pinned);
}

int main(int argc, char **argv)
{
	long seconds = argc > 1 ? atol(argv[1]) : 5, count = argc > 3 ? atol(argv[3]) : 2000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1, until, begin;
	pthread_t meeters[MEETERS];

	path = argc > 4 ? argv[4] : NULL;
	if (count < 1 || count > THREADS_MAX)
		return 99;
	printf("seed %llu, %ld threads, %ld s\n", (unsigned long long)seed, count, seconds);
	fflush(stdout);
	sem_init(&semaphore, 0, 0);
	for (int i = 0; i < LOCKS; i++)
		pthread_mutex_init(&locks[i].mutex, NULL);
	pthread_barrier_init(&barrier, NULL, MEETERS);
	pthread_mutex_lock(&gate);
	for (int i = 0; i < MEETERS; i++)
		start_thread(&meeters[i], meet, i == 0 ? &over : NULL);
	for (long i = 0; i < count; i++) {
		workers[i].seed = seed * 0x9e3779b97f4a7c15u + (uint64_t)i * 0xbf58476d1ce4e5b9u;
		start_thread(&workers[i].thread, work, &workers[i]);
	}
	pthread_mutex_unlock(&gate);
	begin = now();
	until = begin + (uint64_t)seconds * 1000000000;
	while (now() < until) {
		usleep(500000);
		printf("%ld ms: %ld operations, %ld live\n", (long)((now() - begin) / 1000000),
		       operations, alive);
		fflush(stdout);
	}
	over = true;
	until = now() + LEAVE_MS * 1000000ull;
	while (alive > 0) {
		usleep(10000);
		if (now() > until)
			say_who_is_left(count);
	}
	for (long i = 0; i < count; i++) {
		void *result;

		pthread_join(workers[i].thread, &result);
		if (result != &workers[i])
			fail("result of worker", i);
	}
	for (int i = 0; i < MEETERS; i++)
		pthread_join(meeters[i], NULL);
	balance();
	puts("ok");
	return 0;
}
