/*
 * A static-PIE image relocates itself: the kernel runs before the C library's own start
 * code, so it does it first. That code will do it again, which changes nothing: each
 * R_X86_64_RELATIVE entry stores base + addend.
 */
#include "relocate.h"

#define PT_DYNAMIC        2
#define DT_RELA           7
#define DT_RELASZ         8
#define R_X86_64_RELATIVE 8

struct phdr {
	uint32_t type, flags;
	uint64_t offset, address, physical, file_size, memory_size, align;
};

struct dyn {
	uint64_t tag, value;
};

struct rela {
	uint64_t offset, info;
	int64_t addend;
};

/* Runs before relocation: no address taken from memory. */
void pg_relocate(const struct pg_boot *boot)
{
	const struct dyn *dynamic = NULL;
	const struct rela *rela = NULL;
	uint64_t size = 0;

	if (!boot->image_base || !boot->phdr)
		return;
	for (uint32_t i = 0; i < boot->phnum; i++) {
		const struct phdr *phdr =
			(const struct phdr *)(boot->phdr + (uint64_t)i * boot->phent);

		if (phdr->type == PT_DYNAMIC)
			dynamic = (const struct dyn *)(boot->image_base + phdr->address);
	}
	for (; dynamic && dynamic->tag; dynamic++) {
		if (dynamic->tag == DT_RELA)
			rela = (const struct rela *)(boot->image_base + dynamic->value);
		else if (dynamic->tag == DT_RELASZ)
			size = dynamic->value;
	}
	for (uint64_t i = 0; rela && i < size / sizeof(*rela); i++) {
		if ((uint32_t)rela[i].info == R_X86_64_RELATIVE)
			*(uint64_t *)(boot->image_base + rela[i].offset) =
				boot->image_base + (uint64_t)rela[i].addend;
	}
}
