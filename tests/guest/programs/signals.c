/*
 * Signals, one behaviour for each name. The program runs on Pagurus, and natively: what it expects
 * is what Linux does. Prints "ok" if all was as it should be.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define FUTEX_WAIT 0
#define FUTEX_WAKE 1

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("%s:%d: %s (errno %d)\n", __func__, __LINE__, #condition, errno);   \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

#define TEST(name) static void test_##name(void)

static const char *argument; /* after the test's name, or NULL */
static volatile sig_atomic_t count, last;
static siginfo_t info;

static void on_signal(int signal)
{
	count++;
	last = signal;
}

static void on_info(int signal, siginfo_t *from, void *context)
{
	(void)context;
	count++;
	last = signal;
	info = *from;
}

static void handle(int signal, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	CHECK(sigaction(signal, &action, NULL) == 0);
}

static void handle_info(int signal, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO };

	CHECK(sigaction(signal, &action, NULL) == 0);
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
	sigset_t set = set_of(signal);

	CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
}

static void unblock(int signal)
{
	sigset_t set = set_of(signal);

	CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
}

static bool is_blocked(int signal)
{
	sigset_t set;

	CHECK(pthread_sigmask(SIG_BLOCK, NULL, &set) == 0);
	return sigismember(&set, signal);
}

static bool is_pending(int signal)
{
	sigset_t set;

	CHECK(sigpending(&set) == 0);
	return sigismember(&set, signal);
}

static void sleep_ms(unsigned ms)
{
	struct timespec left = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* A thread that sends signals to the thread that started it. */
struct sender {
	pthread_t to, thread;
	int signal;
	unsigned ms;
	_Atomic unsigned sent;
	_Atomic bool stop;
};

/*
 * Until told to stop: the receiver may not be waiting yet when the first one comes, and nobody
 * can know.
 */
static void *send_again(void *context)
{
	struct sender *sender = context;

	while (!sender->stop) {
		if (sender->ms)
			sleep_ms(sender->ms);
		else
			sched_yield();
		if (!sender->stop && pthread_kill(sender->to, sender->signal) == 0)
			sender->sent++;
	}
	return NULL;
}

static void sender_start(struct sender *sender, int signal)
{
	*sender = (struct sender){ .to = pthread_self(), .signal = signal, .ms = 5 };
	CHECK(pthread_create(&sender->thread, NULL, send_again, sender) == 0);
}

static void sender_stop(struct sender *sender)
{
	sender->stop = true;
	CHECK(pthread_join(sender->thread, NULL) == 0);
}

/* ---- handlers ---- */

TEST(handler)
{
	struct sigaction old;

	handle(SIGUSR1, on_signal, 0);
	CHECK(sigaction(SIGUSR1, NULL, &old) == 0);
	CHECK(old.sa_handler == on_signal);
	CHECK(raise(SIGUSR1) == 0);
	CHECK(count == 1 && last == SIGUSR1);
	CHECK(kill(getpid(), SIGUSR1) == 0);
	CHECK(count == 2);
	CHECK(raise(SIGUSR1) == 0);
	CHECK(count == 3);
	CHECK(kill(getpid(), 0) == 0);
	CHECK(kill(getpid(), 65) == -1 && errno == EINVAL);
	CHECK(kill(12345678, SIGUSR1) == -1 && errno == ESRCH);
	CHECK(syscall(SYS_tkill, 12345678, SIGUSR1) == -1 && errno == ESRCH);
	CHECK(syscall(SYS_tkill, 0, SIGUSR1) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_tgkill, getpid(), 12345678, SIGUSR1) == -1 && errno == ESRCH);
	CHECK(syscall(SYS_tgkill, getpid() + 12345, syscall(SYS_gettid), SIGUSR1) == -1 &&
	      errno == ESRCH);
	CHECK(signal(SIGUSR1, SIG_IGN) == on_signal);
	CHECK(raise(SIGUSR1) == 0);
	CHECK(count == 3);
}

TEST(actions)
{
	struct sigaction action = { .sa_handler = on_signal };

	CHECK(sigaction(SIGKILL, &action, NULL) == -1 && errno == EINVAL);
	CHECK(sigaction(SIGSTOP, &action, NULL) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_rt_sigaction, SIGKILL, NULL, &action, 8) == 0);
	CHECK(syscall(SYS_rt_sigaction, 65, NULL, NULL, 8) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_rt_sigaction, 0, NULL, NULL, 8) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 16) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_rt_sigaction, SIGUSR1, (void *)8, NULL, 8) == -1 && errno == EFAULT);
	CHECK(syscall(SYS_rt_sigaction, SIGUSR1, NULL, (void *)8, 8) == -1 && errno == EFAULT);
	/* Ignored by default. */
	CHECK(raise(SIGCHLD) == 0);
	CHECK(raise(SIGURG) == 0);
	CHECK(raise(SIGWINCH) == 0);
	CHECK(raise(SIGCONT) == 0);
	/* Ignoring forgets what is pending. */
	block(SIGUSR1);
	CHECK(raise(SIGUSR1) == 0);
	CHECK(kill(getpid(), SIGUSR1) == 0);
	CHECK(is_pending(SIGUSR1));
	CHECK(signal(SIGUSR1, SIG_IGN) == SIG_DFL);
	CHECK(!is_pending(SIGUSR1));
	/* Blocked, it is kept even if it is ignored now. */
	CHECK(raise(SIGUSR1) == 0);
	CHECK(is_pending(SIGUSR1));
	handle(SIGUSR1, on_signal, 0);
	unblock(SIGUSR1);
	CHECK(count == 1);
	/* SIGKILL and SIGSTOP can't be blocked. */
	block(SIGKILL);
	CHECK(!is_blocked(SIGKILL));
	block(SIGSTOP);
	CHECK(!is_blocked(SIGSTOP));
}

TEST(siginfo)
{
	union sigval value = { .sival_ptr = (void *)0x1234567890 };

	handle_info(SIGUSR1, on_info, 0);
	CHECK(kill(getpid(), SIGUSR1) == 0);
	CHECK(info.si_signo == SIGUSR1 && info.si_code == SI_USER && info.si_pid == getpid());
	CHECK(info.si_uid == getuid() && info.si_errno == 0);
	CHECK(raise(SIGUSR1) == 0);
	CHECK(info.si_code == SI_TKILL && info.si_pid == getpid());
	CHECK(sigqueue(getpid(), SIGUSR1, value) == 0);
	CHECK(info.si_code == SI_QUEUE && info.si_value.sival_ptr == value.sival_ptr);
	CHECK(info.si_pid == getpid());
	siginfo_t own = { .si_code = -77, .si_errno = 5 };
	own.si_value.sival_int = 99;
	CHECK(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGUSR1, &own) == 0);
	CHECK(info.si_signo == SIGUSR1 && info.si_code == -77 && info.si_errno == 5);
	CHECK(info.si_value.sival_int == 99);
	CHECK(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, (void *)8) == -1 && errno == EFAULT);
	CHECK(count == 4);
}

static int order[64];
static int depth, deepest;

static void on_nested(int signal)
{
	depth++;
	if (depth > deepest)
		deepest = depth;
	if (signal == SIGUSR1) {
		raise(SIGUSR1); /* blocked here: comes afterwards */
		CHECK(is_blocked(SIGUSR1) && !is_blocked(SIGUSR2));
		if (count == 0)
			raise(SIGUSR2);
	} else {
		CHECK(is_blocked(SIGUSR2));
	}
	if (count < 64)
		order[count] = signal;
	count++;
	depth--;
	if (signal == SIGUSR1 && count > 3)
		handle(SIGUSR1, SIG_IGN, 0);
}

TEST(nested)
{
	handle(SIGUSR1, on_nested, 0);
	handle(SIGUSR2, on_nested, 0);
	raise(SIGUSR1);
	CHECK(deepest == 2);
	CHECK(order[0] == SIGUSR2 && order[1] == SIGUSR1 && order[2] == SIGUSR1);
	CHECK(count == 4);
	CHECK(!is_blocked(SIGUSR1) && !is_blocked(SIGUSR2));
}

static void on_defer(int signal)
{
	depth++;
	if (depth > deepest)
		deepest = depth;
	count++;
	if (count < 5)
		raise(signal);
	depth--;
}

TEST(flags)
{
	struct sigaction action = { .sa_handler = on_signal }, old;

	handle(SIGUSR1, on_defer, SA_NODEFER);
	raise(SIGUSR1);
	CHECK(count == 5 && deepest == 5);
	count = deepest = 0;
	handle(SIGUSR1, on_defer, 0);
	raise(SIGUSR1);
	CHECK(count == 5 && deepest == 1);

	handle(SIGUSR2, on_signal, SA_RESETHAND);
	raise(SIGUSR2);
	CHECK(last == SIGUSR2);
	CHECK(sigaction(SIGUSR2, NULL, &old) == 0 && old.sa_handler == SIG_DFL);

	/* A handler's mask. */
	sigaddset(&action.sa_mask, SIGUSR2);
	action.sa_handler = on_nested;
	CHECK(sigaction(SIGTERM, &action, NULL) == 0);
}

static volatile bool saw_blocked;

static void on_masked(int signal)
{
	(void)signal;
	count++;
	saw_blocked = is_blocked(SIGUSR2) && is_blocked(SIGUSR1);
	raise(SIGUSR2);
	CHECK(is_pending(SIGUSR2));
	CHECK(last != SIGUSR2);
}

TEST(masks)
{
	struct sigaction action = { .sa_handler = on_masked };
	sigset_t set;

	handle(SIGUSR2, on_signal, 0);
	sigaddset(&action.sa_mask, SIGUSR2);
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	raise(SIGUSR1);
	CHECK(saw_blocked && last == SIGUSR2 && count == 2);
	CHECK(!is_blocked(SIGUSR1) && !is_blocked(SIGUSR2));

	count = 0;
	block(SIGUSR2);
	raise(SIGUSR2);
	raise(SIGUSR2);
	kill(getpid(), SIGUSR2);
	CHECK(count == 0 && is_pending(SIGUSR2));
	unblock(SIGUSR2);
	/* Once for the thread, once for the process. */
	CHECK(count == 2 && !is_pending(SIGUSR2));
	CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, NULL, 4) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_rt_sigprocmask, 7, &set, NULL, 8) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_rt_sigprocmask, 7, NULL, NULL, 8) == 0);
	CHECK(syscall(SYS_rt_sigpending, &set, 16) == -1 && errno == EINVAL);
}

static void on_queued(int signal, siginfo_t *from, void *context)
{
	(void)context;
	order[count] = signal * 100 + from->si_value.sival_int;
	count++;
}

TEST(realtime)
{
	int first = SIGRTMIN + 1, second = SIGRTMIN + 2;
	sigset_t set = set_of(first);

	sigaddset(&set, second);
	handle_info(first, on_queued, 0);
	handle_info(second, on_queued, 0);
	/* While one handler runs the other one waits, so that the order can be seen. */
	struct sigaction action = { .sa_sigaction = on_queued, .sa_flags = SA_SIGINFO };
	action.sa_mask = set;
	CHECK(sigaction(first, &action, NULL) == 0);
	CHECK(sigaction(second, &action, NULL) == 0);
	block(first);
	block(second);
	for (int i = 0; i < 5; i++) {
		CHECK(sigqueue(getpid(), second, (union sigval){ .sival_int = i }) == 0);
		CHECK(sigqueue(getpid(), first, (union sigval){ .sival_int = i }) == 0);
	}
	CHECK(is_pending(first) && is_pending(second));

	siginfo_t got;
	CHECK(sigwaitinfo(&set, &got) == first);
	CHECK(got.si_value.sival_int == 0 && got.si_code == SI_QUEUE && got.si_signo == first);
	for (int i = 1; i < 5; i++) {
		CHECK(sigwaitinfo(&set, &got) == first);
		CHECK(got.si_value.sival_int == i);
	}
	CHECK(!is_pending(first));
	unblock(second);
	CHECK(count == 5);
	for (int i = 0; i < 5; i++)
		CHECK(order[i] == second * 100 + i);
}

TEST(limit)
{
	int signal = SIGRTMIN + 1;
	long sent = 0;

	handle_info(signal, on_info, 0);
	block(signal);
	struct timespec none = { 0 };
	sigset_t set = set_of(signal);
	while (sent < 1000000 && sigqueue(getpid(), signal, (union sigval){ 0 }) == 0)
		sent++;
	CHECK(errno == EAGAIN);
	CHECK(sent >= 32);
	/* A signal that carries nothing is sent all the same. */
	block(SIGRTMIN + 2);
	CHECK(kill(getpid(), SIGRTMIN + 2) == 0 && is_pending(SIGRTMIN + 2));
	long got = 0;
	while (sigtimedwait(&set, NULL, &none) == signal)
		got++;
	CHECK(errno == EAGAIN);
	CHECK(got == sent);
	CHECK(sigqueue(getpid(), signal, (union sigval){ 0 }) == 0);
}

/* ---- faults ---- */

static sigjmp_buf escape;
static volatile uintptr_t fault_address;
static volatile int fault_code, fault_trap;
static volatile long fault_error;

static void on_fault(int signal, siginfo_t *from, void *context)
{
	ucontext_t *uc = context;

	fault_address = (uintptr_t)from->si_addr;
	fault_code = from->si_code;
	fault_trap = (int)uc->uc_mcontext.gregs[REG_TRAPNO];
	fault_error = (long)uc->uc_mcontext.gregs[REG_ERR];
	if (fault_trap == 14)
		CHECK((uintptr_t)uc->uc_mcontext.gregs[REG_CR2] == fault_address);
	last = signal;
	siglongjmp(escape, 1);
}

TEST(longjmp)
{
	char *guard = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *constant = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(guard != MAP_FAILED && constant != MAP_FAILED);
	handle_info(SIGSEGV, on_fault, 0);
	for (int i = 0; i < 5; i++) {
		last = 0;
		if (sigsetjmp(escape, 1) == 0)
			*(volatile char *)(uintptr_t)(16 + i) = 1;
		CHECK(last == SIGSEGV && fault_address == (uintptr_t)(16 + i));
		CHECK(fault_code == SEGV_MAPERR && fault_trap == 14 && fault_error == 6);
		CHECK(!is_blocked(SIGSEGV));
	}
	if (sigsetjmp(escape, 1) == 0)
		(void)*(volatile char *)guard;
	CHECK(fault_code == SEGV_ACCERR && fault_address == (uintptr_t)guard);
	CHECK((fault_error & 2) == 0);
	if (sigsetjmp(escape, 1) == 0)
		*(volatile char *)(constant + 7) = 1;
	CHECK(fault_code == SEGV_ACCERR && fault_address == (uintptr_t)constant + 7);
	CHECK((fault_error & 6) == 6);
	if (sigsetjmp(escape, 1) == 0)
		*(volatile char *)(uintptr_t)0x8000000000000000 = 1;
	CHECK(fault_code == SI_KERNEL && fault_trap == 13 && fault_address == 0);
}

static char *fixed_page;

static void on_fixable(int signal, siginfo_t *from, void *context)
{
	(void)context;
	count++;
	last = signal;
	CHECK((char *)from->si_addr == fixed_page + 100);
	CHECK(mprotect(fixed_page, 4096, PROT_READ | PROT_WRITE) == 0);
}

TEST(fix)
{
	fixed_page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(fixed_page != MAP_FAILED);
	handle_info(SIGSEGV, on_fixable, 0);
	fixed_page[100] = 42;
	CHECK(*(volatile char *)(fixed_page + 100) == 42);
	CHECK(count == 1);
}

static void on_trap(int signal, siginfo_t *from, void *context)
{
	ucontext_t *uc = context;

	count++;
	last = signal;
	fault_code = from->si_code;
	fault_address = (uintptr_t)from->si_addr;
	fault_trap = (int)uc->uc_mcontext.gregs[REG_TRAPNO];
	/* ud2 and div (of esi: two bytes): go on behind it. int3 is behind itself already. */
	if (signal != SIGTRAP) {
		CHECK(fault_address == (uintptr_t)uc->uc_mcontext.gregs[REG_RIP]);
		uc->uc_mcontext.gregs[REG_RIP] += 2;
	}
}

TEST(traps)
{
	handle_info(SIGFPE, on_trap, 0);
	handle_info(SIGILL, on_trap, 0);
	handle_info(SIGTRAP, on_trap, 0);
	for (int i = 1; i <= 3; i++) {
		unsigned quotient = 7, rest = 0;

		__asm__ volatile("xorl %%esi, %%esi; divl %%esi"
				 : "+a"(quotient), "+d"(rest)
				 :
				 : "esi");
		CHECK(count == 3 * i - 2 && last == SIGFPE && fault_code == FPE_INTDIV);
		CHECK(fault_trap == 0 && quotient == 7);
		__asm__ volatile("ud2");
		CHECK(count == 3 * i - 1 && last == SIGILL && fault_code == ILL_ILLOPN);
		CHECK(fault_trap == 6);
		__asm__ volatile("int3");
		CHECK(count == 3 * i && last == SIGTRAP && fault_code == SI_KERNEL);
		CHECK(fault_trap == 3);
	}
	handle_info(SIGFPE, on_fault, 0);
	if (sigsetjmp(escape, 1) == 0) {
		unsigned control = 0x1f80 & ~0x200u;
		volatile float none = 0;
		float one = 1, zero = none;

		__asm__ volatile("ldmxcsr %1; divss %2, %0" : "+x"(one) : "m"(control), "x"(zero));
	}
	CHECK(last == SIGFPE && fault_code == FPE_FLTDIV && fault_trap == 19);
	__asm__ volatile("ldmxcsr %0" : : "m"((unsigned){ 0x1f80 }));
	if (sigsetjmp(escape, 1) == 0) {
		uint16_t control = 0x37f & ~4;

		__asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp; fwait" : : "m"(control));
	}
	CHECK(last == SIGFPE && fault_code == FPE_FLTDIV && fault_trap == 16);
}

static void on_overflow(int signal, siginfo_t *from, void *context)
{
	(void)from;
	(void)context;
	stack_t now;
	volatile char here;

	CHECK(sigaltstack(NULL, &now) == 0);
	CHECK(now.ss_flags == SS_ONSTACK);
	CHECK((char *)&here > (char *)now.ss_sp && (char *)&here < (char *)now.ss_sp + now.ss_size);
	stack_t other = { .ss_sp = now.ss_sp, .ss_size = now.ss_size };
	CHECK(sigaltstack(&other, NULL) == -1 && errno == EPERM);
	last = signal;
	siglongjmp(escape, 1);
}

__attribute__((noinline)) static int recurse(int n)
{
	volatile char room[4096];

	room[0] = (char)n;
	room[4095] = room[0];
	return n == INT_MAX ? 0 : recurse(n + 1) + room[4095];
}

static int count_of_stacks = 2;

static void *overflow(void *context)
{
	static char memory[2][65536];
	stack_t stack = { .ss_sp = memory[context != NULL], .ss_size = sizeof(memory[0]) }, old;

	/* A new thread has none. */
	CHECK(sigaltstack(&stack, &old) == 0);
	CHECK(old.ss_flags == SS_DISABLE);
	for (int i = 0; i < 3; i++) {
		last = 0;
		if (sigsetjmp(escape, 1) == 0)
			(void)recurse(0);
		CHECK(last == SIGSEGV);
	}
	CHECK(sigaltstack(NULL, &old) == 0);
	CHECK(old.ss_flags == 0 && old.ss_sp == stack.ss_sp && old.ss_size == stack.ss_size);
	return NULL;
}

TEST(altstack)
{
	pthread_t thread;
	stack_t stack = { .ss_sp = &thread, .ss_size = 100 };

	CHECK(sigaltstack(&stack, NULL) == -1 && errno == ENOMEM);
	stack.ss_size = 65536;
	stack.ss_flags = 16;
	CHECK(sigaltstack(&stack, NULL) == -1 && errno == EINVAL);
	handle_info(SIGSEGV, on_overflow, SA_ONSTACK);
	(void)overflow(NULL);
	CHECK(pthread_create(&thread, NULL, overflow, &count_of_stacks) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	stack = (stack_t){ .ss_flags = SS_DISABLE };
	CHECK(sigaltstack(&stack, NULL) == 0);
	CHECK(sigaltstack(NULL, &stack) == 0 && stack.ss_flags == SS_DISABLE);
}

/* Not on the alternate stack without SA_ONSTACK, and nested handlers stay on it with it. */
static volatile uintptr_t sp_outer, sp_inner;

static void on_inner(int signal)
{
	volatile char here;

	(void)signal;
	sp_inner = (uintptr_t)&here;
}

static void on_outer(int signal)
{
	volatile char here;

	(void)signal;
	sp_outer = (uintptr_t)&here;
	raise(SIGUSR2);
}

TEST(altstack_nested)
{
	static char memory[65536];
	stack_t stack = { .ss_sp = memory, .ss_size = sizeof(memory) };

	CHECK(sigaltstack(&stack, NULL) == 0);
	handle(SIGUSR1, on_outer, 0);
	handle(SIGUSR2, on_inner, SA_ONSTACK);
	raise(SIGUSR1);
	CHECK(sp_outer - (uintptr_t)memory > sizeof(memory));
	CHECK(sp_inner - (uintptr_t)memory < sizeof(memory));
	handle(SIGUSR1, on_outer, SA_ONSTACK);
	raise(SIGUSR1);
	CHECK(sp_outer - (uintptr_t)memory < sizeof(memory));
	CHECK(sp_inner < sp_outer && sp_inner > (uintptr_t)memory);
}

/* ---- registers ---- */

static void spoil_registers(int signal)
{
	(void)signal;
	count++;
	__asm__ volatile("pxor %%xmm0, %%xmm0; pcmpeqd %%xmm7, %%xmm7; pxor %%xmm15, %%xmm15;"
			 "fninit; fldpi; fldl2e"
			 :
			 :
			 : "xmm0", "xmm7", "xmm15", "st", "st(1)");
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vzeroall" : : : "memory");
}

static void check_initial_state(int signal, siginfo_t *from, void *context)
{
	uint16_t control = 0;
	uint32_t mxcsr = 0;

	(void)from;
	(void)context;
	__asm__ volatile("fnstcw %0; stmxcsr %1" : "=m"(control), "=m"(mxcsr));
	CHECK(control == 0x37f && mxcsr == 0x1f80);
	spoil_registers(signal);
}

/*
 * A signal between two instructions that a compiler does not look into: a fault. The handler goes
 * on behind it (ud2), or it is the `syscall` of kill.
 */
static void skip_ud2(int signal, siginfo_t *from, void *context)
{
	ucontext_t *uc = context;

	check_initial_state(signal, from, context);
	uc->uc_mcontext.gregs[REG_RIP] += 2;
}

#define PATTERN(n) (0x0101010101010101ull * (uint64_t)(n))

/* All registers but rsp, in and out, around one instruction; the red zone too. */
struct all {
	uint64_t r[14]; /* rbx rcx rdx rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 rax */
	uint64_t red_zone, flags;
};

/* The ABI's callee-saved registers and `out` lie above a red zone that is ours. */
__attribute__((naked)) static void around_ud2(__attribute__((unused)) struct all *out)
{
	__asm__ volatile(
		"pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n\t"
		"pushq %rdi\n\t"
		"movq $0x1111, %rbx; movq $0x2222, %rcx; movq $0x3333, %rdx\n\t"
		"movq $0x4444, %rsi; movq $0x5555, %rdi; movq $0x6666, %r8\n\t"
		"movq $0x7777, %r9; movq $0x8888, %r10; movq $0x9999, %r11\n\t"
		"movq $0xaaaa, %r12; movq $0xbbbb, %r13; movq $0xcccc, %r14\n\t"
		"movq $0xdddd, %r15; movq $0xeeee, %rax; movq $0xffff, %rbp\n\t"
		"movq $0x7ed, -128(%rsp)\n\t"
		"stc; std\n\t"
		"ud2\n\t"
		"pushfq\n\t"
		"cld\n\t"
		"cmpq $0xffff, %rbp; je 1f; int3; 1:\n\t"
		"movq 8(%rsp), %rbp\n\t"
		"movq %rbx, 0(%rbp); movq %rcx, 8(%rbp); movq %rdx, 16(%rbp)\n\t"
		"movq %rsi, 24(%rbp); movq %rdi, 32(%rbp); movq %r8, 40(%rbp)\n\t"
		"movq %r9, 48(%rbp); movq %r10, 56(%rbp); movq %r11, 64(%rbp)\n\t"
		"movq %r12, 72(%rbp); movq %r13, 80(%rbp); movq %r14, 88(%rbp)\n\t"
		"movq %r15, 96(%rbp); movq %rax, 104(%rbp)\n\t"
		"movq -120(%rsp), %rax; movq %rax, 112(%rbp)\n\t"
		"popq %rax; movq %rax, 120(%rbp)\n\t"
		"popq %rdi\n\t"
		"popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx\n\t"
		"ret");
}

TEST(registers)
{
	handle_info(SIGILL, skip_ud2, 0);
	for (int i = 0; i < 10; i++) {
		struct all all = { 0 };

		around_ud2(&all);
		for (int r = 0; r < 14; r++)
			CHECK(all.r[r] == 0x1111u * (unsigned)(r + 1));
		CHECK(all.red_zone == 0x7ed);
		CHECK((all.flags & 0x401) == 0x401); /* DF and CF */
	}
	CHECK(count == 10);
}

/* xmm, ymm, x87 and MXCSR around a fault and around a system call. */
TEST(vectors)
{
	uint64_t in[16][4], out[16][4];
	bool avx = __builtin_cpu_supports("avx");
	unsigned mxcsr = 0x1f80 | 0x6000, back;
	double pi = 0;

	handle_info(SIGILL, skip_ud2, 0);
	handle_info(SIGUSR1, check_initial_state, 0);
	for (int i = 0; i < 16; i++) {
		for (int j = 0; j < 4; j++)
			in[i][j] = PATTERN(i * 4 + j + 1);
	}
	for (int round = 0; round < 4; round++) {
		bool fault = round & 1;
		int tid = (int)syscall(SYS_gettid), pid = getpid();

		memset(out, 0, sizeof(out));
		if (avx)
			__asm__ volatile("vmovdqu 0(%0), %%ymm0; vmovdqu 224(%0), %%ymm7;"
					 "vmovdqu 480(%0), %%ymm15"
					 :
					 : "r"(in)
					 : "xmm0", "xmm7", "xmm15");
		else
			__asm__ volatile("movdqu 0(%0), %%xmm0; movdqu 224(%0), %%xmm7;"
					 "movdqu 480(%0), %%xmm15"
					 :
					 : "r"(in)
					 : "xmm0", "xmm7", "xmm15");
		__asm__ volatile("ldmxcsr %0; fninit; fldpi" : : "m"(mxcsr));
		if (fault) {
			__asm__ volatile("ud2");
		} else {
			long result = SYS_tgkill;

			__asm__ volatile("syscall"
					 : "+a"(result)
					 : "D"(pid), "S"(tid), "d"(SIGUSR1)
					 : "rcx", "r11", "memory");
			CHECK(result == 0);
		}
		__asm__ volatile("stmxcsr %0; fstpl %1" : "=m"(back), "=m"(pi));
		if (avx)
			__asm__ volatile("vmovdqu %%ymm0, 0(%0); vmovdqu %%ymm7, 224(%0);"
					 "vmovdqu %%ymm15, 480(%0); vzeroupper"
					 :
					 : "r"(out)
					 : "memory");
		else
			__asm__ volatile("movdqu %%xmm0, 0(%0); movdqu %%xmm7, 224(%0);"
					 "movdqu %%xmm15, 480(%0)"
					 :
					 : "r"(out)
					 : "memory");
		__asm__ volatile("ldmxcsr %0" : : "m"((unsigned){ 0x1f80 }));
		CHECK(count == round + 1);
		CHECK(back == mxcsr && pi > 3.14 && pi < 3.15);
		for (int i = 0; i < 3; i++) {
			const int which[] = { 0, 7, 15 };

			CHECK(memcmp(in[which[i]], out[which[i]], avx ? 32 : 16) == 0);
		}
	}
}

static void spoil_wide(int signal, siginfo_t *from, void *context)
{
	check_initial_state(signal, from, context);
	__asm__ volatile("vpxorq %%zmm31, %%zmm31, %%zmm31; vpxorq %%zmm2, %%zmm2, %%zmm2;"
			 "kxorw %%k3, %%k3, %%k3"
			 :
			 :
			 : "memory");
}

/* What only AVX-512 has: wide registers, more of them, masks. */
TEST(vectors512)
{
	uint64_t in[8], out[2][8];
	uint32_t mask = 0;

	if (!__builtin_cpu_supports("avx512f"))
		return;
	handle_info(SIGUSR1, spoil_wide, 0);
	for (int i = 0; i < 8; i++)
		in[i] = PATTERN(i + 1);
	for (int i = 0; i < 4; i++) {
		long result = SYS_tgkill;
		int tid = (int)syscall(SYS_gettid), pid = getpid();

		memset(out, 0, sizeof(out));
		__asm__ volatile("vmovdqu64 (%1), %%zmm31; vmovdqu64 (%1), %%zmm2;"
				 "movl $0xa5a5, %%ecx; kmovw %%ecx, %%k3; syscall;"
				 "vmovdqu64 %%zmm31, (%2); vmovdqu64 %%zmm2, 64(%2);"
				 "kmovw %%k3, %%ecx; movl %%ecx, (%3); vzeroupper"
				 : "+a"(result)
				 : "r"(in), "r"(out), "r"(&mask), "D"(pid), "S"(tid), "d"(SIGUSR1)
				 : "rcx", "r11", "xmm2", "memory");
		CHECK(result == 0 && count == i + 1);
		CHECK(memcmp(in, out[0], 64) == 0 && memcmp(in, out[1], 64) == 0);
		CHECK(mask == 0xa5a5);
	}
}

/* The frame as the kernel's ABI has it. */
static void on_frame(int signal, siginfo_t *from, void *context)
{
	ucontext_t *uc = context;
	uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
	struct {
		uint32_t magic1, extended_size;
		uint64_t features;
		uint32_t size;
	} software;
	uint32_t magic2;

	(void)signal;
	count++;
	CHECK((uintptr_t)context + 304 == (uintptr_t)from);
	CHECK(((uintptr_t)context & 15) == 0);
	CHECK((uintptr_t)fp > (uintptr_t)from + 128 - 1 && ((uintptr_t)fp & 63) == 0);
	memcpy(&software, fp + 464, sizeof(software));
	CHECK(software.magic1 == 0x46505853);
	CHECK(software.extended_size >= software.size + 4 && software.size >= 576);
	CHECK((software.features & 3) == 3);
	memcpy(&magic2, fp + software.size, 4);
	CHECK(magic2 == 0x46505845);
	/* The header names no more than there is, and has the standard format. */
	uint64_t header[8];
	memcpy(header, fp + 512, sizeof(header));
	CHECK((header[0] & ~software.features) == 0 && header[1] == 0);
	/* xmm3 as it was; and it may be changed. */
	CHECK(memcmp(fp + 160 + 3 * 16, &(uint64_t[2]){ PATTERN(3), PATTERN(4) }, 16) == 0);
	memcpy(fp + 160 + 3 * 16, &(uint64_t[2]){ PATTERN(5), PATTERN(6) }, 16);
	uc->uc_mcontext.gregs[REG_R12] = 0x7777;
	CHECK((uc->uc_mcontext.gregs[REG_CSGSFS] & 3) == 3);
	CHECK(uc->uc_stack.ss_size == 0);
}

TEST(frame)
{
	uint64_t in[2] = { PATTERN(3), PATTERN(4) }, out[2] = { 0 }, r12 = 0;
	long result = SYS_tgkill;

	handle_info(SIGUSR1, on_frame, 0);
	int tid = (int)syscall(SYS_gettid), pid = getpid();
	__asm__ volatile("movq $0x1234, %%r12; movdqu %5, %%xmm3; syscall; movdqu %%xmm3, %1;"
			 "movq %%r12, %2"
			 : "+a"(result), "=m"(out), "=m"(r12)
			 : "D"(pid), "S"(tid), "m"(in), "d"(SIGUSR1)
			 : "rcx", "r11", "r12", "xmm3", "memory");
	CHECK(count == 1 && result == 0);
	CHECK(out[0] == PATTERN(5) && out[1] == PATTERN(6) && r12 == 0x7777);
}

/* ---- waiting ---- */

TEST(wait)
{
	sigset_t set = set_of(SIGUSR1), other = set_of(SIGUSR2);
	struct timespec none = { 0 }, some = { 0, 20000000 };
	siginfo_t got;
	int signal = 0;

	block(SIGUSR1);
	block(SIGUSR2);
	CHECK(sigtimedwait(&set, &got, &none) == -1 && errno == EAGAIN);
	uint64_t start = now_ns();
	CHECK(sigtimedwait(&set, &got, &some) == -1 && errno == EAGAIN);
	CHECK(now_ns() - start >= 20000000);
	CHECK(raise(SIGUSR1) == 0);
	CHECK(sigtimedwait(&other, &got, &none) == -1 && errno == EAGAIN);
	CHECK(sigtimedwait(&set, &got, &none) == SIGUSR1 && got.si_code == SI_TKILL);
	CHECK(!is_pending(SIGUSR1));
	CHECK(kill(getpid(), SIGUSR1) == 0);
	CHECK(sigwaitinfo(&set, &got) == SIGUSR1 && got.si_code == SI_USER);
	CHECK(kill(getpid(), SIGUSR2) == 0);
	CHECK(sigwait(&other, &signal) == 0 && signal == SIGUSR2);
	some.tv_nsec = -1;
	CHECK(sigtimedwait(&set, &got, &some) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_rt_sigtimedwait, &set, NULL, NULL, 4) == -1 && errno == EINVAL);

	/* From another thread, while we wait; and a handler for another signal interrupts. */
	struct sender sender;
	sender_start(&sender, SIGUSR1);
	for (int i = 0; i < 10; i++)
		CHECK(sigwaitinfo(&set, &got) == SIGUSR1 && got.si_code == SI_TKILL);
	sender_stop(&sender);
	handle(SIGUSR2, on_signal, SA_RESTART);
	unblock(SIGUSR2);
	while (sigtimedwait(&set, NULL, &none) == SIGUSR1)
		;
	sender_start(&sender, SIGUSR2);
	/* Not by musl's function, which tries again. */
	CHECK(syscall(SYS_rt_sigtimedwait, &set, NULL, NULL, 8) == -1 && errno == EINTR);
	sender_stop(&sender);
	CHECK(count >= 1);
}

/* A signal for the process goes to the one who waits for it. */
static _Atomic int received;

static void *sigwait_thread(void *context)
{
	sigset_t set = set_of(SIGUSR1);
	int signal;

	(void)context;
	for (int i = 0; i < 20; i++) {
		CHECK(sigwait(&set, &signal) == 0 && signal == SIGUSR1);
		received++;
	}
	return NULL;
}

TEST(wait_thread)
{
	pthread_t thread;

	block(SIGUSR1);
	CHECK(pthread_create(&thread, NULL, sigwait_thread, NULL) == 0);
	for (int i = 0; i < 20; i++) {
		CHECK(kill(getpid(), SIGUSR1) == 0);
		while (received <= i)
			sleep_ms(1);
	}
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(!is_pending(SIGUSR1));
}

TEST(pause)
{
	struct sender sender;
	sigset_t empty;

	handle(SIGUSR1, on_signal, SA_RESTART);
	sender_start(&sender, SIGUSR1);
	for (int i = 0; i < 5; i++)
		CHECK(pause() == -1 && errno == EINTR);
	CHECK(count >= 5);
	sender_stop(&sender);

	/* sigsuspend: what was pending comes at once, and the mask comes back. */
	sigemptyset(&empty);
	block(SIGUSR1);
	count = 0;
	raise(SIGUSR1);
	CHECK(count == 0);
	CHECK(sigsuspend(&empty) == -1 && errno == EINTR);
	CHECK(count == 1 && is_blocked(SIGUSR1));
	sender_start(&sender, SIGUSR1);
	for (int i = 0; i < 5; i++) {
		CHECK(sigsuspend(&empty) == -1 && errno == EINTR);
		CHECK(is_blocked(SIGUSR1));
	}
	CHECK(count >= 6);
	sender_stop(&sender);
	CHECK(syscall(SYS_rt_sigsuspend, &empty, 4) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_rt_sigsuspend, (void *)8, 8) == -1 && errno == EFAULT);
}

/* ---- interrupted calls ---- */

TEST(sleep)
{
	struct timespec wish = { 10, 0 }, left = { 0 };
	struct sender sender;

	handle(SIGUSR1, on_signal, SA_RESTART);
	sender_start(&sender, SIGUSR1);
	CHECK(nanosleep(&wish, &left) == -1 && errno == EINTR);
	CHECK(left.tv_sec >= 5 && left.tv_sec < 10);
	CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &wish, &left) == EINTR);
	CHECK(left.tv_sec >= 5 && left.tv_sec < 10);
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += 10;
	left.tv_sec = 77;
	CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, &left) == EINTR);
	CHECK(left.tv_sec == 77);
	CHECK(nanosleep(&wish, NULL) == -1 && errno == EINTR);
	/* A sleep in pieces takes as long as it should. */
	uint64_t start = now_ns();
	sleep_ms(50);
	CHECK(now_ns() - start >= 50000000);
	CHECK(poll(NULL, 0, 10000) == -1 && errno == EINTR);
	CHECK(poll(NULL, 0, -1) == -1 && errno == EINTR);
	sender_stop(&sender);
	CHECK(count > 5);
}

TEST(futex)
{
	uint32_t word = 0;
	struct timespec timeout = { 10, 0 };
	struct sender sender;

	handle(SIGUSR1, on_signal, 0);
	sender_start(&sender, SIGUSR1);
	CHECK(syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL) == -1 && errno == EINTR);
	CHECK(syscall(SYS_futex, &word, FUTEX_WAIT, 0, &timeout) == -1 && errno == EINTR);
	/* With a timeout it is never made again; without, it is. */
	handle(SIGUSR1, on_signal, SA_RESTART);
	CHECK(syscall(SYS_futex, &word, FUTEX_WAIT, 0, &timeout) == -1 && errno == EINTR);
	sender_stop(&sender);
}

static _Atomic uint32_t turn;

static void *waker_thread(void *context)
{
	(void)context;
	sleep_ms(60);
	turn = 1;
	syscall(SYS_futex, &turn, FUTEX_WAKE, 1);
	return NULL;
}

TEST(futex_restart)
{
	struct sender sender;
	pthread_t thread;

	handle(SIGUSR1, on_signal, SA_RESTART);
	sender_start(&sender, SIGUSR1);
	CHECK(pthread_create(&thread, NULL, waker_thread, NULL) == 0);
	long result = syscall(SYS_futex, &turn, FUTEX_WAIT, 0, NULL);
	/* Woken; or made again when the word had changed already. */
	CHECK(result == 0 || errno == EAGAIN);
	CHECK(turn == 1);
	CHECK(pthread_join(thread, NULL) == 0);
	sender_stop(&sender);
	CHECK(count > 0);
}

/* No wake-up is lost by signals: a lock that is handed over a few thousand times. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int baton;

#define HANDOVERS 2000

static void *hand_over(void *context)
{
	int me = context != NULL;

	pthread_mutex_lock(&mutex);
	for (int i = 0; i < HANDOVERS; i++) {
		while (baton % 2 != me)
			pthread_cond_wait(&cond, &mutex);
		baton++;
		pthread_cond_signal(&cond);
	}
	pthread_mutex_unlock(&mutex);
	return NULL;
}

TEST(wakeups)
{
	struct sender sender;
	pthread_t thread;

	handle(SIGUSR1, on_signal, 0);
	sender_start(&sender, SIGUSR1);
	sender.ms = 0;
	CHECK(pthread_create(&thread, NULL, hand_over, &baton) == 0);
	(void)hand_over(NULL);
	CHECK(pthread_join(thread, NULL) == 0);
	sender_stop(&sender);
	CHECK(baton == 2 * HANDOVERS);
}

/* Standard input is a pipe in which nothing is yet: what comes is said by the test. */
TEST(read)
{
	struct sender sender;
	char buffer[64];

	handle(SIGUSR1, on_signal, 0);
	sender_start(&sender, SIGUSR1);
	CHECK(read(0, buffer, sizeof(buffer)) == -1 && errno == EINTR);
	struct iovec_like {
		void *base;
		size_t length;
	} iov[2] = { { buffer, 10 }, { buffer + 10, 20 } };
	CHECK(syscall(SYS_readv, 0, iov, 2) == -1 && errno == EINTR);
	struct pollfd fd = { .fd = 0, .events = POLLIN };
	CHECK(poll(&fd, 1, -1) == -1 && errno == EINTR);
	CHECK(poll(&fd, 1, 10000) == -1 && errno == EINTR);
	CHECK(count >= 4);

	/* Again and again, until there is something. */
	handle(SIGUSR1, on_signal, SA_RESTART);
	CHECK(poll(&fd, 1, -1) == -1 && errno == EINTR);
	count = 0;
	CHECK(write(1, "restart\n", 8) == 8);
	CHECK(read(0, buffer, sizeof(buffer)) == 5 && memcmp(buffer, "input", 5) == 0);
	CHECK(count > 0);
	sender_stop(&sender);
	CHECK(poll(&fd, 1, 5000) == 1);
	CHECK(read(0, buffer, sizeof(buffer)) == 0);
}

/* A sum of all that comes, while signals come as fast as they can: nothing is lost, nor twice. */
TEST(stream)
{
	struct sender sender;
	uint64_t bytes = 0, next = 0;
	unsigned interrupted = 0;
	char buffer[512];

	handle(SIGUSR1, on_signal, 0);
	sender_start(&sender, SIGUSR1);
	sender.ms = 0;
	for (;;) {
		ssize_t n = read(0, buffer, sizeof(buffer));

		if (n == -1 && errno == EINTR) {
			interrupted++;
			continue;
		}
		CHECK(n >= 0);
		if (n == 0)
			break;
		for (ssize_t i = 0; i < n; i++) {
			CHECK((uint8_t)buffer[i] == (uint8_t)next);
			next = next * 5 + 3;
		}
		bytes += (uint64_t)n;
	}
	sender_stop(&sender);
	printf("bytes %llu\n", (unsigned long long)bytes);
	CHECK(count > 0);
	fprintf(stderr, "interrupted %u\n", interrupted);
}

/* A FIFO in which nothing is. */
TEST(fifo)
{
	struct sender sender;

	CHECK(argument);
	handle(SIGUSR1, on_signal, 0);
	int fd = open(argument, O_RDWR);
	CHECK(fd >= 0);
	char byte;
	sender_start(&sender, SIGUSR1);
	CHECK(read(fd, &byte, 1) == -1 && errno == EINTR);
	sender_stop(&sender);
	CHECK(write(fd, "x", 1) == 1);
	CHECK(read(fd, &byte, 1) == 1 && byte == 'x');
	close(fd);
}

TEST(ppoll)
{
	struct timespec none = { 0 }, some = { 10, 0 };
	sigset_t empty;

	sigemptyset(&empty);
	handle(SIGUSR1, on_signal, SA_RESTART);
	block(SIGUSR1);
	raise(SIGUSR1);
	CHECK(count == 0);
	CHECK(ppoll(NULL, 0, &some, &empty) == -1 && errno == EINTR);
	CHECK(count == 1 && is_blocked(SIGUSR1));
	CHECK(ppoll(NULL, 0, &none, &empty) == 0);
	CHECK(is_blocked(SIGUSR1));
	CHECK(syscall(SYS_ppoll, NULL, 0, &none, &empty, 4) == -1 && errno == EINVAL);
	CHECK(is_blocked(SIGUSR1));
	struct sender sender;
	sender_start(&sender, SIGUSR1);
	CHECK(ppoll(NULL, 0, NULL, &empty) == -1 && errno == EINTR);
	CHECK(is_blocked(SIGUSR1));
	sender_stop(&sender);
}

/* ---- threads ---- */

static void *cancelled(void *context)
{
	(void)context;
	for (;;)
		pause();
	return NULL;
}

static _Atomic int cleaned;

static void clean(void *context)
{
	(void)context;
	cleaned++;
}

static void *cancelled_sleep(void *context)
{
	(void)context;
	pthread_cleanup_push(clean, NULL);
	for (;;)
		sleep(1000);
	pthread_cleanup_pop(0);
	return NULL;
}

static void *cancelled_read(void *context)
{
	char byte;

	pthread_cleanup_push(clean, NULL);
	(void)!read(*(int *)context, &byte, 1);
	pthread_cleanup_pop(0);
	return NULL;
}

static void *cancelled_wait(void *context)
{
	(void)context;
	pthread_mutex_lock(&mutex);
	pthread_cleanup_push(clean, NULL);
	for (;;)
		pthread_cond_wait(&cond, &mutex);
	pthread_cleanup_pop(0);
	return NULL;
}

TEST(cancel)
{
	void *(*const threads[])(void *) = { cancelled, cancelled_sleep, cancelled_read,
					     cancelled_wait };
	int input = 0;

	for (unsigned i = 0; i < 20; i++) {
		pthread_t thread;
		void *result;

		CHECK(pthread_create(&thread, NULL, threads[i % 4], &input) == 0);
		sleep_ms(i / 4);
		CHECK(pthread_cancel(thread) == 0);
		CHECK(pthread_join(thread, &result) == 0);
		CHECK(result == PTHREAD_CANCELED);
		if (i % 4 == 3)
			CHECK(pthread_mutex_unlock(&mutex) == 0);
	}
}

static _Atomic bool inherited, started;

static void *look_at_mask(void *context)
{
	(void)context;
	inherited = is_blocked(SIGUSR1) && !is_blocked(SIGUSR2) && !is_pending(SIGUSR1);
	stack_t stack;
	CHECK(sigaltstack(NULL, &stack) == 0 && stack.ss_flags == SS_DISABLE);
	return NULL;
}

static pthread_t who;

static void on_who(int signal)
{
	(void)signal;
	who = pthread_self();
	count++;
}

static _Atomic bool stop;

static void *wait_blocked(void *context)
{
	block(SIGUSR2);
	started = true;
	while (!stop)
		sleep_ms(1);
	if (context) {
		unblock(SIGUSR2);
		stop = false;
	}
	return NULL;
}

/* Masks of threads, and who gets what is for the process. */
TEST(threads)
{
	static char memory[8192];
	stack_t stack = { .ss_sp = memory, .ss_size = sizeof(memory) };
	pthread_t thread;

	CHECK(sigaltstack(&stack, NULL) == 0);
	block(SIGUSR1);
	raise(SIGUSR1);
	CHECK(pthread_create(&thread, NULL, look_at_mask, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(inherited);
	CHECK(pthread_kill(pthread_self(), 0) == 0);

	/* The other one blocks it: it is ours, also if the other one sends it. */
	handle(SIGUSR2, on_who, 0);
	CHECK(pthread_create(&thread, NULL, wait_blocked, NULL) == 0);
	while (!started)
		sleep_ms(1);
	for (int i = 0; i < 20; i++) {
		CHECK(kill(getpid(), SIGUSR2) == 0);
		CHECK(count == i + 1 && pthread_equal(who, pthread_self()));
	}
	stop = true;
	CHECK(pthread_join(thread, NULL) == 0);

	/* We block it too: it waits for whoever unblocks it first. */
	stop = started = false;
	count = 0;
	CHECK(pthread_create(&thread, NULL, wait_blocked, &started) == 0);
	while (!started)
		sleep_ms(1);
	block(SIGUSR2);
	CHECK(kill(getpid(), SIGUSR2) == 0);
	CHECK(count == 0 && is_pending(SIGUSR2));
	stop = true;
	while (stop)
		sleep_ms(1);
	CHECK(count == 1 && !is_pending(SIGUSR2) && pthread_equal(who, thread));
	CHECK(pthread_join(thread, NULL) == 0);
}

/* Threads that send to each other, on whichever vCPUs. */
#define STORM 500

static _Atomic int arrived;

static void on_storm(int signal, siginfo_t *from, void *context)
{
	(void)signal;
	(void)from;
	(void)context;
	arrived++;
}

static void *storm(void *context)
{
	for (int i = 0; i < STORM; i++) {
		while (sigqueue(getpid(), SIGRTMIN + 3, (union sigval){ .sival_int = i }))
			sched_yield();
		CHECK(pthread_kill(*(pthread_t *)context, SIGRTMIN + 4) == 0);
	}
	return NULL;
}

TEST(storm)
{
	pthread_t threads[4], me = pthread_self();

	handle_info(SIGRTMIN + 3, on_storm, SA_RESTART);
	handle_info(SIGRTMIN + 4, on_storm, SA_RESTART);
	for (int i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, storm, &me) == 0);
	for (int i = 0; i < 4; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	while (arrived < 4 * 2 * STORM)
		sleep_ms(1);
	sleep_ms(10);
	CHECK(arrived == 4 * 2 * STORM);
}

/* ---- timers ---- */

TEST(alarm)
{
	handle_info(SIGALRM, on_info, 0);
	CHECK(alarm(100) == 0);
	CHECK(alarm(50) == 100);
	CHECK(alarm(1) == 50);
	uint64_t start = now_ns();
	CHECK(pause() == -1 && errno == EINTR);
	CHECK(count == 1 && last == SIGALRM);
	CHECK(now_ns() - start >= 900000000);
	CHECK(info.si_code == SI_KERNEL);
	CHECK(alarm(10) == 0);
	CHECK(alarm(0) == 10);
	CHECK(alarm(0) == 0);
}

TEST(itimer)
{
	struct itimerval set = { .it_interval = { 0, 5000 }, .it_value = { 0, 10000 } }, old;
	uint64_t start = now_ns();

	handle(SIGALRM, on_signal, SA_RESTART);
	CHECK(setitimer(ITIMER_REAL, &set, &old) == 0);
	CHECK(old.it_value.tv_sec == 0 && old.it_value.tv_usec == 0);
	while (count < 10)
		CHECK(pause() == -1 && errno == EINTR);
	/* The first after 10 ms, nine more after 5 ms each. */
	CHECK(now_ns() - start >= 55000000 - 1000000);
	CHECK(getitimer(ITIMER_REAL, &old) == 0);
	CHECK(old.it_interval.tv_usec == 5000 && old.it_value.tv_usec <= 5000);
	set = (struct itimerval){ 0 };
	CHECK(setitimer(ITIMER_REAL, &set, &old) == 0);
	CHECK(old.it_interval.tv_usec == 5000);
	int seen = count;
	sleep_ms(30);
	CHECK(count <= seen + 1);
	CHECK(getitimer(ITIMER_REAL, &old) == 0 && old.it_value.tv_usec == 0);
	/* alarm shares it. */
	set.it_value.tv_sec = 100;
	CHECK(setitimer(ITIMER_REAL, &set, NULL) == 0);
	CHECK(alarm(0) == 100);
	set.it_value.tv_usec = 1000000;
	CHECK(setitimer(ITIMER_REAL, &set, NULL) == -1 && errno == EINVAL);
	CHECK(setitimer(17, &set, NULL) == -1 && errno == EINVAL);
	CHECK(setitimer(ITIMER_REAL, (void *)8, NULL) == -1 && errno == EFAULT);
	CHECK(getitimer(ITIMER_REAL, (void *)8) == -1 && errno == EFAULT);
	/* Set again and again before it can end. */
	count = 0;
	set = (struct itimerval){ .it_value = { 0, 100000 } };
	for (int i = 0; i < 200; i++)
		CHECK(setitimer(ITIMER_REAL, &set, NULL) == 0);
	CHECK(pause() == -1 && errno == EINTR);
	CHECK(count == 1);
}

/* No system call in sight: the thread is interrupted where it computes, and goes on there. */
TEST(compute)
{
	struct itimerval set = { .it_interval = { 0, 10000 }, .it_value = { 0, 10000 } };
	uint64_t sum = 1, check = 1, rounds = 0;

	handle_info(SIGALRM, check_initial_state, 0);
	CHECK(setitimer(ITIMER_REAL, &set, NULL) == 0);
	while (count < 5) {
		sum = sum * 6364136223846793005ull + 1442695040888963407ull;
		rounds++;
	}
	set = (struct itimerval){ 0 };
	CHECK(setitimer(ITIMER_REAL, &set, NULL) == 0);
	while (rounds--)
		check = check * 6364136223846793005ull + 1442695040888963407ull;
	CHECK(sum == check);
}

/* ---- hostile frames: each must end in SIGSEGV's handler, or be harmless ---- */

static volatile int step; /* in the order of the cases below */

static void on_rescue(int signal, siginfo_t *from, void *context)
{
	(void)from;
	(void)context;
	last = signal;
	siglongjmp(escape, 1);
}

static void on_hostile(int signal, siginfo_t *from, void *context)
{
	ucontext_t *uc = context;
	uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
	long long *gregs = uc->uc_mcontext.gregs;

	(void)signal;
	(void)from;
	count++;
	switch (step) {
	case 0:
		gregs[REG_RIP] = (long long)0x8000000000000000;
		break;
	case 1:
		gregs[REG_RIP] = (long long)0xffffffff81000000;
		break;
	case 2:
		gregs[REG_RIP] = 16;
		break;
	case 3:
		uc->uc_mcontext.fpregs = (void *)16;
		break;
	case 4:
		uc->uc_mcontext.fpregs = (void *)0x8000000000000000;
		break;
	case 5:
		uc->uc_mcontext.fpregs = (void *)(fp + 8); /* not aligned */
		break;
	case 6:
		memset(fp + 512, 0xff, 64); /* XSAVE's header */
		break;
	case 7:
		memset(fp + 24, 0xff, 4); /* reserved bits of MXCSR */
		break;
	case 8:
		gregs[REG_RSP] = (long long)0x8000000000000000;
		gregs[REG_RIP] += 0;
		break;
	case 9:
		memset(uc, 0xff, sizeof(uint64_t) * 5 + 256);
		break;
	case 10:
		memset(uc, 0, sizeof(uint64_t) * 5 + 256);
		break;
	}
}

static void on_harmless(int signal, siginfo_t *from, void *context)
{
	ucontext_t *uc = context;
	uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;

	(void)signal;
	(void)from;
	count++;
	switch (step) {
	case 0: /* no vector registers */
		uc->uc_mcontext.fpregs = NULL;
		break;
	case 1: /* no magic word: as FXSAVE has it */
		memset(fp + 464, 0, 4);
		break;
	case 2:
		memset(fp + 464, 0xff, 48);
		break;
	case 3: /* flags that are not the program's to set: IF, IOPL, NT, VM */
		uc->uc_mcontext.gregs[REG_EFL] = 0x27000;
		break;
	case 4: /* segments */
		uc->uc_mcontext.gregs[REG_CSGSFS] |= 0;
		break;
	case 5:
		memset(&uc->uc_stack, 0xff, sizeof(uc->uc_stack));
		break;
	case 6: /* more than there is */
		memset(fp + 472, 0xff, 8);
		break;
	}
}

TEST(hostile)
{
	static char memory[65536];
	stack_t stack = { .ss_sp = memory, .ss_size = sizeof(memory) };

	CHECK(sigaltstack(&stack, NULL) == 0);
	handle_info(SIGSEGV, on_rescue, SA_ONSTACK);
	handle_info(SIGBUS, on_rescue, SA_ONSTACK);
	handle_info(SIGUSR1, on_hostile, 0);
	for (step = 0; step <= 10; step++) {
		last = count = 0;
		if (sigsetjmp(escape, 1) == 0) {
			raise(SIGUSR1);
			last = -1;
		}
		CHECK(count == 1);
		if (last != SIGSEGV && !(step == 8 && last == SIGBUS)) {
			printf("step %d: signal %d\n", step, last);
			exit(1);
		}
		sigset_t set = set_of(SIGUSR1);
		CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
	}
	handle_info(SIGUSR1, on_harmless, 0);
	for (step = 0; step <= 6; step++) {
		count = 0;
		last = 0;
		if (sigsetjmp(escape, 1) == 0)
			raise(SIGUSR1);
		if (count != 1 || last != 0) {
			printf("harmless %d: signal %d\n", step, last);
			exit(1);
		}
	}
	/* A call out of nowhere: whatever lies on the stack. */
	last = 0;
	if (sigsetjmp(escape, 1) == 0)
		__asm__ volatile("xorl %%esp, %%esp; movl $15, %%eax; syscall"
				 :
				 :
				 : "memory", "rax", "rcx", "r11");
	CHECK(last == SIGSEGV);
	/* Handlers that are nowhere, and a stack pointer that is. */
	handle(SIGUSR1, (void (*)(int))(uintptr_t)0x8000000000000000, 0);
	last = 0;
	if (sigsetjmp(escape, 1) == 0)
		raise(SIGUSR1);
	CHECK(last == SIGSEGV);
	handle(SIGILL, on_signal, 0);
	last = 0;
	if (sigsetjmp(escape, 1) == 0)
		__asm__ volatile("movq %0, %%rsp; ud2" : : "r"(0x8000000000000000) : "memory");
	CHECK(last == SIGSEGV);
}

/* ---- ends ---- */

TEST(end)
{
	int signal = atoi(argument);

	raise(signal);
	printf("still here\n");
}

TEST(end_alarm)
{
	alarm(1);
	for (;;)
		pause();
}

TEST(end_blocked)
{
	block(SIGTERM);
	raise(SIGTERM);
	CHECK(is_pending(SIGTERM));
	unblock(SIGTERM);
	printf("still here\n");
}

static void *kill_process(void *context)
{
	(void)context;
	sleep_ms(5);
	kill(getpid(), SIGTERM);
	return NULL;
}

TEST(end_by_thread)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, kill_process, NULL) == 0);
	for (;;)
		pause();
}

TEST(end_fault_blocked)
{
	volatile uintptr_t low = 16;

	handle(SIGSEGV, on_signal, 0);
	block(SIGSEGV);
	*(volatile char *)low = 1;
}

TEST(end_overflow)
{
	handle(SIGSEGV, on_signal, 0);
	(void)recurse(0);
}

TEST(end_abort)
{
	handle(SIGABRT, on_signal, 0);
	abort();
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
#define ENTRY(name)                                                                                \
	{                                                                                          \
#name, test_##name                                                                 \
	}
	ENTRY(handler),
	ENTRY(actions),
	ENTRY(siginfo),
	ENTRY(nested),
	ENTRY(flags),
	ENTRY(masks),
	ENTRY(realtime),
	ENTRY(limit),
	ENTRY(longjmp),
	ENTRY(fix),
	ENTRY(traps),
	ENTRY(altstack),
	ENTRY(altstack_nested),
	ENTRY(registers),
	ENTRY(vectors),
	ENTRY(vectors512),
	ENTRY(frame),
	ENTRY(wait),
	ENTRY(wait_thread),
	ENTRY(pause),
	ENTRY(sleep),
	ENTRY(futex),
	ENTRY(futex_restart),
	ENTRY(wakeups),
	ENTRY(read),
	ENTRY(stream),
	ENTRY(fifo),
	ENTRY(ppoll),
	ENTRY(cancel),
	ENTRY(threads),
	ENTRY(storm),
	ENTRY(alarm),
	ENTRY(itimer),
	ENTRY(compute),
	ENTRY(hostile),
	ENTRY(end),
	ENTRY(end_alarm),
	ENTRY(end_blocked),
	ENTRY(end_by_thread),
	ENTRY(end_fault_blocked),
	ENTRY(end_overflow),
	ENTRY(end_abort),
};

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	argument = argc > 2 ? argv[2] : NULL;
	for (size_t i = 0; argc > 1 && i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (strcmp(argv[1], tests[i].name))
			continue;
		tests[i].run();
		puts("ok");
		return 0;
	}
	return 96;
}
