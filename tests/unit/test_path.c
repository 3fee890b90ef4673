#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "sys_calls.h"
#include "sys/device.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/path.h"

static void setup(void)
{
	sys_setup("/home/me");
}

TestSuite(path, .init = setup, .timeout = 20);

struct pair {
	const char *from, *to;
};

Test(path, directories_are_normalised)
{
	static const struct pair pairs[] = {
		{ "/", "/" },
		{ "//", "/" },
		{ "/a", "/a" },
		{ "/a/", "/a" },
		{ "/a//b/./c", "/a/b/c" },
		{ "/a/../b", "/b" },
		{ "/..", "/" },
		{ "/a/b/../../..", "/" },
		{ "/a/.../..b/c..", "/a/.../..b/c.." },
		{ "a", "/a" },
		{ "", "/" },
	};

	for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		const struct pair *pair = &pairs[i];
		struct pg_path *path = pg_path_new(pair->from, (uint32_t)strlen(pair->from));

		cr_assert_str_eq(path->text, pair->to, "%s: %s", pair->from, path->text);
		cr_assert_eq(path->length, strlen(pair->to));
		pg_path_put(path);
	}
	cr_assert_eq(sys_allocated, 0);
}

static int resolve(struct pg_path_buffer *buffer, int dirfd, const char *path)
{
	memset(buffer, 0, sizeof(*buffer));
	return pg_path_resolve(buffer, dirfd, (uintptr_t)path, false);
}

Test(path, completes_relative_ones)
{
	static const struct pair pairs[] = {
		{ "/etc", "/etc" },    { "x", "/home/me/x" },       { "../y", "/home/me/../y" },
		{ ".", "/home/me/." }, { "a/b/", "/home/me/a/b/" },
	};
	struct pg_path_buffer buffer;

	for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		cr_assert_eq(resolve(&buffer, AT_FDCWD, pairs[i].from), 0);
		cr_assert_str_eq(buffer.text, pairs[i].to);
		cr_assert_eq(buffer.length, strlen(pairs[i].to));
		pg_path_release(&buffer);
	}
	cr_assert_eq(sys_allocated, 0);
}

Test(path, from_the_root)
{
	struct pg_path_buffer buffer;

	pg_cwd_set(pg_path_new("/", 1));
	cr_assert_eq(resolve(&buffer, AT_FDCWD, "x"), 0);
	cr_assert_str_eq(buffer.text, "/x");
	pg_path_release(&buffer);
}

Test(path, from_a_descriptor)
{
	struct pg_path_buffer buffer;
	struct pg_file *file = pg_file_new(&pg_host_file_ops, O_RDONLY), *plain;
	int fd = pg_fd_reserve(0, false), other;

	file->path = pg_path_new("/srv/data", 9);
	pg_fd_install(fd, file);
	cr_assert_eq(resolve(&buffer, fd, "x"), 0);
	cr_assert_str_eq(buffer.text, "/srv/data/x");
	pg_path_release(&buffer);
	cr_assert_eq(atomic_load(&file->refs), 1);

	plain = pg_file_new(&pg_host_file_ops, O_WRONLY);
	other = pg_fd_reserve(0, false);
	pg_fd_install(other, plain);
	cr_assert_eq(resolve(&buffer, other, "x"), -ENOTDIR);
	pg_path_release(&buffer);
	cr_assert_eq(resolve(&buffer, other, "/x"), 0, "absolute: the descriptor does not matter");
	pg_path_release(&buffer);
	cr_assert_eq(resolve(&buffer, 77, "x"), -EBADF);
	pg_path_release(&buffer);
	cr_assert_eq(resolve(&buffer, -1, "x"), -EBADF);
	pg_path_release(&buffer);
}

Test(path, empty)
{
	struct pg_path_buffer buffer;

	cr_assert_eq(resolve(&buffer, AT_FDCWD, ""), -ENOENT);
	pg_path_release(&buffer);
	cr_assert_eq(resolve(&buffer, AT_FDCWD, NULL), -EFAULT);
	pg_path_release(&buffer);
	cr_assert_eq(pg_path_resolve(&buffer, AT_FDCWD, (uintptr_t) "", true), 0);
	cr_assert_eq(buffer.length, 0);
	pg_path_release(&buffer);
	cr_assert_eq(pg_path_resolve(&buffer, AT_FDCWD, 0, true), 0);
	cr_assert_eq(buffer.length, 0);
	pg_path_release(&buffer);
}

/* Every length around the two limits: of the buffer's own room, and of a path. */
Test(path, long_ones)
{
	static char text[5000], expected[6000];
	struct pg_path_buffer buffer;

	for (unsigned length = 1; length < 4200; length += length < 270 || length > 4050 ? 1 : 97) {
		int code;

		memset(text, 'n', length);
		text[length] = '\0';
		strcpy(expected, "/home/me/");
		strcat(expected, text);
		code = resolve(&buffer, AT_FDCWD, text);
		if (length + 9 > PG_PATH_MAX) {
			cr_assert_eq(code, -ENAMETOOLONG, "%u", length);
		} else {
			cr_assert_eq(code, 0, "%u", length);
			cr_assert_str_eq(buffer.text, expected);
			cr_assert_eq(buffer.length, length + 9);
		}
		pg_path_release(&buffer);

		text[0] = '/';
		code = resolve(&buffer, AT_FDCWD, text);
		cr_assert_eq(code, length < 4096 ? 0 : -ENAMETOOLONG, "%u", length);
		if (!code)
			cr_assert_str_eq(buffer.text, text);
		pg_path_release(&buffer);
		cr_assert_eq(sys_allocated, 0, "%u", length);
	}
}

Test(path, without_memory)
{
	static char text[300];
	struct pg_path_buffer buffer;

	memset(text, 'n', sizeof(text) - 1);
	sys_fail_after = 0;
	cr_assert_eq(resolve(&buffer, AT_FDCWD, text), -ENOMEM);
	pg_path_release(&buffer);
	/* It is short, but not with what goes before it. */
	text[235] = '\0';
	cr_assert_eq(resolve(&buffer, AT_FDCWD, text), -ENOMEM);
	pg_path_release(&buffer);
	text[230] = '\0';
	cr_assert_eq(resolve(&buffer, AT_FDCWD, text), 0);
	pg_path_release(&buffer);
	cr_assert_null(pg_path_new("/", 1));
}

Test(path, devices)
{
	cr_assert_str_eq(pg_device_find("/dev/null")->name, "null");
	cr_assert_str_eq(pg_device_find("//dev/./urandom")->name, "urandom");
	cr_assert_str_eq(pg_device_find("/./dev//zero")->name, "zero");
	cr_assert_null(pg_device_find("/dev"));
	cr_assert_null(pg_device_find("/dev/"));
	cr_assert_null(pg_device_find("/dev/null/"));
	cr_assert_null(pg_device_find("/dev/null/x"));
	cr_assert_null(pg_device_find("/dev/nul"));
	cr_assert_null(pg_device_find("/dev/null2"));
	cr_assert_null(pg_device_find("/devnull"));
	cr_assert_null(pg_device_find("/x/dev/null"));
	cr_assert_null(pg_device_find("/"));
}
