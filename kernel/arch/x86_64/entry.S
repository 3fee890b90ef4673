/*
 * Into and out of user code. All of it runs at CPL3: the kernel and the program are
 * on the same side of the VM's border, so these are jumps and stack switches.
 *
 * While a thread runs, gs:PG_VCPU_KSTACK holds the kernel's stack pointer inside
 * pg_arch_run_*, and gs:PG_VCPU_THREAD the thread. A system call continues on that stack,
 * below that frame; leaving user code for good is a return from pg_arch_run_*.
 */
#include "abi/layout.h"
#include "abi/vcpu.h"
#include "fault.h"
#include "arch/x86_64/function.inc"

/* struct pg_regs, at offset 0 of struct pg_thread. */
#define RAX 0
#define RBX 8
#define RCX 16
#define RDX 24
#define RSI 32
#define RDI 40
#define RBP 48
#define RSP 56
#define R8 64
#define R9 72
#define R10 80
#define R11 88
#define R12 96
#define R13 104
#define R14 112
#define R15 120
#define RIP 128
#define RFLAGS 136

/* enum pg_trap */
#define TRAP_SYSCALL 0
#define TRAP_PENDING 1
#define TRAP_EXCEPTION 2
#define TRAP_INTERRUPT 3

/* struct pg_thread */
#define THREAD_CONTEXT 144

#define FLAG_AC 0x40000
#define FLAG_NT 0x4000

/* Linux's numbers. */
#define SYS_MMAP 9
#define SYS_MPROTECT 10
#define SYS_MUNMAP 11
#define SYS_MADVISE 28
#define SYS_EXIT 60

/* struct pg_frame, from the vCPU's block. */
#define FRAME (PG_VCPU_FRAME + PG_PAGE_SIZE - PG_FRAME_SIZE)
#define FRAME_RAX (FRAME + 8)
#define FRAME_RIP (FRAME + 32)
#define FRAME_RFLAGS (FRAME + 48)

	.text
	.macro SAVE_ALL_BUT_RAX to
	movq %rbx, RBX(\to)
	movq %rdx, RDX(\to)
	movq %rsi, RSI(\to)
	movq %rdi, RDI(\to)
	movq %rbp, RBP(\to)
	movq %r8, R8(\to)
	movq %r9, R9(\to)
	movq %r10, R10(\to)
	movq %r12, R12(\to)
	movq %r13, R13(\to)
	movq %r14, R14(\to)
	movq %r15, R15(\to)
	.endm

/*
 * The image's entry point, for every vCPU: rdi = boot information, rsi = index; stack
 * and GS base are set.
 */
	.globl pg_entry
	.type pg_entry, @function
pg_entry:
	xorl %ebp, %ebp			/* backtraces end here */
	subq $8, %rsp			/* aligned for the call */
	call pg_boot_vcpu
	ud2

	.macro PUSH_CALLEE_SAVED
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	.endm

	.macro POP_CALLEE_SAVED
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	.endm

	/* Callee-saved registers, and 8 bytes so that calls from here find rsp aligned. */
	.macro ENTER_USER
	PUSH_CALLEE_SAVED
	subq $8, %rsp
	movq %rsp, %gs:PG_VCPU_KSTACK
	movq %rdi, %gs:PG_VCPU_THREAD
	movq RBX(%rdi), %rbx
	movq RBP(%rdi), %rbp
	movq R12(%rdi), %r12
	movq R13(%rdi), %r13
	movq R14(%rdi), %r14
	movq R15(%rdi), %r15
	.endm

	.macro LEAVE_USER trap
	movl $\trap, %eax
	addq $8, %rsp
	POP_CALLEE_SAVED
	ret
	.endm

/*
 * enum pg_trap pg_arch_run_full(struct pg_thread *thread): run user code with all registers
 * as they are in the thread. iretq within CPL3 loads flags, stack and rip at once, and
 * touches no memory below the program's stack pointer (the red zone).
 */
FUNCTION pg_arch_run_full
	ENTER_USER
	pushq $PG_SEL_UDATA
	pushq RSP(%rdi)
	pushq RFLAGS(%rdi)
	pushq $PG_SEL_UCODE
	pushq RIP(%rdi)
	pushq $2			/* iretq faults if a system call's caller had set NT */
	popfq
	movq RAX(%rdi), %rax
	movq RCX(%rdi), %rcx
	movq RDX(%rdi), %rdx
	movq RSI(%rdi), %rsi
	movq R8(%rdi), %r8
	movq R9(%rdi), %r9
	movq R10(%rdi), %r10
	movq R11(%rdi), %r11
	movq RDI(%rdi), %rdi
	iretq

/*
 * enum pg_trap pg_arch_run_syscall(struct pg_thread *thread): the same after a system call,
 * where rcx and r11 are not preserved.
 */
FUNCTION pg_arch_run_syscall
	ENTER_USER
	movq %rdi, %rcx
	/* falls through */

/* rcx = thread; callee-saved registers are the program's already. */
return_to_user:
	movq RAX(%rcx), %rax
	movq RDX(%rcx), %rdx
	movq RSI(%rcx), %rsi
	movq RDI(%rcx), %rdi
	movq R8(%rcx), %r8
	movq R9(%rcx), %r9
	movq R10(%rcx), %r10
	movq RFLAGS(%rcx), %r11
	pushq %r11
	popfq				/* rsp is still the kernel's */
	movq RSP(%rcx), %rsp
	movq RIP(%rcx), %rcx
	jmp *%rcx

	/*
	 * rcx = return address, r11 = flags, PG_VCPU_USER_RSP = stack pointer, the rest is the
	 * program's: to the thread, which is in rcx then. One slot of stack is used.
	 */
	.macro SAVE_SYSCALL
	pushq %rcx
	movq %gs:PG_VCPU_THREAD, %rcx
	movq %rax, RAX(%rcx)
	SAVE_ALL_BUT_RAX %rcx
	popq RIP(%rcx)
	movq %r11, RFLAGS(%rcx)
	movq %gs:PG_VCPU_USER_RSP, %rax
	movq %rax, RSP(%rcx)
	cld
	/*
	 * The kernel's accesses, and those of what the executor runs next, need not be aligned,
	 * and popfq is dear: only if it must be.
	 */
	testl $FLAG_AC | FLAG_NT, %r11d
	jz .Lplain\@
	pushq $2
	popfq
.Lplain\@:
	.endm

/*
 * System calls. The first entry is for hosts where `syscall` went to CPL0: the nub's stub
 * left the return address in the vCPU's block. rcx = return address, r11 = flags, the rest,
 * rsp included, is the program's.
 */
FUNCTION pg_arch_syscall0
	movq %gs:PG_VCPU_USER_RIP, %rcx
	/* falls through */

FUNCTION pg_arch_syscall
	movq %rsp, %gs:PG_VCPU_USER_RSP
	movq %gs:PG_VCPU_KSTACK, %rsp
	SAVE_SYSCALL
	movq %rcx, %rdi
	call pg_syscall_enter
	movq %gs:PG_VCPU_THREAD, %rcx
	testb %al, %al
	jnz return_to_user
	LEAVE_USER TRAP_PENDING

/* The same where every call returns to the executor (PG_DISPATCH_RETURN). */
FUNCTION pg_arch_syscall_return0
	movq %gs:PG_VCPU_USER_RIP, %rcx
	/* falls through */

FUNCTION pg_arch_syscall_return
	movq %rsp, %gs:PG_VCPU_USER_RSP
	movq %gs:PG_VCPU_KSTACK, %rsp
	SAVE_SYSCALL
	LEAVE_USER TRAP_SYSCALL

/*
 * The same where a call is polled on the program's stack (PG_DISPATCH_STACK), below the red
 * zone, and only PENDING exchanges contexts. Not so the calls that may take the stack away:
 * a thread unmaps its own, or ends, and whoever joins it unmaps it.
 */
FUNCTION pg_arch_syscall_stack0
	movq %gs:PG_VCPU_USER_RIP, %rcx
	/* falls through */

FUNCTION pg_arch_syscall_stack
	.irp number, SYS_MMAP, SYS_MPROTECT, SYS_MUNMAP, SYS_MADVISE, SYS_EXIT
	cmpq $\number, %rax
	je pg_arch_syscall
	.endr
	movq %rsp, %gs:PG_VCPU_USER_RSP
	subq $128, %rsp
	andq $-16, %rsp
	SAVE_SYSCALL
	movq %rcx, %rdi
	call pg_syscall_enter_stack
	movq %gs:PG_VCPU_THREAD, %rcx
	testb %al, %al
	jnz return_to_user
	movq %gs:PG_VCPU_KSTACK, %rsp
	LEAVE_USER TRAP_PENDING

/*
 * void pg_arch_exchange(struct pg_thread *thread): leave what runs on the program's stack as it
 * is, and return TRAP_PENDING from pg_arch_run_*. pg_arch_run_context comes back here.
 */
FUNCTION pg_arch_exchange
	PUSH_CALLEE_SAVED
	movq %rsp, THREAD_CONTEXT(%rdi)
	movq %gs:PG_VCPU_KSTACK, %rsp
	LEAVE_USER TRAP_PENDING

/* enum pg_trap pg_arch_run_context(struct pg_thread *thread) */
FUNCTION pg_arch_run_context
	PUSH_CALLEE_SAVED
	subq $8, %rsp
	movq %rsp, %gs:PG_VCPU_KSTACK
	movq %rdi, %gs:PG_VCPU_THREAD
	movq THREAD_CONTEXT(%rdi), %rsp
	POP_CALLEE_SAVED
	ret

	/*
	 * From user code that was interrupted, with the program's registers but for the three whose
	 * values are in the vCPU's block: all to the thread, which is in rax then; kernel's stack.
	 */
	.macro LEAVE_INTERRUPTED rax, rip, rflags
	movq %gs:PG_VCPU_THREAD, %rax
	SAVE_ALL_BUT_RAX %rax
	movq %rcx, RCX(%rax)
	movq %r11, R11(%rax)
	movq %rsp, RSP(%rax)
	movq %gs:\rax, %rcx
	movq %rcx, RAX(%rax)
	movq %gs:\rip, %rcx
	movq %rcx, RIP(%rax)
	movq %gs:\rflags, %rcx
	movq %rcx, RFLAGS(%rax)
	movq %gs:PG_VCPU_KSTACK, %rsp
	cld
	.endm

/*
 * Exceptions. All registers but rax are as they were; the rest is in the frame that the
 * nub left, which is copied before anything here could fault again.
 */
FUNCTION pg_arch_upcall
	/*
	 * In user.S a fault is a result, whatever the stack: on PG_DISPATCH_STACK that is the
	 * program's. Below rsp nothing may be written yet: rcx goes to the vCPU's block.
	 */
	movq %rcx, %gs:PG_VCPU_SCRATCH
	movq %gs:FRAME_RIP, %rax
	leaq pg_user_code_start(%rip), %rcx
	cmpq %rcx, %rax
	jb 1f
	leaq pg_user_code_end(%rip), %rcx
	cmpq %rcx, %rax
	jae 1f
	movq %gs:PG_VCPU_SCRATCH, %rcx
	jmp pg_user_fault

	/* In the kernel? Then rsp is on this vCPU's kernel stack, inside its block. */
1:	movq %gs:PG_VCPU_SCRATCH, %rcx
	movq %rsp, %rax
	subq %gs:PG_VCPU_SELF, %rax
	cmpq $PG_VCPU_STRIDE, %rax
	jb upcall_in_kernel

	LEAVE_INTERRUPTED FRAME_RAX, FRAME_RIP, FRAME_RFLAGS
	movq %rax, %rdi
	call pg_arch_exception		/* copies vector, error and address */
	LEAVE_USER TRAP_EXCEPTION

/* A bug, or a fault in the program's task. The stack is not touched: it may be full. */
upcall_in_kernel:
	movq %rsp, %gs:PG_VCPU_USER_RSP
	movl %gs:PG_VCPU_INDEX, %eax
	incl %eax
	shll $PG_FAULT_SHIFT, %eax
	leaq pg_arch_fault_stacks(%rip), %rsp
	leaq -PG_REGS_SIZE(%rsp,%rax), %rsp
	SAVE_ALL_BUT_RAX %rsp
	movq %rcx, RCX(%rsp)
	movq %r11, R11(%rsp)
	movq %gs:FRAME_RAX, %rax
	movq %rax, RAX(%rsp)
	movq %gs:PG_VCPU_USER_RSP, %rax
	movq %rax, RSP(%rsp)
	movq %gs:FRAME_RIP, %rax
	movq %rax, RIP(%rsp)
	movq %gs:FRAME_RFLAGS, %rax
	movq %rax, RFLAGS(%rsp)
	cld
	movq %rsp, %rdi
	call pg_arch_kernel_exception
	ud2

/*
 * Pre-emption: the nub comes here from user code only (see abi/vcpu.h). All registers but rax
 * are as they were. Until user code runs again the nub writes none of these words.
 */
FUNCTION pg_arch_preempted
	LEAVE_INTERRUPTED PG_VCPU_PREEMPT_RAX, PG_VCPU_PREEMPT_RIP, PG_VCPU_PREEMPT_RFLAGS
	LEAVE_USER TRAP_INTERRUPT

	.section .note.GNU-stack, "", @progbits
