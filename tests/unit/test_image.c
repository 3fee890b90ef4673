/* Images: what is accepted becomes exactly the right segments, all else gets its sentence. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "elf_builder.h"
#include "image.h"
#include "abi/layout.h"
#include "abi/ops.h"
#include "abi/version.h"

#define BASE 0x400000
#define RW   (PG_PROT_READ | PG_PROT_WRITE)
#define RX   (PG_PROT_READ | PG_PROT_EXEC)

static char path[ELF_PATH_MAX];
static int file = -1;
static int descriptors;
static struct elf_builder b;

static void set_up(void)
{
	file = temp_file(path);
	descriptors = open_descriptors();
}

static void tear_down(void)
{
	int left = open_descriptors() - descriptors;

	close(file);
	unlink(path);
	elf_free(&b);
	cr_assert_eq(left, 0, "%d descriptors were left open", left);
}

TestSuite(image, .init = set_up, .fini = tear_down);

/* One sentence: names the file, no newline, no full stop, as text a terminal can take. */
static void check_sentence(const struct uhyve_error *error, int code, const char *name)
{
	cr_assert_lt(code, 0);
	cr_assert_eq(error->code, code);
	cr_assert_not_null(strstr(error->text, name), "no path in: %s", error->text);
	size_t length = strlen(error->text);
	cr_assert_gt(length, strlen(name) + 5);
	cr_assert_neq(error->text[length - 1], '.');
	for (const char *c = error->text; *c; c++)
		cr_assert(*c >= ' ' && *c <= '~', "control character in: %s", error->text);
}

static void check_closed(const struct uhyve_image *image)
{
	cr_assert_eq(image->fd, -1);
	cr_assert_null(image->path);
	cr_assert_eq(open_descriptors(), descriptors);
}

/* The bytes built so far are refused with `code` and a sentence that has `words`. */
static void refused(int code, const char *words)
{
	struct uhyve_image image;
	struct uhyve_error error = { 0 };

	write_all(file, b.bytes, b.size);
	cr_assert_eq(uhyve_image_open(&image, path, &error), code, "expected \"%s\", got: %s",
		     words, error.text);
	check_sentence(&error, code, path);
	cr_assert_not_null(strstr(error.text, words), "expected \"%s\", got: %s", words,
			   error.text);
	check_closed(&image);
	uhyve_image_close(&image); /* harmless */
	elf_free(&b);
}

static void accepted(struct uhyve_image *image)
{
	struct uhyve_error error = { 0 };

	write_all(file, b.bytes, b.size);
	cr_assert_eq(uhyve_image_open(image, path, &error), 0, "%s", error.text);
	cr_assert_eq(error.code, 0);
}

static void check_segment(const struct uhyve_image *image, unsigned i, uint64_t address,
			  uint64_t length, uint32_t prot, uint64_t data, uint64_t offset,
			  uint64_t size)
{
	const struct uhyve_segment *s = &image->segments[i];

	cr_assert_lt(i, image->count);
	cr_assert_eq(s->address, address, "%u: address %#lx", i, s->address);
	cr_assert_eq(s->length, length, "%u: length %#lx", i, s->length);
	cr_assert_eq(s->prot, prot, "%u: prot %u", i, s->prot);
	cr_assert_eq(s->file_size, size, "%u: file size %#lx", i, s->file_size);
	cr_assert_eq(s->data, data, "%u: data %#lx", i, s->data);
	if (size)
		cr_assert_eq(s->file_offset, offset, "%u: offset %#lx", i, s->file_offset);
}

/* Everything image.h promises of an accepted image. */
static void check_guarantees(const struct uhyve_image *image, uint64_t file_size)
{
	uint64_t end = 0, memory = 0;
	bool entry = false;

	cr_assert_geq(image->fd, 0);
	cr_assert(image->base == 0 || image->base == PG_VA_PIE);
	cr_assert(image->count > 0 && image->count <= UHYVE_MAX_SEGMENTS);
	for (unsigned i = 0; i < image->count; i++) {
		const struct uhyve_segment *s = &image->segments[i];

		cr_assert_eq(s->address % PG_PAGE_SIZE, 0);
		cr_assert_eq(s->length % PG_PAGE_SIZE, 0);
		cr_assert_gt(s->length, 0);
		cr_assert_geq(s->address, PG_VA_MIN);
		cr_assert_lt(s->address, PG_VA_USER_END);
		cr_assert_leq(s->length, PG_VA_USER_END - s->address);
		cr_assert_geq(s->address, end, "segments overlap");
		cr_assert_eq(s->prot & ~7u, 0);
		cr_assert_neq(s->prot & (PG_PROT_WRITE | PG_PROT_EXEC),
			      PG_PROT_WRITE | PG_PROT_EXEC);
		cr_assert_geq(s->data, s->address);
		cr_assert_leq(s->data - s->address, s->length);
		cr_assert_leq(s->file_size, s->length - (s->data - s->address));
		cr_assert_leq(s->file_offset, file_size);
		cr_assert_leq(s->file_size, file_size - s->file_offset);
		if ((s->prot & PG_PROT_EXEC) && image->entry >= s->address &&
		    image->entry - s->address < s->length)
			entry = true;
		end = s->address + s->length;
		memory += s->length;
	}
	cr_assert(entry, "the entry point is not executable");
	cr_assert_eq(image->start, image->segments[0].address);
	cr_assert_eq(image->end, end);
	cr_assert_eq(uhyve_image_memory(image), memory);
	if (image->phdr) {
		cr_assert_eq(image->phent, sizeof(Elf64_Phdr));
		cr_assert_geq(image->phdr, image->start);
		cr_assert_leq((uint64_t)image->phnum * image->phent, image->end - image->phdr);
	} else {
		cr_assert_eq(image->phnum, 0);
	}
}

Test(image, good_static)
{
	struct uhyve_image image;

	elf_good(&b, ET_EXEC, BASE);
	accepted(&image);
	check_guarantees(&image, b.size);
	cr_assert_eq(image.base, 0);
	cr_assert_eq(image.entry, BASE + 0x1010);
	cr_assert_eq(image.start, BASE);
	cr_assert_eq(image.end, BASE + 0x4000);
	cr_assert_eq(image.phdr, BASE + sizeof(Elf64_Ehdr));
	cr_assert_eq(image.phnum, 7);
	cr_assert_eq(image.phent, sizeof(Elf64_Phdr));
	cr_assert_eq(image.count, 3);
	cr_assert_str_eq(image.path, path);

	const Elf64_Phdr *ph = elf_phdr(&b, 0);
	check_segment(&image, 0, BASE, 0x1000, PG_PROT_READ, BASE, 0, ph[GOOD_HEADERS].p_filesz);
	check_segment(&image, 1, BASE + 0x1000, 0x1000, RX, BASE + 0x1000, ph[GOOD_CODE].p_offset,
		      256);
	check_segment(&image, 2, BASE + 0x2000, 0x2000, RW, BASE + 0x2100, ph[GOOD_DATA].p_offset,
		      64);
	cr_assert_eq(uhyve_image_memory(&image), 0x4000);

	/* The descriptor is the file, to read contents from. */
	uint8_t code[256];
	cr_assert_eq(pread(image.fd, code, 256, (off_t)image.segments[1].file_offset), 256);
	cr_assert_eq(code[0], 0xc3);
	cr_assert(fcntl(image.fd, F_GETFD) & FD_CLOEXEC);
	uhyve_image_close(&image);
	check_closed(&image);
}

Test(image, good_static_pie)
{
	struct uhyve_image image;

	elf_good(&b, ET_DYN, 0);
	accepted(&image);
	check_guarantees(&image, b.size);
	cr_assert_eq(image.base, PG_VA_PIE);
	cr_assert_eq(image.entry, PG_VA_PIE + 0x1010);
	cr_assert_eq(image.start, PG_VA_PIE);
	cr_assert_eq(image.phdr, PG_VA_PIE + sizeof(Elf64_Ehdr));
	cr_assert_eq(image.count, 3);
	check_segment(&image, 2, PG_VA_PIE + 0x2000, 0x2000, RW, PG_VA_PIE + 0x2100,
		      elf_phdr(&b, GOOD_DATA)->p_offset, 64);
	uhyve_image_close(&image);
}

/* The same segments, whatever their order in the file. */
Test(image, order_does_not_matter)
{
	struct uhyve_image image;

	elf_good(&b, ET_EXEC, BASE);
	Elf64_Phdr swap = *elf_phdr(&b, GOOD_HEADERS);
	*elf_phdr(&b, GOOD_HEADERS) = *elf_phdr(&b, GOOD_DATA);
	*elf_phdr(&b, GOOD_DATA) = swap;
	accepted(&image);
	check_guarantees(&image, b.size);
	cr_assert_eq(image.count, 3);
	cr_assert_eq(image.segments[0].prot, PG_PROT_READ);
	cr_assert_eq(image.segments[2].prot, RW);
	uhyve_image_close(&image);
}

/* Without headers in memory there is no address to give. */
Test(image, headers_not_loaded)
{
	struct uhyve_image image;

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_HEADERS)->p_type = PT_NULL;
	accepted(&image);
	check_guarantees(&image, b.size);
	cr_assert_eq(image.phdr, 0);
	cr_assert_eq(image.count, 2);
	uhyve_image_close(&image);
}

Test(image, empty_segments_are_ignored)
{
	struct uhyve_image image;

	elf_good(&b, ET_EXEC, BASE);
	elf_segment(&b, PT_LOAD, PF_R | PF_W | PF_X, 0, 0, 0, 0);
	accepted(&image);
	check_guarantees(&image, b.size);
	cr_assert_eq(image.count, 3);
	uhyve_image_close(&image);
}

/* Up to the last page of the window, and down to its first. */
Test(image, whole_window)
{
	struct uhyve_image image;

	elf_good(&b, ET_EXEC, BASE);
	elf_segment(&b, PT_LOAD, PF_R, PG_VA_USER_END - 1, 0, 1, 1);
	elf_segment(&b, PT_LOAD, PF_R, PG_VA_MIN, 0, 1, 1);
	accepted(&image);
	check_guarantees(&image, b.size);
	cr_assert_eq(image.start, PG_VA_MIN);
	cr_assert_eq(image.end, PG_VA_USER_END);
	uhyve_image_close(&image);
}

static void open_refused(const char *name, int code, const char *words)
{
	struct uhyve_image image;
	struct uhyve_error error = { 0 };

	cr_assert_eq(uhyve_image_open(&image, name, &error), code, "%s", error.text);
	check_sentence(&error, code, name);
	cr_assert_not_null(strstr(error.text, words), "%s", error.text);
	check_closed(&image);
}

Test(image, not_files)
{
	char name[ELF_PATH_MAX + 8];

	open_refused("/nonexistent/app.elf", -ENOENT, "no such file");
	open_refused("/", -EISDIR, "directory");
	open_refused("/dev/null", -EINVAL, "not a regular file");
	open_refused(path, -ENOEXEC, "empty");

	snprintf(name, sizeof(name), "%s.fifo", path);
	cr_assert_eq(mkfifo(name, 0600), 0);
	open_refused(name, -EINVAL, "not a regular file");
	unlink(name);

	snprintf(name, sizeof(name), "%s.loop", path);
	cr_assert_eq(symlink(name, name), 0);
	open_refused(name, -ELOOP, "symbolic links");
	unlink(name);
}

Test(image, not_permitted)
{
	elf_good(&b, ET_EXEC, BASE);
	write_all(file, b.bytes, b.size);
	cr_assert_eq(fchmod(file, 0), 0);

	bool root = geteuid() == 0;
	if (root)
		cr_assert_eq(seteuid(65534), 0);
	struct uhyve_image image;
	struct uhyve_error error = { 0 };
	int code = uhyve_image_open(&image, path, &error);
	if (root)
		cr_assert_eq(seteuid(0), 0);

	cr_assert_eq(code, -EACCES);
	check_sentence(&error, code, path);
	cr_assert_not_null(strstr(error.text, "permission denied"));
	check_closed(&image);
}

/* The reason survives a path that is longer than a message. */
Test(image, long_path)
{
	static char name[3001];
	struct uhyve_image image;
	struct uhyve_error error = { 0 };

	for (size_t i = 0; i + 1 < sizeof(name); i++)
		name[i] = i % 100 ? 'x' : '/';
	memcpy(name + sizeof(name) - 9, "/app.elf", 9);
	cr_assert_eq(uhyve_image_open(&image, name, &error), -ENOENT);
	check_sentence(&error, -ENOENT, "xxx/app.elf: no such file");
	check_closed(&image);
}

/* No error wanted: the code alone. */
Test(image, error_is_optional)
{
	struct uhyve_image image;

	cr_assert_eq(uhyve_image_open(&image, "/nonexistent", NULL), -ENOENT);
	check_closed(&image);
}

Test(image, header_refusals)
{
	elf_init(&b, ET_EXEC);
	memcpy(b.bytes, "#!/bin/sh\n", 10);
	refused(-ENOEXEC, "not an ELF file");

	elf_good(&b, ET_EXEC, BASE);
	elf_ehdr(&b)->e_ident[EI_CLASS] = ELFCLASS32;
	refused(-ENOEXEC, "not a 64-bit ELF file");

	elf_good(&b, ET_EXEC, BASE);
	elf_ehdr(&b)->e_ident[EI_DATA] = ELFDATA2MSB;
	refused(-ENOEXEC, "not a little-endian ELF file");

	elf_good(&b, ET_EXEC, BASE);
	elf_ehdr(&b)->e_ident[EI_VERSION] = 9;
	refused(-ENOEXEC, "unknown version of ELF");

	elf_good(&b, ET_EXEC, BASE);
	elf_ehdr(&b)->e_version = 0;
	refused(-ENOEXEC, "unknown version of ELF");

	elf_good(&b, ET_EXEC, BASE);
	elf_ehdr(&b)->e_machine = EM_AARCH64;
	refused(-ENOEXEC, "machine 183");

	elf_good(&b, ET_REL, BASE);
	refused(-ENOEXEC, "object file");

	elf_good(&b, ET_CORE, BASE);
	refused(-ENOEXEC, "core dump");

	elf_good(&b, ET_NONE, BASE);
	refused(-ENOEXEC, "not a program (ELF type 0)");
}

Test(image, table_refusals)
{
	elf_good(&b, ET_EXEC, BASE);
	elf_ehdr(&b)->e_phnum = 0;
	refused(-ENOEXEC, "no loadable segment");

	elf_good(&b, ET_EXEC, BASE);
	elf_ehdr(&b)->e_phnum = PN_XNUM;
	refused(-ENOEXEC, "too many program headers");

	elf_good(&b, ET_EXEC, BASE);
	elf_ehdr(&b)->e_phentsize = 32;
	refused(-ENOEXEC, "program headers of 32 bytes");

	elf_good(&b, ET_EXEC, BASE);
	elf_ehdr(&b)->e_phnum = 0xfffe;
	refused(-ENOEXEC, "truncated: its program headers");

	elf_good(&b, ET_EXEC, BASE);
	elf_ehdr(&b)->e_phoff = UINT64_MAX - 8;
	refused(-ENOEXEC, "truncated: its program headers");

	elf_good(&b, ET_EXEC, BASE);
	elf_sections(&b, BASE + 0x1000, 256);
	elf_ehdr(&b)->e_shnum = 0;
	refused(-ENOEXEC, "section header table with 0 entries");

	elf_good(&b, ET_EXEC, BASE);
	elf_sections(&b, BASE + 0x1000, 256);
	elf_ehdr(&b)->e_shentsize = 1;
	refused(-ENOEXEC, "entries of 1 bytes");

	elf_good(&b, ET_EXEC, BASE);
	elf_sections(&b, BASE + 0x1000, 256);
	elf_ehdr(&b)->e_shnum++;
	refused(-ENOEXEC, "truncated: its section headers");
}

Test(image, dynamic_is_refused)
{
	static const char musl[] = "/lib/ld-musl-x86_64.so.1";
	static const char nasty[] = "\033[31m/x";

	elf_good(&b, ET_DYN, 0);
	size_t at = elf_bytes(&b, musl, sizeof(musl), 1, 0);
	elf_segment(&b, PT_INTERP, PF_R, at, at, sizeof(musl), sizeof(musl));
	refused(-ENOEXEC, ": dynamically linked (asks for /lib/ld-musl-x86_64.so.1); "
			  "link it with -static");

	/* The file doesn't get to talk to the terminal. */
	elf_good(&b, ET_EXEC, BASE);
	at = elf_bytes(&b, nasty, sizeof(nasty), 1, 0);
	elf_segment(&b, PT_INTERP, PF_R, at, at, sizeof(nasty), sizeof(nasty));
	refused(-ENOEXEC, "asks for ?[31m/x)");

	/* Not terminated, and longer than anyone wants to read. */
	elf_good(&b, ET_EXEC, BASE);
	at = elf_bytes(&b, NULL, 5000, 1, 0);
	memset(b.bytes + at, 'y', 5000);
	elf_segment(&b, PT_INTERP, PF_R, at, at, 5000, 5000);
	refused(-ENOEXEC, "yyy); link it with -static");

	/* A program linked the usual way lacks the note too, but this is what to say. */
	elf_good(&b, ET_DYN, 0);
	elf_phdr(&b, GOOD_NOTE)->p_type = PT_NULL;
	elf_segment(&b, PT_INTERP, PF_R, 0, 0, 0, 0);
	refused(-ENOEXEC, "dynamically linked");
}

static void build_note(const char *name, uint32_t type, const void *desc, uint32_t size)
{
	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_NOTE)->p_type = PT_NULL;
	elf_note(&b, name, type, desc, size);
}

static void build_version(uint32_t major, uint32_t minor)
{
	const struct pg_abi_note abi = { major, minor };

	build_note(PG_NOTE_NAME, PG_NOTE_ABI, &abi, sizeof(abi));
}

Test(image, abi_note)
{
	const struct pg_abi_note abi = { PG_ABI_MAJOR, PG_ABI_MINOR };
	const char *missing = "not a Pagurus image (no Pagurus ABI note); "
			      "link it with the Pagurus kernel";
	struct uhyve_image image;
	char words[128];

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_NOTE)->p_type = PT_NULL;
	refused(-ENOEXEC, missing);

	build_note("pagurus", PG_NOTE_ABI, &abi, sizeof(abi));
	refused(-ENOEXEC, missing);

	build_note(PG_NOTE_NAME, PG_NOTE_ABI + 1, &abi, sizeof(abi));
	refused(-ENOEXEC, missing);

	build_note(PG_NOTE_NAME, PG_NOTE_ABI, &abi, 4);
	refused(-ENOEXEC, "ABI note has 4 bytes instead of 8");

	build_version(PG_ABI_MAJOR + 1, 0);
	snprintf(words, sizeof(words), "version %d.0 of the Pagurus ABI, but this loader has %d.%d",
		 PG_ABI_MAJOR + 1, PG_ABI_MAJOR, PG_ABI_MINOR);
	refused(-ENOEXEC, words);

	build_version(PG_ABI_MAJOR - 1, PG_ABI_MINOR);
	snprintf(words, sizeof(words), "version %d.%d of the Pagurus ABI", PG_ABI_MAJOR - 1,
		 PG_ABI_MINOR);
	refused(-ENOEXEC, words);

	build_version(PG_ABI_MAJOR, PG_ABI_MINOR + 1);
	snprintf(words, sizeof(words),
		 "version %d.%d of the Pagurus ABI, but this loader has %d.%d", PG_ABI_MAJOR,
		 PG_ABI_MINOR + 1, PG_ABI_MAJOR, PG_ABI_MINOR);
	refused(-ENOEXEC, words);

	/* Other notes before it, in the same segment and in another one. */
	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_NOTE)->p_type = PT_NULL;
	elf_note(&b, "GNU", 3, "0123456789", 10);
	unsigned first = elf_note(&b, "GNU", 3, "01234567", 8);
	unsigned second = elf_note(&b, PG_NOTE_NAME, PG_NOTE_ABI, &abi, sizeof(abi));
	elf_phdr(&b, first)->p_filesz += elf_phdr(&b, second)->p_filesz;
	elf_phdr(&b, second)->p_type = PT_NULL;
	accepted(&image);
	uhyve_image_close(&image);
	elf_free(&b);

	/* A note that claims to be longer than its segment hides nothing but itself. */
	build_version(PG_ABI_MAJOR, PG_ABI_MINOR);
	unsigned long_note = elf_note(&b, "GNU", 3, "0123", 4);
	Elf64_Phdr swap = *elf_phdr(&b, long_note);
	*elf_phdr(&b, long_note) = *elf_phdr(&b, GOOD_NOTE + 7);
	*elf_phdr(&b, GOOD_NOTE + 7) = swap;
	((Elf64_Nhdr *)(b.bytes + swap.p_offset))->n_descsz = UINT32_MAX;
	accepted(&image);
	uhyve_image_close(&image);
}

/* Enormous notes are neither read nor allocated for, one by one or all together. */
Test(image, notes_are_bounded)
{
	const struct pg_abi_note abi = { PG_ABI_MAJOR, PG_ABI_MINOR };
	struct uhyve_image image;
	struct uhyve_error error = { 0 };

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_NOTE)->p_filesz = 1ul << 40;
	write_all(file, b.bytes, b.size);
	cr_assert_eq(ftruncate(file, 1l << 41), 0);
	cr_assert_eq(uhyve_image_open(&image, path, &error), -ENOEXEC);
	check_sentence(&error, -ENOEXEC, "not a Pagurus image");
	elf_free(&b);

	error.code = 0;
	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_NOTE)->p_type = PT_NULL;
	elf_segment(&b, PT_NOTE, PF_R, 0, 8192, 65536, 0);
	elf_note(&b, PG_NOTE_NAME, PG_NOTE_ABI, &abi, sizeof(abi));
	write_all(file, b.bytes, b.size);
	cr_assert_eq(ftruncate(file, 1l << 20), 0);
	cr_assert_eq(uhyve_image_open(&image, path, &error), -ENOEXEC);
	check_sentence(&error, -ENOEXEC, "not a Pagurus image");
}

Test(image, segment_refusals)
{
	elf_good(&b, ET_EXEC, BASE);
	for (unsigned i = GOOD_HEADERS; i <= GOOD_DATA; i++)
		elf_phdr(&b, i)->p_type = PT_NULL;
	refused(-ENOEXEC, "no loadable segment");

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_CODE)->p_flags |= PF_W;
	refused(-ENOEXEC, "the segment at 0x401000 is both writable and executable");

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_DATA)->p_filesz = 0x1900;
	elf_bytes(&b, NULL, 0x2000, 1, 0);
	refused(-ENOEXEC, "larger in the file than in memory");

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_HEADERS)->p_offset = b.size;
	refused(-ENOEXEC, "truncated: segment 1");

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_HEADERS)->p_offset = UINT64_MAX;
	refused(-ENOEXEC, "truncated: segment 1");

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_DATA)->p_filesz = UINT64_MAX - 8;
	elf_phdr(&b, GOOD_DATA)->p_memsz = UINT64_MAX - 8;
	refused(-ENOEXEC, "truncated: segment 3");

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_TLS)->p_filesz = 1 << 20;
	refused(-ENOEXEC, "truncated: segment 4");

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_CODE)->p_memsz = 0x1101;
	refused(-ENOEXEC, "the segments at 0x401000 and 0x402100 overlap");

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_CODE)->p_vaddr = BASE;
	refused(-ENOEXEC, "overlap");

	elf_good(&b, ET_DYN, 0);
	elf_phdr(&b, GOOD_CODE)->p_memsz = 0x1101;
	refused(-ENOEXEC, "the segments at 0x1000 and 0x2100 overlap");

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_DATA)->p_memsz = UINT64_MAX;
	refused(-ENOEXEC, "the segment at 0x402100 wraps around");

	elf_good(&b, ET_DYN, 0);
	elf_phdr(&b, GOOD_DATA)->p_vaddr = UINT64_MAX - PG_VA_PIE + 1;
	refused(-ENOEXEC, "wraps around");

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_DATA)->p_memsz = 1ul << 60;
	refused(-ENOEXEC, "does not lie within 0x10000-0x700000000000");

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_DATA)->p_memsz = PG_VA_USER_END - BASE - 0x2100 + 1;
	refused(-ENOEXEC, "does not lie within");

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_DATA)->p_vaddr = PG_VA_USER_END;
	refused(-ENOEXEC, "does not lie within");

	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_HEADERS)->p_vaddr = PG_VA_MIN - 1;
	refused(-ENOEXEC, "the segment at 0xffff does not lie within");

	elf_good(&b, ET_EXEC, 0);
	refused(-ENOEXEC, "the segment at 0 does not lie within");

	elf_good(&b, ET_EXEC, BASE);
	for (unsigned i = 0; i < UHYVE_MAX_SEGMENTS - 2; i++)
		elf_segment(&b, PT_LOAD, PF_R, BASE + 0x10000 + i * 0x1000, 0, 16, 16);
	refused(-ENOEXEC, "more than 32 segments");
}

Test(image, entry_refusals)
{
	const uint64_t bad[] = { 0,
				 BASE,
				 BASE + 0xfff,
				 BASE + 0x1100,
				 BASE + 0x2100,
				 UINT64_MAX,
				 UINT64_MAX - PG_VA_PIE + 1 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		for (int pie = 0; pie < 2; pie++) {
			elf_good(&b, pie ? ET_DYN : ET_EXEC, pie ? 0 : BASE);
			elf_ehdr(&b)->e_entry = bad[i];
			refused(-ENOEXEC, "entry point");
		}
	}
}

/* Exactly as many as fit. */
Test(image, most_segments)
{
	struct uhyve_image image;

	elf_good(&b, ET_EXEC, BASE);
	for (unsigned i = 0; i < UHYVE_MAX_SEGMENTS - 3; i++)
		elf_segment(&b, PT_LOAD, PF_R, BASE + 0x10000 + i * 0x1000, 0, 16, 16);
	accepted(&image);
	check_guarantees(&image, b.size);
	cr_assert_eq(image.count, UHYVE_MAX_SEGMENTS);
	uhyve_image_close(&image);
}

/* Splitting a shared page can ask for more segments than there are. */
Test(image, too_many_after_splitting)
{
	elf_good(&b, ET_EXEC, BASE);
	for (unsigned i = 0; i < UHYVE_MAX_SEGMENTS - 3; i++)
		elf_segment(&b, PT_LOAD, i % 2 ? PF_R | PF_W : PF_R,
			    BASE + 0x10000 + i * 0x2000 - (i % 2) * 0x800, 0, 16, 0x1800);
	refused(-ENOEXEC, "more than 32 segments");
}

/*
 * Two segments of 0x1800 bytes at `base` and `base` + 0x1800 + gap: they share the second
 * page. `offset` is added to where the second one's contents would be found by mmap.
 */
static void build_shared(uint32_t first, uint32_t second, size_t gap, size_t offset,
			 uint64_t first_size)
{
	const uint64_t base = BASE + 0x10000;

	elf_good(&b, ET_EXEC, BASE);
	size_t at = elf_bytes(&b, NULL, 0x4000, 4096, 0);
	elf_segment(&b, PT_LOAD, first, base, at, first_size, 0x1800);
	elf_segment(&b, PT_LOAD, second, base + 0x1800 + gap, at + 0x1800 + gap + offset, 0x1000,
		    0x1000);
}

Test(image, shared_page)
{
	const uint64_t base = BASE + 0x10000;
	struct uhyve_image image;

	build_shared(PF_R, PF_R | PF_W, 0x10, 0, 0x1800);
	accepted(&image);
	check_guarantees(&image, b.size);
	size_t at = elf_phdr(&b, 7)->p_offset;
	cr_assert_eq(image.count, 6);
	check_segment(&image, 3, base, 0x1000, PG_PROT_READ, base, at, 0x1000);
	check_segment(&image, 4, base + 0x1000, 0x1000, RW, base + 0x1000, at + 0x1000, 0x1000);
	check_segment(&image, 5, base + 0x2000, 0x1000, RW, base + 0x2000, at + 0x2000, 0x810);
	uhyve_image_close(&image);
	elf_free(&b);

	build_shared(PF_R | PF_X, PF_R, 0, 0, 0x1800);
	accepted(&image);
	check_guarantees(&image, b.size);
	cr_assert_eq(image.count, 6);
	check_segment(&image, 3, base, 0x1000, RX, base, at, 0x1000);
	check_segment(&image, 4, base + 0x1000, 0x1000, RX, base + 0x1000, at + 0x1000, 0x1000);
	check_segment(&image, 5, base + 0x2000, 0x1000, PG_PROT_READ, base + 0x2000, at + 0x2000,
		      0x800);
	uhyve_image_close(&image);
	elf_free(&b);

	/* The first one's contents end before the page: any place in the file will do. */
	build_shared(PF_R, PF_R | PF_W, 0x10, 0x20, 0x200);
	accepted(&image);
	check_guarantees(&image, b.size);
	check_segment(&image, 3, base, 0x1000, PG_PROT_READ, base, at, 0x200);
	check_segment(&image, 4, base + 0x1000, 0x1000, RW, base + 0x1810, at + 0x1830, 0x7f0);
	check_segment(&image, 5, base + 0x2000, 0x1000, RW, base + 0x2000, at + 0x2020, 0x810);
	uhyve_image_close(&image);
	elf_free(&b);

	/* The second one has none. */
	build_shared(PF_R, PF_R | PF_W, 0, 0, 0x1400);
	elf_phdr(&b, 8)->p_filesz = 0;
	accepted(&image);
	check_guarantees(&image, b.size);
	check_segment(&image, 4, base + 0x1000, 0x1000, RW, base + 0x1000, at + 0x1000, 0x400);
	check_segment(&image, 5, base + 0x2000, 0x1000, RW, base + 0x2000, 0, 0);
	uhyve_image_close(&image);
}

/* Three segments in one page. */
Test(image, crowded_page)
{
	const uint64_t base = BASE + 0x10000;
	struct uhyve_image image;

	elf_good(&b, ET_EXEC, BASE);
	size_t at = elf_bytes(&b, NULL, 0x1000, 4096, 0);
	elf_segment(&b, PT_LOAD, PF_R, base + 0x10, at + 0x10, 0x10, 0x10);
	elf_segment(&b, PT_LOAD, PF_R | PF_W, base + 0x20, at + 0x20, 0x10, 0x10);
	elf_segment(&b, PT_LOAD, PF_R, base + 0x40, at + 0x40, 0x10, 0x20);
	accepted(&image);
	check_guarantees(&image, b.size);
	cr_assert_eq(image.count, 4);
	check_segment(&image, 3, base, 0x1000, RW, base + 0x10, at + 0x10, 0x40);
	uhyve_image_close(&image);
}

Test(image, shared_page_refusals)
{
	build_shared(PF_R | PF_X, PF_R | PF_W, 0, 0, 0x1800);
	refused(-ENOEXEC, "share a page that would be both writable and executable");

	build_shared(PF_R | PF_W, PF_X, 0, 0, 0x1800);
	refused(-ENOEXEC, "share a page that would be both writable and executable");

	/* Contents from two places of the file. */
	build_shared(PF_R, PF_R | PF_W, 0, 0x10, 0x1800);
	refused(-ENOEXEC, "contents do not fit together");

	/* Zeroes between them that the file does not have. */
	build_shared(PF_R, PF_R | PF_W, 0, 0, 0x17ff);
	refused(-ENOEXEC, "contents do not fit together");
}

/* Every prefix of a good file is refused, as an ELF file that is truncated once it is one. */
static void check_prefixes(void)
{
	struct uhyve_image image;

	write_all(file, b.bytes, b.size);
	for (size_t size = b.size; size-- > 0;) {
		struct uhyve_error error = { 0 };

		cr_assert_eq(ftruncate(file, (off_t)size), 0);
		cr_assert_eq(uhyve_image_open(&image, path, &error), -ENOEXEC, "%zu bytes", size);
		check_sentence(&error, -ENOEXEC, path);
		const char *words = size == 0        ? "empty"
				    : size < SELFMAG ? "not an ELF file"
						     : "truncated";
		cr_assert_not_null(strstr(error.text, words), "%zu bytes: %s", size, error.text);
	}
	check_closed(&image);
}

Test(image, truncated_without_sections)
{
	struct uhyve_image image;

	elf_good(&b, ET_EXEC, BASE);
	accepted(&image);
	uhyve_image_close(&image);
	check_prefixes();
}

Test(image, truncated_with_sections)
{
	struct uhyve_image image;

	elf_good(&b, ET_DYN, 0);
	elf_symbol(&b, "main", 0x1010, 16, ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 1);
	elf_sections(&b, 0x1000, 256);
	accepted(&image);
	uhyve_image_close(&image);
	check_prefixes();
}

/* Shortened after it was opened: the promise is of short reads, not of crashes. */
Test(image, shortened_later)
{
	struct uhyve_image image;
	uint8_t byte;

	elf_good(&b, ET_EXEC, BASE);
	elf_symbol(&b, "main", BASE + 0x1010, 16, ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 1);
	elf_sections(&b, BASE + 0x1000, 256);
	accepted(&image);
	for (size_t size = b.size; size-- > 0;) {
		cr_assert_eq(ftruncate(file, (off_t)size), 0);
		uhyve_symbols_free(uhyve_symbols_load(&image));
	}
	cr_assert_eq(pread(image.fd, &byte, 1, (off_t)image.segments[1].file_offset), 0);
	uhyve_image_close(&image);
}

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Spoil 1, 2, 4 or 8 bytes at once: with noise, or with a value at some edge. */
static void spoil(uint8_t *bytes, size_t size)
{
	static const uint64_t edges[] = { 0,
					  1,
					  0x7f,
					  0xff,
					  0xfff,
					  0x1000,
					  0x1001,
					  0xffff,
					  INT32_MAX,
					  UINT32_MAX,
					  INT64_MAX,
					  UINT64_MAX,
					  UINT64_MAX - 0xfff,
					  PG_VA_USER_END,
					  PG_VA_MIN,
					  BASE,
					  BASE + 0x1000 };
	size_t width = 1ul << next_random() % 4;
	/* Mostly fields in use, at their alignment: noise elsewhere says little. */
	size_t limit = next_random() % 4 ? sizeof(Elf64_Ehdr) + 8 * sizeof(Elf64_Phdr) : size;
	size_t at = next_random() % (limit - width);
	uint64_t value = next_random();

	at -= at % width;
	if (next_random() % 2)
		value = edges[value % (sizeof(edges) / sizeof(edges[0]))];
	memcpy(bytes + at, &value, width);
}

Test(image, mutations, .timeout = 300)
{
	unsigned good = 0, bad = 0;

	elf_good(&b, ET_EXEC, BASE);
	elf_symbol(&b, "main", BASE + 0x1010, 16, ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 1);
	elf_sections(&b, BASE + 0x1000, 256);
	uint8_t *spoilt = malloc(b.size);
	cr_assert_not_null(spoilt);

	for (int i = 0; i < 20000; i++) {
		struct uhyve_image image;
		struct uhyve_error error = { 0 };

		memcpy(spoilt, b.bytes, b.size);
		for (uint64_t n = 1 + next_random() % 3; n > 0; n--)
			spoil(spoilt, b.size);
		write_all(file, spoilt, b.size);

		int code = uhyve_image_open(&image, path, &error);
		if (code) {
			bad++;
			check_sentence(&error, code, path);
			cr_assert_eq(image.fd, -1);
			continue;
		}
		good++;
		check_guarantees(&image, b.size);
		uhyve_symbols_free(uhyve_symbols_load(&image));
		uhyve_image_close(&image);
	}
	free(spoilt);
	/* Both ways were walked often enough to mean something. */
	cr_assert_gt(good, 1000);
	cr_assert_gt(bad, 1000);
}
