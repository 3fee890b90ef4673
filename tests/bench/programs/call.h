/*
 * A system call without the trap: a jump to where the processor's `syscall` would lead to. In a
 * Pagurus guest the kernel is in the same address space, at the same level, so what follows
 * is the same. It shows what of a call is the host's price for the trap, and what is ours.
 */
#ifndef CALL_H
#define CALL_H

#include <stdbool.h>
#include <string.h>
#include <sys/utsname.h>

#include "abi/vcpu.h"

/* Whether this is a Pagurus guest: elsewhere there is nothing to jump to. */
static inline bool call_possible(void)
{
	struct utsname name;

	return uname(&name) == 0 && strstr(name.release, "pagurus");
}

/* As syscall(2), but the result is the kernel's: a negative errno on failure. */
static inline long call_kernel(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	/* As after `syscall`: the return address in rcx, the flags in r11. */
	__asm__ volatile("leaq 1f(%%rip), %%rcx\n\t"
			 "movl $0x202, %%r11d\n\t"
			 "jmp *%%gs:%c[entry]\n"
			 "1:"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
			   "r"(r9), [entry] "i"(PG_VCPU_SYSCALL)
			 : "rcx", "r11", "memory", "cc");
	return result;
}

#endif
