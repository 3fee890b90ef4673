/*
 * Two threads on two CPUs that wake each other by futexes. Usage: cross
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "call.h"

#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129

#define TIMES 2000

static bool by_jump;
static _Atomic int ping, pong;

static long futex(_Atomic int *word, long operation, long value)
{
	return by_jump ? call_kernel(SYS_futex, (long)word, operation, value, 0, 0, 0)
		       : syscall(SYS_futex, word, operation, value, 0, 0, 0);
}

static void wake(_Atomic int *word)
{
	atomic_store(word, 1);
	(void)futex(word, FUTEX_WAKE_PRIVATE, 1);
}

static void await(_Atomic int *word)
{
	while (atomic_exchange(word, 0) == 0)
		(void)futex(word, FUTEX_WAIT_PRIVATE, 0);
}

static void *answer(void *argument)
{
	bench_pin(1);
	for (uint64_t times = *(uint64_t *)argument; times; times--) {
		await(&ping);
		wake(&pong);
	}
	return NULL;
}

static void play(void *context, uint64_t times)
{
	while (times--) {
		wake(&ping);
		await(&pong);
	}
}

static void measure(const char *name)
{
	uint64_t all = (uint64_t)TIMES * (BENCH_BATCHES + 1);
	pthread_t other;

	if ((errno = pthread_create(&other, NULL, answer, &all)))
		bench_fail("pthread_create");
	bench_run(name, TIMES, play, NULL);
	pthread_join(other, NULL);
}

int main(void)
{
	bench_pin(0);
	measure("cross_trap");
	by_jump = true;
	if (call_possible())
		measure("cross_jump");
	return 0;
}
