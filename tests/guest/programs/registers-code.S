/*
 * void registers_round(struct registers *registers): loads all registers with what is there,
 * does nothing for a while, and stores them. The stack pointer is inside the struct meanwhile,
 * and everything is found by it; below it is a red zone. All but a few instructions of each
 * iteration have all values in their registers. See registers.h for the layout.
 */
#include "registers.h"

	/* A field, from rdi, and from the stack pointer. */
#define FROM_RDI(field) field(%rdi)
#define FROM_RSP(field) (field - STACK_TOP)(%rsp)

	.text
	.globl registers_round
	.type registers_round, @function
registers_round:
	.irp register, rbp, rbx, r12, r13, r14, r15
	pushq %\register
	.endr
	rdfsbase %rax
	movq %rax, FROM_RDI(SAVED_FS)
	movq %rsp, FROM_RDI(SAVED_RSP)

	fxrstor64 FROM_RDI(FX_IN)
	cmpl $1, FROM_RDI(LEVEL)
	jb 2f
	ja 1f
	.irp register, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu (VECTOR_IN + 64 * \register)(%rdi), %ymm\register
	.endr
	jmp 2f
1:	.irp register, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu64 (VECTOR_IN + 64 * \register)(%rdi), %zmm\register
	.endr
	.irp register, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	vmovdqu64 (VECTOR_IN + 64 * \register)(%rdi), %zmm\register
	.endr
	.irp register, 0, 1, 2, 3, 4, 5, 6, 7
	kmovq (MASK_IN + 8 * \register)(%rdi), %k\register
	.endr

2:	movq FROM_RDI(FS_IN), %rax
	wrfsbase %rax
	leaq (STACK_TOP - 512)(%rdi), %rsp
	pushq FROM_RDI(FLAGS_IN)
	popfq				/* no instruction from here on changes flags */
	leaq STACK_TOP(%rdi), %rsp
	movq (GENERAL_IN + 0)(%rdi), %rax
	movq (GENERAL_IN + 8)(%rdi), %rbx
	movq (GENERAL_IN + 16)(%rdi), %rcx
	movq (GENERAL_IN + 24)(%rdi), %rdx
	movq (GENERAL_IN + 32)(%rdi), %rsi
	movq (GENERAL_IN + 48)(%rdi), %rbp
	movq (GENERAL_IN + 64)(%rdi), %r8
	movq (GENERAL_IN + 72)(%rdi), %r9
	movq (GENERAL_IN + 80)(%rdi), %r10
	movq (GENERAL_IN + 88)(%rdi), %r11
	movq (GENERAL_IN + 96)(%rdi), %r12
	movq (GENERAL_IN + 104)(%rdi), %r13
	movq (GENERAL_IN + 112)(%rdi), %r14
	movq (GENERAL_IN + 120)(%rdi), %r15
	movq (GENERAL_IN + 40)(%rdi), %rdi

spin:	movq %rcx, FROM_RSP(SAVED_RCX)
	movq FROM_RSP(SPINS), %rcx
	leaq -1(%rcx), %rcx
	movq %rcx, FROM_RSP(SPINS)
	jrcxz 3f
	movq FROM_RSP(SAVED_RCX), %rcx
	jmp 4f
3:	movq FROM_RSP(SAVED_RCX), %rcx
	jmp over
4:	.rept 1000
	nop
	.endr
	jmp spin

over:	movq %rax, (GENERAL_OUT - STACK_TOP + 0)(%rsp)
	movq %rbx, (GENERAL_OUT - STACK_TOP + 8)(%rsp)
	movq %rcx, (GENERAL_OUT - STACK_TOP + 16)(%rsp)
	movq %rdx, (GENERAL_OUT - STACK_TOP + 24)(%rsp)
	movq %rsi, (GENERAL_OUT - STACK_TOP + 32)(%rsp)
	movq %rdi, (GENERAL_OUT - STACK_TOP + 40)(%rsp)
	movq %rbp, (GENERAL_OUT - STACK_TOP + 48)(%rsp)
	movq %rsp, (GENERAL_OUT - STACK_TOP + 56)(%rsp)
	movq %r8, (GENERAL_OUT - STACK_TOP + 64)(%rsp)
	movq %r9, (GENERAL_OUT - STACK_TOP + 72)(%rsp)
	movq %r10, (GENERAL_OUT - STACK_TOP + 80)(%rsp)
	movq %r11, (GENERAL_OUT - STACK_TOP + 88)(%rsp)
	movq %r12, (GENERAL_OUT - STACK_TOP + 96)(%rsp)
	movq %r13, (GENERAL_OUT - STACK_TOP + 104)(%rsp)
	movq %r14, (GENERAL_OUT - STACK_TOP + 112)(%rsp)
	movq %r15, (GENERAL_OUT - STACK_TOP + 120)(%rsp)
	leaq -512(%rsp), %rsp
	pushfq
	popq %rax
	pushq $2			/* as the C compiler expects them */
	popfq
	leaq 512(%rsp), %rsp
	leaq -STACK_TOP(%rsp), %rdi
	movq %rax, FROM_RDI(FLAGS_OUT)
	rdfsbase %rax
	movq %rax, FROM_RDI(FS_OUT)
	fxsave64 FROM_RDI(FX_OUT)
	cmpl $1, FROM_RDI(LEVEL)
	jb 2f
	ja 1f
	.irp register, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu %ymm\register, (VECTOR_OUT + 64 * \register)(%rdi)
	.endr
	vzeroupper
	jmp 2f
1:	.irp register, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu64 %zmm\register, (VECTOR_OUT + 64 * \register)(%rdi)
	.endr
	.irp register, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	vmovdqu64 %zmm\register, (VECTOR_OUT + 64 * \register)(%rdi)
	.endr
	.irp register, 0, 1, 2, 3, 4, 5, 6, 7
	kmovq %k\register, (MASK_OUT + 8 * \register)(%rdi)
	.endr
	vzeroupper
2:	movq FROM_RDI(SAVED_FS), %rax
	wrfsbase %rax
	movq FROM_RDI(SAVED_RSP), %rsp
	fninit
	ldmxcsr usual_mxcsr(%rip)
	.irp register, r15, r14, r13, r12, rbx, rbp
	popq %\register
	.endr
	ret

	.section .rodata
	.balign 4
usual_mxcsr:
	.long 0x1f80

	.section .note.GNU-stack, "", @progbits
