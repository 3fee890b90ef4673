/*
 * A vCPU as the kernel sees it: its executor, and whose registers it holds.
 */
#ifndef PG_ARCH_CPU_H
#define PG_ARCH_CPU_H

#include <stdbool.h>
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
	uint64_t app_fs_base;     /* see pg_arch_app_begin(); or PG_NO_APP */
	bool in_app;              /* a task's code runs: what faults is the program's fault */
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
bool pg_arch_has_registers(const struct pg_thread *thread);

/* Get the registers of `thread`, whose turn it is, into the processor: vectors and FS base. */
void pg_arch_load(struct pg_thread *thread);

/* Give the processor's vector registers, whoever's they are, their initial state. */
void pg_arch_reset_vectors(void);

/* The registers are not in the state for tasks. */
#define PG_NO_APP UINT64_MAX

/* For pg_arch_app_begin(). */
void pg_arch_app_load(struct pg_cpu *cpu, uint64_t fs_base);

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

/*
 * Around calls of the application's code on the kernel's stack (poll, drop, done of its tasks):
 * compiled code may use vector registers and thread-local variables there. They stay set
 * up until a thread runs again, so from one task to the next this is a comparison.
 */
static inline struct pg_cpu *pg_arch_app_begin(uint64_t fs_base)
{
	struct pg_cpu *cpu = pg_cpu_self();

	if (cpu->app_fs_base != fs_base)
		pg_arch_app_load(cpu, fs_base);
	cpu->in_app = true;
	return cpu;
}

static inline void pg_arch_app_end(struct pg_cpu *cpu)
{
	cpu->in_app = false;
}

#endif
