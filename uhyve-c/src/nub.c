#include "nub.h"

#include <errno.h>
#include <string.h>

#include "abi/layout.h"
#include "abi/ops.h"

extern const uint8_t uhyve_nub_start[], uhyve_nub_end[];
extern const uint16_t uhyve_nub_entries[PG_VECTORS];
extern const uint8_t uhyve_lstar_start[], uhyve_lstar_end[];

/* Inside the page PG_NUB_TABLES. */
#define GDT_OFFSET 0x000
#define TSS_OFFSET 0x100
#define IDT_OFFSET 0x400

/* Interrupt stack tables: which of the TSS's seven slots serves what. */
#define IST_EXCEPTION 1
#define IST_INTERRUPT 2
#define IST_FATAL     3

/* 64-bit gate (SDM vol. 3, figure 6-8). */
struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_mid;
	uint32_t offset_high, reserved;
};

/* 64-bit task state segment (SDM vol. 3, figure 8-11). */
struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3, io_map;
} __attribute__((packed));

_Static_assert(sizeof(struct gate) == 16, "SDM");
_Static_assert(sizeof(struct tss) == 104, "SDM");

/* Segment descriptors with "accessed" and "busy" set, so the processor never writes here. */
#define DESC_KCODE    0x00af9b000000ffffull /* 64-bit, DPL 0, execute/read */
#define DESC_KDATA    0x00cf93000000ffffull
#define DESC_UDATA    0x00cff3000000ffffull
#define DESC_UCODE    0x00affb000000ffffull /* 64-bit, DPL 3 */
#define DESC_TSS_BUSY 0x8bull

static void fill_tables(uint8_t *page, uint64_t block, struct uhyve_nub *nub)
{
	uint64_t *gdt = (uint64_t *)(page + GDT_OFFSET);
	struct tss *tss = (struct tss *)(page + TSS_OFFSET);
	struct gate *idt = (struct gate *)(page + IDT_OFFSET);
	uint64_t tss_va = block + PG_NUB_TABLES + TSS_OFFSET;

	gdt[PG_SEL_KCODE / 8] = DESC_KCODE;
	gdt[PG_SEL_KDATA / 8] = DESC_KDATA;
	gdt[PG_SEL_UDATA / 8] = DESC_UDATA;
	gdt[PG_SEL_UCODE / 8] = DESC_UCODE;
	gdt[PG_SEL_TSS / 8] = (sizeof(struct tss) - 1) | (tss_va & 0xffffff) << 16 |
			      DESC_TSS_BUSY << 40 | (tss_va >> 24 & 0xff) << 56;
	gdt[PG_SEL_TSS / 8 + 1] = tss_va >> 32;

	tss->ist[IST_EXCEPTION - 1] = block + PG_NUB_EXC + PG_PAGE_SIZE;
	tss->ist[IST_INTERRUPT - 1] = block + PG_NUB_IRQ + PG_PAGE_SIZE;
	tss->ist[IST_FATAL - 1] = block + PG_NUB_IRQ + PG_PAGE_SIZE / 2;
	tss->io_map = sizeof(struct tss); /* no I/O permission map: no ports for CPL3 */

	for (unsigned vector = 0; vector < PG_VECTORS; vector++) {
		uint64_t entry = block + PG_NUB_CODE + uhyve_nub_entries[vector];
		uint8_t ist = IST_EXCEPTION;

		if (uhyve_nub_entries[vector] == 0xffff)
			continue;
		if (vector == 2 || vector == 8 || vector == 18)
			ist = IST_FATAL;
		else if (vector >= 32)
			ist = IST_INTERRUPT;
		idt[vector] = (struct gate){
			.offset_low = (uint16_t)entry,
			.selector = PG_SEL_KCODE,
			.ist = ist,
			/* Present, interrupt gate; DPL 3 for int3 alone: the way to the halt. */
			.type = vector == 3 ? 0xee : 0x8e,
			.offset_mid = (uint16_t)(entry >> 16),
			.offset_high = (uint32_t)(entry >> 32),
		};
	}

	nub->gdt = block + PG_NUB_TABLES + GDT_OFFSET;
	nub->gdt_limit = PG_SEL_TSS + 15;
	nub->tss = tss_va;
	nub->tss_limit = sizeof(struct tss) - 1;
	nub->idt = block + PG_NUB_TABLES + IDT_OFFSET;
	nub->idt_limit = PG_VECTORS * sizeof(struct gate) - 1;
	nub->lstar = PG_VA_LSTAR;
}

_Static_assert(IDT_OFFSET + PG_VECTORS * sizeof(struct gate) <= PG_PAGE_SIZE, "one page");
/* nub_wake recognises its hlt by the low 16 bits of rip. */
_Static_assert(PG_VCPU_STRIDE % 0x10000 == 0 && (PG_VA_NUB + PG_NUB_CODE) % 0x10000 == 0, "nub.S");

/* Map one fresh page; its host address, or NULL. */
static uint8_t *fresh_page(struct uhyve_mmu *mmu, uint64_t va, uint32_t prot)
{
	if (uhyve_mmu_map(mmu, (uhyve_gva){ va }, PG_PAGE_SIZE, prot))
		return NULL;
	return uhyve_mmu_at(mmu, (uhyve_gva){ va }, PG_PAGE_SIZE);
}

int uhyve_nub_install(struct uhyve_mmu *mmu, unsigned index, struct uhyve_nub *nub)
{
	const uint32_t rx = PG_PROT_READ | PG_PROT_EXEC, rw = PG_PROT_READ | PG_PROT_WRITE;
	const uint32_t supervisor = UHYVE_PROT_SUPERVISOR;
	uint64_t block = PG_VA_NUB + (uint64_t)index * PG_VCPU_STRIDE;
	uint64_t shared = PG_VA_VCPU + (uint64_t)index * PG_VCPU_STRIDE;
	uhyve_gpa exceptions;

	uint8_t *code = fresh_page(mmu, block + PG_NUB_CODE, rx | supervisor);
	uint8_t *tables = fresh_page(mmu, block + PG_NUB_TABLES, PG_PROT_READ | supervisor);
	if (!code || !tables || !fresh_page(mmu, block + PG_NUB_EXC, rw | supervisor) ||
	    !fresh_page(mmu, block + PG_NUB_IRQ, rw | supervisor))
		return -ENOMEM;
	memcpy(code, uhyve_nub_start, (size_t)(uhyve_nub_end - uhyve_nub_start));
	fill_tables(tables, block, nub);

	uint32_t device = rw | supervisor | UHYVE_PROT_DEVICE;
	if (uhyve_mmu_map_page(mmu, (uhyve_gva){ block + PG_NUB_APIC }, (uhyve_gpa){ PG_GPA_APIC },
			       device) ||
	    uhyve_mmu_map_page(mmu, (uhyve_gva){ block + PG_NUB_DEVICE },
			       (uhyve_gpa){ PG_GPA_DEVICE }, device))
		return -ENOMEM;

	/* The kernel reads exception frames where the processor left them. */
	exceptions = uhyve_mmu_gpa(mmu, (uhyve_gva){ block + PG_NUB_EXC });
	if (uhyve_mmu_map_page(mmu, (uhyve_gva){ shared + PG_VCPU_FRAME }, exceptions,
			       PG_PROT_READ) ||
	    uhyve_mmu_map(mmu, (uhyve_gva){ shared + PG_VCPU_CTL }, PG_PAGE_SIZE, rw) ||
	    uhyve_mmu_map(mmu, (uhyve_gva){ shared + PG_VCPU_SQ }, PG_VCPU_GUARD - PG_VCPU_SQ,
			  rw) ||
	    uhyve_mmu_map(mmu, (uhyve_gva){ shared + PG_VCPU_STACK }, PG_VCPU_STACK_SIZE, rw))
		return -ENOMEM;

	if (index == 0) {
		uint8_t *stub = fresh_page(mmu, PG_VA_LSTAR, rx);

		if (!stub ||
		    uhyve_mmu_map_page(mmu, (uhyve_gva){ PG_VA_DEVICE },
				       (uhyve_gpa){ PG_GPA_DEVICE }, rw | UHYVE_PROT_DEVICE))
			return -ENOMEM;
		memcpy(stub, uhyve_lstar_start, (size_t)(uhyve_lstar_end - uhyve_lstar_start));
	}
	return 0;
}
