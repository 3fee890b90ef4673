/*
 * The symbols are copied out of the file: they stay valid when it changes or is
 * closed. A table larger than the limits below is not read at all.
 */
#include "image.h"

#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>

#define SYMBOLS_MAX     (1u << 20)
#define STRINGS_MAX     (64u << 20) /* bytes */
#define NAME_MAX_LENGTH 1024        /* bytes; a symbol with a longer name is left out */

/*
 * A symbol without a size ends at the next symbol, or after this many bytes. One inside a
 * function that has a size says nothing about what is behind that function.
 */
#define UNSIZED_REACH 65536

struct symbol {
	uint64_t address;
	uint64_t size;  /* bytes; 0: not known                               */
	uint64_t reach; /* largest end of this and all symbols before it     */
	uint32_t name;  /* offset into the strings                           */
	uint8_t rank;   /* of two names for the same bytes the higher is used */
};

struct uhyve_symbols {
	struct symbol *list; /* owned; ascending, see compare()              */
	size_t count;
	char *strings; /* owned; ends in a zero byte                         */
	size_t strings_size;
	uint64_t end; /* of the image: nothing is known beyond it            */
};

/* A file's tables, read once; the data belongs to the Elf. */
struct tables {
	Elf *elf;
	Elf_Data *symbols, *strings;
	size_t count;
};

/*
 * By address; at the same address the name to prefer comes last: without a size
 * (it is only looked at when no size fits), then the smaller, then the higher rank.
 */
static int compare(const void *left, const void *right)
{
	const struct symbol *a = left, *b = right;

	if (a->address != b->address)
		return a->address < b->address ? -1 : 1;
	if (a->size != b->size)
		return a->size > b->size ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return (a->name < b->name) - (a->name > b->name);
}

/* The section's bytes as they are in the file, or NULL: none, compressed, or too many. */
static Elf_Data *section_data(Elf_Scn *section, uint32_t type, uint64_t max)
{
	GElf_Shdr header;

	if (!section || !gelf_getshdr(section, &header) || header.sh_type != type ||
	    (header.sh_flags & SHF_COMPRESSED) || header.sh_size == 0 || header.sh_size > max)
		return NULL;
	Elf_Data *data = elf_getdata(section, NULL);
	return data && data->d_buf && data->d_size > 0 ? data : NULL;
}

static bool find_tables(struct tables *tables)
{
	const uint64_t max = (uint64_t)SYMBOLS_MAX * sizeof(Elf64_Sym);
	Elf_Scn *section = NULL;
	GElf_Shdr header;

	while ((section = elf_nextscn(tables->elf, section))) {
		if (!gelf_getshdr(section, &header) || header.sh_type != SHT_SYMTAB)
			continue;
		tables->symbols = section_data(section, SHT_SYMTAB, max);
		tables->strings = section_data(elf_getscn(tables->elf, header.sh_link), SHT_STRTAB,
					       STRINGS_MAX);
		if (!tables->symbols || !tables->strings)
			return false;
		tables->count = tables->symbols->d_size / sizeof(Elf64_Sym);
		return tables->count > 0;
	}
	return false;
}

static bool is_executable(Elf *elf, uint16_t index)
{
	GElf_Shdr header;
	Elf_Scn *section = index < SHN_LORESERVE ? elf_getscn(elf, index) : NULL;

	return section && gelf_getshdr(section, &header) && (header.sh_flags & SHF_EXECINSTR);
}

static bool is_function(Elf *elf, const GElf_Sym *symbol)
{
	if (symbol->st_shndx == SHN_UNDEF)
		return false;
	switch (GELF_ST_TYPE(symbol->st_info)) {
	case STT_FUNC:
	case STT_GNU_IFUNC:
		return true;
	case STT_NOTYPE:
		return is_executable(elf, symbol->st_shndx);
	default:
		return false;
	}
}

static uint8_t rank_of(const GElf_Sym *symbol)
{
	switch (GELF_ST_BIND(symbol->st_info)) {
	case STB_GLOBAL:
		return 2;
	case STB_WEAK:
		return 1;
	default:
		return 0;
	}
}

/* Turn a symbol of the file into one of ours; false: not a function of this image. */
static bool convert(const struct uhyve_symbols *symbols, const struct uhyve_image *image,
		    const GElf_Sym *from, struct symbol *to)
{
	uint64_t address = from->st_value + image->base;

	if (address < image->start || address >= image->end || from->st_name == 0 ||
	    from->st_name >= symbols->strings_size)
		return false;

	const char *name = symbols->strings + from->st_name;
	size_t length = strnlen(name, NAME_MAX_LENGTH + 1);
	if (length == 0 || length > NAME_MAX_LENGTH)
		return false;

	uint64_t room = image->end - address;
	*to = (struct symbol){
		.address = address,
		.size = from->st_size < room ? from->st_size : room,
		.name = from->st_name,
		.rank = rank_of(from),
	};
	return true;
}

/* Names may be printed to a terminal: no control characters from the file. */
static void clean(char *strings, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)strings[i];
		if ((c > 0 && c < ' ') || c == 0x7f)
			strings[i] = '?';
	}
	strings[size - 1] = '\0';
}

static bool fill(struct uhyve_symbols *symbols, const struct uhyve_image *image,
		 const struct tables *tables)
{
	symbols->end = image->end;
	symbols->strings_size = tables->strings->d_size;
	symbols->strings = malloc(symbols->strings_size);
	symbols->list = calloc(tables->count, sizeof(*symbols->list));
	if (!symbols->strings || !symbols->list)
		return false;
	memcpy(symbols->strings, tables->strings->d_buf, symbols->strings_size);
	clean(symbols->strings, symbols->strings_size);

	for (size_t i = 0; i < tables->count; i++) {
		GElf_Sym symbol;

		if (gelf_getsym(tables->symbols, (int)i, &symbol) &&
		    is_function(tables->elf, &symbol) &&
		    convert(symbols, image, &symbol, &symbols->list[symbols->count]))
			symbols->count++;
	}
	if (symbols->count == 0)
		return false;

	qsort(symbols->list, symbols->count, sizeof(*symbols->list), compare);
	uint64_t reach = 0;
	for (size_t i = 0; i < symbols->count; i++) {
		struct symbol *s = &symbols->list[i];

		if (s->address + s->size > reach)
			reach = s->address + s->size;
		s->reach = reach;
	}
	return true;
}

struct uhyve_symbols *uhyve_symbols_load(const struct uhyve_image *image)
{
	struct tables tables = { 0 };
	struct uhyve_symbols *symbols = calloc(1, sizeof(*symbols));

	if (!symbols || elf_version(EV_CURRENT) == EV_NONE) {
		free(symbols);
		return NULL;
	}
	tables.elf = elf_begin(image->fd, ELF_C_READ, NULL);
	/* The image was 64-bit when it was opened; the file may have changed. */
	bool good = tables.elf && gelf_getclass(tables.elf) == ELFCLASS64 && find_tables(&tables) &&
		    fill(symbols, image, &tables);
	(void)elf_end(tables.elf);
	if (!good) {
		uhyve_symbols_free(symbols);
		return NULL;
	}
	return symbols;
}

void uhyve_symbols_free(struct uhyve_symbols *symbols)
{
	if (!symbols)
		return;
	free(symbols->list);
	free(symbols->strings);
	free(symbols);
}

/* How many symbols start at or below `address`. */
static size_t count_below(const struct uhyve_symbols *symbols, uint64_t address)
{
	size_t low = 0, high = symbols->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (symbols->list[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static const struct symbol *find(const struct uhyve_symbols *symbols, uint64_t address)
{
	size_t below = count_below(symbols, address);

	/* `reach` ends the walk where nothing further down can cover the address. */
	for (size_t i = below; i > 0 && symbols->list[i - 1].reach > address; i--) {
		const struct symbol *s = &symbols->list[i - 1];

		if (address - s->address < s->size)
			return s;
	}
	if (below == 0)
		return NULL;

	const struct symbol *nearest = &symbols->list[below - 1];
	bool known = nearest->size == 0 && nearest->reach == nearest->address &&
		     address - nearest->address < UNSIZED_REACH;
	return known ? nearest : NULL;
}

const char *uhyve_symbols_find(const struct uhyve_symbols *symbols, uint64_t address,
			       uint64_t *offset)
{
	const struct symbol *s = symbols && address < symbols->end ? find(symbols, address) : NULL;

	if (!s)
		return NULL;
	if (offset)
		*offset = address - s->address;
	return symbols->strings + s->name;
}
