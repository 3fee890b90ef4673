/* Exceptions as signals: the numbers Linux has for them. */
#include "arch/x86_64/sigframe.h"
#include "sys/memory.h"
#include "thread/thread.h"

#define FPE_INTDIV  1
#define FPE_FLTDIV  3
#define FPE_FLTOVF  4
#define FPE_FLTUND  5
#define FPE_FLTRES  6
#define FPE_FLTINV  7
#define ILL_ILLOPN  2
#define TRAP_TRACE  2
#define BUS_ADRALN  1
#define SEGV_MAPERR 1
#define SEGV_ACCERR 2

#define PF_PRESENT 1 /* page-fault error code                              */

/* Which floating-point exception it was, of those that are reported (not masked). */
static int fpe_code(uint32_t reported)
{
	if (reported & 1)
		return FPE_FLTINV;
	if (reported & 4)
		return FPE_FLTDIV;
	if (reported & 8)
		return FPE_FLTOVF;
	if (reported & 0x12)
		return FPE_FLTUND;
	return reported & 0x20 ? FPE_FLTRES : 0;
}

/* The thread's registers are still in the processor. */
static int x87_code(void)
{
	uint16_t status, control;

	__asm__ volatile("fnstsw %0; fnstcw %1" : "=m"(status), "=m"(control));
	return fpe_code(status & ~control & 0x3fu);
}

static int sse_code(void)
{
	uint32_t mxcsr;

	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	return fpe_code(mxcsr & ~(mxcsr >> 7) & 0x3f);
}

int pg_arch_signal_of(uint64_t vector)
{
	switch (vector) {
	case 0:
	case 16:
	case 19:
		return PG_SIGFPE;
	case 1:
	case 3:
		return PG_SIGTRAP;
	case 6:
	case 7:
		return PG_SIGILL;
	case 11:
	case 12:
	case 17:
		return PG_SIGBUS;
	default:
		return PG_SIGSEGV;
	}
}

void pg_arch_fault_info(struct pg_thread *thread, struct pg_siginfo *info)
{
	*info = (struct pg_siginfo){ .signal = pg_arch_signal_of(thread->vector),
				     .code = PG_SI_KERNEL };
	switch (thread->vector) {
	case 0:
		info->code = FPE_INTDIV;
		info->address = thread->regs.rip;
		break;
	case 16:
	case 19:
		info->code = thread->vector == 16 ? x87_code() : sse_code();
		info->address = thread->regs.rip;
		break;
	case 1:
		info->code = TRAP_TRACE;
		info->address = thread->regs.rip;
		break;
	case 6:
		info->code = ILL_ILLOPN;
		info->address = thread->regs.rip;
		break;
	case 17:
		info->code = BUS_ADRALN;
		break;
	case PG_VECTOR_PF:
		info->address = thread->address;
		/* Memory without permissions may have no pages: it is mapped all the same. */
		info->code = (thread->error & PF_PRESENT) || pg_memory_reserved(thread->address)
				     ? SEGV_ACCERR
				     : SEGV_MAPERR;
		break;
	default:
		break;
	}
}
