#include "fault.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "abi/layout.h"
#include "abi/ops.h"

#define BACKTRACE_MAX 32

/* Page-fault error code (SDM vol. 3, figure 4-12). */
#define PF_PRESENT 1
#define PF_WRITE   2
#define PF_EXEC    16

struct text {
	char *at;
	size_t left;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int n = vsnprintf(text->at, text->left, format, args);
	va_end(args);
	if (n < 0)
		return;
	size_t used = (size_t)n < text->left ? (size_t)n : text->left - 1;
	text->at += used;
	text->left -= used;
}

static const char *vector_name(uint32_t vector)
{
	static const char *const names[] = {
		[0] = "division by zero (#DE)",
		[1] = "debug exception (#DB)",
		[3] = "breakpoint (#BP)",
		[6] = "invalid instruction (#UD)",
		[7] = "no coprocessor (#NM)",
		[12] = "stack fault (#SS)",
		[13] = "protection fault (#GP): a privileged instruction or a bad address",
		[16] = "x87 floating-point error (#MF)",
		[17] = "misaligned access (#AC)",
		[19] = "vector floating-point error (#XM)",
	};

	return vector < sizeof(names) / sizeof(names[0]) && names[vector] ? names[vector]
									  : "exception";
}

/* What lies at the address, as far as the loader knows. */
static const char *place(const struct uhyve_image *image, const struct uhyve_mmu *mmu,
			 uint64_t address)
{
	int prot = uhyve_mmu_query(mmu, (uhyve_gva){ address });

	if (address < PG_VA_MIN)
		return "a null pointer";
	if (address >= PG_VA_NUB && address < PG_VA_VCPU)
		return "the nub";
	if (address >= PG_VA_VCPU && address < PG_VA_BOOT)
		return "a vCPU's block or kernel stack";
	for (unsigned i = 0; i < image->count; i++) {
		const struct uhyve_segment *segment = &image->segments[i];

		if (address - segment->address >= segment->length)
			continue;
		return prot > 0 && prot & PG_PROT_EXEC    ? "program text"
		       : prot > 0 && prot & PG_PROT_WRITE ? "program data"
							  : "read-only data";
	}
	if (prot == -ENOENT)
		return "not mapped";
	return prot == 0 ? "a guard page" : "heap or stack";
}

static void reason(struct text *text, const struct pg_fault *fault, const struct uhyve_image *image,
		   const struct uhyve_mmu *mmu)
{
	const char *name = sigabbrev_np((int)fault->signal);

	add(text, "SIG%s", name ? name : "?");
	if (fault->vector == UINT32_MAX && !fault->thread)
		add(text, ": a system call");
	else if (fault->vector == UINT32_MAX)
		add(text, ": raised by the program itself");
	else if (fault->vector == 14)
		add(text, ": cannot %s 0x%llx: %s (%s)",
		    fault->error & PF_EXEC    ? "execute"
		    : fault->error & PF_WRITE ? "write to"
					      : "read",
		    (unsigned long long)fault->address, place(image, mmu, fault->address),
		    fault->error & PF_PRESENT ? "not permitted" : "nothing there");
	else
		add(text, ": %s", vector_name(fault->vector));
	if (fault->thread)
		add(text, ", thread %llu\n", (unsigned long long)fault->thread);
	else
		add(text, ", in a task\n");
}

static void registers(struct text *text, const struct pg_fault *fault)
{
	const struct pg_regs *r = &fault->regs;
	const struct {
		const char *name;
		uint64_t value;
	} list[] = {
		{ "rip", r->rip }, { "rsp", r->rsp },        { "rbp", r->rbp }, { "rax", r->rax },
		{ "rbx", r->rbx }, { "rcx", r->rcx },        { "rdx", r->rdx }, { "rsi", r->rsi },
		{ "rdi", r->rdi }, { "r8", r->r8 },          { "r9", r->r9 },   { "r10", r->r10 },
		{ "r11", r->r11 }, { "r12", r->r12 },        { "r13", r->r13 }, { "r14", r->r14 },
		{ "r15", r->r15 }, { "fs", fault->fs_base },
	};

	for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		add(text, "  %-3s 0x%016llx%s", list[i].name, (unsigned long long)list[i].value,
		    i % 4 == 3 ? "\n" : "");
	add(text, "  flags 0x%llx\n", (unsigned long long)r->rflags);
}

static bool executable(const struct uhyve_mmu *mmu, uint64_t address)
{
	int prot = uhyve_mmu_query(mmu, (uhyve_gva){ address });

	/* Above lies the nub, which is not the program's. */
	return address < PG_VA_USER_END && prot > 0 && prot & PG_PROT_EXEC;
}

static void frame(struct text *text, const struct uhyve_symbols *symbols,
		  const struct uhyve_mmu *mmu, unsigned n, uint64_t address)
{
	uint64_t offset = 0;
	const char *name = NULL;

	/* A return address may be the first byte of the next function: look one back. */
	if (executable(mmu, n ? address - 1 : address))
		name = uhyve_symbols_find(symbols, n ? address - 1 : address, &offset);

	add(text, "  #%-2u 0x%llx", n, (unsigned long long)address);
	if (name)
		add(text, " %.200s+0x%llx", name, (unsigned long long)(offset + (n ? 1 : 0)));
	add(text, "\n");
}

static void backtrace(struct text *text, const struct pg_fault *fault,
		      const struct uhyve_image *image, const struct uhyve_mmu *mmu)
{
	struct uhyve_symbols *symbols = uhyve_symbols_load(image);
	uint64_t base = fault->regs.rbp, link[2];
	unsigned n = 0;

	add(text, "  backtrace:\n");
	frame(text, symbols, mmu, n++, fault->regs.rip);
	/* A call of something that is no code: what called it has only pushed where to return. */
	if (!executable(mmu, fault->regs.rip) &&
	    !uhyve_mmu_copy_from(mmu, link, (uhyve_gva){ fault->regs.rsp }, sizeof(link[0])) &&
	    executable(mmu, link[0]))
		frame(text, symbols, mmu, n++, link[0]);
	for (; n < BACKTRACE_MAX && base; n++) {
		if (uhyve_mmu_copy_from(mmu, link, (uhyve_gva){ base }, sizeof(link)) || !link[1])
			break;
		frame(text, symbols, mmu, n, link[1]);
		if (link[0] <= base) /* frames lie one above the other */
			break;
		base = link[0];
	}
	uhyve_symbols_free(symbols);
}

void uhyve_fault_report(const struct pg_fault *fault, const struct uhyve_image *image,
			const struct uhyve_mmu *mmu, char *buffer, size_t size)
{
	struct text text = { buffer, size };

	reason(&text, fault, image, mmu);
	registers(&text, fault);
	backtrace(&text, fault, image, mmu);
}
