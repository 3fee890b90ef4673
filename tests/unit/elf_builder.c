#include "elf_builder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "abi/version.h"

static void must(int good, const char *what)
{
	if (!good) {
		perror(what);
		abort();
	}
}

void elf_init(struct elf_builder *b, uint16_t type)
{
	*b = (struct elf_builder){ .names_size = 1 };
	elf_bytes(b, NULL, sizeof(Elf64_Ehdr) + ELF_PHDRS_MAX * sizeof(Elf64_Phdr), 1, 0);
	*elf_ehdr(b) = (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = type,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
	};
}

void elf_free(struct elf_builder *b)
{
	free(b->bytes);
	b->bytes = NULL;
}

Elf64_Ehdr *elf_ehdr(struct elf_builder *b)
{
	return (Elf64_Ehdr *)b->bytes;
}

Elf64_Phdr *elf_phdr(struct elf_builder *b, unsigned index)
{
	return (Elf64_Phdr *)(b->bytes + sizeof(Elf64_Ehdr)) + index;
}

size_t elf_bytes(struct elf_builder *b, const void *bytes, size_t size, size_t align, size_t skew)
{
	size_t offset = b->size;

	while (offset % align != skew % align)
		offset++;
	if (offset + size > b->room) {
		size_t room = (offset + size) * 2;
		uint8_t *grown = realloc(b->bytes, room);

		must(grown != NULL, "realloc");
		memset(grown + b->room, 0, room - b->room);
		b->bytes = grown;
		b->room = room;
	}
	if (bytes)
		memcpy(b->bytes + offset, bytes, size);
	b->size = offset + size;
	return offset;
}

unsigned elf_segment(struct elf_builder *b, uint32_t type, uint32_t flags, uint64_t address,
		     size_t offset, uint64_t file_size, uint64_t memory_size)
{
	unsigned index = elf_ehdr(b)->e_phnum++;

	must(index < ELF_PHDRS_MAX, "program headers");
	*elf_phdr(b, index) = (Elf64_Phdr){
		.p_type = type,
		.p_flags = flags,
		.p_offset = offset,
		.p_vaddr = address,
		.p_paddr = address,
		.p_filesz = file_size,
		.p_memsz = memory_size,
		.p_align = type == PT_LOAD ? 4096 : 4,
	};
	return index;
}

unsigned elf_note(struct elf_builder *b, const char *name, uint32_t type, const void *desc,
		  uint32_t desc_size)
{
	Elf64_Nhdr header = {
		.n_namesz = (uint32_t)strlen(name) + 1,
		.n_descsz = desc_size,
		.n_type = type,
	};
	size_t offset = elf_bytes(b, &header, sizeof(header), 4, 0);

	elf_bytes(b, name, header.n_namesz, 4, 0);
	elf_bytes(b, desc, desc_size, 4, 0);
	elf_bytes(b, NULL, 0, 4, 0);
	return elf_segment(b, PT_NOTE, PF_R, offset, offset, b->size - offset, b->size - offset);
}

void elf_symbol(struct elf_builder *b, const char *name, uint64_t value, uint64_t size,
		uint8_t info, uint16_t section)
{
	size_t length = strlen(name) + 1;

	must(b->symbol_count < 64 && b->names_size + length <= sizeof(b->names), "symbols");
	memcpy(b->names + b->names_size, name, length);
	b->symbols[b->symbol_count++] = (Elf64_Sym){
		.st_name = (uint32_t)b->names_size,
		.st_info = info,
		.st_shndx = section,
		.st_value = value,
		.st_size = size,
	};
	b->names_size += length;
}

void elf_sections(struct elf_builder *b, uint64_t text, uint64_t text_size)
{
	size_t symbols_size = b->symbol_count * sizeof(Elf64_Sym);
	size_t symbols = elf_bytes(b, b->symbols, symbols_size, 8, 0);
	size_t names = elf_bytes(b, b->names, b->names_size, 1, 0);
	const Elf64_Shdr headers[] = {
		{ .sh_type = SHT_NULL },
		{ .sh_type = SHT_PROGBITS,
		  .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
		  .sh_addr = text,
		  .sh_size = text_size },
		{ .sh_type = SHT_NOBITS, .sh_flags = SHF_ALLOC | SHF_WRITE },
		{ .sh_type = SHT_SYMTAB,
		  .sh_offset = symbols,
		  .sh_size = symbols_size,
		  .sh_link = 4,
		  .sh_entsize = sizeof(Elf64_Sym),
		  .sh_addralign = 8 },
		{ .sh_type = SHT_STRTAB, .sh_offset = names, .sh_size = b->names_size },
	};
	size_t table = elf_bytes(b, headers, sizeof(headers), 8, 0);

	elf_ehdr(b)->e_shoff = table;
	elf_ehdr(b)->e_shentsize = sizeof(Elf64_Shdr);
	elf_ehdr(b)->e_shnum = sizeof(headers) / sizeof(headers[0]);
}

void elf_good(struct elf_builder *b, uint16_t type, uint64_t base)
{
	const struct pg_abi_note abi = { PG_ABI_MAJOR, PG_ABI_MINOR };
	uint8_t contents[256];

	memset(contents, 0xc3, sizeof(contents));
	elf_init(b, type);
	elf_note(b, PG_NOTE_NAME, PG_NOTE_ABI, &abi, sizeof(abi));
	elf_segment(b, PT_LOAD, PF_R, base, 0, b->size, b->size);
	size_t code = elf_bytes(b, contents, 256, 16, 0);
	elf_segment(b, PT_LOAD, PF_R | PF_X, base + 0x1000, code, 256, 256);
	size_t data = elf_bytes(b, contents, 64, 16, 0);
	elf_segment(b, PT_LOAD, PF_R | PF_W, base + 0x2100, data, 64, 0x1800);
	elf_segment(b, PT_TLS, PF_R, base + 0x2100, data, 16, 32);
	elf_segment(b, PT_GNU_STACK, PF_R | PF_W | PF_X, 0, 0, 0, 0);
	elf_segment(b, PT_GNU_RELRO, PF_R, base + 0x2100, data, 32, 32);
	elf_ehdr(b)->e_entry = base + 0x1010;
}

static void temp_template(char path[ELF_PATH_MAX])
{
	const char *directory = getenv("TMPDIR");
	int n = snprintf(path, ELF_PATH_MAX, "%s/pagurus-XXXXXX", directory ? directory : "/tmp");

	must(n > 0 && n < ELF_PATH_MAX, "TMPDIR");
}

int temp_file(char path[ELF_PATH_MAX])
{
	temp_template(path);
	int fd = mkstemp(path);

	must(fd >= 0, "mkstemp");
	return fd;
}

void temp_directory(char path[ELF_PATH_MAX])
{
	temp_template(path);
	must(mkdtemp(path) != NULL, "mkdtemp");
}

void write_all(int fd, const void *bytes, size_t size)
{
	must(pwrite(fd, bytes, size, 0) == (ssize_t)size, "pwrite");
	/* Afterwards: a file that was cut to nothing first, ext4 writes to disk when closed. */
	must(ftruncate(fd, (off_t)size) == 0, "ftruncate");
}

int open_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	must(directory != NULL, "/proc/self/fd");
	while (readdir(directory))
		count++;
	closedir(directory);
	return count - 3; /* ".", "..", and the directory's own descriptor */
}
