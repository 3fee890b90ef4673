/*
 * void interleave_switch(void **save, void *to)
 *
 * Keep the caller's registers and stack pointer in *save, and go on where `to` was saved. Only
 * what a function has to preserve is kept; no system call, unlike swapcontext().
 */
	.text
	.globl interleave_switch
	.type interleave_switch, @function
interleave_switch:
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, (%rdi)
	movq %rsi, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret
	.size interleave_switch, . - interleave_switch
	.section .note.GNU-stack, "", @progbits
