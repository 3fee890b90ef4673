/*
 * The block a vCPU shares with the nub and with the loader (read-write for the
 * guest, so nothing in it is trusted by either), and the frame the nub leaves
 * for the kernel when it turns an exception into an upcall.
 */
#ifndef PG_ABI_VCPU_H
#define PG_ABI_VCPU_H

#include "layout.h"

/* Offsets the nub's and the kernel's assembly use; asserted below. */
#define PG_VCPU_SELF           0x00
#define PG_VCPU_IDLE           0x08
#define PG_VCPU_PENDING        0x0c
#define PG_VCPU_PREEMPT        0x10
#define PG_VCPU_USER_RIP       0x18
#define PG_VCPU_UPCALL         0x20
#define PG_VCPU_SYSCALL        0x28
#define PG_VCPU_SYSCALL0       0x30
#define PG_VCPU_KSTACK         0x38
#define PG_VCPU_THREAD         0x40
#define PG_VCPU_USER_RSP       0x48
#define PG_VCPU_PREEMPTED      0x50
#define PG_VCPU_PREEMPT_RIP    0x58
#define PG_VCPU_PREEMPT_RFLAGS 0x60
#define PG_VCPU_PREEMPT_RAX    0x68
#define PG_VCPU_TEXT_START     0x70
#define PG_VCPU_TEXT_END       0x78
#define PG_VCPU_SCRATCH        0x80

/* Offsets into the upcall frame, from the top of the exception stack down. */
#define PG_FRAME_SIZE 72 /* bytes below the top of page PG_NUB_EXC          */

#ifndef __ASSEMBLER__
#include <stddef.h>
#include <stdint.h>

#include "ring.h"

/* What the processor and the nub pushed, lowest address first. */
struct pg_frame {
	uint64_t cr2; /* page faults: the address                           */
	uint64_t rax; /* scratch of the nub: rax at the exception           */
	uint64_t vector;
	uint64_t error;
	uint64_t rip;
	uint64_t cs;
	uint64_t rflags;
	uint64_t rsp;
	uint64_t ss;
};

_Static_assert(sizeof(struct pg_frame) == PG_FRAME_SIZE, "what the nub pushes");

/* Registers at a fault, in the order of the fault report. */
struct pg_regs {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rip, rflags;
};

/* PG_CTL_FAULT: why the program ends. */
struct pg_fault {
	uint32_t signal;  /* Linux number                                    */
	uint32_t vector;  /* exception; UINT32_MAX: the program's own signal  */
	uint64_t error;   /* the processor's error code                      */
	uint64_t address; /* page faults: the address accessed              */
	uint64_t thread;  /* thread id                                       */
	uint64_t fs_base;
	struct pg_regs regs;
};

/* What the kernel counts; the loader adds them up for --stats. */
struct pg_counters {
	uint64_t polls;    /* futures polled by the executor             */
	uint64_t switches; /* a thread resumed after another one ran     */
	uint64_t syscalls;
	uint64_t pending; /* system calls that were not ready at once   */
	uint64_t unknown; /* system calls answered ENOSYS               */
	uint64_t hypercalls;
	uint64_t doorbells;
	uint64_t parks;       /* entered the nub to halt                    */
	uint64_t spins;       /* waits that ended while spinning            */
	uint64_t kicks;       /* interrupts sent to other vCPUs             */
	uint64_t exceptions;  /* upcalls                                    */
	uint64_t tasks;       /* tasks spawned                              */
	uint64_t steals;      /* tasks taken over from other vCPUs          */
	uint64_t preemptions; /* user code left because of PG_VECTOR_PREEMPT */
};

struct pg_vcpu {
	uint64_t self; /* PG_VA_VCPU + i * stride: what GSBASE points at    */

	/* Nub protocol: see nub.S. Written by kernel (idle) and nub (others). */
	volatile uint32_t idle;    /* 1: the kernel asks to halt           */
	volatile uint32_t pending; /* 1: a wake interrupt has arrived      */
	volatile uint32_t preempt; /* 1: a preempt interrupt has arrived   */
	uint32_t index;            /* which vCPU this is                   */
	uint64_t user_rip;         /* left by the LSTAR stub at CPL0       */
	uint64_t upcall;           /* kernel entry: exception upcall       */
	uint64_t syscall;          /* kernel entry: return address in rcx  */
	uint64_t syscall0;         /* kernel entry: return address in user_rip */

	/* The kernel's own: neither nub nor loader read these. */
	uint64_t kstack;   /* stack pointer of the executor's frame        */
	uint64_t thread;   /* what runs, or ran last                       */
	uint64_t user_rsp; /* scratch of the system call entry             */

	/*
	 * Pre-emption. The nub hands over to `preempted` only where user code was
	 * interrupted: at CPL3, with rip and rsp below PG_VA_USER_END, and rip outside
	 * [text_start, text_end), the kernel's code. Then what was interrupted is in
	 * the three words below, all other registers are as they were. Elsewhere it
	 * sets `preempt`, and the kernel looks at that before it goes back to user code.
	 */
	uint64_t preempted;                                /* kernel entry             */
	uint64_t preempt_rip, preempt_rflags, preempt_rax; /* written by the nub   */
	uint64_t text_start, text_end;
	uint64_t scratch; /* the kernel's, where it has no stack to use       */

	_Alignas(64) struct pg_ring ring;

	/* Read by the loader at PG_CTL_*, and at the end. */
	int32_t exit_status;
	struct pg_fault fault;
	char message[256];
	struct pg_counters counters;
	uint64_t trace_head; /* events written to this vCPU's trace (trace.h) */
	/* TSC at: the kernel's first instruction, the program's entry, its end. */
	uint64_t tsc_entry, tsc_main, tsc_exit;
};

_Static_assert(offsetof(struct pg_vcpu, idle) == PG_VCPU_IDLE, "asm");
_Static_assert(offsetof(struct pg_vcpu, pending) == PG_VCPU_PENDING, "asm");
_Static_assert(offsetof(struct pg_vcpu, preempt) == PG_VCPU_PREEMPT, "asm");
_Static_assert(offsetof(struct pg_vcpu, user_rip) == PG_VCPU_USER_RIP, "asm");
_Static_assert(offsetof(struct pg_vcpu, upcall) == PG_VCPU_UPCALL, "asm");
_Static_assert(offsetof(struct pg_vcpu, syscall) == PG_VCPU_SYSCALL, "asm");
_Static_assert(offsetof(struct pg_vcpu, syscall0) == PG_VCPU_SYSCALL0, "asm");
_Static_assert(offsetof(struct pg_vcpu, kstack) == PG_VCPU_KSTACK, "asm");
_Static_assert(offsetof(struct pg_vcpu, thread) == PG_VCPU_THREAD, "asm");
_Static_assert(offsetof(struct pg_vcpu, user_rsp) == PG_VCPU_USER_RSP, "asm");
_Static_assert(offsetof(struct pg_vcpu, preempted) == PG_VCPU_PREEMPTED, "asm");
_Static_assert(offsetof(struct pg_vcpu, preempt_rip) == PG_VCPU_PREEMPT_RIP, "asm");
_Static_assert(offsetof(struct pg_vcpu, preempt_rflags) == PG_VCPU_PREEMPT_RFLAGS, "asm");
_Static_assert(offsetof(struct pg_vcpu, preempt_rax) == PG_VCPU_PREEMPT_RAX, "asm");
_Static_assert(offsetof(struct pg_vcpu, text_start) == PG_VCPU_TEXT_START, "asm");
_Static_assert(offsetof(struct pg_vcpu, text_end) == PG_VCPU_TEXT_END, "asm");
_Static_assert(offsetof(struct pg_vcpu, scratch) == PG_VCPU_SCRATCH, "asm");
_Static_assert(sizeof(struct pg_vcpu) <= PG_PAGE_SIZE, "one page");
#endif

#endif
