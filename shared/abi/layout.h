/*
 * Where things are: guest-virtual and guest-physical memory map.
 *
 * Guest-virtual (everything lives in the lower half, so the same image runs on
 * hosts that keep the upper half for themselves):
 *
 *   0                      never mapped: null pointers fault
 *   0x400000 ..            a static image, where it was linked
 *   PG_VA_PIE              a static-PIE image
 *   PG_VA_MMAP ..          what the application maps (grows upwards)
 *   PG_VA_STACK_TOP        the main thread's stack ends here
 *   PG_VA_NUB              per-vCPU nub: supervisor only     (stride PG_VCPU_STRIDE)
 *   PG_VA_VCPU             per-vCPU shared block, ring, stack (same stride)
 *   PG_VA_BOOT             boot information, arguments, environment: read-only
 *   PG_VA_DEVICE           doorbells (an MMIO page)
 *   PG_VA_LSTAR            the system call stub: both levels execute it
 *   PG_VA_TRACE            per-vCPU traces, if asked for (stride PG_TRACE_STRIDE)
 *   PG_VA_KHEAP            the kernel's heap
 *
 * Guest-physical: RAM is one slot at PG_GPA_RAM (4 GiB), so that any size of
 * RAM stays clear of the local APIC and of the device page below 4 GiB. Which
 * frame backs which page is the loader's business alone: the guest never names
 * a guest-physical address.
 */
#ifndef PG_ABI_LAYOUT_H
#define PG_ABI_LAYOUT_H

#define PG_PAGE_SHIFT 12
#define PG_PAGE_SIZE  4096

#define PG_MAX_VCPUS 64

/* Guest-virtual. */
#define PG_VA_MIN       0x10000        /* nothing may be mapped below           */
#define PG_VA_PIE       0x100000000    /* load bias of a static-PIE image       */
#define PG_VA_MMAP      0x100000000000 /* first address of the mmap area        */
#define PG_VA_MMAP_END  0x6ff000000000
#define PG_VA_STACK_TOP 0x6fff80000000
#define PG_VA_USER_END  0x700000000000 /* the guest may map below this only  */

#define PG_VA_NUB    0x700000000000
#define PG_VA_VCPU   0x700000400000
#define PG_VA_BOOT   0x700000800000
#define PG_BOOT_MAX  0x100000 /* bytes of boot information at most           */
#define PG_VA_DEVICE 0x700000900000
#define PG_VA_LSTAR  0x700000901000
#define PG_VA_TRACE  0x700010000000
#define PG_VA_KHEAP  0x700040000000

#define PG_TRACE_STRIDE 0x800000

#define PG_VCPU_STRIDE 0x10000

/* Pages inside a vCPU's nub block (supervisor only, at PG_VA_NUB + i * stride). */
#define PG_NUB_CODE   0x0000 /* execute                                     */
#define PG_NUB_TABLES 0x1000 /* read-only: GDT, TSS, IDT                    */
#define PG_NUB_EXC    0x2000 /* IST1: exceptions                            */
#define PG_NUB_IRQ    0x3000 /* IST2: interrupts (top), IST3: NMI, #DF, #MC (middle) */
#define PG_NUB_APIC   0x4000 /* the local APIC's registers                  */
#define PG_NUB_DEVICE 0x5000 /* the device page again: the nub's own exit   */

/* Pages inside a vCPU's shared block (at PG_VA_VCPU + i * stride). */
#define PG_VCPU_CTL        0x0000 /* struct pg_vcpu, read-write                  */
#define PG_VCPU_FRAME      0x1000 /* the page of PG_NUB_EXC again, read-only     */
#define PG_VCPU_SQ         0x2000 /* submission entries, two pages               */
#define PG_VCPU_CQ         0x4000 /* completion entries, one page                */
#define PG_VCPU_GUARD      0x5000 /* three pages that are never mapped           */
#define PG_VCPU_STACK      0x8000 /* the kernel's stack: up to the next block    */
#define PG_VCPU_STACK_SIZE 0x8000

/* Guest-physical. */
#define PG_GPA_DEVICE 0xd0000000
#define PG_GPA_APIC   0xfee00000
#define PG_GPA_RAM    0x100000000

/*
 * The device page. A write (32 bits, any value unless said) at
 *   PG_DEV_DOORBELL             wakes the loader's engine;
 *   PG_DEV_KICK + 8 * vcpu      sends PG_VECTOR_WAKE to that vCPU;
 *   PG_DEV_START                starts the other vCPUs, which have not run before;
 *   PG_DEV_CONTROL              leaves to the loader: the value is a PG_CTL_*.
 */
#define PG_DEV_DOORBELL 0x000
#define PG_DEV_KICK     0x400
#define PG_DEV_CONTROL  0x800
#define PG_DEV_START    0x810

#define PG_CTL_EXIT  1 /* struct pg_vcpu.exit_status is the program's status */
#define PG_CTL_FAULT 2 /* struct pg_vcpu.fault tells what ended the program  */
#define PG_CTL_PANIC 3 /* the kernel gave up: pg_vcpu.message says why       */
#define PG_CTL_NUB   4 /* the nub met an exception of its own (a bug)        */

/* Interrupt vectors. */
#define PG_VECTOR_WAKE     0x20 /* completion or cross-vCPU wake             */
#define PG_VECTOR_PREEMPT  0x21 /* the running thread has had its turn       */
#define PG_VECTOR_SPURIOUS 0x2f /* local APIC spurious vector (low 4 bits 1) */
#define PG_VECTORS         0x30 /* the IDT ends here                         */

/* Segment selectors: the order `syscall`/`sysret` ask for (SDM vol. 3, 5.8.8). */
#define PG_SEL_KCODE 0x10
#define PG_SEL_KDATA 0x18
#define PG_SEL_UDATA 0x2b
#define PG_SEL_UCODE 0x33
#define PG_SEL_TSS   0x40

#endif
