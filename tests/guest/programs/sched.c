/*
 * What there is to see of the scheduler, for traces: docs/scheduling.md shows them. The first
 * argument names one; all of it is a few milliseconds long, and prints nothing.
 *
 *	pingpong	two threads that hand a word to each other, by a futex
 *	apart		the same, each on a vCPU of its own
 *	turns		three threads that compute, and one that sleeps
 *	burst		eight threads that compute, all started on the first vCPU
 *	stages		a pipeline of three tasks, by channels, which thread 1 waits for
 *
 * Thread 1 sets everything up, sleeps a little, and only then lets it begin: so a trace
 * is of interest from the end of that sleep on.
 */
#include <pagurus/pagurus.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define US 1000L

#define WAIT_PRIVATE 128
#define WAKE_PRIVATE 129

static _Atomic int gate;

static void futex_wait(_Atomic int *word, int value)
{
	syscall(SYS_futex, word, WAIT_PRIVATE, value, NULL);
}

static void futex_wake(_Atomic int *word, int count)
{
	syscall(SYS_futex, word, WAKE_PRIVATE, count);
}

static void pass_gate(void)
{
	while (!atomic_load(&gate))
		futex_wait(&gate, 0);
}

static void open_gate(void)
{
	nanosleep(&(struct timespec){ 0, 2000 * US }, NULL);
	atomic_store(&gate, 1);
	futex_wake(&gate, INT32_MAX);
}

static void stay_on(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* An amount of work, not of time: about `us` microseconds at 3 GHz. */
static uint64_t compute(unsigned us)
{
	uint64_t x = us;

	for (unsigned i = 0; i < us * 600; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		__asm__ volatile("" : "+r"(x));
	}
	return x;
}

static void run_threads(unsigned count, void *(*body)(void *))
{
	pthread_t threads[16];

	for (unsigned i = 0; i < count; i++)
		pthread_create(&threads[i], NULL, body, (void *)(uintptr_t)i);
	open_gate();
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

/* ---- pingpong, apart ---- */

#define ROUNDS 10

static _Atomic int ball; /* whose turn it is */
static unsigned vcpus;

static void *player(void *argument)
{
	int self = (int)(uintptr_t)argument;

	if (vcpus > 1)
		stay_on((unsigned)self % vcpus);
	pass_gate();
	for (int i = 0; i < ROUNDS; i++) {
		while (atomic_load(&ball) != self)
			futex_wait(&ball, 1 - self);
		compute(3);
		atomic_store(&ball, 1 - self);
		futex_wake(&ball, 1);
	}
	return NULL;
}

/* ---- turns ---- */

static void *turns_thread(void *argument)
{
	pass_gate();
	if (argument) {
		compute(15000);
		return NULL;
	}
	for (int i = 0; i < 8; i++) {
		nanosleep(&(struct timespec){ 0, 3000 * US }, NULL);
		compute(300);
	}
	return NULL;
}

/* ---- burst ---- */

static void *burst_thread(void *argument)
{
	stay_on(0);
	pass_gate();
	/* From here on it may go anywhere. */
	syscall(SYS_sched_setaffinity, 0, sizeof(uint64_t), &(uint64_t){ UINT64_MAX });
	compute(3000 + 1500 * (unsigned)((uintptr_t)argument % 3));
	return NULL;
}

/* ---- stages ---- */

#define ITEMS 12

struct stage {
	struct pg_app_task task;
	struct pg_async async;
	struct pg_receive receive;
	struct pg_send send;
	struct pg_channel *from, *to; /* NULL at the ends */
	unsigned us;
	uintptr_t item;
};

PG_ASYNC static enum pg_poll stage_poll(struct pg_future *future, struct pg_task *waker)
{
	struct stage *self = pg_container_of(future, struct stage, async.future);

	PG_BEGIN(&self->async);
	for (self->item = 0; self->item < ITEMS; self->item++) {
		if (self->from) {
			pg_receive_init(&self->receive, self->from);
			PG_AWAIT(&self->async, &self->receive.future, waker);
		}
		compute(self->us);
		if (self->to) {
			pg_send_init(&self->send, self->to, (void *)(self->item + 1));
			PG_AWAIT(&self->async, &self->send.future, waker);
		}
	}
	PG_END(&self->async);
}

static void stages(void)
{
	static const struct pg_future_ops ops = { stage_poll, pg_async_drop };
	static struct pg_channel channels[2];
	static void *slots[2][2];
	static struct stage all[3] = { { .us = 8 }, { .us = 20 }, { .us = 12 } };

	for (unsigned i = 0; i < 2; i++)
		pg_channel_init(&channels[i], slots[i], 2);
	nanosleep(&(struct timespec){ 0, 2000 * US }, NULL);
	for (unsigned i = 0; i < 3; i++) {
		all[i].from = i > 0 ? &channels[i - 1] : NULL;
		all[i].to = i < 2 ? &channels[i] : NULL;
		pg_async_init(&all[i].async, &ops);
		pg_spawn_on(i, &all[i].task, &all[i].async.future, NULL);
	}
	for (unsigned i = 0; i < 3; i++) {
		struct pg_join join;

		pg_join_init(&join, &all[i].task.task);
		pg_block_on(&join.future);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "pingpong") == 0 || strcmp(what, "apart") == 0) {
		vcpus = strcmp(what, "apart") == 0 ? pg_cpus() : 1;
		run_threads(2, player);
	} else if (strcmp(what, "turns") == 0) {
		run_threads(4, turns_thread);
	} else if (strcmp(what, "burst") == 0) {
		run_threads(8, burst_thread);
	} else if (strcmp(what, "stages") == 0) {
		stages();
	} else {
		fprintf(stderr, "sched pingpong|apart|turns|burst|stages\n");
		return 2;
	}
	return 0;
}
