/*
 * Signals on the host: who gets what, what becomes of a call, what a frame looks like. A thread is
 * a task that delivers to itself as the kernel's threads do; user code is never run.
 */
#include <assert.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/sigframe.h"
#include "arch/x86_64/vectors.h"
#include "gate.h"
#include "signal/state.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/linux.h"
#include "sys/process.h"
#include "sys_calls.h"

#define HANDLER  0x400000ull
#define RESTORER 0x400100ull
#define USR1     10
#define USR2     12
#define RT       40
#define BIT(n)   (1ull << ((n)-1))

#define SECOND 1000000000ull

int64_t pg_sys_rt_sigaction(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_rt_sigprocmask(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_rt_sigpending(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_sigaltstack(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_rt_sigreturn(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_kill(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_tkill(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_rt_sigqueueinfo(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_alarm(struct pg_thread *thread, const uint64_t *arg);
int64_t pg_sys_setitimer(struct pg_thread *thread, const uint64_t *arg);
enum pg_poll pg_sys_read(struct pg_future *future, struct pg_task *waker);
enum pg_poll pg_sys_poll(struct pg_future *future, struct pg_task *waker);
enum pg_poll pg_sys_pause(struct pg_future *future, struct pg_task *waker);
enum pg_poll pg_sys_nanosleep(struct pg_future *future, struct pg_task *waker);
enum pg_poll pg_sys_rt_sigsuspend(struct pg_future *future, struct pg_task *waker);
enum pg_poll pg_sys_rt_sigtimedwait(struct pg_future *future, struct pg_task *waker);

#define NOW(thread, name, ...) pg_sys_##name((thread), (const uint64_t[6]){ __VA_ARGS__ })

/* ---- what the rest of the kernel would do ---- */

static jmp_buf ended;
static int ended_by;
static struct pg_thread *ended_thread;

_Noreturn void pg_process_kill(int signal, struct pg_thread *thread)
{
	/* It may be held, and nothing else runs. */
	pg_spin_init(&pg_signals.lock);
	ended_by = signal;
	ended_thread = thread;
	longjmp(ended, 1);
}

#define ENDS(call) (ended_by = 0, setjmp(ended) ? 0 : ((void)(call), 1), ended_by)

/* No thread's registers are in a processor here. */
bool pg_arch_has_registers(const struct pg_thread *thread)
{
	return false;
}

void pg_arch_fault_info(struct pg_thread *thread, struct pg_siginfo *info)
{
	*info = (struct pg_siginfo){ .signal = PG_SIGSEGV, .address = thread->address };
}

/* No thread's registers are in a processor here. */
struct pg_cpu *pg_cpu_self(void)
{
	static struct pg_cpu cpu;

	return &cpu;
}

static int vectors_fail;
static unsigned resets;
static uint64_t loaded_features;

uint64_t pg_vectors_features(void)
{
	return 7;
}

uint32_t pg_vectors_size(void)
{
	return 832;
}

int pg_vectors_to_user(struct pg_thread *thread, uint64_t address)
{
	if (vectors_fail)
		return -EFAULT;
	memset((void *)address, 0x77, 832);
	return 0;
}

int pg_vectors_from_user(struct pg_thread *thread, uint64_t address, uint64_t features)
{
	loaded_features = features;
	return vectors_fail ? -EFAULT : 0;
}

void pg_vectors_reset(struct pg_thread *thread)
{
	resets++;
}

/* ---- threads ---- */

#define THREADS 4

static struct pg_thread threads[THREADS];
static char *stack;
#define STACK_SIZE 65536

static enum pg_poll thread_poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_thread *thread = pg_container_of(future, struct pg_thread, future);

	if (thread->in_syscall) {
		if (pg_signal_poll_call(thread, waker) == PG_PENDING)
			return PG_PENDING;
		pg_syscall_cleanup(&thread->syscall);
		thread->in_syscall = false;
		thread->regs.rax = (uint64_t)thread->syscall.result;
	}
	if (pg_thread_attention(thread))
		pg_signal_deliver(thread);
	return thread->exited ? PG_READY : PG_PENDING;
}

static const struct pg_future_ops thread_ops = { thread_poll, NULL };

static void setup(void)
{
	sys_setup("/");
	stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	assert(stack != MAP_FAILED);
	for (uint32_t i = 0; i < THREADS; i++) {
		struct pg_thread *thread = &threads[i];

		thread->tid = i + 1;
		thread->regs.rsp = (uint64_t)stack + STACK_SIZE / 2;
		thread->regs.rip = 0x500002;
		thread->regs.rflags = 0x202;
		thread->future.ops = &thread_ops;
		pg_signal_thread_new(thread, i ? &threads[0] : NULL);
		pg_task_spawn(&sys_vcpu.executor, &thread->task, &thread->future, NULL);
	}
	host_settle(&sys_vcpu);
}

/* Nothing that was allocated is left. */
static void teardown(void)
{
	for (int i = 0; i < THREADS; i++)
		pg_signal_thread_exit(&threads[i]);
	for (int signal = 1; signal <= PG_SIGNALS; signal++) {
		const struct pg_sigaction ignore = { .handler = PG_SIG_IGN };

		if (signal != PG_SIGKILL && signal != PG_SIGSTOP)
			cr_assert_eq(NOW(NULL, rt_sigaction, (uint64_t)signal, (uintptr_t)&ignore,
					 0, 8),
				     0);
	}
	cr_assert_eq(sys_allocated, 0, "%ld blocks are left", sys_allocated);
}

TestSuite(signal, .init = setup, .fini = teardown, .timeout = 20);

static void handle(int signal, uint64_t flags, uint64_t mask)
{
	const struct pg_sigaction action = { HANDLER, flags | PG_SA_RESTORER, RESTORER, mask };

	cr_assert_eq(NOW(NULL, rt_sigaction, (uint64_t)signal, (uintptr_t)&action, 0, 8), 0);
}

static void set_mask(struct pg_thread *thread, uint64_t mask)
{
	cr_assert_eq(NOW(thread, rt_sigprocmask, 2, (uintptr_t)&mask, 0, 8), 0);
}

static uint64_t pending(struct pg_thread *thread)
{
	uint64_t set = 0;

	cr_assert_eq(NOW(thread, rt_sigpending, (uintptr_t)&set, 8), 0);
	return set;
}

/* Whether the thread is in its handler of `signal`. */
static bool in_handler(const struct pg_thread *thread, int signal)
{
	return thread->regs.rip == HANDLER && thread->regs.rdi == (uint64_t)signal && thread->full;
}

static int handlers(void)
{
	int found = 0;

	host_settle(&sys_vcpu);
	for (int i = 0; i < THREADS; i++)
		found |= (threads[i].regs.rip == HANDLER) << i;
	return found;
}

/* Back from the handler, as the restorer does it. */
static void go_back(struct pg_thread *thread)
{
	thread->regs.rsp += 8;
	thread->full = false;
	thread->regs.rax = (uint64_t)NOW(thread, rt_sigreturn, 0);
	pg_task_wake(&thread->task);
	host_settle(&sys_vcpu);
}

static void begin(struct pg_thread *thread, sys_handler poll, const uint64_t arg[6])
{
	struct pg_syscall *call = &thread->syscall;
	static const struct pg_future_ops drop_ops = { .drop = pg_async_drop };
	static struct pg_future_ops ops[THREADS];
	struct pg_future_ops *own = &ops[thread - threads];

	*own = drop_ops;
	own->poll = poll;
	pg_async_init(&call->async, own);
	call->number = 77;
	call->cleanup = NULL;
	call->interrupt = NULL;
	memcpy(call->arg, arg, sizeof(call->arg));
	thread->in_syscall = true;
	thread->full = false;
	pg_task_wake(&thread->task);
	host_settle(&sys_vcpu);
}

#define BEGIN(thread, name, ...) begin((thread), pg_sys_##name, (const uint64_t[6]){ __VA_ARGS__ })

/* ---- queues ---- */

static struct pg_signal_entry entries[8];

static struct pg_signal_entry *make(int i, int signal)
{
	entries[i] = (struct pg_signal_entry){ .info = { .signal = signal, .code = -1 } };
	entries[i].info.from.value = (uint64_t)i;
	return &entries[i];
}

Test(queue, standard_signals_once)
{
	struct pg_pending set = { 0 };
	struct pg_signal_entry *unused = NULL;
	struct pg_siginfo info;

	cr_assert(pg_pending_add(&set, USR1, make(0, USR1)));
	cr_assert_not(pg_pending_add(&set, USR1, make(1, USR1)));
	cr_assert_eq(pg_pending_take(&set, ~0ull, &info, &unused), USR1);
	cr_assert_eq(info.from.value, 0);
	cr_assert_eq(unused, &entries[0]);
	cr_assert_eq(pg_pending_take(&set, ~0ull, &info, &unused), 0);
	cr_assert_eq(set.set, 0);
	cr_assert_null(set.first);
	cr_assert_null(set.last);
	/* Nothing known of it. */
	cr_assert(pg_pending_add(&set, USR1, NULL));
	cr_assert_eq(pg_pending_take(&set, ~0ull, &info, &unused), USR1);
	cr_assert_eq(info.signal, USR1);
	cr_assert_eq(info.code, PG_SI_USER);
}

Test(queue, order)
{
	static const int sent[] = { RT + 1, RT, USR2, RT, PG_SIGSEGV, RT + 1, 1 };
	static const int got[] = { PG_SIGSEGV, 1, USR2, RT, RT, RT + 1, RT + 1 };
	static const uint64_t value[] = { 4, 6, 2, 1, 3, 0, 5 };
	struct pg_pending set = { 0 };
	struct pg_signal_entry *unused = NULL;
	struct pg_siginfo info;

	for (int i = 0; i < 7; i++)
		cr_assert(pg_pending_add(&set, sent[i], make(i, sent[i])));
	cr_assert_eq(pg_pending_take(&set, BIT(USR1), &info, &unused), 0);
	for (int i = 0; i < 7; i++) {
		cr_assert_eq(pg_pending_take(&set, ~0ull, &info, &unused), got[i]);
		cr_assert_eq(info.from.value, value[i]);
	}
	cr_assert_eq(set.set, 0);
	cr_assert_null(set.last);
}

Test(queue, flush)
{
	struct pg_pending set = { 0 };
	struct pg_signal_entry *unused = NULL;
	struct pg_siginfo info;
	int freed = 0;

	for (int i = 0; i < 6; i++)
		cr_assert(pg_pending_add(&set, i % 2 ? RT : RT + 1, make(i, i % 2 ? RT : RT + 1)));
	pg_pending_flush(&set, BIT(RT), &unused);
	for (; unused; unused = unused->next)
		freed++;
	cr_assert_eq(freed, 3);
	cr_assert_eq(set.set, BIT(RT + 1));
	/* The end of the queue is still right. */
	cr_assert(pg_pending_add(&set, RT + 1, make(7, RT + 1)));
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(pg_pending_take(&set, ~0ull, &info, &unused), RT + 1);
		cr_assert_eq(info.from.value, i < 3 ? 2u * (unsigned)i : 7u);
	}
	pg_pending_flush(&set, ~0ull, &unused);
	cr_assert_null(set.first);
}

/* ---- who gets it ---- */

Test(signal, the_caller_or_else_the_oldest)
{
	handle(USR1, 0, 0);
	cr_assert_eq(NOW(&threads[2], kill, PG_PID, USR1), 0);
	/* It is in a system call, and looks at the end of that. */
	cr_assert(pg_thread_attention(&threads[2]) & PG_ATTENTION_SIGNAL);
	pg_task_wake(&threads[2].task);
	cr_assert_eq(handlers(), 4);
	/* It blocks it now. */
	cr_assert_eq(NOW(&threads[2], kill, PG_PID, USR1), 0);
	cr_assert_eq(handlers(), 4 | 1);
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	cr_assert_eq(handlers(), 4 | 1 | 2);
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	cr_assert_eq(handlers(), 15);
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	cr_assert_eq(pending(&threads[0]), BIT(USR1));
	/* Whoever is the first to unblock it. */
	go_back(&threads[3]);
	cr_assert(in_handler(&threads[3], USR1));
	cr_assert_eq(pending(&threads[0]), 0);
}

Test(signal, to_one_thread)
{
	handle(USR1, 0, 0);
	set_mask(&threads[1], BIT(USR1));
	cr_assert_eq(NOW(&threads[0], tkill, 2, USR1), 0);
	cr_assert_eq(handlers(), 0);
	cr_assert_eq(pending(&threads[1]), BIT(USR1));
	cr_assert_eq(pending(&threads[0]), 0);
	set_mask(&threads[1], 0);
	pg_task_wake(&threads[1].task);
	cr_assert_eq(handlers(), 2);
	cr_assert_eq(NOW(&threads[0], tkill, 9, USR1), -ESRCH);
	cr_assert_eq(NOW(&threads[0], tkill, 2, 0), 0);
}

/* What was on its way to a thread that blocks it, or ends, goes to another one. */
Test(signal, passed_on)
{
	handle(USR1, 0, 0);
	for (int i = 0; i < THREADS; i++)
		set_mask(&threads[i], BIT(USR1));
	set_mask(&threads[1], 0);
	set_mask(&threads[2], 0);
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	cr_assert(pg_thread_attention(&threads[1]) & PG_ATTENTION_SIGNAL);
	set_mask(&threads[1], BIT(USR1));
	cr_assert_eq(pg_thread_attention(&threads[1]), 0);
	cr_assert(pg_thread_attention(&threads[2]) & PG_ATTENTION_SIGNAL);
	set_mask(&threads[3], 0);
	pg_signal_thread_exit(&threads[2]);
	threads[2].exited = true;
	cr_assert(pg_thread_attention(&threads[3]) & PG_ATTENTION_SIGNAL);
	cr_assert_eq(NOW(&threads[0], tkill, 3, 0), -ESRCH);
	pg_signal_thread_exit(&threads[2]);
	cr_assert_eq(handlers(), 8);
}

Test(signal, a_new_thread_inherits_the_mask_only)
{
	static struct pg_thread child;

	set_mask(&threads[1], BIT(USR1));
	cr_assert_eq(NOW(&threads[0], tkill, 2, USR1), 0);
	pg_signal_thread_new(&child, &threads[1]);
	cr_assert_eq(child.signals.mask, BIT(USR1));
	cr_assert_eq(child.signals.pending.set, 0);
	cr_assert_eq(child.signals.stack.size, 0);
	pg_signal_thread_exit(&child);
}

Test(signal, default_actions)
{
	cr_assert_eq(ENDS(pg_signal_send_process(15, NULL)), 15);
	cr_assert_eq(ended_thread, &threads[0]);
	cr_assert_eq(threads[0].vector, UINT32_MAX);
	cr_assert_eq(ENDS(NOW(&threads[2], kill, PG_PID, PG_SIGABRT)), PG_SIGABRT);
	cr_assert_eq(ended_thread, &threads[2]);
	cr_assert_eq(ENDS(NOW(&threads[0], kill, PG_PID, PG_SIGCHLD)), 0);
	cr_assert_eq(ENDS(NOW(&threads[0], kill, PG_PID, PG_SIGSTOP)), 0);
	for (int i = 0; i < THREADS; i++)
		set_mask(&threads[i], ~0ull);
	cr_assert_eq(ENDS(NOW(&threads[0], kill, PG_PID, 15)), 0);
	cr_assert_eq(pending(&threads[1]), BIT(15));
	cr_assert_eq(ENDS(NOW(&threads[0], kill, PG_PID, PG_SIGKILL)), PG_SIGKILL);
}

Test(signal, no_more_than_the_limit)
{
	struct pg_siginfo info = { .code = -1 };
	int sent = 0;

	handle(RT, 0, 0);
	for (int i = 0; i < THREADS; i++)
		set_mask(&threads[i], BIT(RT) | BIT(RT + 1));
	while (NOW(&threads[0], rt_sigqueueinfo, PG_PID, RT, (uintptr_t)&info) == 0)
		sent++;
	cr_assert_eq(sent, PG_SIGNAL_QUEUE_MAX);
	cr_assert_eq(NOW(&threads[0], rt_sigqueueinfo, PG_PID, RT, (uintptr_t)&info), -EAGAIN);
	/* A signal that carries nothing is pending all the same. */
	cr_assert_eq(NOW(&threads[0], kill, PG_PID, RT + 1), 0);
	cr_assert_eq(pending(&threads[0]), BIT(RT) | BIT(RT + 1));
}

/* ---- interrupted calls ---- */

static struct gate gate;
static int64_t hook_result;

static int64_t hook(struct pg_syscall *call)
{
	return hook_result;
}

PG_ASYNC static enum pg_poll gated(struct pg_future *future, struct pg_task *waker)
{
	struct pg_syscall *call = pg_container_of(future, struct pg_syscall, async.future);

	PG_BEGIN(&call->async);
	call->interrupt = call->arg[0] ? hook : NULL;
	PG_AWAIT(&call->async, &gate.future, waker);
	PG_FINISH(call, 5);
}

Test(signal, restarted_or_not)
{
	static const struct {
		int64_t hook;
		uint64_t flags;
		bool again;
		int64_t result;
	} rules[] = {
		{ PG_RESTART, 0, false, -EINTR },  { PG_RESTART, PG_SA_RESTART, true, 0 },
		{ PG_RESTART_ALWAYS, 0, true, 0 }, { -EINTR, PG_SA_RESTART, false, -EINTR },
		{ 3, PG_SA_RESTART, false, 3 },    { 3, 0, false, 3 },
		{ -EIO, 0, false, -EIO },
	};

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		struct pg_thread *thread = &threads[0];

		handle(USR1, rules[i].flags, 0);
		hook_result = rules[i].hook;
		gate_init(&gate);
		begin(thread, gated, (const uint64_t[6]){ 1 });
		cr_assert(thread->in_syscall);
		cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
		host_settle(&sys_vcpu);
		cr_assert(in_handler(thread, USR1));
		cr_assert_eq(gate.drops, 1);
		cr_assert_not(thread->in_syscall);
		go_back(thread);
		cr_assert_eq(thread->regs.rip, rules[i].again ? 0x500000 : 0x500002);
		cr_assert_eq((int64_t)thread->regs.rax, rules[i].again ? 77 : rules[i].result);
		cr_assert_eq(thread->signals.mask, 0);
		thread->regs.rip = 0x500002;
	}
}

Test(signal, calls_that_cannot_be_interrupted_go_on)
{
	handle(USR1, 0, 0);
	gate_init(&gate);
	begin(&threads[0], gated, (const uint64_t[6]){ 0 });
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	cr_assert_eq(handlers(), 0);
	gate_open(&gate);
	cr_assert_eq(handlers(), 1);
	cr_assert_eq(gate.drops, 0);
	go_back(&threads[0]);
	cr_assert_eq(threads[0].regs.rax, 5);
}

Test(signal, ready_wins)
{
	handle(USR1, 0, 0);
	gate_init(&gate);
	begin(&threads[0], gated, (const uint64_t[6]){ 1 });
	gate.open = true;
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	cr_assert_eq(handlers(), 1);
	cr_assert_eq(gate.drops, 0);
	go_back(&threads[0]);
	cr_assert_eq(threads[0].regs.rax, 5);
}

Test(signal, ignored_signals_interrupt_nothing)
{
	gate_init(&gate);
	begin(&threads[0], gated, (const uint64_t[6]){ 1 });
	cr_assert_eq(pg_signal_send_process(PG_SIGCHLD, NULL), 0);
	host_settle(&sys_vcpu);
	cr_assert(threads[0].in_syscall);
	gate_open(&gate);
	cr_assert_eq(handlers(), 0);
}

/* A read under way: what the loader says of it counts, and nothing happens before it has. */
static void read_interrupted(int64_t answer, int64_t result)
{
	static char buffer[16];
	int fd = sys_open(5, 0);
	struct pg_thread *thread = &threads[0];

	handle(USR1, 0, 0);
	BEGIN(thread, read, (uint64_t)fd, (uintptr_t)buffer, sizeof(buffer));
	struct pg_sqe entry = sys_take(PG_OP_READ);
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	host_settle(&sys_vcpu);
	struct pg_sqe cancel = sys_take(PG_OP_CANCEL);
	cr_assert_eq(handlers(), 0);
	cr_assert(thread->in_syscall);
	/* Another one meanwhile is no reason to do anything twice. */
	handle(USR2, 0, 0);
	cr_assert_eq(pg_signal_send_process(USR2, NULL), 0);
	host_settle(&sys_vcpu);
	sys_expect_none();
	sys_answer(&entry, answer);
	cr_assert_eq(handlers(), 0);
	sys_answer(&cancel, 0);
	cr_assert_eq(handlers(), 1);
	/* The last one to be prepared runs first. */
	cr_assert(in_handler(thread, USR2));
	go_back(thread);
	cr_assert(in_handler(thread, USR1));
	go_back(thread);
	cr_assert_eq((int64_t)thread->regs.rax, result);
	pg_file_put(pg_fd_remove(fd));
	host_settle(&sys_vcpu);
	sys_serve(PG_OP_CLOSE, 0);
}

Test(signal, nothing_read_is_lost)
{
	read_interrupted(7, 7);
	threads[0].regs.rip = 0x500002;
	read_interrupted(0, 0);
	threads[0].regs.rip = 0x500002;
	read_interrupted(-EIO, -EIO);
	threads[0].regs.rip = 0x500002;
	read_interrupted(-ECANCELED, -EINTR);
}

Test(signal, events_are_told_although_dropped)
{
	struct pg_pollfd pollfd = { .events = PG_POLLIN };
	struct pg_thread *thread = &threads[0];

	pollfd.fd = sys_open(5, 0);
	handle(USR1, 0, 0);
	BEGIN(thread, poll, (uintptr_t)&pollfd, 1, (uint64_t)-1);
	struct pg_sqe entry = sys_take(PG_OP_POLL);
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	host_settle(&sys_vcpu);
	struct pg_sqe cancel = sys_take(PG_OP_CANCEL);
	sys_answer(&entry, PG_POLLIN);
	sys_answer(&cancel, -ENOENT);
	cr_assert_eq(handlers(), 1);
	go_back(thread);
	cr_assert_eq(thread->regs.rax, 1);
	cr_assert_eq(pollfd.revents, PG_POLLIN);
	pg_file_put(pg_fd_remove(pollfd.fd));
	host_settle(&sys_vcpu);
	sys_serve(PG_OP_CLOSE, 0);
}

Test(signal, sleeps_tell_what_is_left)
{
	int64_t wish[2] = { 10, 0 }, left[2] = { 0 };

	host_set_clock(100 * SECOND);
	handle(USR1, PG_SA_RESTART, 0);
	BEGIN(&threads[0], nanosleep, (uintptr_t)wish, (uintptr_t)left);
	host_set_clock(103 * SECOND + 5);
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	cr_assert_eq(handlers(), 1);
	cr_assert_eq(left[0], 6);
	cr_assert_eq(left[1], SECOND - 5);
	go_back(&threads[0]);
	cr_assert_eq((int64_t)threads[0].regs.rax, -EINTR);
}

/* ---- waiting ---- */

Test(signal, sigsuspend)
{
	uint64_t mask = 0;

	handle(USR1, 0, 0);
	for (int i = 0; i < THREADS; i++)
		set_mask(&threads[i], BIT(USR1) | BIT(USR2));
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	cr_assert_eq(handlers(), 0);
	BEGIN(&threads[1], rt_sigsuspend, (uintptr_t)&mask, 8);
	cr_assert_eq(handlers(), 2);
	cr_assert_eq(threads[1].signals.mask, BIT(USR1));
	go_back(&threads[1]);
	cr_assert_eq((int64_t)threads[1].regs.rax, -EINTR);
	cr_assert_eq(threads[1].signals.mask, BIT(USR1) | BIT(USR2));
}

Test(signal, sigtimedwait)
{
	uint64_t set = BIT(USR1);
	int64_t timeout[2] = { 5, 0 };
	struct pg_siginfo got[3] = { 0 };
	struct pg_thread *thread = &threads[1];

	host_set_clock(100 * SECOND);
	for (int i = 0; i < THREADS; i++)
		set_mask(&threads[i], BIT(USR1));
	/* The one who waits gets it, although all block it. */
	BEGIN(thread, rt_sigtimedwait, (uintptr_t)&set, (uintptr_t)got, (uintptr_t)timeout, 8);
	cr_assert(thread->in_syscall);
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	host_settle(&sys_vcpu);
	cr_assert_not(thread->in_syscall);
	cr_assert_eq(thread->regs.rax, USR1);
	cr_assert_eq(got[0].signal, USR1);
	cr_assert_eq(got[0].code, PG_SI_KERNEL);
	cr_assert_eq(thread->signals.awaited, 0);
	cr_assert_eq(pending(thread), 0);
	/* Too late. */
	BEGIN(thread, rt_sigtimedwait, (uintptr_t)&set, 0, (uintptr_t)timeout, 8);
	host_set_clock(106 * SECOND);
	host_settle(&sys_vcpu);
	cr_assert_eq((int64_t)thread->regs.rax, -EAGAIN);
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	cr_assert_eq(pending(thread), BIT(USR1));
	/* Pending already; a place for the details that is none. */
	BEGIN(thread, rt_sigtimedwait, (uintptr_t)&set, 8, 0, 8);
	cr_assert_eq((int64_t)thread->regs.rax, -EFAULT);
	/* Interrupted by a handler. */
	handle(USR2, PG_SA_RESTART, 0);
	BEGIN(thread, rt_sigtimedwait, (uintptr_t)&set, 0, 0, 8);
	cr_assert_eq(NOW(&threads[0], tkill, 2, USR2), 0);
	cr_assert_eq(handlers(), 2);
	cr_assert_eq(thread->signals.awaited, 0);
	go_back(thread);
	cr_assert_eq((int64_t)thread->regs.rax, -EINTR);
}

Test(signal, two_wait_and_each_gets_one)
{
	uint64_t set = BIT(USR1);

	for (int i = 0; i < THREADS; i++)
		set_mask(&threads[i], BIT(USR1));
	BEGIN(&threads[1], rt_sigtimedwait, (uintptr_t)&set, 0, 0, 8);
	BEGIN(&threads[2], rt_sigtimedwait, (uintptr_t)&set, 0, 0, 8);
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	host_settle(&sys_vcpu);
	cr_assert_neq(threads[1].in_syscall, threads[2].in_syscall);
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	host_settle(&sys_vcpu);
	cr_assert_not(threads[1].in_syscall || threads[2].in_syscall);
}

Test(signal, timers)
{
	const int64_t set[4] = { 1, 0, 2, 0 }; /* after 2 s, then each second */
	int64_t old[4] = { 0 };

	host_set_clock(100 * SECOND);
	handle(PG_SIGALRM, PG_SA_NODEFER, 0);
	cr_assert_eq(NOW(&threads[0], setitimer, 0, (uintptr_t)set, (uintptr_t)old), 0);
	cr_assert_eq(old[2] | old[3] | old[0] | old[1], 0);
	host_settle(&sys_vcpu);
	host_set_clock(102 * SECOND - 1);
	cr_assert_eq(handlers(), 0);
	host_set_clock(102 * SECOND);
	cr_assert_eq(handlers(), 1);
	threads[0].regs.rip = 0;
	/* Several intervals late: one signal, and the next at a whole one. */
	host_set_clock(106 * SECOND + 500000000);
	cr_assert_eq(handlers(), 1);
	threads[0].regs.rip = 0;
	cr_assert_eq(handlers(), 0);
	cr_assert_eq(NOW(&threads[0], alarm, 0), 1);
	host_set_clock(200 * SECOND);
	cr_assert_eq(handlers(), 0);
	cr_assert_eq(NOW(&threads[0], alarm, 10), 0);
	host_settle(&sys_vcpu);
	cr_assert_eq(NOW(&threads[0], alarm, 5), 10);
	host_set_clock(205 * SECOND);
	cr_assert_eq(handlers(), 1);
}

/* ---- frames ---- */

Test(signal, frame)
{
	struct pg_thread *thread = &threads[0];
	uint64_t rsp = thread->regs.rsp - 3;
	struct pg_regs before;
	uint64_t word;

	thread->regs = (struct pg_regs){ .rax = 1,
					 .rbx = 2,
					 .rcx = 3,
					 .rdx = 4,
					 .rsi = 5,
					 .rdi = 6,
					 .rbp = 7,
					 .r8 = 8,
					 .r11 = 11,
					 .r15 = 15,
					 .rip = 0x500002,
					 .rsp = rsp,
					 .rflags = 0x202 | 0x400 };
	thread->full = true;
	before = thread->regs;
	memset(stack, 0x11, STACK_SIZE);
	handle(USR1, PG_SA_SIGINFO, BIT(USR2));
	set_mask(thread, BIT(3));
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	cr_assert_eq(handlers(), 1);

	const struct pg_regs *regs = &thread->regs;
	cr_assert_eq(regs->rsp % 16, 8);
	memcpy(&word, (void *)regs->rsp, 8);
	cr_assert_eq(word, RESTORER);
	cr_assert_eq(regs->rdi, USR1);
	cr_assert_eq(regs->rax, 0);
	cr_assert_eq(regs->rdx, regs->rsp + 8);
	cr_assert_eq(regs->rsi, regs->rsp + 8 + 304);
	cr_assert_eq(regs->rflags, 0x202);
	cr_assert_eq(*(int *)regs->rsi, USR1);
	cr_assert_eq(thread->signals.mask, BIT(3) | BIT(USR1) | BIT(USR2));
	cr_assert_eq(resets, 1);
	/* The red zone, and what is above it. */
	for (uint64_t at = rsp - 128; at < rsp + 64; at++)
		cr_assert_eq(*(char *)at, 0x11);
	/* ucontext: registers from 40 (r8), vectors at 40 + 23 * 8, mask at the end. */
	const uint64_t *context = (const uint64_t *)(regs->rdx + 40);
	cr_assert_eq(context[0], 8);
	cr_assert_eq(context[8], 6);
	cr_assert_eq(context[13], 1);
	cr_assert_eq(context[15], rsp);
	cr_assert_eq(context[16], 0x500002);
	cr_assert_eq(context[17], before.rflags);
	cr_assert_eq(context[32], BIT(3));
	uint64_t vectors = context[23];
	cr_assert_eq(vectors % 64, 0);
	cr_assert_geq(vectors, regs->rsi + 128);
	cr_assert_eq(*(uint32_t *)(vectors + 464), 0x46505853);
	cr_assert_eq(*(uint32_t *)(vectors + 832), 0x46505845);
	cr_assert_eq(*(uint32_t *)(vectors + 468), 836);

	go_back(thread);
	cr_assert_eq(memcmp(&thread->regs, &before, sizeof(before)), 0);
	cr_assert(thread->full);
	cr_assert_eq(thread->signals.mask, BIT(3));
	cr_assert_eq(loaded_features, 7);
}

Test(signal, alternate_stack)
{
	static char *memory;
	struct pg_thread *thread = &threads[0];

	memory = stack; /* the lower half: the thread is in the upper one */
	struct pg_sigstack set = { (uintptr_t)memory, 0, 0, 4096 }, old;
	thread->regs.rsp = (uintptr_t)stack + STACK_SIZE;
	cr_assert_eq(NOW(thread, sigaltstack, (uintptr_t)&set, (uintptr_t)&old), 0);
	cr_assert_eq(old.flags, PG_SS_DISABLE);
	handle(USR1, PG_SA_ONSTACK, 0);
	handle(USR2, 0, 0);
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	cr_assert_eq(handlers(), 1);
	cr_assert_lt(thread->regs.rsp - (uintptr_t)memory, 4096);
	cr_assert_eq(NOW(thread, sigaltstack, (uintptr_t)&set, (uintptr_t)&old), -EPERM);
	cr_assert_eq(NOW(thread, sigaltstack, 0, (uintptr_t)&old), 0);
	cr_assert_eq(old.flags, PG_SS_ONSTACK);
	/* On it already: the next frame below, while there is room. */
	uint64_t rsp = thread->regs.rsp;
	cr_assert_eq(pg_signal_send_process(USR2, NULL), 0);
	host_settle(&sys_vcpu);
	cr_assert(in_handler(thread, USR2));
	cr_assert_lt(thread->regs.rsp, rsp - 128);
	thread->regs.rsp = (uintptr_t)memory + 500;
	handle(3, 0, 0);
	cr_assert_eq(ENDS((NOW(thread, tkill, 1, 3), pg_signal_deliver(thread))), PG_SIGSEGV);
	cr_assert_eq(thread->vector, 14);
}

/* SS_AUTODISARM: while its handler runs there is none, so it may be used for something else. */
Test(signal, alternate_stack_that_disarms_itself)
{
	struct pg_thread *thread = &threads[0];
	struct pg_sigstack set = { (uintptr_t)stack, PG_SS_AUTODISARM, 0, 8192 }, old;

	thread->regs.rsp = (uintptr_t)stack + STACK_SIZE;
	cr_assert_eq(NOW(thread, sigaltstack, (uintptr_t)&set, 0), 0);
	handle(USR1, PG_SA_ONSTACK, 0);
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	cr_assert_eq(handlers(), 1);
	cr_assert_lt(thread->regs.rsp - (uintptr_t)stack, 8192);
	cr_assert_eq(NOW(thread, sigaltstack, 0, (uintptr_t)&old), 0);
	cr_assert_eq(old.flags, PG_SS_DISABLE);
	go_back(thread);
	cr_assert_eq(NOW(thread, sigaltstack, 0, (uintptr_t)&old), 0);
	cr_assert_eq(old.flags, PG_SS_AUTODISARM);
	cr_assert_eq(old.base, (uintptr_t)stack);
	cr_assert_eq(old.size, 8192);
}

/* Where the frame can't be: SIGSEGV, for its handler on an alternate stack, or the end. */
Test(signal, no_room)
{
	struct pg_thread *thread = &threads[0];
	struct pg_sigstack set = { (uintptr_t)stack, 0, 0, 8192 };

	handle(USR1, 0, 0);
	static const uint64_t bad[] = { 0, 100, 0x8000000000000000, 0x700000400100, ~0ull };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		thread->regs.rsp = bad[i];
		cr_assert_eq(ENDS((NOW(thread, tkill, 1, USR1), pg_signal_deliver(thread))),
			     PG_SIGSEGV);
	}
	cr_assert_eq(NOW(thread, sigaltstack, (uintptr_t)&set, 0), 0);
	handle(PG_SIGSEGV, PG_SA_ONSTACK, 0);
	cr_assert_eq(ENDS((NOW(thread, tkill, 1, USR1), pg_signal_deliver(thread))), 0);
	cr_assert(in_handler(thread, PG_SIGSEGV));
	cr_assert_lt(thread->regs.rsp - (uintptr_t)stack, 8192);
}

Test(signal, hostile_frames)
{
	struct pg_thread *thread = &threads[0];
	static const uint64_t bad_rip[] = { 0x8000000000000000, 0xffffffff80000000, 1ull << 47,
					    0x700000400000 };

	handle(PG_SIGSEGV, PG_SA_NODEFER, 0);
	handle(USR1, 0, 0);
	for (size_t i = 0; i < sizeof(bad_rip) / sizeof(bad_rip[0]); i++) {
		cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
		cr_assert_eq(handlers(), 1);
		((uint64_t *)(thread->regs.rdx + 40))[16] = bad_rip[i];
		go_back(thread);
		cr_assert(in_handler(thread, PG_SIGSEGV));
		set_mask(thread, 0);
		thread->regs.rsp = (uint64_t)stack + STACK_SIZE / 2;
	}
	/* Flags that are not the program's. */
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	cr_assert_eq(handlers(), 1);
	((uint64_t *)(thread->regs.rdx + 40))[17] = ~0ull;
	go_back(thread);
	cr_assert_eq(thread->regs.rflags, 0x50ed7);
	/* No frame at all. */
	thread->regs.rsp = 0;
	cr_assert_eq(ENDS(NOW(thread, rt_sigreturn, 0)), PG_SIGSEGV);
	thread->regs.rsp = (uint64_t)stack + STACK_SIZE / 2;
	/* Vector registers that the processor refuses. */
	cr_assert_eq(pg_signal_send_process(USR1, NULL), 0);
	cr_assert_eq(handlers(), 1);
	vectors_fail = 1;
	thread->regs.rsp += 8;
	cr_assert_eq(ENDS(NOW(thread, rt_sigreturn, 0)), PG_SIGSEGV);
	vectors_fail = 0;
}

/* ---- from other vCPUs ---- */

#define SENT 3000

static void *send_many(void *context)
{
	const struct pg_siginfo info = { .signal = RT, .code = -1 };

	host_enter(NULL);
	for (int i = 0; i < SENT; i++) {
		while (pg_signal_send(*(uint32_t *)context, RT, &info, NULL))
			sched_yield();
	}
	return NULL;
}

Test(signal, sent_from_everywhere)
{
	uint64_t set = BIT(RT);
	uint32_t to[2] = { 0, 2 };
	pthread_t senders[2];

	/* The vCPU is entered by this thread alone; the others only wake its tasks. */
	for (int i = 0; i < THREADS; i++)
		set_mask(&threads[i], BIT(RT));
	for (int i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&senders[i], NULL, send_many, &to[i]), 0);
	for (int i = 0; i < 2 * SENT; i++) {
		BEGIN(&threads[1], rt_sigtimedwait, (uintptr_t)&set, 0, 0, 8);
		while (threads[1].in_syscall) {
			host_settle(&sys_vcpu);
			sched_yield();
		}
		cr_assert_eq(threads[1].regs.rax, RT);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(senders[i], NULL);
	cr_assert_eq(pending(&threads[1]), 0);
}
