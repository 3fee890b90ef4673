/*
 * The nub's handler for wake-ups, run in this process. It ends with an iretq to CPL0, which is
 * refused here: the signal then tells what it would have returned to.
 */
#include <criterion/criterion.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "abi/layout.h"
#include "abi/vcpu.h"

extern const uint8_t uhyve_nub_start[], uhyve_nub_end[];
extern const uint16_t uhyve_nub_entries[PG_VECTORS];

#define EOI      0xb0 /* of the APIC's registers                            */
#define DISTANCE (PG_VA_VCPU - PG_VA_NUB)
#define ALIGN    0x10000ul

/* What an interrupt pushes. */
struct frame {
	uint64_t rip, cs, rflags, rsp, ss;
};

static uint8_t *nub; /* the nub's block; the vCPU's shared one lies DISTANCE above */
static struct pg_vcpu *shared;
static struct frame frame __attribute__((aligned(16)));
static uint64_t halt; /* offset of the hlt                                  */

static sigjmp_buf back;
static struct frame returned;
static uint8_t alternate[65536];

/* At the iretq, its frame on the stack; or behind it, where there is no code. */
static void on_fault(int signal, siginfo_t *info, void *context)
{
	const greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;

	if (regs[REG_RSP] == (greg_t)&frame)
		returned = frame;
	else
		returned = (struct frame){ .rip = (uint64_t)regs[REG_RIP],
					   .rsp = (uint64_t)regs[REG_RSP] };
	siglongjmp(back, 1);
}

static void set_up(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };
	size_t size = (size_t)(uhyve_nub_end - uhyve_nub_start);

	uint8_t *memory = mmap(NULL, DISTANCE + 2 * ALIGN, PROT_READ | PROT_WRITE | PROT_EXEC,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	cr_assert_neq(memory, MAP_FAILED);
	nub = (uint8_t *)(((uintptr_t)memory + ALIGN - 1) & ~(ALIGN - 1));
	memcpy(nub + PG_NUB_CODE, uhyve_nub_start, size);
	shared = (struct pg_vcpu *)(nub + DISTANCE);

	const uint8_t *at = memmem(uhyve_nub_start, size, "\xfb\xf4", 2); /* sti; hlt */
	cr_assert(at);
	halt = (uint64_t)(at - uhyve_nub_start) + 1;
	cr_assert_eq(sigaltstack(&stack, NULL), 0);
	cr_assert_eq(sigaction(SIGSEGV, &action, NULL), 0);
	cr_assert_eq(sigaction(SIGBUS, &action, NULL), 0);
}

/* A wake-up that arrives at `rip`: where the handler returns to. */
static uint64_t wake(uint64_t rip, uint16_t cs, uint16_t ss)
{
	uint32_t *eoi = (uint32_t *)(nub + PG_NUB_APIC + EOI);

	frame = (struct frame){ .rip = rip, .cs = cs, .rflags = 0x202, .rsp = 0x7000, .ss = ss };
	*eoi = 0xffffffff;
	shared->pending = 0;
	if (!sigsetjmp(back, 1)) {
		__asm__ volatile("movq %0, %%rsp\n\t"
				 "jmpq *%1"
				 :
				 : "r"(&frame), "r"(nub + uhyve_nub_entries[PG_VECTOR_WAKE])
				 : "memory");
		__builtin_unreachable();
	}
	cr_expect_eq(shared->pending, 1);
	cr_expect_eq(*eoi, 0, "no end of interrupt");
	cr_expect_eq(returned.rsp, 0x7000);
	return returned.rip;
}

Test(nub, a_wake_up_goes_on_where_it_arrived, .init = set_up)
{
	uint64_t code = (uint64_t)nub;

	cr_assert_eq(wake(code + halt - 1, PG_SEL_KCODE, 0), code + halt - 1);
	cr_assert_eq(wake(code + halt + 1, PG_SEL_KCODE, 0), code + halt + 1);
	cr_assert_eq(wake(code, PG_SEL_KCODE, 0), code);
}

/* As an emulated processor delivers it, that forgets the interrupt shadow of sti. */
Test(nub, a_wake_up_before_the_halt_goes_on_behind_it, .init = set_up)
{
	uint64_t code = (uint64_t)nub;

	cr_assert_eq(wake(code + halt, PG_SEL_KCODE, 0), code + halt + 1);
}

/* A program's address may end in the same bits. (The iretq succeeds: nothing is there.) */
Test(nub, a_program_goes_on_where_it_was, .init = set_up)
{
	uint16_t cs, ss;

	__asm__("movw %%cs, %0\n\tmovw %%ss, %1" : "=r"(cs), "=r"(ss));
	cr_assert_eq(wake(0x5550000 + halt, cs, ss), 0x5550000 + halt);
}
