/*
 * The nub's code: see src/nub.h. Copied to the page PG_NUB_CODE of each vCPU.
 *
 * On kvm_pvm each instruction here is emulated (~1,700 cycles), so what happens
 * often (interrupts, halting) is kept to a handful. Nothing here trusts a register:
 * data are found relative to the code's own address. Every vector has an interrupt
 * gate (IF clear on entry) and an IST stack.
 */
#include "abi/layout.h"
#include "abi/vcpu.h"

/* A field of this vCPU's shared block; a page of its nub block. */
#define VCPU(offset) (uhyve_nub_start + (PG_VA_VCPU - PG_VA_NUB) + (offset))(%rip)
#define NUB(offset)  (uhyve_nub_start + (offset))(%rip)

#define APIC_EOI (PG_NUB_APIC + 0xb0) /* SDM vol. 3, table 11-1 */

	.section .rodata.nub, "a", @progbits
	.globl uhyve_nub_start, uhyve_nub_end, uhyve_nub_entries
	.hidden uhyve_nub_start, uhyve_nub_end, uhyve_nub_entries
	.balign 64
uhyve_nub_start:

/* ---- interrupts (IST2) ---- */
/*
 * A processor takes no interrupt between nub_breakpoint's sti and its hlt. An emulated one
 * may (docs/hosts.md), and would halt with the wake-up behind it. So a wake-up that finds
 * the vCPU there goes on behind the hlt. The nub is aligned to PG_VCPU_STRIDE: 16 bits of
 * rip tell. CPL3 has addresses of its own that end in them.
 */
nub_wake:
	movl $1, VCPU(PG_VCPU_PENDING)
	cmpw $(nub_halt - uhyve_nub_start), (%rsp)
	je 2f
1:	movl $0, NUB(APIC_EOI)
	iretq
2:	testb $3, 8(%rsp)	/* cs */
	jnz 1b
	incw (%rsp)		/* hlt is one byte long */
	jmp 1b

/*
 * Was user code interrupted? Then hand over to the kernel's `preempted`, with rip, rflags and
 * rax in the block; the frame is turned into the way there. Else only set the flag: the
 * kernel runs, at CPL3 or through us, or the LSTAR stub. Each word of the block is read once,
 * since another vCPU may change it meanwhile.
 */
nub_preempt:
	testb $3, 8(%rsp)
	jz 2f
	pushq %rax			/* now: rip at 8, cs, rflags at 24, rsp at 32 */
	movabsq $PG_VA_USER_END, %rax
	cmpq %rax, 32(%rsp)
	jae 1f
	cmpq %rax, 8(%rsp)
	jae 1f
	movq 8(%rsp), %rax
	cmpq VCPU(PG_VCPU_TEXT_END), %rax
	jae 3f
	cmpq VCPU(PG_VCPU_TEXT_START), %rax
	jae 1f
3:	movq VCPU(PG_VCPU_PREEMPTED), %rax
	testq %rax, %rax
	jz 1f
	xchgq %rax, 8(%rsp)
	movq %rax, VCPU(PG_VCPU_PREEMPT_RIP)
	movl $0x202, %eax		/* IF, and the bit that is always 1 */
	xchgq %rax, 24(%rsp)
	movq %rax, VCPU(PG_VCPU_PREEMPT_RFLAGS)
	popq %rax
	movq %rax, VCPU(PG_VCPU_PREEMPT_RAX)
	movl $0, NUB(APIC_EOI)
	iretq
1:	popq %rax
2:	movl $1, VCPU(PG_VCPU_PREEMPT)
	movl $0, NUB(APIC_EOI)
nub_ignore:			/* spurious interrupts have no end of interrupt */
	iretq

/* ---- int3 (IST1): the kernel asks to halt, or a plain breakpoint ---- */
nub_breakpoint:
	cmpl $1, VCPU(PG_VCPU_IDLE)
	jne 2f
	/* Interrupts are off: a wake that is not in `pending` yet can only come after sti. */
	cmpl $0, VCPU(PG_VCPU_PENDING)
	jne 1f
	sti			/* takes effect after the next instruction */
nub_halt:
	hlt
1:	iretq
2:	pushq $0
	pushq $3
	jmp nub_upcall

/* ---- exceptions (IST1) ---- */
	.macro EXCEPTION vector, has_error
nub_exception_\vector:
	.if !\has_error
	pushq $0
	.endif
	pushq $\vector
	jmp nub_upcall
	.endm

	EXCEPTION 0, 0		/* #DE */
	EXCEPTION 1, 0		/* #DB */
	EXCEPTION 4, 0		/* #OF */
	EXCEPTION 5, 0		/* #BR */
	EXCEPTION 6, 0		/* #UD */
	EXCEPTION 7, 0		/* #NM */
	EXCEPTION 10, 1		/* #TS */
	EXCEPTION 11, 1		/* #NP */
	EXCEPTION 12, 1		/* #SS */
	EXCEPTION 13, 1		/* #GP */
	EXCEPTION 14, 1		/* #PF */
	EXCEPTION 16, 0		/* #MF */
	EXCEPTION 17, 1		/* #AC */
	EXCEPTION 19, 0		/* #XM */
	EXCEPTION 20, 0		/* #VE */
	EXCEPTION 21, 1		/* #CP */

/*
 * Stack: vector, error, rip, cs, rflags, rsp, ss. Complete it to a struct pg_frame,
 * which the kernel reads through its read-only view of this page, and return to the
 * kernel's upcall with all other registers as they were (rsp too).
 */
nub_upcall:
	testb $3, 24(%rsp)
	jz nub_fatal
	pushq %rax
	movq %cr2, %rax
	pushq %rax
	movq 8(%rsp), %rax
	pushq $PG_SEL_UDATA
	pushq 64(%rsp)			/* rsp, one slot further up after the push */
	pushq $0x202			/* IF, and the bit that is always 1 */
	pushq $PG_SEL_UCODE
	pushq VCPU(PG_VCPU_UPCALL)
	iretq

/* ---- the nub itself went wrong, or #DF (IST3) ---- */
nub_fatal:
	movl $PG_CTL_NUB, NUB(PG_NUB_DEVICE + PG_DEV_CONTROL)
1:	cli
	hlt
	jmp 1b
uhyve_nub_end:

/* Offset of the handler of each vector; 0xffff: none. */
	.balign 8
uhyve_nub_entries:
	.macro ENTRY label
	.short \label - uhyve_nub_start
	.endm
	ENTRY nub_exception_0
	ENTRY nub_exception_1
	ENTRY nub_ignore	/* NMI */
	ENTRY nub_breakpoint
	ENTRY nub_exception_4
	ENTRY nub_exception_5
	ENTRY nub_exception_6
	ENTRY nub_exception_7
	ENTRY nub_fatal		/* #DF */
	.short 0xffff
	ENTRY nub_exception_10
	ENTRY nub_exception_11
	ENTRY nub_exception_12
	ENTRY nub_exception_13
	ENTRY nub_exception_14
	.short 0xffff
	ENTRY nub_exception_16
	ENTRY nub_exception_17
	ENTRY nub_fatal		/* #MC */
	ENTRY nub_exception_19
	ENTRY nub_exception_20
	ENTRY nub_exception_21
	.rept 10
	.short 0xffff
	.endr
	ENTRY nub_wake		/* PG_VECTOR_WAKE */
	ENTRY nub_preempt	/* PG_VECTOR_PREEMPT */
	.rept 13
	.short 0xffff
	.endr
	ENTRY nub_ignore	/* PG_VECTOR_SPURIOUS */

/* ---- the LSTAR stub: one page for all vCPUs, executable at both levels ----
 *
 * `syscall` left the return address in rcx and the flags in r11; every other register
 * is the program's. Which level are we at? There is no free register, but r11's flags
 * need 22 bits: make room for cs below them.
 *
 * At CPL0 the return address must go to memory the guest didn't choose: the kernel GS
 * base, which only CPL0 can change. sysretq takes the flags from r11, so they reach
 * the kernel's entry as they were, in r11 and in effect.
 */
	.globl uhyve_lstar_start, uhyve_lstar_end
	.hidden uhyve_lstar_start, uhyve_lstar_end
	.balign 64
uhyve_lstar_start:
	shlq $16, %r11
	movw %cs, %r11w
	testb $3, %r11b
	jz 1f
	shrq $16, %r11
	jmp *%gs:PG_VCPU_SYSCALL
1:	shrq $16, %r11
	swapgs
	movq %rcx, %gs:PG_VCPU_USER_RIP
	movq %gs:PG_VCPU_SYSCALL0, %rcx
	swapgs
	sysretq
uhyve_lstar_end:

	.section .note.GNU-stack, "", @progbits
