/*
 * The application's own tasks: runs the test that its argument names, and says "ok". A task can't
 * print: it notes what went wrong, and main() tells.
 */
#include <errno.h>
#include <fcntl.h>
#include <pagurus/pagurus.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MS 1000000ull

static _Atomic(const char *) wrong;

#define STRING(x) #x
#define LINE(x)   STRING(x)
#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			atomic_store(&wrong, "line " LINE(__LINE__) ": " #condition);              \
	} while (0)

/* ---- spawn: many tasks, in each of the three ways; the last one to end opens the way ---- */

#define TASKS 999

struct counted {
	struct pg_app_task task;
	struct pg_async async;
	struct pg_sleep sleep;
	int rounds;
};

static struct counted counted[TASKS];
static _Atomic int steps, ends;
static struct pg_semaphore all_done;

PG_ASYNC static enum pg_poll counted_poll(struct pg_future *future, struct pg_task *waker)
{
	struct counted *self = pg_container_of(future, struct counted, async.future);

	PG_BEGIN(&self->async);
	for (self->rounds = 0; self->rounds < 3; self->rounds++) {
		PG_YIELD(&self->async, waker);
		atomic_fetch_add(&steps, 1);
	}
	pg_sleep_for_init(&self->sleep, MS);
	PG_AWAIT(&self->async, &self->sleep.future, waker);
	atomic_fetch_add(&steps, 1);
	PG_END(&self->async);
}

static const struct pg_future_ops counted_ops = { counted_poll, pg_async_drop };

static void counted_done(struct pg_app_task *task)
{
	EXPECT(!pg_task_cancelled(&task->task));
	if (atomic_fetch_add(&ends, 1) == TASKS - 1)
		pg_semaphore_release(&all_done);
}

static void test_spawn(void)
{
	struct pg_acquire acquire;

	pg_semaphore_init(&all_done, 0);
	for (int i = 0; i < TASKS; i++) {
		struct counted *self = &counted[i];

		pg_async_init(&self->async, &counted_ops);
		if (i % 3 == 0)
			pg_spawn(&self->task, &self->async.future, counted_done);
		else if (i % 3 == 1)
			pg_spawn_anywhere(&self->task, &self->async.future, counted_done);
		else
			pg_spawn_on((unsigned)i, &self->task, &self->async.future, counted_done);
	}
	pg_acquire_init(&acquire, &all_done);
	EXPECT(pg_block_on(&acquire.future) == 0);
	EXPECT(atomic_load(&steps) == 4 * TASKS);
	EXPECT(atomic_load(&ends) == TASKS);
	EXPECT(pg_this_cpu() < pg_cpus());
	EXPECT(pg_cpus() == (unsigned)sysconf(_SC_NPROCESSORS_ONLN));
}

/* ---- join: all at once, in one pg_block_on() ---- */

#define JOINED 8

static void test_join(void)
{
	struct pg_join joins[JOINED];
	struct pg_future *children[JOINED];
	struct pg_all all;

	for (unsigned i = 0; i < JOINED; i++) {
		pg_async_init(&counted[i].async, &counted_ops);
		pg_spawn_on(i, &counted[i].task, &counted[i].async.future, NULL);
		pg_join_init(&joins[i], &counted[i].task.task);
		children[i] = &joins[i].future;
	}
	pg_all_init(&all, children, JOINED);
	EXPECT(pg_block_on(&all.future) == 0);
	EXPECT(atomic_load(&steps) == 4 * JOINED);
	/* Over already. */
	pg_join_init(&joins[0], &counted[0].task.task);
	EXPECT(pg_block_on(&joins[0].future) == 0);
}

/* ---- cancel ---- */

struct patient {
	struct pg_app_task task;
	struct pg_future future;
	struct pg_sleep sleep;
	int polls, drops;
};

static enum pg_poll patient_poll(struct pg_future *future, struct pg_task *waker)
{
	struct patient *self = pg_container_of(future, struct patient, future);

	if (self->polls++ == 0)
		pg_sleep_init(&self->sleep, PG_NEVER - 1);
	return pg_future_poll(&self->sleep.future, waker);
}

static void patient_drop(struct pg_future *future)
{
	struct patient *self = pg_container_of(future, struct patient, future);

	self->drops++;
	if (self->polls)
		pg_future_drop(&self->sleep.future);
}

static void test_cancel(void)
{
	static const struct pg_future_ops ops = { patient_poll, patient_drop };

	for (unsigned i = 0; i < 20; i++) {
		struct patient patient = { .future = { &ops } };
		struct pg_join join;

		pg_spawn_on(i, &patient.task, &patient.future, NULL);
		if (i % 2)
			usleep(1000);
		pg_task_cancel(&patient.task.task);
		pg_join_init(&join, &patient.task.task);
		EXPECT(pg_block_on(&join.future) == 0);
		EXPECT(pg_task_cancelled(&patient.task.task));
		EXPECT(patient.drops == 1);
	}
}

/* ---- timeout: of a receive; and of a read that is under way, with its settling ---- */

struct late {
	struct pg_async async;
	struct pg_timeout timeout;
	struct pg_receive receive;
	struct pg_hypercall call;
	struct pg_settle settle;
	char buffer[16];
};

static struct pg_channel empty;

PG_ASYNC static enum pg_poll late_poll(struct pg_future *future, struct pg_task *waker)
{
	struct late *self = pg_container_of(future, struct late, async.future);

	PG_BEGIN(&self->async);
	pg_receive_init(&self->receive, &empty);
	pg_timeout_init(&self->timeout, &self->receive.future, pg_after(2 * MS));
	PG_AWAIT(&self->async, &self->timeout.future, waker);
	EXPECT(self->timeout.timed_out);

	pg_read_init(&self->call, 0, self->buffer, sizeof(self->buffer), PG_OFFSET_STREAM);
	pg_timeout_init(&self->timeout, &self->call.future, pg_after(2 * MS));
	PG_AWAIT(&self->async, &self->timeout.future, waker);
	EXPECT(self->timeout.timed_out);
	pg_settle_init(&self->settle, &self->call);
	PG_AWAIT(&self->async, &self->settle.future, waker);
	EXPECT(self->call.result == -ECANCELED);

	/* In time. */
	pg_hypercall_init(&self->call, PG_OP_NOP, 0, 0);
	pg_timeout_init(&self->timeout, &self->call.future, PG_NEVER);
	PG_AWAIT(&self->async, &self->timeout.future, waker);
	EXPECT(!self->timeout.timed_out && self->call.result == 0);
	PG_END(&self->async);
}

static void test_timeout(void)
{
	static const struct pg_future_ops ops = { late_poll, pg_async_drop };
	void *slot[1];
	struct late late;
	uint64_t start = pg_now();

	pg_channel_init(&empty, slot, 1);
	pg_async_init(&late.async, &ops);
	pg_run(&late.async.future);
	EXPECT(pg_now() - start >= 4 * MS);
	pg_async_init(&late.async, &ops);
	EXPECT(pg_block_on(&late.async.future) == 0);
}

/* ---- channel: several producers and consumers, everywhere ---- */

#define PRODUCERS 6
#define ITEMS     3000

struct producer {
	struct pg_app_task task;
	struct pg_async async;
	struct pg_send send;
	uintptr_t next;
};

struct consumer {
	struct pg_app_task task;
	struct pg_async async;
	struct pg_receive receive;
	uint64_t sum, count;
};

static struct pg_channel channel;
static _Atomic int producing;

PG_ASYNC static enum pg_poll producer_poll(struct pg_future *future, struct pg_task *waker)
{
	struct producer *self = pg_container_of(future, struct producer, async.future);

	PG_BEGIN(&self->async);
	for (self->next = 1; self->next <= ITEMS; self->next++) {
		pg_send_init(&self->send, &channel, (void *)self->next);
		PG_AWAIT(&self->async, &self->send.future, waker);
		EXPECT(self->send.result == 0);
	}
	if (atomic_fetch_sub(&producing, 1) == 1)
		pg_channel_close(&channel);
	PG_END(&self->async);
}

PG_ASYNC static enum pg_poll consumer_poll(struct pg_future *future, struct pg_task *waker)
{
	struct consumer *self = pg_container_of(future, struct consumer, async.future);

	PG_BEGIN(&self->async);
	for (;;) {
		pg_receive_init(&self->receive, &channel);
		PG_AWAIT(&self->async, &self->receive.future, waker);
		if (self->receive.result)
			break;
		self->sum += (uintptr_t)self->receive.item;
		self->count++;
	}
	EXPECT(self->receive.result == -EPIPE);
	PG_END(&self->async);
}

static void test_channel(void)
{
	static const struct pg_future_ops producer_ops = { producer_poll, pg_async_drop };
	static const struct pg_future_ops consumer_ops = { consumer_poll, pg_async_drop };
	static struct producer producers[PRODUCERS];
	static struct consumer consumers[PRODUCERS];
	void *slots[7];
	uint64_t sum = 0, count = 0;

	pg_channel_init(&channel, slots, 7);
	producing = PRODUCERS;
	for (unsigned i = 0; i < PRODUCERS; i++) {
		pg_async_init(&producers[i].async, &producer_ops);
		pg_async_init(&consumers[i].async, &consumer_ops);
		pg_spawn_on(i, &producers[i].task, &producers[i].async.future, NULL);
		pg_spawn_on(i + 1, &consumers[i].task, &consumers[i].async.future, NULL);
	}
	for (unsigned i = 0; i < PRODUCERS; i++) {
		struct pg_join join;

		pg_join_init(&join, &producers[i].task.task);
		EXPECT(pg_block_on(&join.future) == 0);
		pg_join_init(&join, &consumers[i].task.task);
		EXPECT(pg_block_on(&join.future) == 0);
		sum += consumers[i].sum;
		count += consumers[i].count;
	}
	EXPECT(count == PRODUCERS * ITEMS);
	EXPECT(sum == (uint64_t)PRODUCERS * ITEMS * (ITEMS + 1) / 2);
}

/* ---- files: /data, which the test has mapped ---- */

struct reader {
	struct pg_async async;
	struct pg_hypercall call;
	struct pg_statx statx;
	int32_t handle;
	char text[64];
};

PG_ASYNC static enum pg_poll reader_poll(struct pg_future *future, struct pg_task *waker)
{
	struct reader *self = pg_container_of(future, struct reader, async.future);

	PG_BEGIN(&self->async);
	pg_open_init(&self->call, "/nothing", O_RDONLY, 0);
	PG_AWAIT(&self->async, &self->call.future, waker);
	EXPECT(self->call.result == -ENOENT);

	pg_open_init(&self->call, "/data", O_RDWR, 0);
	PG_AWAIT(&self->async, &self->call.future, waker);
	EXPECT(self->call.result >= 0);
	self->handle = (int32_t)self->call.result;
	pg_statx_init(&self->call, "/data", &self->statx, PG_STATX_BASIC);
	PG_AWAIT(&self->async, &self->call.future, waker);
	EXPECT(self->call.result == 0 && self->statx.size == 6);
	pg_write_init(&self->call, self->handle, "!", 1, 6);
	PG_AWAIT(&self->async, &self->call.future, waker);
	EXPECT(self->call.result == 1);
	pg_fstatx_init(&self->call, self->handle, &self->statx, PG_STATX_BASIC);
	PG_AWAIT(&self->async, &self->call.future, waker);
	EXPECT(self->call.result == 0 && self->statx.size == 7);
	pg_read_init(&self->call, self->handle, self->text, sizeof(self->text), 0);
	PG_AWAIT(&self->async, &self->call.future, waker);
	EXPECT(self->call.result == 7 && !memcmp(self->text, "hello\n!", 7));
	/* Only the program's own memory. */
	pg_read_init(&self->call, self->handle, (void *)reader_poll, 4, 0);
	PG_AWAIT(&self->async, &self->call.future, waker);
	EXPECT(self->call.result == -EFAULT);
	pg_close_init(&self->call, self->handle);
	PG_AWAIT(&self->async, &self->call.future, waker);
	EXPECT(self->call.result == 0);
	pg_write_init(&self->call, 1, "a task writes\n", 14, PG_OFFSET_STREAM);
	PG_AWAIT(&self->async, &self->call.future, waker);
	EXPECT(self->call.result == 14);
	PG_END(&self->async);
}

static void test_files(void)
{
	static const struct pg_future_ops ops = { reader_poll, pg_async_drop };
	struct reader reader;

	pg_async_init(&reader.async, &ops);
	pg_run(&reader.async.future);
}

/* ---- registers: threads keep theirs while tasks clobber all of them ---- */

#define THREADS 3
#define CONTROL 0x3f80u /* MXCSR: rounds down */

static _Atomic bool stop;

struct vectors {
	_Alignas(64) uint64_t lane[16][4];
};

/* `to` = what is in the 16 vector registers after they were `from`, and a sleep. */
static void sleep_with(const struct vectors *from, struct vectors *to, bool avx)
{
	const struct timespec time = { 0, 200000 };
	long result = SYS_nanosleep;

	if (avx)
		__asm__ volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
				 "vmovdqu \\n*32(%1), %%ymm\\n\n.endr\n"
				 "syscall\n"
				 ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
				 "vmovdqu %%ymm\\n, \\n*32(%2)\n.endr\nvzeroupper"
				 : "+a"(result)
				 : "r"(from), "r"(to), "D"(&time), "S"(0)
				 : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
				   "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
				   "xmm12", "xmm13", "xmm14", "xmm15");
	else
		__asm__ volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
				 "movdqu \\n*32(%1), %%xmm\\n\n.endr\n"
				 "syscall\n"
				 ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
				 "movdqu %%xmm\\n, \\n*32(%2)\n.endr"
				 : "+a"(result)
				 : "r"(from), "r"(to), "D"(&time), "S"(0)
				 : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
				   "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
				   "xmm12", "xmm13", "xmm14", "xmm15");
}

static uint32_t mxcsr(void)
{
	uint32_t value;

	__asm__ volatile("stmxcsr %0" : "=m"(value));
	return value;
}

static void *keep_registers(void *argument)
{
	bool avx = __builtin_cpu_supports("avx");
	uint32_t control = CONTROL;

	__asm__ volatile("ldmxcsr %0" : : "m"(control));
	for (uint64_t round = 0; round < 60; round++) {
		struct vectors from, to;

		for (int i = 0; i < 16; i++) {
			for (int j = 0; j < 4; j++)
				from.lane[i][j] = avx || j < 2 ? round << 32 |
									 (uintptr_t)argument << 16 |
									 (unsigned)(i * 4 + j)
							       : 0;
		}
		memset(&to, 0, sizeof(to));
		sleep_with(&from, &to, avx);
		EXPECT(!memcmp(&from, &to, sizeof(to)));
		EXPECT((mxcsr() & ~0x3fu) == CONTROL);
	}
	return NULL;
}

static void clobber(void)
{
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vpcmpeqd %%xmm0, %%xmm0, %%xmm0\n"
				 "vinsertf128 $1, %%xmm0, %%ymm0, %%ymm0\n"
				 ".irp n,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
				 "vmovups %%ymm0, %%ymm\\n\n.endr\n" ::
					 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
					   "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
					   "xmm13", "xmm14", "xmm15");
	else
		__asm__ volatile("pcmpeqd %%xmm0, %%xmm0\n"
				 ".irp n,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
				 "movups %%xmm0, %%xmm\\n\n.endr\n" ::
					 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
					   "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
					   "xmm13", "xmm14", "xmm15");
}

PG_ASYNC static enum pg_poll clobber_poll(struct pg_future *future, struct pg_task *waker)
{
	struct counted *self = pg_container_of(future, struct counted, async.future);

	/* At each poll, and at the end again. */
	EXPECT((mxcsr() & ~0x3fu) == 0x1f80);
	clobber();
	PG_BEGIN(&self->async);
	while (!atomic_load(&stop)) {
		pg_sleep_for_init(&self->sleep, MS / 10);
		PG_AWAIT(&self->async, &self->sleep.future, waker);
		clobber();
	}
	PG_END(&self->async);
}

static void test_registers(void)
{
	static const struct pg_future_ops ops = { clobber_poll, pg_async_drop };
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < 4; i++) {
		pg_async_init(&counted[i].async, &ops);
		pg_spawn_on(i, &counted[i].task, &counted[i].async.future, NULL);
	}
	for (uintptr_t i = 0; i < THREADS; i++)
		EXPECT(!pthread_create(&threads[i], NULL, keep_registers, (void *)(i + 1)));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&stop, true);
	for (int i = 0; i < 4; i++) {
		struct pg_join join;

		pg_join_init(&join, &counted[i].task.task);
		EXPECT(pg_block_on(&join.future) == 0);
	}
}

/* ---- tls: a task has the thread-local variables of its spawner, and so have its own tasks ---- */

static _Thread_local int local;

struct local_task {
	struct pg_app_task task;
	struct pg_async async;
	struct pg_join join;
	struct local_task *child;
	int expected, rounds;
	double number;
};

PG_ASYNC static enum pg_poll local_poll(struct pg_future *future, struct pg_task *waker);

static const struct pg_future_ops local_ops = { local_poll, pg_async_drop };

PG_ASYNC static enum pg_poll local_poll(struct pg_future *future, struct pg_task *waker)
{
	struct local_task *self = pg_container_of(future, struct local_task, async.future);
	char text[32];

	PG_BEGIN(&self->async);
	for (self->rounds = 0; self->rounds < 20; self->rounds++) {
		EXPECT(local == self->expected);
		EXPECT(errno == self->expected);
		self->number += 0.25;
		snprintf(text, sizeof(text), "%.2f", self->number);
		EXPECT(strtod(text, NULL) == self->number);
		PG_YIELD(&self->async, waker);
	}
	if (self->child) {
		self->child->expected = self->expected;
		pg_async_init(&self->child->async, &local_ops);
		pg_spawn_anywhere(&self->child->task, &self->child->async.future, NULL);
		pg_join_init(&self->join, &self->child->task.task);
		PG_AWAIT(&self->async, &self->join.future, waker);
	}
	PG_END(&self->async);
}

static void *with_local(void *argument)
{
	struct local_task parents[4] = { 0 }, children[4] = { 0 };

	local = (int)(uintptr_t)argument;
	errno = local;
	for (unsigned i = 0; i < 4; i++) {
		parents[i].expected = local;
		parents[i].child = &children[i];
		pg_async_init(&parents[i].async, &local_ops);
		pg_spawn_on(i, &parents[i].task, &parents[i].async.future, NULL);
	}
	for (unsigned i = 0; i < 4; i++) {
		struct pg_join join;

		pg_join_init(&join, &parents[i].task.task);
		EXPECT(pg_block_on(&join.future) == 0);
	}
	EXPECT(local == (int)(uintptr_t)argument && errno == local);
	return NULL;
}

static void test_tls(void)
{
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		EXPECT(!pthread_create(&threads[i], NULL, with_local, (void *)(i + 2)));
	with_local((void *)1);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* ---- wait: a condition of the program's own, between threads and a task ---- */

static struct pg_waitq waitq;
static _Atomic int credits;

static bool take_credit(void *argument)
{
	int have = atomic_load((_Atomic int *)argument);

	while (have > 0) {
		if (atomic_compare_exchange_weak((_Atomic int *)argument, &have, have - 1))
			return true;
	}
	return false;
}

static void *wait_in_thread(void *argument)
{
	for (int i = 0; i < 50; i++) {
		struct pg_wait_until until;

		pg_wait_until_init(&until, &waitq, take_credit, &credits);
		EXPECT(pg_block_on(&until.future) == 0);
	}
	return argument;
}

static void test_wait(void)
{
	pthread_t threads[THREADS];

	pg_waitq_init(&waitq);
	for (int i = 0; i < THREADS; i++)
		EXPECT(!pthread_create(&threads[i], NULL, wait_in_thread, NULL));
	for (int i = 0; i < 50 * THREADS; i++) {
		atomic_fetch_add(&credits, 1);
		pg_waitq_wake_one(&waitq);
		if (i % 7 == 0)
			usleep(100);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	EXPECT(atomic_load(&credits) == 0);
}

/* ---- bad: what is no future is refused ---- */

static void test_bad(void)
{
	static const struct pg_future_ops none = { NULL, NULL };
	struct pg_future future = { &none };
	void *p = pg_alloc_zero(100);

	EXPECT(pg_block_on(NULL) == -EFAULT);
	EXPECT(pg_block_on((struct pg_future *)8) == -EFAULT);
	EXPECT(pg_block_on((struct pg_future *)0x8000000000000000) == -EFAULT);
	EXPECT(pg_block_on(&future) == -EFAULT);
	future.ops = (void *)0x10;
	EXPECT(pg_block_on(&future) == -EFAULT);
	EXPECT(syscall(PG_SYS_BLOCK_ON + 1, 0) == -1 && errno == ENOSYS);
	EXPECT(p && !*(char *)p);
	pg_free(p);
}

/* ---- faults: in a poll function, named like the argument ---- */

static volatile int zero;

static enum pg_poll fault_write(struct pg_future *future, struct pg_task *waker)
{
	volatile int *const low = (volatile int *)(0x40 + (uintptr_t)zero);

	*low = 1;
	return PG_READY;
}

static enum pg_poll fault_call(struct pg_future *future, struct pg_task *waker)
{
	((void (*)(void))0x1234560)();
	return PG_READY;
}

static enum pg_poll fault_instruction(struct pg_future *future, struct pg_task *waker)
{
	__builtin_trap();
	return PG_READY;
}

static enum pg_poll fault_divide(struct pg_future *future, struct pg_task *waker)
{
	return (enum pg_poll)(7 / zero);
}

/* In the kernel's code, called with what is no task. */
static enum pg_poll fault_kernel(struct pg_future *future, struct pg_task *waker)
{
	pg_task_wake((struct pg_task *)0x40);
	return PG_READY;
}

__attribute__((noinline)) static int deeper(volatile int *above)
{
	volatile int here[64] = { *above };

	return (zero ? 0 : deeper(here)) + here[0];
}

static enum pg_poll fault_stack(struct pg_future *future, struct pg_task *waker)
{
	volatile int start = 1;

	return deeper(&start) ? PG_READY : PG_PENDING;
}

/* A system call: not in a task. */
static enum pg_poll fault_syscall(struct pg_future *future, struct pg_task *waker)
{
	syscall(SYS_getpid);
	return PG_READY;
}

static void fault(enum pg_poll (*poll)(struct pg_future *, struct pg_task *), bool block_on)
{
	const struct pg_future_ops ops = { poll, NULL };
	struct pg_future future = { &ops };

	if (block_on)
		(void)pg_block_on(&future);
	else
		pg_run(&future);
}

static const struct {
	const char *name;
	void (*run)(void);
	enum pg_poll (*fault)(struct pg_future *, struct pg_task *);
} tests[] = {
	{ "spawn", test_spawn, NULL },
	{ "join", test_join, NULL },
	{ "cancel", test_cancel, NULL },
	{ "timeout", test_timeout, NULL },
	{ "channel", test_channel, NULL },
	{ "files", test_files, NULL },
	{ "registers", test_registers, NULL },
	{ "tls", test_tls, NULL },
	{ "wait", test_wait, NULL },
	{ "bad", test_bad, NULL },
	{ "fault_write", NULL, fault_write },
	{ "fault_call", NULL, fault_call },
	{ "fault_instruction", NULL, fault_instruction },
	{ "fault_divide", NULL, fault_divide },
	{ "fault_kernel", NULL, fault_kernel },
	{ "fault_stack", NULL, fault_stack },
	{ "fault_syscall", NULL, fault_syscall },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(tests) / sizeof(*tests); i++) {
		if (strcmp(tests[i].name, argv[1]))
			continue;
		if (tests[i].run)
			tests[i].run();
		else
			fault(tests[i].fault, argc > 2);
		if (!atomic_load(&wrong)) {
			puts("ok");
			return 0;
		}
		puts(atomic_load(&wrong));
		return 1;
	}
	fprintf(stderr, "tasks: no such test\n");
	return 2;
}
