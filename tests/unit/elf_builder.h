/*
 * ELF images made in memory, to be spoilt by tests and written to temporary files.
 * A failure of the builder itself (memory, disk) aborts the test.
 */
#ifndef ELF_BUILDER_H
#define ELF_BUILDER_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#define ELF_PHDRS_MAX 48
#define ELF_PATH_MAX  4096

/* Layout: ELF header, room for all program headers, contents, sections, section headers. */
struct elf_builder {
	uint8_t *bytes; /* owned; the file so far                            */
	size_t size, room;
	Elf64_Sym symbols[64];
	unsigned symbol_count;
	char names[4096];
	size_t names_size;
};

void elf_init(struct elf_builder *b, uint16_t type);
void elf_free(struct elf_builder *b);

/* Views into the bytes: valid until something is added. */
Elf64_Ehdr *elf_ehdr(struct elf_builder *b);
Elf64_Phdr *elf_phdr(struct elf_builder *b, unsigned index);

/* Append bytes at the next offset that is `skew` modulo `align`; returns the offset. */
size_t elf_bytes(struct elf_builder *b, const void *bytes, size_t size, size_t align, size_t skew);

/* Add a program header for what is at `offset`; returns its index. */
unsigned elf_segment(struct elf_builder *b, uint32_t type, uint32_t flags, uint64_t address,
		     size_t offset, uint64_t file_size, uint64_t memory_size);

/* Append a note (owner `name`) and a PT_NOTE header for it; returns the header's index. */
unsigned elf_note(struct elf_builder *b, const char *name, uint32_t type, const void *desc,
		  uint32_t desc_size);

void elf_symbol(struct elf_builder *b, const char *name, uint64_t value, uint64_t size,
		uint8_t info, uint16_t section);

/*
 * Write the section headers: 0 none, 1 executable [text, text + text_size), 2 writable,
 * 3 symbols, 4 names. Their table ends the file.
 */
void elf_sections(struct elf_builder *b, uint64_t text, uint64_t text_size);

/*
 * A good image: header and note at `base` (read-only), 256 bytes of code one page further,
 * 64 bytes of data in memory of 0x1800 at two pages and 0x100 bytes further. Program headers:
 * GOOD_* below.
 */
void elf_good(struct elf_builder *b, uint16_t type, uint64_t base);

enum {
	GOOD_NOTE,
	GOOD_HEADERS,
	GOOD_CODE,
	GOOD_DATA,
	GOOD_TLS,
	GOOD_STACK,
	GOOD_RELRO,
};

/* A new temporary file under $TMPDIR or /tmp; returns its descriptor. The caller unlinks it. */
int temp_file(char path[ELF_PATH_MAX]);
void temp_directory(char path[ELF_PATH_MAX]);

/* Replace a file's contents. */
void write_all(int fd, const void *bytes, size_t size);

/* Descriptors this process has open. */
int open_descriptors(void);

#endif
