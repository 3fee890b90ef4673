/*
 * The file's headers are copied once, checked against the file's size, and only
 * the checked copies are used. Nothing is mapped from the file: whoever shortens
 * it later causes a short read, not a SIGBUS.
 */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "abi/layout.h"
#include "abi/ops.h"
#include "abi/version.h"

/* Of a long path the end is shown, so that the reason still fits the message. */
#define PATH_SHOWN 200

/* Linkers write a few hundred bytes of notes; more than this, in all, is not read. */
#define NOTES_MAX 65536

#define INTERP_SHOWN 128

/* What is needed while an image is being checked, and not afterwards. */
struct opening {
	struct uhyve_image *image;
	struct uhyve_error *error;
	const char *path;
	uint64_t size; /* of the file                                       */
	Elf64_Ehdr header;
	Elf *elf;
	GElf_Phdr loads[UHYVE_MAX_SEGMENTS]; /* p_vaddr: bias included      */
	unsigned load_count;
	uint64_t notes; /* bytes of notes read so far: libelf keeps them     */
};

/* Bytes of the file, and the address they go to. */
struct contents {
	uint64_t data, offset, size;
};

static int __attribute__((format(printf, 3, 4)))
refuse(const struct opening *o, int code, const char *format, ...)
{
	char reason[280];
	size_t length = strlen(o->path);
	bool whole = length <= PATH_SHOWN;

	va_list args;
	va_start(args, format);
	(void)vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	return uhyve_fail(o->error, code, "%s%s: %s", whole ? "" : "...",
			  whole ? o->path : o->path + length - PATH_SHOWN, reason);
}

/* Read up to `size` bytes; fewer only at the end of the file. Bytes, or -errno with a sentence. */
static ssize_t read_at(const struct opening *o, void *to, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n =
			pread(o->image->fd, (char *)to + done, size - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int code = -errno;
			return refuse(o, code, "cannot be read: %m");
		}
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int open_file(struct opening *o)
{
	struct stat st;

	/* O_NONBLOCK: a FIFO without a writer must be refused, not waited for. */
	o->image->fd = open(o->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (o->image->fd < 0) {
		int code = -errno;

		switch (code) {
		case -ENOENT:
			return refuse(o, code, "no such file");
		case -EACCES:
		case -EPERM:
			return refuse(o, code, "permission denied; the image must be readable");
		default:
			return refuse(o, code, "cannot be opened: %m");
		}
	}
	if (fstat(o->image->fd, &st) < 0) {
		int code = -errno;
		return refuse(o, code, "cannot be examined: %m");
	}
	if (S_ISDIR(st.st_mode))
		return refuse(o, -EISDIR, "a directory, not an image");
	if (!S_ISREG(st.st_mode))
		return refuse(o, -EINVAL, "not a regular file");
	if (st.st_size == 0)
		return refuse(o, -ENOEXEC, "the file is empty");
	o->size = (uint64_t)st.st_size;
	return 0;
}

/* Whether [offset, offset + length) lies in the file. */
static bool in_file(const struct opening *o, uint64_t offset, uint64_t length)
{
	return offset <= o->size && length <= o->size - offset;
}

static int check_type(const struct opening *o)
{
	switch (o->header.e_type) {
	case ET_EXEC:
	case ET_DYN:
		return 0;
	case ET_REL:
		return refuse(o, -ENOEXEC, "an object file that is not linked yet");
	case ET_CORE:
		return refuse(o, -ENOEXEC, "a core dump, not a program");
	default:
		return refuse(o, -ENOEXEC, "not a program (ELF type %u)", o->header.e_type);
	}
}

/* The tables the header speaks of lie in the file and have entries of the size we know. */
static int check_tables(const struct opening *o)
{
	const Elf64_Ehdr *h = &o->header;

	if (h->e_phnum == 0)
		return refuse(o, -ENOEXEC, "no loadable segment");
	if (h->e_phnum == PN_XNUM)
		return refuse(o, -ENOEXEC, "too many program headers");
	if (h->e_phentsize != sizeof(Elf64_Phdr))
		return refuse(o, -ENOEXEC, "program headers of %u bytes instead of %zu",
			      h->e_phentsize, sizeof(Elf64_Phdr));
	if (!in_file(o, h->e_phoff, (uint64_t)h->e_phnum * h->e_phentsize))
		return refuse(o, -ENOEXEC, "truncated: its program headers are not in the file");
	if (h->e_shoff == 0)
		return 0;
	/* A count of 0 would have libelf read, and allocate for, a count of up to 64 bits. */
	if (h->e_shnum == 0 || h->e_shentsize != sizeof(Elf64_Shdr))
		return refuse(o, -ENOEXEC, "a section header table with %u entries of %u bytes",
			      h->e_shnum, h->e_shentsize);
	if (!in_file(o, h->e_shoff, (uint64_t)h->e_shnum * h->e_shentsize))
		return refuse(o, -ENOEXEC, "truncated: its section headers are not in the file");
	return 0;
}

static int check_header(struct opening *o)
{
	Elf64_Ehdr *h = &o->header;
	ssize_t n = read_at(o, h, sizeof(*h), 0);

	if (n < 0)
		return (int)n;
	if (n < SELFMAG || memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
		return refuse(o, -ENOEXEC, "not an ELF file");
	if (n < EI_NIDENT)
		return refuse(o, -ENOEXEC, "truncated: the file ends inside the ELF header");
	if (h->e_ident[EI_CLASS] != ELFCLASS64)
		return refuse(o, -ENOEXEC, "not a 64-bit ELF file; build it for x86-64");
	if (h->e_ident[EI_DATA] != ELFDATA2LSB)
		return refuse(o, -ENOEXEC, "not a little-endian ELF file; build it for x86-64");
	if (n < (ssize_t)sizeof(*h))
		return refuse(o, -ENOEXEC, "truncated: the file ends inside the ELF header");
	if (h->e_ident[EI_VERSION] != EV_CURRENT || h->e_version != EV_CURRENT)
		return refuse(o, -ENOEXEC, "an unknown version of ELF");
	if (h->e_machine != EM_X86_64)
		return refuse(o, -ENOEXEC,
			      "built for another processor (ELF machine %u), not x86-64",
			      h->e_machine);

	int code = check_type(o);
	return code ? code : check_tables(o);
}

static int refuse_dynamic(const struct opening *o, const GElf_Phdr *ph)
{
	char name[INTERP_SHOWN] = "";
	size_t size = ph->p_filesz < sizeof(name) ? ph->p_filesz : sizeof(name) - 1;
	ssize_t n = read_at(o, name, size, ph->p_offset);

	if (n < 0)
		return (int)n;
	/* The message may go to a terminal: no control characters from the file. */
	for (char *c = name; *c; c++) {
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
	return refuse(o, -ENOEXEC, "dynamically linked (asks for %s); link it with -static", name);
}

/* Check a PT_LOAD header and keep it, with the bias applied. Empty ones are ignored. */
static int take_load(struct opening *o, const GElf_Phdr *ph)
{
	uint64_t at = ph->p_vaddr + o->image->base;

	if (ph->p_filesz > ph->p_memsz)
		return refuse(o, -ENOEXEC,
			      "the segment at %#jx is larger in the file than in memory",
			      (uintmax_t)ph->p_vaddr);
	if (ph->p_memsz == 0)
		return 0;
	if (at < ph->p_vaddr || ph->p_memsz > UINT64_MAX - at)
		return refuse(o, -ENOEXEC, "the segment at %#jx wraps around the address space",
			      (uintmax_t)ph->p_vaddr);
	if (at < PG_VA_MIN || at >= PG_VA_USER_END || ph->p_memsz > PG_VA_USER_END - at)
		return refuse(o, -ENOEXEC, "the segment at %#jx does not lie within %#jx-%#jx",
			      (uintmax_t)ph->p_vaddr, (uintmax_t)PG_VA_MIN,
			      (uintmax_t)PG_VA_USER_END);
	if ((ph->p_flags & PF_W) && (ph->p_flags & PF_X))
		return refuse(o, -ENOEXEC, "the segment at %#jx is both writable and executable",
			      (uintmax_t)ph->p_vaddr);
	if (o->load_count == UHYVE_MAX_SEGMENTS)
		return refuse(o, -ENOEXEC, "more than %d segments", UHYVE_MAX_SEGMENTS);

	/* Kept in ascending order, whatever the order in the file. */
	unsigned i = o->load_count++;
	for (; i > 0 && o->loads[i - 1].p_vaddr > at; i--)
		o->loads[i] = o->loads[i - 1];
	o->loads[i] = *ph;
	o->loads[i].p_vaddr = at;
	return 0;
}

/* Header number `i`; in the file as a whole. */
static int get_phdr(const struct opening *o, int i, GElf_Phdr *ph)
{
	if (!gelf_getphdr(o->elf, i, ph))
		return refuse(o, -ENOEXEC, "program header %d cannot be read: %s", i,
			      elf_errmsg(-1));
	if (ph->p_type != PT_NULL && ph->p_filesz && !in_file(o, ph->p_offset, ph->p_filesz))
		return refuse(o, -ENOEXEC,
			      "truncated: segment %d (%ju bytes at offset %ju) is not in the file, "
			      "which has %ju bytes",
			      i, (uintmax_t)ph->p_filesz, (uintmax_t)ph->p_offset,
			      (uintmax_t)o->size);
	return 0;
}

/* Dynamic linking is looked for first: it is the likeliest mistake, and explains the others. */
static int check_segments(const struct opening *o)
{
	for (int i = 0; i < o->header.e_phnum; i++) {
		GElf_Phdr ph;
		int code = get_phdr(o, i, &ph);

		if (code)
			return code;
		if (ph.p_type == PT_INTERP)
			return refuse_dynamic(o, &ph);
	}
	return 0;
}

static int take_loads(struct opening *o)
{
	for (int i = 0; i < o->header.e_phnum; i++) {
		GElf_Phdr ph;
		int code = get_phdr(o, i, &ph);

		if (!code && ph.p_type == PT_LOAD)
			code = take_load(o, &ph);
		if (code)
			return code;
	}
	return o->load_count ? 0 : refuse(o, -ENOEXEC, "no loadable segment");
}

static int check_version(const struct opening *o, const struct pg_abi_note *abi)
{
	if (abi->major == PG_ABI_MAJOR && abi->minor <= PG_ABI_MINOR)
		return 0;
	return refuse(o, -ENOEXEC,
		      "built for version %u.%u of the Pagurus ABI, but this loader has %d.%d; "
		      "link it with a kernel of the loader's version",
		      abi->major, abi->minor, PG_ABI_MAJOR, PG_ABI_MINOR);
}

/* Look for the ABI note in one PT_NOTE segment: 1 found and good, 0 not here, or -errno. */
static int search_notes(struct opening *o, const GElf_Phdr *ph)
{
	Elf_Type type = ph->p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR;

	if (ph->p_filesz == 0 || ph->p_filesz > NOTES_MAX - o->notes)
		return 0;
	o->notes += ph->p_filesz;
	/* Owned by the Elf. */
	Elf_Data *data = elf_getdata_rawchunk(o->elf, (int64_t)ph->p_offset, ph->p_filesz, type);
	if (!data)
		return refuse(o, -ENOEXEC, "its notes cannot be read: %s", elf_errmsg(-1));

	size_t at = 0, name, desc;
	GElf_Nhdr note;
	while ((at = gelf_getnote(data, at, &note, &name, &desc)) > 0) {
		const char *bytes = data->d_buf;
		struct pg_abi_note abi;

		if (note.n_type != PG_NOTE_ABI || note.n_namesz != sizeof(PG_NOTE_NAME) ||
		    memcmp(bytes + name, PG_NOTE_NAME, sizeof(PG_NOTE_NAME)) != 0)
			continue;
		if (note.n_descsz != sizeof(abi))
			return refuse(o, -ENOEXEC,
				      "its Pagurus ABI note has %u bytes instead of %zu",
				      note.n_descsz, sizeof(abi));
		memcpy(&abi, bytes + desc, sizeof(abi));
		int code = check_version(o, &abi);
		return code ? code : 1;
	}
	return 0;
}

static int check_abi(struct opening *o)
{
	for (int i = 0; i < o->header.e_phnum; i++) {
		GElf_Phdr ph;
		int code = get_phdr(o, i, &ph);

		if (!code && ph.p_type == PT_NOTE)
			code = search_notes(o, &ph);
		if (code)
			return code < 0 ? code : 0;
	}
	return refuse(o, -ENOEXEC,
		      "not a Pagurus image (no Pagurus ABI note); link it with the Pagurus kernel");
}

/* The part of the contents that goes to [from, to). */
static struct contents clip(struct contents c, uint64_t from, uint64_t to)
{
	uint64_t start = c.data > from ? c.data : from;
	uint64_t end = c.data + c.size < to ? c.data + c.size : to;

	if (start >= end)
		return (struct contents){ .data = from };
	return (struct contents){ start, c.offset + (start - c.data), end - start };
}

static struct contents get_contents(const struct uhyve_segment *s)
{
	return (struct contents){ s->data, s->file_offset, s->file_size };
}

static void set_contents(struct uhyve_segment *s, struct contents c)
{
	s->data = c.data;
	s->file_offset = c.offset;
	s->file_size = c.size;
}

/* Append pages [from, to) with what `c` has for them. */
static int append(struct opening *o, uint64_t from, uint64_t to, uint32_t prot, struct contents c)
{
	struct uhyve_image *image = o->image;

	if (image->count == UHYVE_MAX_SEGMENTS)
		return refuse(o, -ENOEXEC, "more than %d segments", UHYVE_MAX_SEGMENTS);

	struct uhyve_segment *s = &image->segments[image->count++];
	*s = (struct uhyve_segment){ .address = from, .length = to - from, .prot = prot };
	set_contents(s, clip(c, from, to));
	return 0;
}

/*
 * Add to the last segment's last page the start of a segment that begins in it. The page
 * becomes a segment of its own, so that only it gets the union of permissions. It can have
 * only one run of file contents, so what both put there must be one: as mmap would see it.
 */
static int share_page(struct opening *o, const GElf_Phdr *before, const GElf_Phdr *ph,
		      uint32_t prot, struct contents c)
{
	struct uhyve_segment *last = &o->image->segments[o->image->count - 1];
	uint64_t page = last->address + last->length - PG_PAGE_SIZE;
	uint32_t both = last->prot | prot;

	if ((both & PG_PROT_WRITE) && (both & PG_PROT_EXEC))
		return refuse(o, -ENOEXEC,
			      "the segments at %#jx and %#jx share a page that would be both "
			      "writable and executable",
			      (uintmax_t)(before->p_vaddr - o->image->base),
			      (uintmax_t)(ph->p_vaddr - o->image->base));

	if (last->address < page) {
		struct contents all = get_contents(last);
		int code = append(o, page, page + PG_PAGE_SIZE, both, all);

		if (code)
			return code;
		last->length -= PG_PAGE_SIZE;
		set_contents(last, clip(all, last->address, page));
		last++;
	}
	last->prot = both;

	c = clip(c, page, page + PG_PAGE_SIZE);
	if (c.size == 0)
		return 0;
	if (last->file_size > 0) {
		uint64_t gap = c.data - last->data;

		if (last->data + last->file_size != before->p_vaddr + before->p_memsz ||
		    c.offset - last->file_offset != gap)
			return refuse(
				o, -ENOEXEC,
				"the segments at %#jx and %#jx share a page, but their contents "
				"do not fit together; align segments to %d bytes",
				(uintmax_t)(before->p_vaddr - o->image->base),
				(uintmax_t)(ph->p_vaddr - o->image->base), PG_PAGE_SIZE);
		c = (struct contents){ last->data, last->file_offset, gap + c.size };
	}
	set_contents(last, c);
	return 0;
}

static uint32_t to_prot(uint32_t flags)
{
	return (flags & PF_R ? PG_PROT_READ : 0) | (flags & PF_W ? PG_PROT_WRITE : 0) |
	       (flags & PF_X ? PG_PROT_EXEC : 0);
}

/* Turn the loads (ascending, each inside the address window) into segments of whole pages. */
static int place(struct opening *o)
{
	struct uhyve_image *image = o->image;
	const uint64_t mask = PG_PAGE_SIZE - 1;

	for (unsigned i = 0; i < o->load_count; i++) {
		const GElf_Phdr *ph = &o->loads[i], *before = i ? ph - 1 : NULL;
		struct contents c = { ph->p_vaddr, ph->p_offset, ph->p_filesz };
		uint64_t from = ph->p_vaddr & ~mask;
		uint64_t to = (ph->p_vaddr + ph->p_memsz + mask) & ~mask;
		uint32_t prot = to_prot(ph->p_flags);
		int code = 0;

		if (before && ph->p_vaddr - before->p_vaddr < before->p_memsz)
			return refuse(o, -ENOEXEC, "the segments at %#jx and %#jx overlap",
				      (uintmax_t)(before->p_vaddr - image->base),
				      (uintmax_t)(ph->p_vaddr - image->base));
		if (before && from < image->end) {
			code = share_page(o, before, ph, prot, c);
			from += PG_PAGE_SIZE;
		}
		if (!code && from < to)
			code = append(o, from, to, prot, c);
		if (code)
			return code;
		image->end = to;
	}
	image->start = image->segments[0].address;
	return 0;
}

static int find_entry(struct opening *o)
{
	uint64_t entry = o->header.e_entry + o->image->base;

	/* A wrapped sum is below the base, and so below every segment. */
	for (unsigned i = 0; i < o->load_count; i++) {
		const GElf_Phdr *ph = &o->loads[i];

		if ((ph->p_flags & PF_X) && entry >= ph->p_vaddr &&
		    entry - ph->p_vaddr < ph->p_memsz) {
			o->image->entry = entry;
			return 0;
		}
	}
	return refuse(o, -ENOEXEC, "its entry point %#jx is not in an executable segment",
		      (uintmax_t)o->header.e_entry);
}

/* Where the program headers are in memory follows from where they are in the file. */
static void find_phdrs(struct opening *o)
{
	const Elf64_Ehdr *h = &o->header;
	uint64_t length = (uint64_t)h->e_phnum * h->e_phentsize;

	for (unsigned i = 0; i < o->load_count; i++) {
		const GElf_Phdr *ph = &o->loads[i];

		if (h->e_phoff >= ph->p_offset && length <= ph->p_filesz &&
		    h->e_phoff - ph->p_offset <= ph->p_filesz - length) {
			o->image->phdr = ph->p_vaddr + (h->e_phoff - ph->p_offset);
			o->image->phnum = h->e_phnum;
			o->image->phent = h->e_phentsize;
			return;
		}
	}
}

static int check_contents(struct opening *o)
{
	int code = check_segments(o);

	if (!code)
		code = check_abi(o);
	if (!code)
		code = take_loads(o);
	if (!code)
		code = place(o);
	if (!code)
		code = find_entry(o);
	if (!code)
		find_phdrs(o);
	return code;
}

static int check_elf(struct opening *o)
{
	if (elf_version(EV_CURRENT) == EV_NONE)
		return refuse(o, -ENOSYS, "libelf does not know this version of ELF");
	o->elf = elf_begin(o->image->fd, ELF_C_READ, NULL);
	if (!o->elf)
		return refuse(o, -ENOEXEC, "cannot be parsed: %s", elf_errmsg(-1));

	int code = check_contents(o);
	(void)elf_end(o->elf);
	return code;
}

int uhyve_image_open(struct uhyve_image *image, const char *path, struct uhyve_error *error)
{
	struct opening o = { .image = image, .error = error, .path = path };

	*image = (struct uhyve_image){ .fd = -1 };
	image->path = strdup(path);

	int code = image->path ? open_file(&o) : refuse(&o, -ENOMEM, "out of memory");
	if (!code)
		code = check_header(&o);
	if (!code) {
		image->base = o.header.e_type == ET_DYN ? PG_VA_PIE : 0;
		code = check_elf(&o);
	}
	if (code)
		uhyve_image_close(image);
	return code;
}

void uhyve_image_close(struct uhyve_image *image)
{
	if (image->fd >= 0)
		(void)close(image->fd);
	free(image->path);
	*image = (struct uhyve_image){ .fd = -1 };
}

uint64_t uhyve_image_memory(const struct uhyve_image *image)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < image->count; i++)
		sum += image->segments[i].length;
	return sum;
}
