/*
 * The command line, mostly with bad input: one sentence that says what is wrong, a status
 * of its own (125 can't be run, 126 image refused, 127 no such image), and nothing left.
 */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "abi/version.h"

#define CANNOT    125
#define REFUSED   126
#define NOT_FOUND 127

#define NOBODY 65534

/* Without what the test framework itself keeps there. */
static unsigned entries(const char *path)
{
	const struct dirent *entry;
	DIR *directory = opendir(path);
	unsigned count = 0;

	while (directory && (entry = readdir(directory)))
		count += strncmp(entry->d_name, "bxf", 3) != 0;
	if (directory)
		closedir(directory);
	return count;
}

/* One line that starts with the name; otherwise at most the hint to --help. */
static bool is_sentence(const char *text)
{
	static const char name[] = "uhyve-c: ", hint[] = "Try `uhyve-c --help'";
	const char *end = strchr(text, '\n');

	if (strncmp(text, name, strlen(name)) || !end || end[-1] == '.')
		return false;
	return !end[1] || (!strncmp(end + 1, hint, strlen(hint)) && !strchr(end + 1, '\n')[1]);
}

static void check(struct command *command, int status, const char *says)
{
	unsigned files = entries(scratch()), shared = entries("/dev/shm");

	command_run(command);
	cr_expect_eq(command->status, status, "%s: status %d instead of %d: %s", says,
		     command->status, status, command->err.text);
	cr_expect(is_sentence(command->err.text), "not one sentence: %s", command->err.text);
	cr_expect(strcasestr(command->err.text, says), "no \"%s\" in: %s", says, command->err.text);
	cr_expect_str_empty(command->out.text);
	cr_expect_not(command->orphans, "%s: processes were left behind", says);
	cr_expect_eq(entries(scratch()), files, "%s: files were left behind", says);
	cr_expect_leq(entries("/dev/shm"), shared, "%s: shared memory was left behind", says);
	command_free(command);
}

#define CHECK(status, says, ...) check(&(struct command){ .args = LIST(__VA_ARGS__) }, status, says)

/* The path of a program; not freed. */
static const char *program(const char *name)
{
	return strdup(guest_path(name));
}

/* ---- images ---- */

/* A copy of hello, to be spoilt. */
static unsigned char *image;
static size_t image_size;

static void load(void)
{
	FILE *file = fopen(guest_path("hello"), "rbe");

	cr_assert(file);
	fseek(file, 0, SEEK_END);
	image_size = (size_t)ftell(file);
	rewind(file);
	image = malloc(image_size);
	cr_assert_eq(fread(image, 1, image_size, file), image_size);
	fclose(file);
}

static Elf64_Ehdr *header(void)
{
	return (Elf64_Ehdr *)image;
}

/* The n-th program header of a type. */
static Elf64_Phdr *segment(uint32_t type, unsigned n)
{
	Elf64_Phdr *at = (Elf64_Phdr *)(image + header()->e_phoff);

	for (unsigned i = 0; i < header()->e_phnum; i++)
		if (at[i].p_type == type && n-- == 0)
			return &at[i];
	cr_assert_fail("the image has no such segment");
	return NULL;
}

/* The description of the ABI note, in the image. */
static struct pg_abi_note *note(void)
{
	unsigned char *name = memmem(image, image_size, PG_NOTE_NAME, sizeof(PG_NOTE_NAME));

	cr_assert(name);
	return (struct pg_abi_note *)(name + 8);
}

static void check_image(size_t size, int status, const char *says)
{
	CHECK(status, says, scratch_file("image", image, size));
}

Test(images, missing)
{
	CHECK(NOT_FOUND, "no such file", "/nowhere/image");
	CHECK(NOT_FOUND, "no such file", "image-that-is-not-there");
	CHECK(NOT_FOUND, "not a directory", "/etc/passwd/image");
	CHECK(NOT_FOUND, "no such file", "");
}

Test(images, no_image)
{
	CHECK(REFUSED, "directory", "/");
	CHECK(REFUSED, "empty", scratch_file("empty", "", 0));
	CHECK(REFUSED, "not an ELF file", scratch_file("text", "#!/bin/sh\necho no\n", 18));
	CHECK(REFUSED, "not an ELF file", scratch_file("byte", "\177", 1));
	CHECK(REFUSED, "regular file", "/dev/null");
	const char *fifo = scratch_file("fifo", NULL, 0);
	cr_assert_eq(mkfifo(fifo, 0600), 0);
	CHECK(REFUSED, "regular file", fifo);
}

Test(images, of_linux)
{
	CHECK(REFUSED, "not a Pagurus image", program("hello-linux"));
	if (access("/bin/true", R_OK) == 0)
		CHECK(REFUSED, "dynamically linked", "/bin/true");
}

/* At, and next to, the end of everything that has an end. */
Test(images, truncated, .init = load)
{
	size_t ends[128], count = 0;

	ends[count++] = 4;
	ends[count++] = EI_NIDENT;
	ends[count++] = sizeof(Elf64_Ehdr);
	for (unsigned i = 1; i <= header()->e_phnum; i++)
		ends[count++] = header()->e_phoff + i * sizeof(Elf64_Phdr);
	for (unsigned i = 0; i < header()->e_phnum; i++) {
		const Elf64_Phdr *ph = (Elf64_Phdr *)(image + header()->e_phoff) + i;

		if (ph->p_filesz) {
			ends[count++] = ph->p_offset + 1;
			ends[count++] = ph->p_offset + ph->p_filesz;
		}
	}
	ends[count++] = header()->e_shoff;
	ends[count++] = image_size;
	for (size_t i = 0; i < count; i++) {
		/* After the last byte of the last segment only the sections' headers are. */
		if (ends[i] < image_size)
			check_image(ends[i], REFUSED, ends[i] < 4 ? "ELF" : "truncated");
		if (ends[i] > 1)
			check_image(ends[i] - 1, REFUSED, ends[i] - 1 < 4 ? "ELF" : "truncated");
	}
}

Test(images, wrong_header, .init = load)
{
	Elf64_Ehdr good = *header();

	header()->e_machine = EM_AARCH64;
	check_image(image_size, REFUSED, "another processor");
	*header() = good;
	header()->e_ident[EI_CLASS] = ELFCLASS32;
	check_image(image_size, REFUSED, "64-bit");
	*header() = good;
	header()->e_ident[EI_DATA] = ELFDATA2MSB;
	check_image(image_size, REFUSED, "little-endian");
	*header() = good;
	header()->e_type = ET_REL;
	check_image(image_size, REFUSED, "object file");
	*header() = good;
	header()->e_type = ET_CORE;
	check_image(image_size, REFUSED, "core dump");
	*header() = good;
	header()->e_phnum = 0;
	check_image(image_size, REFUSED, "no loadable segment");
	*header() = good;
	header()->e_phoff = UINT64_MAX - 10;
	check_image(image_size, REFUSED, "truncated");
	*header() = good;
	header()->e_entry = 0;
	check_image(image_size, REFUSED, "entry point");
	*header() = good;
	header()->e_entry = segment(PT_LOAD, 0)->p_vaddr; /* not executable */
	check_image(image_size, REFUSED, "entry point");
}

Test(images, wrong_segments, .init = load)
{
	Elf64_Phdr *first = segment(PT_LOAD, 0), *second = segment(PT_LOAD, 1), good = *second;

	second->p_vaddr = first->p_vaddr;
	check_image(image_size, REFUSED, "overlap");
	*second = good;
	second->p_memsz = UINT64_MAX - 4096;
	check_image(image_size, REFUSED, "wraps around");
	*second = good;
	second->p_memsz = 1ull << 62;
	check_image(image_size, REFUSED, "lie within");
	*second = good;
	second->p_vaddr = 0;
	check_image(image_size, REFUSED, "lie within");
	*second = good;
	second->p_vaddr = 0x700000000000;
	check_image(image_size, REFUSED, "lie within");
	*second = good;
	second->p_flags = PF_R | PF_W | PF_X;
	check_image(image_size, REFUSED, "writable and executable");
	*second = good;
	second->p_filesz = second->p_memsz + 1;
	check_image(image_size, REFUSED, "larger in the file");
	*second = good;

	/* The last one has room to grow: too much for any memory. */
	Elf64_Phdr *last = second;
	for (unsigned i = 0; i < header()->e_phnum; i++) {
		Elf64_Phdr *ph = (Elf64_Phdr *)(image + header()->e_phoff) + i;

		if (ph->p_type == PT_LOAD && ph->p_vaddr > last->p_vaddr)
			last = ph;
	}
	last->p_memsz = 1ull << 45;
	check_image(image_size, CANNOT, "--memory");
}

Test(images, wrong_version, .init = load)
{
	note()->major = PG_ABI_MAJOR + 1;
	check_image(image_size, REFUSED, "version");
	note()->major = 0;
	check_image(image_size, REFUSED, "version");
	note()->major = PG_ABI_MAJOR;
	note()->minor = PG_ABI_MINOR + 1;
	check_image(image_size, REFUSED, "version");
	note()->minor = PG_ABI_MINOR;
	memcpy((char *)note() - 8, "Pogurus", 8);
	check_image(image_size, REFUSED, "not a Pagurus image");
}

static bool become_nobody(void)
{
	if (geteuid() == 0 && (setgid(NOBODY) || setuid(NOBODY)))
		return false;
	return access(UHYVE_C, X_OK) == 0;
}

Test(images, not_readable, .init = load)
{
	const char *path = scratch_file("secret", image, image_size);

	cr_assert_eq(chmod(path, 0), 0);
	cr_assert_eq(chmod(scratch(), 0711), 0);
	check(&(struct command){ .args = LIST(path),
				 .prepare = become_nobody,
				 .why_not = "the loader can't be started without root's rights" },
	      REFUSED, "permission denied");
}

/* ---- the host ---- */

/* A view of the file system of our own, with `source` at `target`. */
static bool mount_over(const char *source, const char *target, const char *type,
		       unsigned long flags)
{
	if (unshare(CLONE_NEWNS) && unshare(CLONE_NEWNS | CLONE_NEWUSER))
		return false;
	return !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       !mount(source, target, type, flags, NULL);
}

static bool hide_devices(void)
{
	return mount_over("none", "/dev", "tmpfs", 0);
}

static bool replace_kvm(void)
{
	return mount_over("/dev/null", "/dev/kvm", NULL, MS_BIND);
}

static bool lose_kvm(void)
{
	return become_nobody() && access("/dev/kvm", R_OK | W_OK) != 0;
}

Test(host, without_kvm)
{
	check(&(struct command){ .args = LIST(program("hello")),
				 .prepare = hide_devices,
				 .why_not = "mount namespaces are not permitted" },
	      CANNOT, "/dev/kvm");
}

Test(host, something_else_is_dev_kvm)
{
	check(&(struct command){ .args = LIST(program("hello")),
				 .prepare = replace_kvm,
				 .why_not = "mount namespaces are not permitted" },
	      CANNOT, "/dev/kvm");
}

Test(host, no_permission_for_kvm)
{
	check(&(struct command){ .args = LIST(program("hello")),
				 .prepare = lose_kvm,
				 .why_not = "everybody may use /dev/kvm, or root's rights stay" },
	      CANNOT, "permission");
}

Test(host, info_without_kvm)
{
	check(&(struct command){ .args = LIST("--host-info"),
				 .prepare = hide_devices,
				 .why_not = "mount namespaces are not permitted" },
	      CANNOT, "/dev/kvm");
}

/* ---- options ---- */

Test(options, memory)
{
	static const char *const bad[] = {
		"0",           "1",   "4M",   "10Q",  "",
		"99999999T",   "M",   "-5M",  " 64M", "64MB",
		"0x100000000", "1e9", "64M ", "nan",  "99999999999999999999"
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(CANNOT, "memory", "--memory", bad[i], program("hello"));
		CHECK(CANNOT, "memory", "-m", bad[i], program("hello"));
	}
	CHECK(CANNOT, "--memory", "--memory", "8M", program("big"));
	CHECK(CANNOT, "--memory", "--memory", "64M", program("big"));
}

Test(options, cpus)
{
	static const char *const bad[] = { "0", "65", "-1", "x", "", "1.5", "4294967297", "2x" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(CANNOT, "vCPU", "-c", bad[i], program("hello"));
}

Test(options, map)
{
	CHECK(CANNOT, "/nowhere", "--map", "/nowhere", program("hello"));
	CHECK(CANNOT, "/nowhere", "--map", "/nowhere:/data:ro", program("hello"));
	CHECK(CANNOT, "mount", "--map", "/tmp:relative", program("hello"));
	CHECK(CANNOT, "mount", "--map", "/tmp:/data:wo", program("hello"));
	CHECK(CANNOT, "mount", "--map", "", program("hello"));
	CHECK(CANNOT, "mount", "--map", ":/data", program("hello"));
	CHECK(CANNOT, "mount", "--map", "/tmp", "--map", "/etc:/", program("hello"));
}

Test(options, others)
{
	CHECK(CANNOT, "image", NULL);
	CHECK(CANNOT, "image", "-m", "64M");
	CHECK(CANNOT, "unrecognized option", "--frobnicate", program("hello"));
	CHECK(CANNOT, "invalid option", "-Z", program("hello"));
	CHECK(CANNOT, "requires an argument", "--memory");
	CHECK(CANNOT, "requires an argument", "-c");
	CHECK(CANNOT, "NAME=VALUE", "--env", "=value", program("hello"));
	CHECK(CANNOT, "NAME=VALUE", "--env", "", program("hello"));
	CHECK(CANNOT, "backend", "--backend", "magic", program("hello"));
	CHECK(CANNOT, "microseconds", "--spin", "-1", program("hello"));
	CHECK(CANNOT, "microseconds", "--spin", "forever", program("hello"));
	CHECK(CANNOT, "statistics", "--stats=xml", program("hello"));
	CHECK(CANNOT, "/nowhere/stats", "--stats-file", "/nowhere/stats", program("hello"));
}

Test(options, too_many_arguments)
{
	/* Each shorter than what exec allows (128 KiB), more than the guest takes in all. */
	char *large = malloc(120 << 10);
	const char *args[14] = { program("hello") };

	memset(large, 'x', (120 << 10) - 1);
	large[(120 << 10) - 1] = '\0';
	for (int i = 1; i < 13; i++)
		args[i] = large;
	check(&(struct command){ .args = args }, CANNOT, "arguments");
}

/* ---- good input ---- */

static void status_is(struct command *command, int status)
{
	command_run(command);
	cr_expect_eq(command->status, status, "status %d instead of %d: %s", command->status,
		     status, command->err.text);
	cr_expect_not(command->orphans);
}

Test(good, the_status_is_the_guests)
{
	struct command hello = { .args = LIST(program("hello")) };

	status_is(&hello, 0);
	cr_assert_str_eq(hello.out.text, "hello\n");
	cr_assert_str_empty(hello.err.text);
	command_free(&hello);

	/* Options after the image are the guest's. */
	struct command arguments = { .args = LIST("-e", "X=1", "-m", "64M", "-c", "2",
						  program("arguments"), "42", "-m", "--stats") };
	status_is(&arguments, 42);
	cr_assert(strstr(arguments.out.text, "=-m\nargv[3]=--stats\nenv X=1\n"), "%s",
		  arguments.out.text);
	cr_assert_str_empty(arguments.err.text);
	command_free(&arguments);
}

Test(good, a_fault_is_reported)
{
	struct command loud = { .args = LIST(program("fault"), "null_write") };
	struct command quiet = { .args = LIST("--quiet", program("fault"), "null_write") };

	status_is(&loud, 128 + SIGSEGV);
	cr_assert(strstr(loud.err.text, "SIGSEGV"));
	cr_assert(strstr(loud.err.text, "backtrace:"));
	command_free(&loud);
	status_is(&quiet, 128 + SIGSEGV);
	cr_assert(is_sentence(quiet.err.text), "%s", quiet.err.text);
	command_free(&quiet);
}

Test(good, signals_stop_it)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct command command = { .args = LIST(program("forever")), .signal = signals[i] };

		status_is(&command, 128 + signals[i]);
		cr_expect_str_empty(command.err.text);
		command_free(&command);
	}
}

Test(good, statistics)
{
	struct command json = { .args = LIST("--stats=json", program("hello")) };

	status_is(&json, 0);
	cr_assert_eq(json.err.text[0], '{', "%s", json.err.text);
	static const char *const keys[] = { "\"looks\"", "\"preemptions_sent\"", "\"balanced\"",
					    "\"steals\"", "\"preemptions\"" };
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		cr_expect(strstr(json.err.text, keys[i]), "%s: %s", keys[i], json.err.text);
	command_free(&json);
}
