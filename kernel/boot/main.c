/*
 * From the first instruction to the program's entry point.
 *
 *	vCPU 0:  relocate, set up everything, start the others, start the main thread, run
 *	others:  run
 */
#include "abi/layout.h"
#include "abi/version.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/relocate.h"
#include "arch/x86_64/sigframe.h"
#include "core/port.h"
#include "lib/panic.h"
#include "lib/string.h"
#include "mm/heap.h"
#include "sys/fd.h"
#include "sys/memory.h"
#include "sys/process.h"
#include "sys/random.h"

_Noreturn void pg_boot_vcpu(const struct pg_boot *boot, uint64_t index);

/* The C library's start code, linked into the image (crt1.o). */
extern void _start(void);

/* Auxiliary vector (elf.h). */
enum {
	AT_NULL = 0,
	AT_PHDR = 3,
	AT_PHENT = 4,
	AT_PHNUM = 5,
	AT_PAGESZ = 6,
	AT_BASE = 7,
	AT_FLAGS = 8,
	AT_ENTRY = 9,
	AT_UID = 11,
	AT_EUID = 12,
	AT_GID = 13,
	AT_EGID = 14,
	AT_PLATFORM = 15,
	AT_HWCAP = 16,
	AT_CLKTCK = 17,
	AT_SECURE = 23,
	AT_RANDOM = 25,
	AT_HWCAP2 = 26,
	AT_EXECFN = 31,
	AT_MINSIGSTKSZ = 51,
};

/* ---- the main thread's stack ---- */

struct stack {
	uint64_t *words; /* argc, pointers, auxiliary vector              */
	uint64_t at;     /* next word                                     */
};

static void push(struct stack *stack, uint64_t value)
{
	stack->words[stack->at++] = value;
}

static void push_aux(struct stack *stack, uint64_t type, uint64_t value)
{
	push(stack, type);
	push(stack, value);
}

/* Pointers to `count` strings that follow each other; returns the first byte after them. */
static uint64_t push_strings(struct stack *stack, uint64_t string, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		push(stack, string);
		string += strlen((const char *)string) + 1;
	}
	push(stack, 0);
	return string;
}

/* What the System V ABI puts above the initial stack pointer; returns that. */
static uint64_t fill_stack(void)
{
	static const char platform[] = "x86_64";
	const struct pg_boot *boot = pg_boot;
	uint64_t strings = (boot->stack + boot->stack_size - boot->strings_size) & ~15ull;
	uint64_t platform_at = strings - 16, random_at = strings - 32;
	/* argc, argv and environment with terminators, at most 24 auxiliary entries. */
	uint64_t words = 1 + boot->argc + 1 + boot->envc + 1 + 2 * 24;
	uint64_t sp = (random_at - words * sizeof(uint64_t)) & ~15ull;
	struct stack stack = { (uint64_t *)sp, 0 };

	memcpy((void *)strings, (const char *)boot + boot->strings, boot->strings_size);
	memcpy((void *)platform_at, platform, sizeof(platform));
	pg_random((void *)random_at, 16);

	push(&stack, boot->argc);
	uint64_t environment = push_strings(&stack, strings, boot->argc);
	(void)push_strings(&stack, environment, boot->envc);
	if (boot->phdr) {
		push_aux(&stack, AT_PHDR, boot->phdr);
		push_aux(&stack, AT_PHENT, boot->phent);
		push_aux(&stack, AT_PHNUM, boot->phnum);
	}
	push_aux(&stack, AT_PAGESZ, PG_PAGE_SIZE);
	push_aux(&stack, AT_BASE, 0);
	push_aux(&stack, AT_FLAGS, 0);
	push_aux(&stack, AT_ENTRY, (uint64_t)_start);
	push_aux(&stack, AT_UID, 0);
	push_aux(&stack, AT_EUID, 0);
	push_aux(&stack, AT_GID, 0);
	push_aux(&stack, AT_EGID, 0);
	push_aux(&stack, AT_SECURE, 0);
	push_aux(&stack, AT_PLATFORM, platform_at);
	push_aux(&stack, AT_HWCAP, boot->hwcap);
	push_aux(&stack, AT_HWCAP2, boot->hwcap2);
	push_aux(&stack, AT_CLKTCK, 100);
	push_aux(&stack, AT_RANDOM, random_at);
	push_aux(&stack, AT_EXECFN, boot->argc ? strings : platform_at);
	push_aux(&stack, AT_MINSIGSTKSZ, pg_arch_signal_frame_max());
	push_aux(&stack, AT_NULL, 0);
	return sp;
}

static void start_main(void)
{
	const struct pg_regs regs = {
		.rip = (uint64_t)_start,
		.rsp = fill_stack(),
		.rflags = 0x202,
	};
	struct pg_thread *thread = pg_thread_new(&regs, 0, NULL);

	if (!thread)
		pg_panic("not enough memory for the main thread");
	pg_cpu_self()->shared->tsc_main = pg_arch_tsc();
	pg_thread_start(thread);
}

/* ---- vCPUs ---- */

static void init(const struct pg_boot *boot)
{
	pg_boot = boot;
	if (boot->magic != PG_BOOT_MAGIC || boot->abi_major != PG_ABI_MAJOR)
		pg_panic("boot information of another version");
	pg_arch_init(boot);
	pg_heap_init(boot->heap, boot->heap_size);
	pg_memory_init();
	if (pg_files_init())
		pg_panic("not enough memory for the console");
}

/* The write is an exit to the loader, which orders all that was done before. */
static void start_others(void)
{
	*(volatile uint32_t *)(PG_VA_DEVICE + PG_DEV_START) = 1;
}

_Noreturn void pg_boot_vcpu(const struct pg_boot *boot, uint64_t index)
{
	struct pg_vcpu *shared = (struct pg_vcpu *)(PG_VA_VCPU + index * PG_VCPU_STRIDE);

	shared->tsc_entry = pg_arch_tsc();
	/* The others start when this one says so. */
	if (index == 0)
		pg_relocate(boot);
	pg_arch_init_vcpu(shared, boot);
	if (index == 0) {
		init(boot);
		if (boot->vcpus > 1)
			start_others();
		start_main();
	}
	pg_executor_run(&pg_cpu_self()->executor);
	pg_panic("the executor has ended");
}
