/*
 * Tries what must be refused with an error, and looks whether it changed anything.
 * Standard input (and the file that is the first argument, if any) delivers bytes that
 * differ from those that are to stay. Status: how many tries went wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FUTEX_WAIT 0
#define PAGE       4096
#define NOWHERE    ((void *)0x5000000000)
#define NUB        ((void *)0x700000000000)
#define FRAMES     ((void *)0x700000401000)
#define BOOT       ((void *)0x700000800000)
#define LSTAR      ((void *)0x700000901000)
#define UPPER      ((void *)0xffff800000000000)
#define WRAPPING   ((void *)-16l)

static const char constant[PAGE] __attribute__((aligned(PAGE))) = "constant";
static int failures;

static void check(const char *what, long result, int expected)
{
	int error = result < 0 ? errno : 0;

	if (error == expected)
		return;
	printf("%s: result %ld, %s instead of %s\n", what, result, strerror(error),
	       strerror(expected));
	failures++;
}

static void check_true(const char *what, int holds)
{
	if (holds)
		return;
	printf("%s: does not hold\n", what);
	failures++;
}

__attribute__((noinline, aligned(16))) static int seven(int x)
{
	return x * 2 + 7;
}

static void *page_of(const void *address)
{
	return (void *)((uintptr_t)address & ~(uintptr_t)(PAGE - 1));
}

static void *fresh(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void protections(void)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	int (*volatile call)(int) = seven;
	char *page = fresh(PAGE);
	void *got;

	strcpy(page, "data");
	check("mprotect writable and executable",
	      mprotect(page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), EACCES);
	page[4] = '!'; /* still writable */
	got = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, flags, -1, 0);
	check("mmap writable and executable", got == MAP_FAILED ? -1 : 0, EACCES);

	check("mprotect text writable", mprotect(page_of(seven), PAGE, PROT_READ | PROT_WRITE),
	      EACCES);
	check("mprotect text writable and executable",
	      mprotect(page_of(seven), PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), EACCES);
	check("mprotect constants writable",
	      mprotect((void *)constant, PAGE, PROT_READ | PROT_WRITE), EACCES);
	check_true("munmap of text fails", munmap(page_of(seven), PAGE) < 0);
	got = mmap(page_of(seven), PAGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED, -1, 0);
	check_true("mmap over text fails", got == MAP_FAILED);
	check_true("madvise(MADV_DONTNEED) of text changes nothing",
		   madvise(page_of(seven), PAGE, MADV_DONTNEED) < 0 || call(1) == 9);
	check_true("text is as it was", call(2) == 11);

	check("mprotect of the nub", mprotect(NUB, PAGE, PROT_READ | PROT_WRITE), ENOMEM);
	check("mprotect of boot information", mprotect(BOOT, PAGE, PROT_READ | PROT_WRITE), ENOMEM);
	got = mmap(BOOT, PAGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED, -1, 0);
	check("mmap over boot information", got == MAP_FAILED ? -1 : 0, ENOMEM);
	got = mmap(NUB, PAGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED, -1, 0);
	check("mmap over the nub", got == MAP_FAILED ? -1 : 0, ENOMEM);
	check("munmap of the stub", munmap(LSTAR, PAGE), EINVAL);
	check("mprotect of nothing", mprotect(NOWHERE, PAGE, PROT_READ), ENOMEM);
	check_true("data are as they were", strcmp(page, "data!") == 0);
}

static void reads(int fd, const char *source)
{
	const struct {
		const char *what;
		void *to;
	} places[] = {
		{ "text", (void *)seven },    { "constants", (void *)constant },
		{ "nowhere", NOWHERE },       { "null", NULL },
		{ "the nub", NUB },           { "exception frames", FRAMES },
		{ "boot information", BOOT }, { "the stub", LSTAR },
		{ "the upper half", UPPER },  { "the end of all addresses", WRAPPING },
	};
	int (*volatile call)(int) = seven;
	char what[128], byte;
	void *no_access = fresh(PAGE);

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct iovec vector = { places[i].to, 64 };

		snprintf(what, sizeof(what), "read from %s into %s", source, places[i].what);
		check(what, read(fd, places[i].to, 64), EFAULT);
		snprintf(what, sizeof(what), "readv from %s into %s", source, places[i].what);
		check(what, readv(fd, &vector, 1), EFAULT);
	}
	*(char *)no_access = 'x';
	mprotect(no_access, PAGE, PROT_NONE);
	check("read into a page without access", read(fd, no_access, 64), EFAULT);
	mprotect(no_access, PAGE, PROT_READ);
	check("read into a page that may only be read", read(fd, no_access, 64), EFAULT);
	check_true("that page is as it was", *(char *)no_access == 'x');
	check_true("text is as it was", call(3) == 13);
	check_true("constants are as they were", strcmp(constant, "constant") == 0);
	check_true("the nub does not spoil exceptions", read(fd, &byte, 1) == 1 && byte == 'Z');
}

static void writes(void)
{
	struct iovec vector = { NOWHERE, 16 }, good = { (void *)constant, 0 };
	void *const places[] = { NOWHERE, NULL, NUB, UPPER, WRAPPING };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		check("write from a bad address", write(STDERR_FILENO, places[i], 16), EFAULT);
	check("writev from a bad address", writev(STDERR_FILENO, &vector, 1), EFAULT);
	check("writev with a bad vector", writev(STDERR_FILENO, NOWHERE, 1), EFAULT);
	check("writev of nothing", writev(STDERR_FILENO, &good, 1), 0);
	check("write to a descriptor that is not open", write(77, constant, 1), EBADF);
	check("write to a negative descriptor", write(-5, constant, 1), EBADF);
}

static void others(void)
{
	void *const places[] = { NOWHERE, NUB, UPPER, (void *)constant };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		void *at = places[i];

		check("clock_gettime to a bad address", syscall(SYS_clock_gettime, 1, at), EFAULT);
		check("uname to a bad address", syscall(SYS_uname, at), EFAULT);
		check("getrandom to a bad address", syscall(SYS_getrandom, at, 16, 0), EFAULT);
	}
	check("nanosleep of a bad address", syscall(SYS_nanosleep, NOWHERE, NULL), EFAULT);
	check("futex wait on a bad address", syscall(SYS_futex, NOWHERE, FUTEX_WAIT, 0, NULL, 0, 0),
	      EFAULT);
	check("an unknown system call", syscall(9999), ENOSYS);
	check("a negative system call", syscall(-1), ENOSYS);
}

static void paths(void)
{
	void *const places[] = { NOWHERE, NULL, NUB, UPPER };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		check("open of a bad address", open(places[i], O_RDONLY), EFAULT);
}

int main(int argc, char **argv)
{
	protections();
	reads(STDIN_FILENO, "standard input");
	writes();
	others();
	if (argc > 1) {
		int fd = open(argv[1], O_RDONLY);

		paths();
		check("open", fd, 0);
		if (fd >= 0)
			reads(fd, "a file");
	}
	return failures;
}
