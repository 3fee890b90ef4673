#include "handles.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static enum uhyve_kind kind_of(int fd, mode_t mode)
{
	if (S_ISREG(mode) || S_ISBLK(mode))
		return UHYVE_KIND_FILE;
	if (S_ISDIR(mode))
		return UHYVE_KIND_DIRECTORY;
	if (isatty(fd))
		return UHYVE_KIND_TTY;
	/* A device that has no end of input to wait for (null, zero, ...) seeks. */
	if (S_ISCHR(mode) && lseek(fd, 0, SEEK_CUR) >= 0)
		return UHYVE_KIND_FILE;
	return UHYVE_KIND_STREAM;
}

/* Files in memory: the host's calls copy and never wait for a disk or a server. */
static bool in_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

/* A handle with one reference, the table's. NULL: errno says why. */
static struct uhyve_handle *handle_new(int fd, bool owned)
{
	struct uhyve_handle *handle;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return NULL;
	handle = calloc(1, sizeof(*handle));
	if (!handle)
		return NULL;
	handle->fd = fd;
	handle->kind = kind_of(fd, st.st_mode);
	handle->refs = 1;
	handle->owned = owned;
	handle->direct = S_ISREG(st.st_mode) && in_memory(fd);
	return handle;
}

int uhyve_handles_init(struct uhyve_handles *handles, const int console[UHYVE_CONSOLE_HANDLES])
{
	*handles = (struct uhyve_handles){ .lowest = UHYVE_CONSOLE_HANDLES };
	for (int i = 0; i < UHYVE_CONSOLE_HANDLES; i++) {
		if (console[i] < 0)
			continue;
		handles->slot[i] = handle_new(console[i], false);
		if (!handles->slot[i]) {
			int code = -errno;

			uhyve_handles_free(handles);
			return code;
		}
	}
	return 0;
}

void uhyve_handles_free(struct uhyve_handles *handles)
{
	for (int i = 0; i < UHYVE_HANDLES_MAX; i++)
		(void)uhyve_handles_close(handles, i);
}

static int find_free(const struct uhyve_handles *handles)
{
	int number = handles->lowest;

	while (number < UHYVE_HANDLES_MAX && handles->slot[number])
		number++;
	return number;
}

bool uhyve_handles_full(const struct uhyve_handles *handles)
{
	return find_free(handles) == UHYVE_HANDLES_MAX;
}

int uhyve_handles_add(struct uhyve_handles *handles, int fd, int flags)
{
	int number = find_free(handles);
	struct uhyve_handle *handle;
	int code;

	if (number == UHYVE_HANDLES_MAX) {
		close(fd);
		return -EMFILE;
	}
	handle = handle_new(fd, true);
	if (!handle) {
		code = -errno;
		close(fd);
		return code;
	}
	if (flags & O_PATH)
		handle->kind = UHYVE_KIND_PATH;
	/*
	 * The open file description is ours alone. A stream's becomes O_NONBLOCK, so
	 * that plain calls tell -EAGAIN; a file's must not be: io_uring would then give
	 * up where it should wait for the disk.
	 */
	handle->nonblocking = handle->kind == UHYVE_KIND_STREAM && (flags & O_NONBLOCK);
	if (handle->kind == UHYVE_KIND_STREAM) {
		handle->direct = true;
		code = fcntl(fd, F_SETFL, (flags & O_APPEND) | O_NONBLOCK);
	} else if (handle->kind != UHYVE_KIND_PATH) {
		code = fcntl(fd, F_SETFL, flags & O_APPEND);
	} else {
		code = 0;
	}
	if (code < 0) {
		code = -errno;
		uhyve_handle_put(handle);
		return code;
	}
	handles->slot[number] = handle;
	handles->lowest = number + 1;
	return number;
}

struct uhyve_handle *uhyve_handles_get(const struct uhyve_handles *handles, int32_t number)
{
	struct uhyve_handle *handle;

	if (number < 0 || number >= UHYVE_HANDLES_MAX)
		return NULL;
	handle = handles->slot[number];
	if (handle)
		handle->refs++;
	return handle;
}

void uhyve_handle_put(struct uhyve_handle *handle)
{
	if (--handle->refs)
		return;
	if (handle->owned)
		close(handle->fd);
	free(handle);
}

int uhyve_handles_close(struct uhyve_handles *handles, int32_t number)
{
	if (number < 0 || number >= UHYVE_HANDLES_MAX || !handles->slot[number])
		return -EBADF;
	uhyve_handle_put(handles->slot[number]);
	handles->slot[number] = NULL;
	if (number >= UHYVE_CONSOLE_HANDLES && number < handles->lowest)
		handles->lowest = number;
	return 0;
}
