/*
 * What a system call costs by how it gets to its future: one that is ready at once, one that
 * waits for another thread, one that waits for the loader; each by `syscall`, and by a jump
 * to the kernel's entry where there is one. The runner chooses the shape (uhyve-c --dispatch).
 * Usage: shapes FILE
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "call.h"

#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129

#define BLOCK 4096

static bool by_jump;
static int file;
static char block[BLOCK];

static long call(long number, long a, long b, long c, long d)
{
	return by_jump ? call_kernel(number, a, b, c, d, 0, 0) : syscall(number, a, b, c, d, 0, 0);
}

static void ready(void *context, uint64_t times)
{
	while (times--)
		(void)call(SYS_getppid, 0, 0, 0, 0);
}

/* Into the scheduler, another thread, and back: each of the two threads yields. */
static _Atomic bool stop;

static void yield(void *context, uint64_t times)
{
	while (times--)
		(void)call(SYS_sched_yield, 0, 0, 0, 0);
}

static void *yield_too(void *argument)
{
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		yield(NULL, 1);
	return argument;
}

/* ---- futexes: a wake and a wait for each of two threads ---- */

static _Atomic int ping, pong;

static void wake(_Atomic int *word)
{
	atomic_store(word, 1);
	(void)call(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, 1, 0);
}

static void await(_Atomic int *word)
{
	while (atomic_exchange(word, 0) == 0)
		(void)call(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, 0, 0);
}

static void *answer(void *argument)
{
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

/* ---- the loader ---- */

static void read_block(void *context, uint64_t times)
{
	for (uint64_t i = 0; i < times; i++)
		if (call(SYS_pread64, file, (long)block, BLOCK, (long)(i % 64 * BLOCK)) != BLOCK)
			bench_fail("pread");
}

static pthread_t start(void *(*body)(void *), void *argument)
{
	pthread_t thread;

	if ((errno = pthread_create(&thread, NULL, body, argument)))
		bench_fail("pthread_create");
	return thread;
}

static void measure(const char *ready_name, const char *switch_name, const char *futex_name,
		    const char *read_name)
{
	uint64_t times = by_jump ? 20000 : 1000, all = times * (BENCH_BATCHES + 1);
	pthread_t other;

	bench_run(ready_name, times, ready, NULL);
	/* Half of the yields are the other thread's: one switch each. */
	atomic_store(&stop, false);
	other = start(yield_too, NULL);
	bench_run(switch_name, times, yield, NULL);
	atomic_store(&stop, true);
	pthread_join(other, NULL);
	other = start(answer, &all);
	bench_run(futex_name, times, play, NULL);
	pthread_join(other, NULL);
	bench_run(read_name, times / 2, read_block, NULL);
}

int main(int argc, char **argv)
{
	file = argc > 1 ? open(argv[1], O_RDONLY) : -1;
	if (file < 0)
		bench_fail("the file");
	bench_pin(0);
	measure("ready_trap", "yields_trap", "futex_trap", "loader_trap");
	by_jump = true;
	if (call_possible())
		measure("ready_jump", "yields_jump", "futex_jump", "loader_jump");
	return 0;
}
