#include "path.h"

#include <stddef.h>

#include "core/spinlock.h"
#include "fd.h"
#include "file.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "linux.h"
#include "mm/heap.h"
#include "process.h"
#include "user.h"

static struct {
	struct pg_spinlock lock; /* guards the pointer, and that it holds a reference */
	struct pg_path *path;
} cwd;

/*
 * Append the components of `from` to `to`, which has room for `length` + 1 bytes; returns
 * the new length. Only the root ends in '/'.
 */
static uint32_t normalise(char *to, const char *from, uint32_t length)
{
	uint32_t used = 0, at = 0;

	while (at < length) {
		uint32_t start, part;

		while (at < length && from[at] == '/')
			at++;
		start = at;
		while (at < length && from[at] != '/')
			at++;
		part = at - start;
		if (part == 0 || (part == 1 && from[start] == '.'))
			continue;
		if (part == 2 && from[start] == '.' && from[start + 1] == '.') {
			while (used > 0 && to[--used] != '/')
				;
			continue;
		}
		to[used++] = '/';
		memcpy(to + used, from + start, part);
		used += part;
	}
	if (used == 0)
		to[used++] = '/';
	to[used] = '\0';
	return used;
}

struct pg_path *pg_path_new(const char *text, uint32_t length)
{
	/* A text that is not even "/" grows by one. */
	struct pg_path *path = pg_alloc(offsetof(struct pg_path, text) + length + 2);

	if (!path)
		return NULL;
	atomic_init(&path->refs, 1);
	path->length = normalise(path->text, text, length);
	return path;
}

struct pg_path *pg_path_ref(struct pg_path *path)
{
	/* Relaxed: the caller has a reference, so nobody frees it meanwhile. */
	atomic_fetch_add_explicit(&path->refs, 1, memory_order_relaxed);
	return path;
}

void pg_path_put(struct pg_path *path)
{
	/* Release: our reads are done. Acquire: so are everybody's, before it is freed. */
	if (path && atomic_fetch_sub_explicit(&path->refs, 1, memory_order_acq_rel) == 1)
		pg_free(path);
}

struct pg_path *pg_cwd(void)
{
	struct pg_path *path;

	pg_spin_lock(&cwd.lock);
	path = pg_path_ref(cwd.path);
	pg_spin_unlock(&cwd.lock);
	return path;
}

void pg_cwd_set(struct pg_path *path)
{
	struct pg_path *old;

	pg_spin_lock(&cwd.lock);
	old = cwd.path;
	cwd.path = path;
	pg_spin_unlock(&cwd.lock);
	pg_path_put(old);
}

int pg_cwd_init(void)
{
	const char *text = (const char *)pg_boot + pg_boot->cwd;
	struct pg_path *path = pg_path_new(text, (uint32_t)strlen(text));

	if (!path)
		return -ENOMEM;
	pg_cwd_set(path);
	return 0;
}

/* ---- for one call ---- */

/* Room for the longest path. What is in `small` is kept. */
static int grow(struct pg_path_buffer *buffer)
{
	char *text;

	if (buffer->text && buffer->text != buffer->small)
		return 0;
	text = pg_alloc(PG_PATH_MAX + 1);
	if (!text)
		return -ENOMEM;
	memcpy(text, buffer->small, sizeof(buffer->small));
	buffer->text = text;
	return 0;
}

int pg_path_copy(struct pg_path_buffer *buffer, uint64_t path)
{
	int64_t length;

	buffer->text = buffer->small;
	length = pg_user_string(buffer->small, path, sizeof(buffer->small));
	if (length == -ENAMETOOLONG) {
		int code = grow(buffer);

		if (code)
			return code;
		length = pg_user_string(buffer->text, path, PG_PATH_MAX);
	}
	if (length < 0)
		return (int)length;
	buffer->length = (uint32_t)length;
	return length ? 0 : -ENOENT;
}

/* The directory that `dirfd` stands for, with a reference. */
static int find_base(int dirfd, struct pg_path **base)
{
	struct pg_file *file;
	int code = 0;

	if (dirfd == PG_AT_FDCWD) {
		*base = pg_cwd();
		return 0;
	}
	file = pg_fd_get_any(dirfd);
	if (!file)
		return -EBADF;
	/* Only what may be a directory has a path; the loader finds out whether it is. */
	if (file->path)
		*base = pg_path_ref(file->path);
	else
		code = -ENOTDIR;
	pg_file_put(file);
	return code;
}

/* Put `base` and a '/' before the text. */
static int prepend(struct pg_path_buffer *buffer, const struct pg_path *base)
{
	uint32_t head = base->length + (base->length > 1); /* the root's '/' is there */
	uint32_t length = head + buffer->length;

	if (length > PG_PATH_MAX)
		return -ENAMETOOLONG;
	if (length >= sizeof(buffer->small)) {
		int code = grow(buffer);

		if (code)
			return code;
	}
	memmove(buffer->text + head, buffer->text, buffer->length + 1);
	memcpy(buffer->text, base->text, base->length);
	buffer->text[head - 1] = '/';
	buffer->length = length;
	return 0;
}

int pg_path_resolve(struct pg_path_buffer *buffer, int dirfd, uint64_t path, bool may_be_empty)
{
	struct pg_path *base;
	int code;

	if (may_be_empty && !path)
		return 0;
	code = pg_path_copy(buffer, path);
	if (code == -ENOENT && may_be_empty)
		return 0;
	if (code || buffer->text[0] == '/')
		return code;
	code = find_base(dirfd, &base);
	if (code)
		return code;
	code = prepend(buffer, base);
	pg_path_put(base);
	return code;
}

void pg_path_release(struct pg_path_buffer *buffer)
{
	if (buffer->text != buffer->small)
		pg_free(buffer->text);
	buffer->text = NULL;
	buffer->length = 0;
}
