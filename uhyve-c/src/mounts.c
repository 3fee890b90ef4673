#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "abi/ops.h"

struct mount {
	char *guest; /* owned; normalised: "" for the root, else "/a/b"     */
	size_t length;
	int fd; /* owned; O_PATH                                            */
	bool read_only;
	bool is_file;
};

struct uhyve_mounts {
	struct mount *list; /* owned                                        */
	size_t count;
};

/* A specification taken apart: pieces of it, not terminated. */
struct specification {
	const char *text; /* the whole, terminated                          */
	const char *host, *guest;
	size_t host_length, guest_length; /* guest_length 0: not given      */
	bool read_only;
};

struct uhyve_mounts *uhyve_mounts_new(void)
{
	return calloc(1, sizeof(struct uhyve_mounts));
}

static void free_mount(struct mount *mount)
{
	if (mount->fd >= 0)
		(void)close(mount->fd);
	free(mount->guest);
}

void uhyve_mounts_free(struct uhyve_mounts *mounts)
{
	if (!mounts)
		return;
	for (size_t i = 0; i < mounts->count; i++)
		free_mount(&mounts->list[i]);
	free(mounts->list);
	free(mounts);
}

/*
 * Resolve "//", "." and ".." of `path` (`length` bytes, absolute) without looking at
 * any file: "" for the root, else "/a/b". `out` has at least length + 1 bytes.
 * `*directory` tells whether the path can only name a directory ("/a/", "/a/.").
 */
static size_t normalise(const char *path, size_t length, char *out, bool *directory)
{
	size_t used = 0, at = 0;

	*directory = true;
	while (at < length) {
		while (at < length && path[at] == '/')
			at++;
		size_t start = at;
		while (at < length && path[at] != '/')
			at++;
		size_t part = at - start;

		*directory = true;
		if (part == 0 || (part == 1 && path[start] == '.'))
			continue;
		if (part == 2 && path[start] == '.' && path[start + 1] == '.') {
			while (used > 0 && out[--used] != '/')
				;
			continue;
		}
		out[used++] = '/';
		memcpy(out + used, path + start, part);
		used += part;
		*directory = false;
	}
	out[used] = '\0';
	return used;
}

static int parse(struct specification *spec, struct uhyve_error *error)
{
	const char *text = spec->text;
	const char *colon = strchr(text, ':');

	spec->host = text;
	spec->host_length = colon ? (size_t)(colon - text) : strlen(text);
	if (spec->host_length == 0)
		return uhyve_fail(error, -EINVAL, "mount '%.160s': the host path is missing", text);
	if (!colon)
		return 0;

	const char *mode;
	spec->guest = colon + 1;
	colon = strchr(spec->guest, ':');
	mode = colon ? colon + 1 : NULL;
	spec->guest_length = colon ? (size_t)(colon - spec->guest) : strlen(spec->guest);
	if (spec->guest[0] != '/')
		return uhyve_fail(error, -EINVAL,
				  "mount '%.160s': the guest path must be absolute; "
				  "write it as host:/guest or host:/guest:ro",
				  text);
	if (spec->guest_length > PG_PATH_MAX)
		return uhyve_fail(error, -ENAMETOOLONG,
				  "mount '%.160s': the guest path is too long", text);
	if (!mode || strcmp(mode, "rw") == 0)
		return 0;
	if (strcmp(mode, "ro") != 0)
		return uhyve_fail(error, -EINVAL,
				  "mount '%.160s': after the guest path comes 'ro' or 'rw', "
				  "and no path may contain ':'",
				  text);
	spec->read_only = true;
	return 0;
}

static int open_host(const struct specification *spec, struct mount *mount,
		     struct uhyve_error *error)
{
	char *host = strndup(spec->host, spec->host_length);
	struct stat st;

	if (!host)
		return uhyve_fail(error, -ENOMEM, "out of memory");
	mount->fd = open(host, O_PATH | O_CLOEXEC);
	int code = mount->fd < 0 || fstat(mount->fd, &st) < 0 ? -errno : 0;
	free(host);
	if (code == -ENOENT)
		return uhyve_fail(error, code,
				  "mount '%.160s': no such file or directory on the host",
				  spec->text);
	if (code) {
		errno = -code;
		return uhyve_fail(error, code, "mount '%.160s': cannot open the host path: %m",
				  spec->text);
	}
	mount->is_file = !S_ISDIR(st.st_mode);
	return 0;
}

/* Where the mount appears when the user doesn't say: "/" or "/name". */
static void default_guest(struct specification *spec, bool is_file)
{
	const char *slash = memrchr(spec->host, '/', spec->host_length);

	spec->guest = !is_file ? "/" : slash ? slash : spec->host;
	spec->guest_length = is_file ? spec->host_length - (size_t)(spec->guest - spec->host) : 1;
}

static int set_guest(const struct uhyve_mounts *mounts, const struct specification *spec,
		     struct mount *mount, struct uhyve_error *error)
{
	bool directory;

	/* One more for the '/' that a plain file name gets. */
	mount->guest = malloc(spec->guest_length + 2);
	if (!mount->guest)
		return uhyve_fail(error, -ENOMEM, "out of memory");
	mount->length = normalise(spec->guest, spec->guest_length, mount->guest, &directory);

	if (mount->is_file && mount->length == 0)
		return uhyve_fail(error, -EINVAL,
				  "mount '%.160s': a file cannot be mounted as the root directory",
				  spec->text);
	for (size_t i = 0; i < mounts->count; i++) {
		if (strcmp(mounts->list[i].guest, mount->guest) == 0)
			return uhyve_fail(error, -EEXIST,
					  "mount '%.160s': something is mounted at %.160s already; "
					  "choose another guest path (host:/guest)",
					  spec->text, mount->length ? mount->guest : "/");
	}
	return 0;
}

int uhyve_mounts_add(struct uhyve_mounts *mounts, const char *specification,
		     struct uhyve_error *error)
{
	struct specification spec = { .text = specification };
	struct mount mount = { .fd = -1 };
	int code = parse(&spec, error);

	if (!code)
		code = open_host(&spec, &mount, error);
	if (!code) {
		if (spec.guest_length == 0)
			default_guest(&spec, mount.is_file);
		code = set_guest(mounts, &spec, &mount, error);
	}
	if (!code) {
		struct mount *list = reallocarray(mounts->list, mounts->count + 1, sizeof(*list));

		if (list)
			mounts->list = list;
		else
			code = uhyve_fail(error, -ENOMEM, "out of memory");
	}
	if (code) {
		free_mount(&mount);
		return code;
	}
	mount.read_only = spec.read_only;
	mounts->list[mounts->count++] = mount;
	return 0;
}

/* Whether the mount is at or above `path` (normalised): by components, "/a" is not above "/ab". */
static bool covers(const struct mount *mount, const char *path)
{
	return strncmp(path, mount->guest, mount->length) == 0 &&
	       (path[mount->length] == '/' || path[mount->length] == '\0');
}

int uhyve_mounts_find(const struct uhyve_mounts *mounts, const char *path, int *dirfd, char *rest,
		      bool *read_only, bool *is_file)
{
	const struct mount *best = NULL;
	size_t length = strnlen(path, PG_PATH_MAX + 1);
	char normal[PG_PATH_MAX + 1];
	bool directory;

	if (length == 0)
		return -ENOENT;
	if (length > PG_PATH_MAX)
		return -ENAMETOOLONG;
	if (path[0] != '/')
		return -EINVAL;
	length = normalise(path, length, normal, &directory);

	for (size_t i = 0; i < mounts->count; i++) {
		const struct mount *mount = &mounts->list[i];

		if (covers(mount, normal) && (!best || mount->length > best->length))
			best = mount;
	}
	if (!best)
		return -ENOENT;

	bool below = length > best->length;
	if (best->is_file && (below || directory))
		return -ENOTDIR;
	if (below) {
		size_t size = length - best->length - 1;

		/* The '/' at the end stays: the host then refuses what is not a directory. */
		memcpy(rest, normal + best->length + 1, size);
		if (directory)
			rest[size++] = '/';
		rest[size] = '\0';
	} else {
		strcpy(rest, best->is_file ? "" : ".");
	}
	*dirfd = best->fd;
	*read_only = best->read_only;
	*is_file = best->is_file;
	return 0;
}
