/* Symbols: the right name for every address, and nothing worse than NULL for a spoilt table. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "elf_builder.h"
#include "image.h"
#include "abi/layout.h"

#define BASE             0x400000
#define CODE             (BASE + 0x1000)
#define INFO(bind, type) ELF64_ST_INFO(STB_##bind, STT_##type)

enum {
	NULL_SECTION,
	TEXT,
	DATA
};

static char path[ELF_PATH_MAX];
static int file = -1;
static int descriptors;
static struct elf_builder b;
static struct uhyve_image image;
static struct uhyve_symbols *symbols;

static void set_up(void)
{
	file = temp_file(path);
	descriptors = open_descriptors();
	image.fd = -1;
}

static void tear_down(void)
{
	uhyve_symbols_free(symbols);
	uhyve_image_close(&image);
	int left = open_descriptors() - descriptors;

	close(file);
	unlink(path);
	elf_free(&b);
	cr_assert_eq(left, 0, "%d descriptors were left open", left);
}

TestSuite(symbols, .init = set_up, .fini = tear_down);

static void open_image(void)
{
	struct uhyve_error error = { 0 };

	write_all(file, b.bytes, b.size);
	cr_assert_eq(uhyve_image_open(&image, path, &error), 0, "%s", error.text);
}

/* Write what was built, with its sections, and load its symbols. */
static void load(void)
{
	elf_sections(&b, CODE, 0x1000);
	open_image();
	symbols = uhyve_symbols_load(&image);
}

/* `name` NULL: unknown. */
static void expect(uint64_t address, const char *name, uint64_t offset)
{
	uint64_t got = 12345;
	const char *found = uhyve_symbols_find(symbols, address, &got);

	if (!name) {
		cr_assert_null(found, "%#lx: %s", address, found);
		return;
	}
	cr_assert_not_null(found, "%#lx is unknown, expected %s", address, name);
	cr_assert_str_eq(found, name, "%#lx: %s, expected %s", address, found, name);
	cr_assert_eq(got, offset, "%#lx: offset %#lx, expected %#lx", address, got, offset);
	cr_assert_str_eq(uhyve_symbols_find(symbols, address, NULL), name);
}

Test(symbols, sized)
{
	elf_good(&b, ET_EXEC, BASE);
	elf_symbol(&b, "second", CODE + 0x40, 0x20, INFO(GLOBAL, FUNC), TEXT);
	elf_symbol(&b, "first", CODE + 0x10, 0x20, INFO(LOCAL, FUNC), TEXT);
	load();
	cr_assert_not_null(symbols);
	expect(CODE + 0xf, NULL, 0);
	expect(CODE + 0x10, "first", 0);
	expect(CODE + 0x2f, "first", 0x1f);
	expect(CODE + 0x30, NULL, 0);
	expect(CODE + 0x40, "second", 0);
	expect(CODE + 0x5f, "second", 0x1f);
	expect(CODE + 0x60, NULL, 0);
	expect(0, NULL, 0);
	expect(UINT64_MAX, NULL, 0);
}

Test(symbols, static_pie)
{
	elf_good(&b, ET_DYN, 0);
	elf_symbol(&b, "main", 0x1010, 0x20, INFO(GLOBAL, FUNC), TEXT);
	load();
	expect(PG_VA_PIE + 0x1018, "main", 8);
	expect(0x1018, NULL, 0);
}

/* Assembly labels have no size: they last until the next symbol, for 64 KiB at most. */
Test(symbols, unsized)
{
	elf_good(&b, ET_EXEC, BASE);
	elf_phdr(&b, GOOD_DATA)->p_memsz = 0x100000;
	elf_symbol(&b, "_start", CODE, 0, INFO(GLOBAL, NOTYPE), TEXT);
	elf_symbol(&b, "label", CODE + 0x20, 0, INFO(LOCAL, NOTYPE), TEXT);
	elf_symbol(&b, "sized", CODE + 0x40, 0x10, INFO(LOCAL, FUNC), TEXT);
	elf_symbol(&b, "inside", CODE + 0x48, 0, INFO(LOCAL, NOTYPE), TEXT);
	elf_symbol(&b, "last", CODE + 0x80, 0, INFO(GLOBAL, FUNC), TEXT);
	load();
	expect(CODE + 0x1f, "_start", 0x1f);
	expect(CODE + 0x20, "label", 0);
	expect(CODE + 0x3f, "label", 0x1f);
	expect(CODE + 0x4c, "sized", 0xc); /* a size that fits goes first */
	expect(CODE + 0x50, NULL, 0);
	expect(CODE + 0x80 + 0xffff, "last", 0xffff);
	expect(CODE + 0x80 + 0x10000, NULL, 0);
	expect(CODE - 1, NULL, 0);
}

/* Not known to be function: data, other types, undefined, labels outside of code. */
Test(symbols, only_functions)
{
	elf_good(&b, ET_EXEC, BASE);
	elf_symbol(&b, "object", CODE + 0x10, 0x10, INFO(GLOBAL, OBJECT), TEXT);
	elf_symbol(&b, "section", CODE + 0x20, 0x10, INFO(LOCAL, SECTION), TEXT);
	elf_symbol(&b, "undefined", CODE + 0x30, 0x10, INFO(GLOBAL, FUNC), SHN_UNDEF);
	elf_symbol(&b, "data_label", CODE + 0x40, 0x10, INFO(LOCAL, NOTYPE), DATA);
	elf_symbol(&b, "absolute", CODE + 0x50, 0x10, INFO(LOCAL, NOTYPE), SHN_ABS);
	elf_symbol(&b, "no_section", CODE + 0x60, 0x10, INFO(LOCAL, NOTYPE), 1000);
	elf_symbol(&b, "", CODE + 0x70, 0x10, INFO(LOCAL, FUNC), TEXT);
	elf_symbol(&b, "function", CODE + 0x80, 0x10, INFO(LOCAL, FUNC), TEXT);
	elf_symbol(&b, "ifunc", CODE + 0x90, 0x10, INFO(LOCAL, GNU_IFUNC), TEXT);
	load();
	for (uint64_t at = CODE; at < CODE + 0x80; at += 0x10)
		expect(at + 8, NULL, 0);
	expect(CODE + 0x88, "function", 8);
	expect(CODE + 0x98, "ifunc", 8);
}

/* Several names for the same bytes: the closest start, the smallest, the most public. */
Test(symbols, preference)
{
	elf_good(&b, ET_EXEC, BASE);
	elf_symbol(&b, "outer", CODE, 0x100, INFO(GLOBAL, FUNC), TEXT);
	elf_symbol(&b, "inner", CODE + 0x20, 0x10, INFO(LOCAL, FUNC), TEXT);
	elf_symbol(&b, "memcpy", CODE + 0x40, 0x10, INFO(GLOBAL, FUNC), TEXT);
	elf_symbol(&b, "__memcpy_local", CODE + 0x40, 0x10, INFO(LOCAL, FUNC), TEXT);
	elf_symbol(&b, "memcpy_weak", CODE + 0x40, 0x10, INFO(WEAK, FUNC), TEXT);
	elf_symbol(&b, "wide", CODE + 0x60, 0x20, INFO(GLOBAL, FUNC), TEXT);
	elf_symbol(&b, "narrow", CODE + 0x60, 0x10, INFO(LOCAL, FUNC), TEXT);
	elf_symbol(&b, "label", CODE + 0x60, 0, INFO(GLOBAL, NOTYPE), TEXT);
	load();
	expect(CODE + 0x10, "outer", 0x10);
	expect(CODE + 0x28, "inner", 8);
	expect(CODE + 0x30, "outer", 0x30);
	expect(CODE + 0x44, "memcpy", 4);
	expect(CODE + 0x68, "narrow", 8);
	expect(CODE + 0x78, "wide", 0x18);
	expect(CODE + 0xff, "outer", 0xff);
	expect(CODE + 0x100, NULL, 0);
}

/* Addresses outside of the image, and sizes that reach beyond it. */
Test(symbols, outside)
{
	elf_good(&b, ET_EXEC, BASE);
	elf_symbol(&b, "below", BASE - 1, 0x10, INFO(GLOBAL, FUNC), TEXT);
	elf_symbol(&b, "above", BASE + 0x4000, 0x10, INFO(GLOBAL, FUNC), TEXT);
	elf_symbol(&b, "huge", CODE, UINT64_MAX, INFO(GLOBAL, FUNC), TEXT);
	load();
	expect(BASE, NULL, 0);
	expect(CODE, "huge", 0);
	expect(BASE + 0x3fff, "huge", 0x2fff);
	expect(BASE + 0x4000, NULL, 0);
	expect(BASE + 0x4001, NULL, 0);
	uhyve_symbols_free(symbols);
	uhyve_image_close(&image);
	elf_free(&b);

	elf_good(&b, ET_EXEC, BASE);
	elf_symbol(&b, "unsized", CODE, 0, INFO(GLOBAL, FUNC), TEXT);
	load();
	expect(BASE + 0x3fff, "unsized", 0x2fff);
	expect(BASE + 0x4000, NULL, 0);
}

Test(symbols, names_are_clean)
{
	static char long_name[2000];

	memset(long_name, 'n', sizeof(long_name) - 1);
	elf_good(&b, ET_EXEC, BASE);
	elf_symbol(&b, "\033[2J\n", CODE, 0x10, INFO(GLOBAL, FUNC), TEXT);
	elf_symbol(&b, long_name, CODE + 0x10, 0x10, INFO(GLOBAL, FUNC), TEXT);
	elf_symbol(&b, "far", CODE + 0x20, 0x10, INFO(GLOBAL, FUNC), TEXT);
	b.symbols[2].st_name = UINT32_MAX;
	load();
	expect(CODE, "?[2J?", 0);
	expect(CODE + 0x10, NULL, 0);
	expect(CODE + 0x20, NULL, 0);
}

Test(symbols, none)
{
	elf_good(&b, ET_EXEC, BASE);
	open_image();
	cr_assert_null(uhyve_symbols_load(&image));
	cr_assert_null(uhyve_symbols_find(NULL, CODE, NULL));
	uhyve_symbols_free(NULL);
	uhyve_image_close(&image);
	elf_free(&b);

	elf_good(&b, ET_EXEC, BASE);
	elf_symbol(&b, "object", CODE, 0x10, INFO(GLOBAL, OBJECT), TEXT);
	elf_symbol(&b, "above", BASE + 0x4000, 0x10, INFO(GLOBAL, FUNC), TEXT);
	load();
	cr_assert_null(symbols);
}

/* They are copies: neither the image nor its file is needed any more. */
Test(symbols, outlive_the_image)
{
	elf_good(&b, ET_EXEC, BASE);
	elf_symbol(&b, "main", CODE, 0x10, INFO(GLOBAL, FUNC), TEXT);
	load();
	uhyve_image_close(&image);
	cr_assert_eq(ftruncate(file, 0), 0);
	expect(CODE + 8, "main", 8);
}

static void load_spoilt(Elf64_Shdr *table)
{
	size_t at = elf_ehdr(&b)->e_shoff;

	memcpy(b.bytes + at, table, 5 * sizeof(*table));
	write_all(file, b.bytes, b.size);
	cr_assert_eq(ftruncate(file, 1l << 32), 0); /* sparse: room for any claim */
	struct uhyve_error error = { 0 };
	cr_assert_eq(uhyve_image_open(&image, path, &error), 0, "%s", error.text);
	cr_assert_null(uhyve_symbols_load(&image));
	uhyve_image_close(&image);
}

/* Tables of the wrong kind, or too large to be worth reading. */
Test(symbols, bad_tables)
{
	Elf64_Shdr good[5], bad[5];

	elf_good(&b, ET_EXEC, BASE);
	elf_symbol(&b, "main", CODE, 0x10, INFO(GLOBAL, FUNC), TEXT);
	elf_sections(&b, CODE, 0x1000);
	memcpy(good, b.bytes + elf_ehdr(&b)->e_shoff, sizeof(good));

#define SPOIL(change)                                                                              \
	do {                                                                                       \
		memcpy(bad, good, sizeof(bad));                                                    \
		change;                                                                            \
		load_spoilt(bad);                                                                  \
	} while (0)
	SPOIL(bad[3].sh_link = 77);
	SPOIL(bad[3].sh_link = 1);
	SPOIL(bad[3].sh_link = 0);
	SPOIL(bad[3].sh_size = 0);
	SPOIL(bad[3].sh_size = 10);
	SPOIL(bad[3].sh_size = 1ul << 31);
	SPOIL(bad[3].sh_size = UINT64_MAX);
	SPOIL(bad[3].sh_offset = UINT64_MAX);
	SPOIL(bad[3].sh_flags = SHF_COMPRESSED);
	SPOIL(bad[4].sh_size = 0);
	SPOIL(bad[4].sh_size = 1);
	SPOIL(bad[4].sh_size = 1ul << 31);
	SPOIL(bad[4].sh_type = SHT_NOBITS);
	SPOIL(bad[4].sh_flags = SHF_COMPRESSED);
#undef SPOIL

	/* The table is as it was: had it not been spoilt, it would have been read. */
	memcpy(b.bytes + elf_ehdr(&b)->e_shoff, good, sizeof(good));
	open_image();
	symbols = uhyve_symbols_load(&image);
	expect(CODE, "main", 0);
}

static uint64_t seed = 0x2545f4914f6cdd1d;

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Names found in a spoilt table are still names, at addresses in the image. */
Test(symbols, mutations, .timeout = 300)
{
	unsigned loaded = 0, found = 0;

	elf_good(&b, ET_EXEC, BASE);
	size_t from = b.size;
	for (unsigned i = 0; i < 8; i++)
		elf_symbol(&b, "function", CODE + i * 0x18, i % 2 ? 0x18 : 0,
			   i % 3 ? INFO(GLOBAL, FUNC) : INFO(LOCAL, NOTYPE), TEXT);
	elf_sections(&b, CODE, 0x1000);
	open_image();
	uint8_t *spoilt = malloc(b.size);
	cr_assert_not_null(spoilt);

	for (int i = 0; i < 10000; i++) {
		memcpy(spoilt, b.bytes, b.size);
		for (uint64_t n = 1 + next_random() % 4; n > 0; n--) {
			uint64_t r = next_random();
			spoilt[from + r % (b.size - from)] = (uint8_t)(r >> 40);
		}
		write_all(file, spoilt, b.size);

		struct uhyve_symbols *s = uhyve_symbols_load(&image);
		loaded += s != NULL;
		for (int k = 0; k < 16; k++) {
			uint64_t address = BASE + next_random() % 0x5000, offset = 0;
			const char *name = uhyve_symbols_find(s, address, &offset);

			if (!name)
				continue;
			found++;
			size_t length = strlen(name);
			cr_assert(length > 0 && length <= 1024);
			cr_assert_geq(address - offset, image.start);
			cr_assert_leq(offset, address);
			cr_assert_lt(address, image.end);
		}
		uhyve_symbols_free(s);
	}
	free(spoilt);
	cr_assert_gt(loaded, 1000);
	cr_assert_gt(found, 1000);
}
