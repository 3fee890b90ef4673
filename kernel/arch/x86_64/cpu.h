/*
 * A vCPU as the kernel sees it: its executor, and whose registers it holds.
 */
#ifndef PG_ARCH_CPU_H
#define PG_ARCH_CPU_H

#include <stdint.h>

#include "abi/boot.h"
#include "abi/vcpu.h"
#include "core/container.h"
#include "core/executor.h"
#include "thread/thread.h"

struct pg_cpu {
	struct pg_executor executor;
	struct pg_vcpu *shared;
	struct pg_thread *loaded; /* whose vector registers and FS base these are, or NULL */
	unsigned index;
	/* While `loaded` is NULL, for xstate.c: what the last one has left in the processor. */
	bool only_legacy; /* all but x87 and SSE is in its initial state       */
	uint64_t x87;     /* if so: x87's control, status and tags             */
};

extern unsigned pg_cpu_count;

/* All vCPUs, a bit each. */
uint64_t pg_cpu_mask(void);

struct pg_cpu *pg_cpu(unsigned index);
struct pg_cpu *pg_cpu_self(void);

/* Before anything else on this vCPU: exceptions and system calls reach the kernel. */
void pg_arch_init_vcpu(struct pg_vcpu *shared, const struct pg_boot *boot);

/* Once, on the first vCPU, before others go on: all vCPUs' executors. */
void pg_arch_init(const struct pg_boot *boot);

/* This vCPU's block. */
static inline struct pg_vcpu *pg_arch_shared(void)
{
	struct pg_vcpu *shared;

	/* Volatile: what is on the program's stack (PG_DISPATCH_STACK) may change vCPUs. */
	__asm__ volatile("movq %%gs:0, %0" : "=r"(shared));
	return shared;
}

/* Leave to the loader with a PG_CTL_* code; doesn't come back. */
_Noreturn void pg_arch_control(uint32_t code);

/* `thread` will not run again: forget its registers, and unpin it. On its vCPU. */
void pg_arch_forget(struct pg_thread *thread);

/*
 * Save the vector registers and FS base that are this vCPU's, and unpin their thread: then the
 * registers may be used for something else.
 */
void pg_arch_unload(struct pg_cpu *cpu);
/* Whether the thread's vector registers are in this processor: one pin of its task. */
static inline bool pg_arch_has_registers(const struct pg_thread *thread)
{
	return pg_cpu_self()->loaded == thread;
}

/* Get the registers of `thread`, whose turn it is, into the processor: vectors and FS base. */
void pg_arch_load(struct pg_thread *thread);

/* Give the processor's vector registers, whoever's they are, their initial state. */
void pg_arch_reset_vectors(void);

static inline uint64_t pg_arch_tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return low | (uint64_t)high << 32;
}

static inline uint64_t pg_arch_fs_base(void)
{
	uint64_t base;

	__asm__ volatile("rdfsbase %0" : "=r"(base));
	return base;
}

static inline void pg_arch_set_fs_base(uint64_t base)
{
	__asm__ volatile("wrfsbase %0" : : "r"(base) : "memory");
}

#endif
