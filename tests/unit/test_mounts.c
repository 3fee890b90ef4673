/* Mounts: what a specification means, and which mount and rest a guest path leads to. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "elf_builder.h"
#include "mounts.h"
#include "abi/ops.h"

static char root[ELF_PATH_MAX]; /* has a/, b/, b/sub/, file; and the link: a symlink to b */
static int descriptors;
static struct uhyve_mounts *mounts;

static const char *in_root(const char *name)
{
	static char path[ELF_PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	return path;
}

static void set_up(void)
{
	temp_directory(root);
	cr_assert_eq(mkdir(in_root("a"), 0700), 0);
	cr_assert_eq(mkdir(in_root("b"), 0700), 0);
	cr_assert_eq(mkdir(in_root("b/sub"), 0700), 0);
	cr_assert_eq(symlink("b", in_root("link")), 0);
	int fd = open(in_root("file"), O_CREAT | O_WRONLY, 0600);
	cr_assert_geq(fd, 0);
	close(fd);
	descriptors = open_descriptors();
	mounts = uhyve_mounts_new();
	cr_assert_not_null(mounts);
}

static void tear_down(void)
{
	uhyve_mounts_free(mounts);
	int left = open_descriptors() - descriptors;

	rmdir(in_root("a"));
	rmdir(in_root("b/sub"));
	rmdir(in_root("b"));
	unlink(in_root("link"));
	unlink(in_root("file"));
	rmdir(root);
	cr_assert_eq(left, 0, "%d descriptors were left open", left);
}

TestSuite(mounts, .init = set_up, .fini = tear_down);

static int add(const char *name, const char *options, struct uhyve_error *error)
{
	static char specification[3 * ELF_PATH_MAX];

	snprintf(specification, sizeof(specification), "%s%s", in_root(name), options);
	*error = (struct uhyve_error){ 0 };
	return uhyve_mounts_add(mounts, specification, error);
}

static void added(const char *name, const char *options)
{
	struct uhyve_error error;

	cr_assert_eq(add(name, options, &error), 0, "%s", error.text);
	cr_assert_eq(error.code, 0);
}

static void check_sentence(const struct uhyve_error *error, int code, const char *words)
{
	cr_assert_eq(error->code, code);
	cr_assert_not_null(strstr(error->text, words), "expected \"%s\", got: %s", words,
			   error->text);
	cr_assert_null(strchr(error->text, '\n'));
	cr_assert_neq(error->text[strlen(error->text) - 1], '.');
}

static void refused(const char *name, const char *options, int code, const char *words)
{
	struct uhyve_error error;
	int before = open_descriptors();

	cr_assert_eq(add(name, options, &error), code, "%s%s: %s", name, options, error.text);
	check_sentence(&error, code, words);
	cr_assert_eq(open_descriptors(), before);
}

/* `path` leads to what is `host` in the root, and to `rest` below it. */
static void leads(const char *path, const char *host, const char *rest, bool read_only,
		  bool is_file)
{
	char got[PG_PATH_MAX + 1];
	struct stat want, have;
	bool ro = !read_only, single = !is_file;
	int fd = -1;

	memset(got, 'x', sizeof(got));
	cr_assert_eq(uhyve_mounts_find(mounts, path, &fd, got, &ro, &single), 0, "%s", path);
	cr_assert_str_eq(got, rest, "%s: \"%s\", expected \"%s\"", path, got, rest);
	cr_assert_eq(ro, read_only, "%s", path);
	cr_assert_eq(single, is_file, "%s", path);
	cr_assert_eq(stat(in_root(host), &want), 0);
	cr_assert_eq(fstat(fd, &have), 0);
	cr_assert(want.st_dev == have.st_dev && want.st_ino == have.st_ino, "%s is not %s", path,
		  host);
	int flags = fcntl(fd, F_GETFL);
	cr_assert(flags & O_PATH);
	cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void lost(const char *path, int code)
{
	char rest[PG_PATH_MAX + 1];
	bool read_only, is_file;
	int fd;

	cr_assert_eq(uhyve_mounts_find(mounts, path, &fd, rest, &read_only, &is_file), code, "%s",
		     path);
}

Test(mounts, nothing_by_default)
{
	lost("/", -ENOENT);
	lost("/etc/passwd", -ENOENT);
	lost("", -ENOENT);
	lost("etc", -EINVAL);
}

Test(mounts, directory_by_default_at_the_root)
{
	added("a", "");
	leads("/", "a", ".", false, false);
	leads("/x/y", "a", "x/y", false, false);
}

Test(mounts, file_by_default_at_its_name)
{
	added("file", "");
	leads("/file", "file", "", false, true);
	lost("/", -ENOENT);
	lost("/file2", -ENOENT);
	lost("/file/", -ENOTDIR);
	lost("/file/.", -ENOTDIR);
	lost("/file/x", -ENOTDIR);
}

/* The host path as the shell gives it: relative, without a slash. */
Test(mounts, relative_host_paths)
{
	struct uhyve_error error = { 0 };

	cr_assert_eq(chdir(root), 0);
	cr_assert_eq(uhyve_mounts_add(mounts, "file", &error), 0, "%s", error.text);
	cr_assert_eq(uhyve_mounts_add(mounts, "./b/", &error), 0, "%s", error.text);
	cr_assert_eq(chdir("/"), 0);
	leads("/file", "file", "", false, true);
	leads("/sub", "b", "sub", false, false);
}

Test(mounts, guest_path)
{
	added("a", ":/data");
	leads("/data", "a", ".", false, false);
	leads("/data/", "a", ".", false, false);
	leads("/data/x", "a", "x", false, false);
	lost("/", -ENOENT);
	lost("/dat", -ENOENT);
	lost("/datax", -ENOENT);
	lost("/datax/y", -ENOENT);
	lost("/x/data", -ENOENT);
}

Test(mounts, modes)
{
	added("a", ":/ro:ro");
	added("b", ":/rw:rw");
	added("file", ":/etc/file:ro");
	leads("/ro/x", "a", "x", true, false);
	leads("/rw/x", "b", "x", false, false);
	leads("/etc/file", "file", "", true, true);
}

/* Symbolic links in the host path are the user's own choice. */
Test(mounts, host_link_is_followed)
{
	added("link", ":/data");
	leads("/data/sub", "b", "sub", false, false);
}

Test(mounts, guest_path_is_normalised)
{
	added("a", ":/x//y/./z/../w/");
	leads("/x/y/w/f", "a", "f", false, false);
	refused("b", ":/x/y/w", -EEXIST, "mounted at /x/y/w already");
	added("b", ":/../..");
	leads("/x/y", "b", "x/y", false, false);
}

/* By whole components, whatever the order they were added in. */
Test(mounts, longest_prefix)
{
	added("b/sub", ":/one/two/three");
	added("a", "");
	added("b", ":/one/two");
	added("file", ":/one/two/three/file:ro");
	leads("/one", "a", "one", false, false);
	leads("/one/twofold", "a", "one/twofold", false, false);
	leads("/one/two", "b", ".", false, false);
	leads("/one/two/thre", "b", "thre", false, false);
	leads("/one/two/threefold", "b", "threefold", false, false);
	leads("/one/two/three", "b/sub", ".", false, false);
	leads("/one/two/three/four", "b/sub", "four", false, false);
	leads("/one/two/three/file", "file", "", true, true);
	leads("/one/two/three/files", "b/sub", "files", false, false);
	lost("/one/two/three/file/x", -ENOTDIR);
}

Test(mounts, lexical)
{
	added("a", "");
	added("b", ":/data");
	leads("//data///x", "b", "x", false, false);
	leads("/./data/./x", "b", "x", false, false);
	leads("/data/x/../y", "b", "y", false, false);
	leads("/data/../x", "a", "x", false, false);
	leads("/data/../../../x", "a", "x", false, false);
	leads("/x/../data/y", "b", "y", false, false);
	leads("/..", "a", ".", false, false);
	leads("/...", "a", "...", false, false);
	leads("/..x/.y", "a", "..x/.y", false, false);
	leads("/data/..x", "b", "..x", false, false);
	leads("/data/x/..", "b", ".", false, false);
}

/* What only a directory can be called stays so: the host decides. */
Test(mounts, slash_at_the_end)
{
	added("a", "");
	leads("/x/", "a", "x/", false, false);
	leads("/x//", "a", "x/", false, false);
	leads("/x/.", "a", "x/", false, false);
	leads("/x/y/..", "a", "x/", false, false);
	leads("/x/./y", "a", "x/y", false, false);
	leads("/", "a", ".", false, false);
	leads("//", "a", ".", false, false);
}

Test(mounts, long_paths)
{
	static char path[PG_PATH_MAX + 2], rest[PG_PATH_MAX + 1];

	added("a", "");
	memset(path, 'x', PG_PATH_MAX);
	path[0] = '/';
	memcpy(rest, path + 1, PG_PATH_MAX - 1);
	leads(path, "a", rest, false, false);
	path[PG_PATH_MAX - 1] = '/';
	rest[PG_PATH_MAX - 2] = '/';
	leads(path, "a", rest, false, false);
	path[PG_PATH_MAX] = 'x';
	lost(path, -ENAMETOOLONG);
	memset(path, '/', PG_PATH_MAX);
	path[PG_PATH_MAX] = '\0';
	leads(path, "a", ".", false, false);
}

Test(mounts, refusals)
{
	struct uhyve_error error = { 0 };
	static char guest[PG_PATH_MAX + 8];

	refused("missing", "", -ENOENT, "no such file or directory on the host");
	refused("file/x", "", -ENOTDIR, "cannot open the host path: Not a directory");
	refused("a", ":", -EINVAL, "guest path must be absolute");
	refused("a", ":ro", -EINVAL, "guest path must be absolute");
	refused("a", ":data", -EINVAL, "guest path must be absolute");
	refused("a", ":data:ro", -EINVAL, "guest path must be absolute");
	refused("a", "::ro", -EINVAL, "guest path must be absolute");
	refused("a", ":/data:", -EINVAL, "'ro' or 'rw'");
	refused("a", ":/data:r", -EINVAL, "'ro' or 'rw'");
	refused("a", ":/data:rwx", -EINVAL, "'ro' or 'rw'");
	refused("a", ":/data:ro:", -EINVAL, "'ro' or 'rw'");
	refused("a", ":/data:/more:ro", -EINVAL, "no path may contain ':'");
	refused("file", ":/", -EINVAL, "a file cannot be mounted as the root directory");
	refused("file", ":/x/..", -EINVAL, "a file cannot be mounted as the root directory");

	memset(guest, 'g', sizeof(guest) - 1);
	memcpy(guest, ":/", 2);
	refused("a", guest, -ENAMETOOLONG, "the guest path is too long");

	cr_assert_eq(uhyve_mounts_add(mounts, "", &error), -EINVAL);
	check_sentence(&error, -EINVAL, "the host path is missing");
	error.code = 0;
	cr_assert_eq(uhyve_mounts_add(mounts, ":/guest", &error), -EINVAL);
	check_sentence(&error, -EINVAL, "the host path is missing");
	cr_assert_eq(uhyve_mounts_add(mounts, ":/guest", NULL), -EINVAL);

	/* Nothing of all that was added. */
	lost("/", -ENOENT);
	lost("/data", -ENOENT);
}

Test(mounts, taken)
{
	added("a", "");
	refused("b", "", -EEXIST, "mounted at / already");
	refused("b", ":/", -EEXIST, "mounted at / already");
	refused("b", ":/x/..:ro", -EEXIST, "choose another guest path");
	leads("/x", "a", "x", false, false);
	added("b", ":/data");
	refused("file", ":/data", -EEXIST, "mounted at /data already");
}

Test(mounts, many)
{
	char guest[32], path[32];

	for (int i = 0; i < 100; i++) {
		snprintf(guest, sizeof(guest), ":/m%d%s", i, i % 2 ? ":ro" : "");
		added(i % 3 ? "a" : "b", guest);
	}
	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "/m%d/x", i);
		leads(path, i % 3 ? "a" : "b", "x", i % 2, false);
	}
	lost("/m100", -ENOENT);
}

Test(mounts, free_nothing)
{
	uhyve_mounts_free(NULL);
}
