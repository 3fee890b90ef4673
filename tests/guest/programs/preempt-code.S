/* preempt.c's assembly: code that is interrupted, and where the nub leads then. */
#include "abi/layout.h"
#include "abi/vcpu.h"

	.bss
	.balign 16
handler_stack:
	.skip 16384
handler_stack_top:

	.text
	.globl upcall, to_nowhere, to_registers, to_resume
upcall:
	lea handler_stack_top(%rip), %rsp
	cld
	call on_exception

to_nowhere:
	lea handler_stack_top(%rip), %rsp
	cld
	call on_nowhere

/*
 * Tell on_registers() what the registers are, in the order of struct pg_regs, and the flags.
 * Nowhere is the kernel's text here: so first of all, no further interruptions.
 */
to_registers:
	movq $0, %gs:PG_VCPU_PREEMPTED
	mov %rax, seen(%rip)
	mov %rbx, seen + 8(%rip)
	mov %rcx, seen + 16(%rip)
	mov %rdx, seen + 24(%rip)
	mov %rsi, seen + 32(%rip)
	mov %rdi, seen + 40(%rip)
	mov %rbp, seen + 48(%rip)
	mov %rsp, seen + 56(%rip)
	mov %r8, seen + 64(%rip)
	mov %r9, seen + 72(%rip)
	mov %r10, seen + 80(%rip)
	mov %r11, seen + 88(%rip)
	mov %r12, seen + 96(%rip)
	mov %r13, seen + 104(%rip)
	mov %r14, seen + 112(%rip)
	mov %r15, seen + 120(%rip)
	lea handler_stack_top(%rip), %rsp
	pushfq
	popq seen + 128(%rip)
	cld
	call on_registers

/* Back to what was interrupted, as a kernel does that has nothing else to run. */
to_resume:
	lea -128(%rsp), %rsp		/* the red zone */
	.irp register, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	push %\register
	.endr
	mov %rsp, %rbp
	and $-16, %rsp
	call on_resume
	mov %rbp, %rsp
	.irp register, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx
	pop %\register
	.endr
	pushq %gs:PG_VCPU_PREEMPT_RFLAGS
	popfq
	lea 128(%rsp), %rsp
	mov %gs:PG_VCPU_PREEMPT_RAX, %rax
	jmp *%gs:PG_VCPU_PREEMPT_RIP

/* The address at `registers_loop`, for ever: all registers hold a number of their own. */
	.globl run_registers, registers_loop
run_registers:
	mov $0x1101010101010111, %rax
	mov $0x1201010101010112, %rbx
	mov $0x1301010101010113, %rcx
	mov $0x1401010101010114, %rdx
	mov $0x1501010101010115, %rsi
	mov $0x1601010101010116, %rdi
	mov $0x1701010101010117, %rbp
	mov $0x1801010101010118, %r8
	mov $0x1901010101010119, %r9
	mov $0x1a0101010101011a, %r10
	mov $0x1b0101010101011b, %r11
	mov $0x1c0101010101011c, %r12
	mov $0x1d0101010101011d, %r13
	mov $0x1e0101010101011e, %r14
	mov $0x1f0101010101011f, %r15
	lea user_stack + 8192(%rip), %rsp
	std
	stc
registers_loop:
	jmp registers_loop

/* On the program's stack, or on the one that is given, until `preempt` is set. */
	.globl run_loop, run_loop_on, loop_end
run_loop:
	lea user_stack + 8192(%rip), %rdi
run_loop_on:
	push %rbp
	mov %rsp, %rbp
	mov %rdi, %rsp
1:	cmpl $0, %gs:PG_VCPU_PREEMPT
	je 1b
	mov %rbp, %rsp
loop_end:
	pop %rbp
	ret

/* The same, through the system call stub at CPL3: its kernel entry leads back here. */
	.globl run_stub, in_the_stub
run_stub:
	push %rbp
	mov %rsp, %rbp
	lea user_stack + 8192(%rip), %rsp
in_the_stub:
	cmpl $0, %gs:PG_VCPU_PREEMPT
	jne 1f
	movabs $PG_VA_LSTAR, %rax
	jmp *%rax
1:	mov %rbp, %rsp
	pop %rbp
	ret

/* compute(rdi), on the program's stack. */
	.globl compute_on_user_stack
compute_on_user_stack:
	push %rbp
	mov %rsp, %rbp
	lea user_stack + 16384(%rip), %rsp
	call compute
	mov %rbp, %rsp
	pop %rbp
	ret

	.section .note.GNU-stack, "", @progbits
