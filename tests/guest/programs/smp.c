/*
 * Threads on all vCPUs. usage: smp TEST; prints "ok" when the results are what they must be,
 * and the counters that the host looks at.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS  200
#define THREADS 200

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

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

static void *join(pthread_t thread)
{
	void *result;
	int code = pthread_join(thread, &result);

	if (code)
		fail("pthread_join", code);
	return result;
}

/* ---- every vCPU takes its part of threads that compute ---- */

static _Atomic unsigned long seen[64];

static bool missing(void)
{
	for (long i = 0; i < sysconf(_SC_NPROCESSORS_ONLN); i++)
		if (!seen[i])
			return true;
	return false;
}

static void *see(void *argument)
{
	/* Until all have been used: those with nothing to do take what waits elsewhere. */
	while (missing()) {
		int cpu = sched_getcpu();

		if (cpu < 0 || cpu >= sysconf(_SC_NPROCESSORS_ONLN))
			fail("sched_getcpu", cpu);
		atomic_fetch_add(&seen[cpu], 1);
		sched_yield();
	}
	return argument;
}

static void everywhere(void)
{
	long count = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t threads[8];

	for (int i = 0; i < 8; i++)
		threads[i] = start(see, NULL);
	for (int i = 0; i < 8; i++)
		join(threads[i]);
	for (long i = 0; i < count; i++)
		if (!seen[i])
			fail("no thread ran on vCPU", i);
	printf("vcpus %ld\n", count);
}

/* ---- affinity ---- */

static void use_only(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("sched_setaffinity", cpu);
	if (sched_getcpu() != cpu)
		fail("not moved at once", cpu);
}

/* From vCPU to vCPU; on each one it yields and sleeps, and stays. */
static void *wander(void *argument)
{
	const struct timespec pause = { .tv_nsec = 10000 };
	long count = sysconf(_SC_NPROCESSORS_ONLN);

	for (int i = 0; i < 100; i++) {
		int cpu = (int)((i + (long)argument) % count);

		use_only(cpu);
		sched_yield();
		if (i % 10 == 0)
			nanosleep(&pause, NULL);
		if (sched_getcpu() != cpu)
			fail("did not stay", cpu);
	}
	return argument;
}

static void *inherits(void *argument)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) || CPU_COUNT(&set) != 1 || !CPU_ISSET(0, &set))
		fail("not inherited", CPU_COUNT(&set));
	if (sched_getcpu() != 0)
		fail("elsewhere", sched_getcpu());
	return argument;
}

static void affinity(void)
{
	pthread_t threads[6];
	cpu_set_t set;

	for (long i = 0; i < 6; i++)
		threads[i] = start(wander, (void *)i);
	for (int i = 0; i < 6; i++)
		join(threads[i]);
	use_only(0);
	join(start(inherits, NULL));
	CPU_ZERO(&set);
	if (!sched_setaffinity(0, sizeof(set), &set) || errno != EINVAL)
		fail("an empty set", errno);
	CPU_SET(60, &set);
	if (!sched_setaffinity(0, sizeof(set), &set) || errno != EINVAL)
		fail("a set of none that is there", errno);
	CPU_SET(0, &set);
	if (!sched_setaffinity(12345, sizeof(set), &set) || errno != ESRCH)
		fail("nobody", errno);
}

/* ---- affinity, set for a thread that waits ---- */

#define FUTEX_WAIT 0
#define FUTEX_WAKE 1

static _Atomic int moving_tid;
static int moved_word;

static void *is_moved(void *argument)
{
	int last = *(int *)argument;

	use_only(0);
	moving_tid = (int)syscall(SYS_gettid);
	/* Only if it has waited until then is it sure to run there from its first instruction on. */
	if (!syscall(SYS_futex, &moved_word, FUTEX_WAIT, 0, NULL, NULL, 0) &&
	    sched_getcpu() != last)
		fail("woken where it may not run", sched_getcpu());
	return argument;
}

static void moved(void)
{
	/* Before we are on one vCPU: musl counts those of the mask. */
	int last = (int)sysconf(_SC_NPROCESSORS_ONLN) - 1;

	use_only(0);
	for (int i = 0; i < 20; i++) {
		cpu_set_t set;

		moving_tid = 0;
		__atomic_store_n(&moved_word, 0, __ATOMIC_SEQ_CST);
		pthread_t thread = start(is_moved, &last);
		/* On the same vCPU: when we go on, it waits. */
		while (!moving_tid)
			sched_yield();
		CPU_ZERO(&set);
		CPU_SET(last, &set);
		if (sched_setaffinity(moving_tid, sizeof(set), &set))
			fail("sched_setaffinity", errno);
		__atomic_store_n(&moved_word, 1, __ATOMIC_SEQ_CST);
		syscall(SYS_futex, &moved_word, FUTEX_WAKE, 1, NULL, NULL, 0);
		join(thread);
	}
}

/* ---- wakes: `turn` goes to and fro between two threads ---- */

static int turn;
static long handovers[2];

static void *ping(void *argument)
{
	int me = argument != NULL;

	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&mutex);
		while (turn != me)
			pthread_cond_wait(&changed, &mutex);
		turn = !me;
		handovers[me]++;
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static void ping_pong(void)
{
	pthread_t first = start(ping, NULL), second = start(ping, &turn);

	join(first);
	join(second);
	if (handovers[0] != ROUNDS || handovers[1] != ROUNDS || turn != 0)
		fail("handovers", handovers[0] + handovers[1]);
}

/* The same, and the target has been idle for a while: it is parked, or still spins. */
static sem_t to_sleeper, from_sleeper;

static void *sleeper(void *argument)
{
	for (int i = 0; i < 20; i++) {
		sem_wait(&to_sleeper);
		sem_post(&from_sleeper);
	}
	return argument;
}

static void idle_target(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	pthread_t thread;

	sem_init(&to_sleeper, 0, 0);
	sem_init(&from_sleeper, 0, 0);
	thread = start(sleeper, NULL);
	for (int i = 0; i < 20; i++) {
		nanosleep(&pause, NULL);
		sem_post(&to_sleeper);
		sem_wait(&from_sleeper);
	}
	join(thread);
}

/* ---- many threads ---- */

static long sum;

static void *add(void *argument)
{
	pthread_mutex_lock(&mutex);
	sum += (long)argument;
	pthread_mutex_unlock(&mutex);
	return argument;
}

static void many(void)
{
	static pthread_t threads[THREADS];

	for (long i = 0; i < THREADS; i++)
		threads[i] = start(add, (void *)(i + 1));
	for (long i = 0; i < THREADS; i++)
		if (join(threads[i]) != (void *)(i + 1))
			fail("result of thread", i);
	if (sum != THREADS * (THREADS + 1) / 2)
		fail("sum", sum);
}

/* One after the other: stacks and thread blocks come back. */
static void again_and_again(void)
{
	for (long i = 0; i < THREADS; i++)
		if (join(start(add, (void *)i)) != (void *)i)
			fail("result of thread", i);
}

static _Atomic long detached;

static void *count_detached(void *argument)
{
	atomic_fetch_add(&detached, 1);
	return argument;
}

static void detached_threads(void)
{
	for (int i = 0; i < 50; i++)
		pthread_detach(start(count_detached, NULL));
	while (atomic_load(&detached) != 50)
		sched_yield();
}

/* ---- barrier, contended lock, semaphores, thread-local data, vector registers ---- */

static pthread_barrier_t barrier;
static _Atomic long arrived;

static void *meet(void *argument)
{
	for (long round = 1; round <= 20; round++) {
		atomic_fetch_add(&arrived, 1);
		pthread_barrier_wait(&barrier);
		/* All have arrived in this round; nobody can be two rounds ahead. */
		long now = atomic_load(&arrived);
		if (now < round * 8 || now > (round + 1) * 8)
			fail("arrived", now);
	}
	return argument;
}

static void barriers(void)
{
	pthread_t threads[8];

	pthread_barrier_init(&barrier, NULL, 8);
	for (int i = 0; i < 8; i++)
		threads[i] = start(meet, NULL);
	for (int i = 0; i < 8; i++)
		join(threads[i]);
	if (arrived != 160)
		fail("arrived", arrived);
}

static void *contend(void *argument)
{
	for (int i = 0; i < 1000; i++) {
		pthread_mutex_lock(&mutex);
		long old = sum;
		if (i % 50 == 0)
			sched_yield(); /* lose the vCPU with the lock held */
		sum = old + 1;
		pthread_mutex_unlock(&mutex);
	}
	return argument;
}

static void lock(void)
{
	pthread_t threads[6];

	for (int i = 0; i < 6; i++)
		threads[i] = start(contend, NULL);
	for (int i = 0; i < 6; i++)
		join(threads[i]);
	if (sum != 6000)
		fail("sum", sum);
}

static __thread long mine;

/* What a thread has in registers and thread-local memory is its own. */
static void *keep(void *argument)
{
	long id = (long)argument;
	double a = (double)id, b = (double)id + 0.5;

	mine = id;
	for (int i = 0; i < 100; i++) {
		__asm__ volatile("" : "+x"(a), "+x"(b));
		double old_a = a, old_b = b;
		__asm__ volatile("syscall" : "+x"(a), "+x"(b) : "a"(24l) : "rcx", "r11", "memory");
		if (a != old_a || b != old_b || mine != id)
			fail("not its own", id);
	}
	return argument;
}

static void registers(void)
{
	pthread_t threads[8];

	for (long i = 0; i < 8; i++)
		threads[i] = start(keep, (void *)(i + 1));
	for (long i = 0; i < 8; i++)
		join(threads[i]);
}

/* A timed wait that nobody ends times out, one that somebody ends does not. */
static void *signal_later(void *argument)
{
	const struct timespec pause = { .tv_nsec = 2000000 };

	nanosleep(&pause, NULL);
	pthread_mutex_lock(&mutex);
	turn = 7;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&mutex);
	return argument;
}

static int wait_until(int value, long ms)
{
	struct timespec limit;
	int code = 0;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_nsec += ms * 1000000;
	limit.tv_sec += limit.tv_nsec / 1000000000;
	limit.tv_nsec %= 1000000000;
	while (turn != value && !code)
		code = pthread_cond_timedwait(&changed, &mutex, &limit);
	return code;
}

static void timed_wait(void)
{
	pthread_t thread;
	int code;

	pthread_mutex_lock(&mutex);
	code = wait_until(7, 5);
	if (code != 110 /* ETIMEDOUT */)
		fail("the wait that nobody ends", code);
	thread = start(signal_later, NULL);
	code = wait_until(7, 10000);
	if (code)
		fail("the wait that ends", code);
	pthread_mutex_unlock(&mutex);
	join(thread);
}

/* The process ends while others run, sleep and wait. */
static void *compute(void *argument)
{
	for (;;)
		__asm__ volatile("pause");
	return argument;
}

static void *sleep_long(void *argument)
{
	sleep(1000);
	return argument;
}

static void leave_others(void)
{
	start(compute, NULL); /* on another vCPU than this one */
	start(sleep_long, NULL);
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "everywhere", everywhere },
	{ "affinity", affinity },
	{ "moved", moved },
	{ "ping-pong", ping_pong },
	{ "idle-target", idle_target },
	{ "many", many },
	{ "again", again_and_again },
	{ "detached", detached_threads },
	{ "barrier", barriers },
	{ "lock", lock },
	{ "registers", registers },
	{ "timed-wait", timed_wait },
	{ "leave", leave_others },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (strcmp(argv[1], tests[i].name))
			continue;
		tests[i].run();
		puts("ok");
		return 0;
	}
	return 99;
}
