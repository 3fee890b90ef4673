/*
 * System calls whose addresses are wrong, and flags that a program should not set: prints what
 * each one gives, and lives on. usage: badcalls [FILE], or badcalls stack|flags
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define FUTEX_WAIT 0

static void say(const char *what, long result)
{
	printf("%s %ld\n", what, result < 0 ? -(long)errno : result);
}

static void *forbidden(void)
{
	return mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void addresses(const char *file)
{
	char *none = forbidden(),
	     *half = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *const bad[] = { NULL,           (void *)1,          none, (void *)0x7fffffffffff,
			      (void *)-4096l, (void *)(1ul << 63) };

	if (none == MAP_FAILED || half == MAP_FAILED || munmap(half + 4096, 4096))
		exit(1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		printf("address %zu\n", i);
		say("write", syscall(SYS_write, 1, bad[i], 10));
		say("open", syscall(SYS_open, bad[i], O_RDONLY));
		say("stat", syscall(SYS_stat, bad[i], half));
		say("nanosleep", syscall(SYS_nanosleep, bad[i], NULL));
		say("futex", syscall(SYS_futex, bad[i], FUTEX_WAIT, 1, NULL));
		say("futex time",
		    syscall(SYS_futex, half, FUTEX_WAIT, 0, bad[i] ? bad[i] : (void *)1));
		say("uname", syscall(SYS_uname, bad[i]));
		say("getrandom", syscall(SYS_getrandom, bad[i], 10, 0));
		say("poll", syscall(SYS_poll, bad[i], 1, 0));
		say("writev", syscall(SYS_writev, 1, bad[i], 1));
		if (i)
			say("clock_gettime", syscall(SYS_clock_gettime, CLOCK_MONOTONIC, bad[i]));
	}
	/* Half of it is there. */
	memset(half, 'x', 4096);
	say("open across", syscall(SYS_open, half + 4090, O_RDONLY));
	say("getrandom across", syscall(SYS_getrandom, half + 4000, 200, 0));
	say("uname across", syscall(SYS_uname, half + 4090));
	if (file) {
		int fd = open(file, O_RDONLY);

		say("read forbidden", read(fd, none, 100));
		say("read null", read(fd, NULL, 100));
		say("fstat forbidden", syscall(SYS_fstat, fd, none));
		say("read at last", read(fd, half, 100));
	}
}

/* ---- calls that take the stack away on which they are made ---- */

static void *leave(void *argument)
{
	return argument;
}

static void stacks(void)
{
	/* A detached thread unmaps its stack, and ends without one. */
	for (int i = 0; i < 50; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, leave, NULL) || pthread_detach(thread))
			exit(1);
		if (i % 10 == 0)
			usleep(1000);
	}
	/* The smallest stack there is. */
	for (int i = 0; i < 10; i++) {
		pthread_attr_t attributes;
		pthread_t thread;

		pthread_attr_init(&attributes);
		pthread_attr_setstacksize(&attributes, 16384);
		if (pthread_create(&thread, &attributes, leave, NULL) || pthread_join(thread, NULL))
			exit(1);
	}
	puts("ok");
}

/* A system call with no stack at all, as code without a C library may well make one. */
static long without_a_stack(long number, long a, long b, uint64_t sp)
{
	register uint64_t stack __asm__("r8") = sp;
	long result;

	__asm__ volatile("xchg %%rsp, %%r8\n\tsyscall\n\txchg %%rsp, %%r8"
			 : "=a"(result), "+r"(stack)
			 : "a"(number), "D"(a), "S"(b)
			 : "rcx", "r11", "memory");
	return result;
}

static void nowhere(void)
{
	struct timespec pause = { .tv_nsec = 1000000 };
	char *none = forbidden();

	for (int i = 0; i < 3; i++) {
		uint64_t sp[] = { 0, 8, (uint64_t)none + 4096 };

		printf("getppid %ld\n", without_a_stack(SYS_getppid, 0, 0, sp[i]));
		printf("sleep %ld\n", without_a_stack(SYS_nanosleep, (long)&pause, 0, sp[i]));
	}
	puts("ok");
}

/* ---- flags ---- */

#define FLAG_DF 0x400ul
#define FLAG_NT 0x4000ul
#define FLAG_AC 0x40000ul
#define FLAG_ID 0x200000ul

static long call_with_flags(long number, long a, long b, unsigned long flags, unsigned long *after)
{
	long result;

	__asm__ volatile("pushfq\n\t"
			 "movq (%%rsp), %%r12\n\t"
			 "orq %[flags], (%%rsp)\n\t"
			 "popfq\n\t"
			 "syscall\n\t"
			 "pushfq\n\t"
			 "popq %[after]\n\t"
			 "pushq %%r12\n\t"
			 "popfq"
			 : "=a"(result), [after] "=&r"(*after)
			 : "a"(number), "D"(a), "S"(b), [flags] "r"(flags)
			 : "rcx", "r11", "r12", "memory", "cc");
	return result;
}

static _Atomic int stop;

static void *compute(void *argument)
{
	while (!stop)
		__asm__ volatile("pause");
	return argument;
}

/* Another thread computes: going back to it is a return from an interruption. */
static void flags(void)
{
	static const unsigned long all[] = { FLAG_DF, FLAG_ID, FLAG_AC, FLAG_NT };
	struct timespec pause = { .tv_nsec = 3000000 };
	static char name[sizeof(struct utsname) + 1];
	unsigned long after;
	pthread_t thread;

	if (pthread_create(&thread, NULL, compute, NULL))
		exit(1);
	usleep(20000);
	for (int i = 0; i < 4; i++) {
		long result = call_with_flags(SYS_getppid, 0, 0, all[i], &after);

		printf("getppid %ld, flag %d\n", result, !!(after & all[i]));
		/* The kernel's own accesses are not all aligned. */
		result = call_with_flags(SYS_uname, (long)(name + 1), 0, all[i], &after);
		printf("uname %ld, flag %d\n", result, !!(after & all[i]));
		for (int n = 0; n < 5; n++) {
			result = call_with_flags(SYS_sched_yield, 0, 0, all[i], &after);
			if (result || !(after & all[i]))
				printf("yield %ld, flag %d\n", result, !!(after & all[i]));
			result = call_with_flags(SYS_nanosleep, (long)&pause, 0, all[i], &after);
			if (result || !(after & all[i]))
				printf("sleep %ld, flag %d\n", result, !!(after & all[i]));
		}
	}
	stop = 1;
	pthread_join(thread, NULL);
	puts("ok");
}

int main(int argc, char **argv)
{
	const char *test = argc > 1 ? argv[1] : "";

	if (!strcmp(test, "stack"))
		stacks();
	else if (!strcmp(test, "nowhere"))
		nowhere();
	else if (!strcmp(test, "flags"))
		flags();
	else
		addresses(argc > 1 ? test : NULL);
	return 0;
}
