#include "xstate.h"

#include <stdint.h>

#include "abi/boot.h"
#include "arch/x86_64/cpu.h"
#include "sys/process.h"

/* Bits of XCR0, XINUSE and XSTATE_BV. */
#define X87 1ull
#define SSE 2ull

/* The first bytes of the area: control word, status word, abridged tags (0: all empty). */
#define X87_WORDS   0xffffffffffull
#define X87_TAGS    0xff00000000ull
#define X87_INITIAL 0x37full

#define COMPACTED (1ull << 63) /* of XCOMP_BV */

/* xstate.S: the SSE registers and MXCSR, where XSAVE has them. */
void pg_sse_save(void *area);
void pg_sse_load(const void *area);

/* The area's header (SDM vol. 1, 13.4.2). */
struct header {
	uint64_t xstate_bv, xcomp_bv;
};

/* An area whose header names no state: loading it gives the initial state of all. */
static const struct {
	uint32_t control, status, reserved[4], mxcsr, mxcsr_mask;
	uint8_t rest[544];
} __attribute__((aligned(64))) initial_state = { .control = 0x37f, .mxcsr = 0x1f80 };

static struct header *header_of(void *area)
{
	return (struct header *)((char *)area + 512);
}

/* Components that are not in their initial state. All, where the processor doesn't tell. */
static uint64_t in_use(void)
{
	uint32_t low, high;

	if (!(pg_boot->xsave_flags & PG_XSAVE_XGETBV1))
		return pg_boot->xcr0;
	/* Volatile: it is another one each time. */
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
	return low | (uint64_t)high << 32;
}

static void save_all(void *area)
{
	uint32_t low = (uint32_t)pg_boot->xcr0, high = (uint32_t)(pg_boot->xcr0 >> 32);

	if (pg_boot->xsave_flags & PG_XSAVE_XSAVEC)
		__asm__ volatile("xsavec64 (%0)" : : "r"(area), "a"(low), "d"(high) : "memory");
	else
		__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(low), "d"(high) : "memory");
}

static void load_all(const void *area)
{
	uint32_t low = (uint32_t)pg_boot->xcr0, high = (uint32_t)(pg_boot->xcr0 >> 32);

	__asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(low), "d"(high) : "memory");
}

static uint64_t x87_words(const void *area)
{
	return *(const uint64_t *)area & X87_WORDS;
}

void pg_xstate_save(struct pg_cpu *cpu, struct pg_thread *thread)
{
	struct header *header = header_of(thread->xsave);
	uint64_t used = in_use();

	cpu->only_legacy = !(used & ~(X87 | SSE));
	thread->has_xsave = true;
	if (!cpu->only_legacy) {
		save_all(thread->xsave);
		return;
	}
	if (used & X87) {
		__asm__ volatile("fxsave64 (%0)" : : "r"(thread->xsave) : "memory");
	} else {
		pg_sse_save(thread->xsave);
		*(uint64_t *)thread->xsave = X87_INITIAL;
	}
	cpu->x87 = x87_words(thread->xsave);
	header->xstate_bv = SSE | (used & X87);
	header->xcomp_bv = pg_boot->xsave_flags & PG_XSAVE_XSAVEC ? COMPACTED | pg_boot->xcr0 : 0;
}

void pg_xstate_load(struct pg_cpu *cpu, const struct pg_thread *thread)
{
	const void *area = thread->xsave;

	if (!thread->has_xsave) {
		load_all(&initial_state);
	} else if (!cpu->only_legacy || (header_of(thread->xsave)->xstate_bv & ~(X87 | SSE))) {
		load_all(area);
	} else if (x87_words(area) != cpu->x87 || (cpu->x87 & X87_TAGS)) {
		__asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
	} else {
		pg_sse_load(area);
	}
	cpu->only_legacy = false;
}

void pg_xstate_reset(struct pg_cpu *cpu)
{
	load_all(&initial_state);
	cpu->only_legacy = false;
}
