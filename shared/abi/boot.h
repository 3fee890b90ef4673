/*
 * Boot information: one read-only block at PG_VA_BOOT, written by the loader
 * before the first vCPU starts (the clock: also while it runs).
 *
 * Every vCPU starts at the image's entry point, at CPL3, with
 *   rdi = PG_VA_BOOT, rsi = its index, GSBASE = its struct pg_vcpu,
 *   rsp = top of its kernel stack minus 8, as after a call; IF set.
 */
#ifndef PG_ABI_BOOT_H
#define PG_ABI_BOOT_H

#include <stdatomic.h>
#include <stdint.h>

#include "layout.h"

#define PG_BOOT_MAGIC 0x7375727567615000 /* "Pagurus", read as bytes from the second one */

/*
 * The host's clocks from the guest's TSC, without leaving the guest:
 *   ns = base_ns + ((tsc - base_tsc) * mult >> 32)   for CLOCK_MONOTONIC;
 *   add realtime_ns for CLOCK_REALTIME.
 * `sequence` is odd while the loader changes it: read again then (a seqlock).
 */
struct pg_clock {
	_Atomic uint32_t sequence;
	uint32_t reserved;
	_Atomic uint64_t base_tsc;
	_Atomic uint64_t base_ns;
	_Atomic uint64_t mult; /* ns per TSC tick, 32 fractional bits       */
	_Atomic int64_t realtime_ns;
};

struct pg_boot {
	uint64_t magic;
	uint32_t abi_major, abi_minor;
	uint32_t vcpus;
	uint32_t reserved; /* 0 */
	struct pg_clock clock;

	uint64_t image_base;             /* load bias (0 for a static image)            */
	uint64_t image_start, image_end; /* addresses, page aligned         */
	uint64_t phdr;                   /* address of the program headers, 0 if not loaded   */
	uint32_t phnum, phent;

	uint64_t heap, heap_size;   /* the kernel's heap: mapped, zero        */
	uint64_t stack, stack_size; /* the main thread's stack: mapped, zero  */
	uint64_t ram_size;          /* bytes of guest memory in all           */
	uint64_t xcr0;              /* extended states that are switched on   */
	uint32_t xsave_size;        /* bytes XSAVEC needs for them            */
	uint32_t xsave_flags;       /* PG_XSAVE_* */
	uint32_t xsave_standard;    /* bytes XSAVE needs, which has no compact format */
	uint32_t reserved1;         /* 0                                      */
	uint64_t spin_ns;           /* at most this long before a vCPU parks  */
	uint64_t turn_ns;           /* a vCPU's turn while others wait; 0: no pre-emption */
	uint32_t dispatch;          /* enum pg_dispatch                       */
	uint32_t trace_events;      /* in each vCPU's trace, a power of two; 0: none */
	uint64_t hwcap, hwcap2;     /* AT_HWCAP, AT_HWCAP2                    */
	uint8_t random[32];

	/* NUL-terminated strings, one after the other, offsets from here.  */
	uint32_t argc, envc;
	uint32_t strings;      /* offset of argv[0]; environment follows    */
	uint32_t strings_size; /* bytes, all terminators included           */
	uint32_t cwd;          /* offset of the initial working directory   */
	uint32_t size;         /* of the whole block, bytes                 */
};

/* How a system call gets to its future: see docs/scheduling.md. All do the same. */
enum pg_dispatch {
	PG_DISPATCH_UNION,  /* polled in place; only PENDING goes to the executor */
	PG_DISPATCH_RETURN, /* every call returns to the executor, which polls it */
	/*
	 * Polled on the program's stack, which has to be there; PENDING exchanges contexts. Calls
	 * that may take that stack away use the kernel's.
	 */
	PG_DISPATCH_STACK,
};

#define PG_XSAVE_XSAVEC  1 /* the processor has XSAVEC (else XSAVE)         */
#define PG_XSAVE_XGETBV1 2

_Static_assert(sizeof(struct pg_clock) == 40, "");
_Static_assert(sizeof(struct pg_boot) % 8 == 0, "");

#endif
