/* What entry.S and cpu.c agree on about faults on the kernel's stack. Constants only. */
#ifndef PG_ARCH_FAULT_H
#define PG_ARCH_FAULT_H

#define PG_FAULT_STACK 2048 /* bytes, for each vCPU; a power of two: */
#define PG_FAULT_SHIFT 11

#define PG_VCPU_INDEX 0x14 /* in struct pg_vcpu  */
#define PG_REGS_SIZE  144  /* struct pg_regs: a multiple of 16 */

#endif
