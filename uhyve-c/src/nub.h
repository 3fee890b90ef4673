/*
 * The nub: the only code that runs at CPL0 in the guest.
 *
 * It belongs to the loader, not to the image, and every vCPU has a copy of its own
 * at PG_VA_NUB + index * PG_VCPU_STRIDE, next to that vCPU's tables and exception
 * stacks: so it finds its data relative to its own address, with no register that
 * the guest could have chosen.
 *
 *   what arrives            what the nub does
 *   ----------------------  ----------------------------------------------------
 *   PG_VECTOR_WAKE          pending = 1, end of interrupt, return (never to the hlt)
 *   PG_VECTOR_PREEMPT       in user code: leave rip, rflags and rax in the shared block,
 *                           go to the kernel's `preempted` at CPL3; elsewhere preempt = 1,
 *                           return; end of interrupt both times
 *   int3 while idle == 1    halt until an interrupt, unless pending is set already
 *   other exceptions        leave a struct pg_frame, go to the kernel's upcall at CPL3
 *   exception at CPL0, #DF  PG_CTL_NUB: the VM ends
 *   syscall (hardware KVM)  hand over to the kernel's entry at CPL3
 *   syscall (kvm_pvm)       the same, but it is at CPL3 already
 */
#ifndef UHYVE_NUB_H
#define UHYVE_NUB_H

#include "mmu.h"

/* Guest-virtual addresses of a vCPU's tables, for its registers. */
struct uhyve_nub {
	uint64_t gdt, idt, tss, lstar;
	uint16_t gdt_limit, idt_limit, tss_limit;
};

/*
 * Install the nub of vCPU `index`, its tables and stacks, and map its shared block
 * with kernel stack and guard pages. For index 0 also the LSTAR stub. -ENOMEM.
 */
int uhyve_nub_install(struct uhyve_mmu *mmu, unsigned index, struct uhyve_nub *nub);

#endif
