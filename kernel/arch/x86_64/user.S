/*
 * Access to the program's memory. An exception between pg_user_code_start and
 * pg_user_code_end makes the function that was called return -EFAULT: so these use no
 * stack but for their return address.
 */
#include "arch/x86_64/function.inc"

#define EFAULT 14

	.text
	.globl pg_user_code_start, pg_user_code_end
	.hidden pg_user_code_start, pg_user_code_end
pg_user_code_start:

/* int pg_user_copy(void *to, const void *from, size_t length) */
FUNCTION pg_user_copy
	movq %rdx, %rcx
	rep movsb
	xorl %eax, %eax
	ret

/*
 * int64_t pg_user_copy_string(char *to, const char *from, size_t size): copies up to and
 * including the terminating zero: its length, or `size` when there is none.
 */
FUNCTION pg_user_copy_string
	xorl %eax, %eax
1:	cmpq %rdx, %rax
	je 2f
	movb (%rsi,%rax), %cl
	movb %cl, (%rdi,%rax)
	testb %cl, %cl
	je 2f
	incq %rax
	jmp 1b
2:	ret

/* int pg_user_load(const uint32_t *from, uint32_t *old) */
FUNCTION pg_user_load
	movl (%rdi), %eax
	movl %eax, (%rsi)
	xorl %eax, %eax
	ret

/* int pg_user_cas(uint32_t *at, uint32_t expected, uint32_t desired, uint32_t *old) */
FUNCTION pg_user_cas
	movl %esi, %eax
	movq %rcx, %rsi
	lock cmpxchgl %edx, (%rdi)
	movl %eax, (%rsi)
	xorl %eax, %eax
	ret

/* int pg_user_xchg(uint32_t *at, uint32_t desired, uint32_t *old) */
FUNCTION pg_user_xchg
	xchgl %esi, (%rdi)
	movl %esi, (%rdx)
	xorl %eax, %eax
	ret

/*
 * Vector registers. Not only a fault at the address ends these, also what the processor
 * refuses to load, or an address that is not aligned.
 *
 * int pg_user_xsave(void *to, uint32_t low, uint32_t high)
 */
FUNCTION pg_user_xsave
	movl %esi, %eax
	xsave64 (%rdi)
	xorl %eax, %eax
	ret

/* int pg_user_xrstor(const void *from, uint32_t low, uint32_t high) */
FUNCTION pg_user_xrstor
	movl %esi, %eax
	xrstor64 (%rdi)
	xorl %eax, %eax
	ret

/* int pg_user_fxrstor(const void *from) */
FUNCTION pg_user_fxrstor
	fxrstor64 (%rdi)
	xorl %eax, %eax
	ret

pg_user_code_end:

FUNCTION pg_user_fault
	movq $-EFAULT, %rax
	ret

	.section .note.GNU-stack, "", @progbits
