/*
 * For images without kernel and C library: the first vCPU's block and rings, and what talks to
 * the loader through them. Such an image is linked with kernel/arch/x86_64/note.c, and defines
 * pg_entry(). One vCPU only.
 */
#ifndef FREESTANDING_H
#define FREESTANDING_H

#include "abi/boot.h"
#include "abi/layout.h"
#include "abi/ops.h"
#include "abi/vcpu.h"

_Noreturn void pg_entry(const struct pg_boot *boot, uint64_t index);

static struct pg_vcpu *const vcpu = (struct pg_vcpu *)(PG_VA_VCPU + PG_VCPU_CTL);
static struct pg_sqe *const sq = (struct pg_sqe *)(PG_VA_VCPU + PG_VCPU_SQ);
static const struct pg_cqe *const cq = (const struct pg_cqe *)(PG_VA_VCPU + PG_VCPU_CQ);

static inline void device_write(uint64_t offset, uint32_t value)
{
	*(volatile uint32_t *)(PG_VA_DEVICE + offset) = value;
}

static inline _Noreturn void end(int status)
{
	vcpu->exit_status = status;
	/* The loader reads it: not a dead store, as the compiler may think. */
	__asm__ volatile("" : : : "memory");
	for (;;)
		device_write(PG_DEV_CONTROL, PG_CTL_EXIT);
}

/* The result of the next completion, spinning. */
static inline int64_t await(void)
{
	struct pg_cqe entry;

	while (!pg_cq_pop(&vcpu->ring, cq, &entry))
		__builtin_ia32_pause();
	return entry.result;
}

/* The same, parked: as the kernel's executor and port do it. */
static inline int64_t park_and_await(void)
{
	struct pg_cqe entry;

	while (!pg_cq_pop(&vcpu->ring, cq, &entry)) {
		pg_ring_park(&vcpu->ring);
		if (atomic_load(&vcpu->ring.cq_tail) == atomic_load(&vcpu->ring.cq_head)) {
			vcpu->idle = 1;
			__asm__ volatile("int3" : : : "memory");
			vcpu->idle = 0;
			vcpu->pending = 0;
		}
		pg_ring_unpark(&vcpu->ring);
	}
	return entry.result;
}

#endif
