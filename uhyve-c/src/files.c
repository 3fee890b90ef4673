#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "mounts.h"

#define GETDENTS_MAX 65536

/* What the guest may ask for; the second group is accepted and has no effect. */
#define OPEN_USED                                                                                  \
	(O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_DIRECTORY | O_NOFOLLOW |            \
	 O_NONBLOCK | O_SYNC | O_DSYNC | O_PATH)
#define LINUX_O_LARGEFILE 0100000 /* glibc's own is 0 here                   */
#define OPEN_IGNORED      (O_CLOEXEC | O_NOCTTY | O_NOATIME | LINUX_O_LARGEFILE)

/* With O_PATH, the host accepts these only. */
#define OPEN_PATH (O_PATH | O_DIRECTORY | O_NOFOLLOW)

/* A rename elsewhere can make a lookup beneath give up: so often it is tried again. */
#define LOOKUPS 32

/* ---- lookups ---- */

/*
 * Open `path` beneath the place's mount. Without `may_wait`, -EAGAIN stands for all
 * that would need the disk. An attempt to leave the mount is -EACCES.
 */
static int open_beneath(const struct uhyve_place *place, const char *path, uint64_t flags,
			mode_t mode, bool may_wait)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NOCTTY),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve =
			RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (may_wait ? 0 : RESOLVE_CACHED),
	};

	for (int i = 0; i < LOOKUPS; i++) {
		long fd = syscall(SYS_openat2, place->dirfd, path, &how, sizeof(how));

		if (fd >= 0)
			return (int)fd;
		/* -EINVAL: a host that does not know RESOLVE_CACHED. */
		if (!may_wait && (errno == EAGAIN || errno == EINVAL))
			return -EAGAIN;
		if (errno != EAGAIN)
			break;
	}
	return errno == EXDEV ? -EACCES : -errno;
}

/* A descriptor that names the place, and does nothing else. The caller closes it. */
static int open_place(const struct uhyve_place *place, uint64_t flags, bool may_wait)
{
	if (!place->is_file)
		return open_beneath(place, place->rest, O_PATH | flags, 0, may_wait);
	if (flags & O_DIRECTORY)
		return -ENOTDIR;

	int fd = fcntl(place->dirfd, F_DUPFD_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/*
 * The directory that holds the place's last component, which `*name` points at (a '/'
 * behind it stays: the host knows what it means). A mount has no such directory:
 * `mount_error`. Cuts place->rest. The caller closes the descriptor.
 */
static int open_parent(struct uhyve_place *place, const char **name, int mount_error)
{
	char *end = place->rest + strlen(place->rest);

	if (place->is_file || strcmp(place->rest, ".") == 0)
		return mount_error;
	while (end > place->rest && end[-1] == '/')
		end--;
	while (end > place->rest && end[-1] != '/')
		end--;
	*name = end;
	if (end == place->rest)
		return open_beneath(place, ".", O_PATH | O_DIRECTORY, 0, true);
	end[-1] = '\0';
	return open_beneath(place, place->rest, O_PATH | O_DIRECTORY, 0, true);
}

/* ---- opening ---- */

static bool is_plain_device(const struct stat *st)
{
	unsigned number = minor(st->st_rdev);

	/* null, zero, full, random, urandom */
	return S_ISCHR(st->st_mode) && major(st->st_rdev) == 1 &&
	       (number == 3 || number == 5 || (number >= 7 && number <= 9));
}

/* 0 if the guest may open such a thing. */
static int check_kind(const struct uhyve_place *place, const struct stat *st)
{
	if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode) || S_ISFIFO(st->st_mode))
		return 0;
	if (S_ISLNK(st->st_mode))
		return -ELOOP;
	if (S_ISSOCK(st->st_mode))
		return -ENXIO;
	return place->is_file || is_plain_device(st) ? 0 : -EACCES;
}

/* A mount that is a file: its descriptor can't be read, so open it anew. */
static int reopen(int fd, uint64_t flags)
{
	char path[32];
	int opened;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	opened =
		open(path, (int)(flags & ~(uint64_t)(O_NOFOLLOW | O_CREAT)) | O_CLOEXEC | O_NOCTTY);
	return opened < 0 ? -errno : opened;
}

/*
 * See what is there before opening it: opening a device may do something, opening a
 * FIFO waits for the other end. `*exists` false: O_CREAT is to make it.
 */
static int probe(const struct uhyve_work *work, bool may_wait, struct stat *st, bool *exists)
{
	const struct uhyve_place *place = &work->place[0];
	bool exclusive = (work->flags & O_CREAT) && (work->flags & O_EXCL);
	uint64_t follow = exclusive ? O_NOFOLLOW : work->flags & (O_NOFOLLOW | O_DIRECTORY);
	int fd = open_place(place, follow, may_wait);
	int code = 0;

	*exists = fd >= 0;
	if (fd == -ENOENT && (work->flags & O_CREAT))
		return place->read_only ? -EROFS : 0;
	if (fd < 0)
		return fd;
	if (fstat(fd, st) < 0)
		code = -errno;
	close(fd);
	if (code)
		return code;
	if (exclusive)
		return -EEXIST;
	code = check_kind(place, st);
	if (code)
		return code;
	if (place->read_only && ((work->flags & O_ACCMODE) != O_RDONLY || (work->flags & O_TRUNC)))
		return S_ISDIR(st->st_mode) ? -EISDIR : -EROFS;
	return 0;
}

static int64_t run_open(struct uhyve_work *work, bool may_wait)
{
	const struct uhyve_place *place = &work->place[0];
	uint64_t flags = work->flags;
	struct stat st;
	bool exists;
	int fd, code;

	if (flags & O_PATH)
		return open_place(place, flags & (O_NOFOLLOW | O_DIRECTORY), may_wait);
	if (!may_wait && (flags & (O_CREAT | O_TRUNC)))
		return -EAGAIN;
	code = probe(work, may_wait, &st, &exists);
	if (code)
		return code;
	if (place->read_only)
		flags &= ~(uint64_t)O_CREAT;
	if (!may_wait) {
		if (S_ISFIFO(st.st_mode))
			return -EAGAIN;
		/* In case it has become a FIFO meanwhile. uhyve_handles_add() takes it back. */
		flags |= O_NONBLOCK;
	}
	fd = place->is_file ? reopen(place->dirfd, flags)
			    : open_beneath(place, place->rest, flags, (mode_t)work->mode, may_wait);
	if (fd < 0)
		return fd;
	code = fstat(fd, &st) < 0 ? -errno : check_kind(place, &st);
	if (code) {
		close(fd);
		return code;
	}
	return fd;
}

/* ---- the other operations ---- */

static int64_t run_statx(struct uhyve_request *request, bool may_wait)
{
	struct uhyve_work *work = request->work;
	int how = AT_EMPTY_PATH | (int)(work->flags & AT_STATX_SYNC_TYPE);
	int fd = request->fd;
	int64_t result;

	if (!request->handle)
		fd = open_place(&work->place[0], work->flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0,
				may_wait);
	if (fd < 0)
		return fd;
	result = statx(fd, "", how, (unsigned)work->mode, (struct statx *)work->data) < 0 ? -errno
											  : 0;
	if (!request->handle)
		close(fd);
	return result;
}

static int64_t run_access(struct uhyve_work *work, bool may_wait)
{
	uint64_t follow = work->flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0;
	int how = AT_EMPTY_PATH | (int)(work->flags & AT_EACCESS);
	int fd = open_place(&work->place[0], follow, may_wait);
	int64_t result;

	if (fd < 0)
		return fd;
	result = syscall(SYS_faccessat2, fd, "", (int)work->mode, how) < 0 ? -errno : 0;
	close(fd);
	if (result == 0 && (work->mode & W_OK) && work->place[0].read_only)
		return -EROFS;
	return result;
}

static int64_t run_readlink(struct uhyve_work *work, bool may_wait)
{
	int fd = open_place(&work->place[0], O_NOFOLLOW, may_wait);
	int64_t result;

	if (fd < 0)
		return fd;
	result = readlinkat(fd, "", work->data, work->size);
	if (result < 0) /* -ENOENT says that the descriptor is no symbolic link's */
		result = errno == ENOENT ? -EINVAL : -errno;
	close(fd);
	return result;
}

static int64_t run_unlink(struct uhyve_work *work)
{
	const char *name;
	int parent = open_parent(&work->place[0], &name, -EBUSY);
	int64_t result;

	if (parent < 0)
		return parent;
	result = unlinkat(parent, name, (int)work->flags) < 0 ? -errno : 0;
	close(parent);
	return result;
}

static int64_t run_mkdir(struct uhyve_work *work)
{
	const char *name;
	int parent = open_parent(&work->place[0], &name, -EEXIST);
	int64_t result;

	if (parent < 0)
		return parent;
	result = mkdirat(parent, name, (mode_t)work->mode) < 0 ? -errno : 0;
	close(parent);
	return result;
}

static int64_t run_symlink(struct uhyve_work *work)
{
	const char *name;
	int parent = open_parent(&work->place[0], &name, -EEXIST);
	int64_t result;

	if (parent < 0)
		return parent;
	result = symlinkat(work->data, parent, name) < 0 ? -errno : 0;
	close(parent);
	return result;
}

static int64_t run_rename(struct uhyve_work *work)
{
	const char *from, *to;
	int old_parent, new_parent;
	int64_t result;

	if (work->place[0].dirfd != work->place[1].dirfd)
		return -EXDEV;
	old_parent = open_parent(&work->place[0], &from, -EBUSY);
	if (old_parent < 0)
		return old_parent;
	new_parent = open_parent(&work->place[1], &to, -EBUSY);
	if (new_parent < 0) {
		close(old_parent);
		return new_parent;
	}
	result =
		renameat2(old_parent, from, new_parent, to, (unsigned)work->flags) < 0 ? -errno : 0;
	close(new_parent);
	close(old_parent);
	return result;
}

static int64_t run(struct uhyve_request *request, bool may_wait)
{
	struct uhyve_work *work = request->work;

	switch (request->op) {
	case PG_OP_OPENAT:
		return run_open(work, may_wait);
	case PG_OP_STATX:
		return run_statx(request, may_wait);
	case PG_OP_FACCESSAT:
		return run_access(work, may_wait);
	case PG_OP_READLINKAT:
		return run_readlink(work, may_wait);
	default:
		break;
	}
	/* What remains changes a directory or reads one. */
	if (!may_wait)
		return -EAGAIN;
	switch (request->op) {
	case PG_OP_UNLINKAT:
		return run_unlink(work);
	case PG_OP_MKDIRAT:
		return run_mkdir(work);
	case PG_OP_RENAMEAT:
		return run_rename(work);
	case PG_OP_SYMLINKAT:
		return run_symlink(work);
	default: {
		long bytes = syscall(SYS_getdents64, request->fd, work->data, work->size);

		return bytes < 0 ? -errno : bytes;
	}
	}
}

int64_t uhyve_files_run(struct uhyve_request *request)
{
	return run(request, true);
}

/* ---- decoding ---- */

/* A string of the guest, terminated; `to` has PG_PATH_MAX + 1 bytes. */
static int copy_string(struct uhyve_guest *guest, char *to, uint64_t address, uint64_t length)
{
	int code;

	if (length == 0)
		return -ENOENT;
	if (length > PG_PATH_MAX)
		return -ENAMETOOLONG;
	code = uhyve_mmu_copy_from(guest->mmu, to, (uhyve_gva){ address }, length);
	if (code)
		return code;
	to[length] = '\0';
	return memchr(to, '\0', length) ? -EINVAL : 0;
}

static int copy_path(struct uhyve_guest *guest, struct uhyve_place *place, uint64_t address,
		     uint64_t length)
{
	char path[PG_PATH_MAX + 1];
	int code = copy_string(guest, path, address, length);

	if (code)
		return code;
	if (path[0] != '/')
		return -EINVAL;
	return uhyve_mounts_find(guest->mounts, path, &place->dirfd, place->rest, &place->read_only,
				 &place->is_file);
}

static int decode_open(struct uhyve_guest *guest, struct uhyve_work *work,
		       const struct pg_sqe *entry)
{
	uint64_t flags = entry->arg[2];

	if ((flags & O_TMPFILE) == O_TMPFILE)
		return -EOPNOTSUPP;
	if (flags & ~(uint64_t)(OPEN_USED | OPEN_IGNORED))
		return -EINVAL;
	if ((flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	work->flags = flags & (flags & O_PATH ? OPEN_PATH : OPEN_USED);
	work->mode = entry->arg[3] & 01777; /* neither set-user-ID nor set-group-ID */
	/* Told now, before a file is made that nobody could have. */
	if (uhyve_handles_full(&guest->handles))
		return -EMFILE;
	return copy_path(guest, &work->place[0], entry->arg[0], entry->arg[1]);
}

static int decode_statx(struct uhyve_guest *guest, struct uhyve_request *request,
			struct uhyve_work *work, const struct pg_sqe *entry)
{
	work->buffer = (uhyve_gva){ entry->arg[2] };
	work->flags = entry->arg[3];
	work->mode = entry->arg[4];
	if (work->flags &
	    ~(uint64_t)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE))
		return -EINVAL;
	if (work->mode > UINT32_MAX)
		return -EINVAL;
	if (entry->handle < 0 || entry->arg[1])
		return copy_path(guest, &work->place[0], entry->arg[0], entry->arg[1]);
	request->handle = uhyve_handles_get(&guest->handles, entry->handle);
	if (!request->handle)
		return -EBADF;
	request->fd = request->handle->fd;
	return 0;
}

static int decode(struct uhyve_guest *guest, struct uhyve_request *request, struct uhyve_work *work,
		  const struct pg_sqe *entry)
{
	const uint64_t *arg = entry->arg;
	int code;

	switch (entry->op) {
	case PG_OP_OPENAT:
		return decode_open(guest, work, entry);
	case PG_OP_STATX:
		return decode_statx(guest, request, work, entry);
	case PG_OP_SYMLINKAT:
		code = copy_string(guest, work->data, arg[0], arg[1]);
		if (!code)
			code = copy_path(guest, &work->place[0], arg[2], arg[3]);
		break;
	default:
		code = copy_path(guest, &work->place[0], arg[0], arg[1]);
		break;
	}
	if (code)
		return code;

	switch (entry->op) {
	case PG_OP_FACCESSAT:
		work->mode = arg[2];
		work->flags = arg[3];
		if (work->mode & ~(uint64_t)(R_OK | W_OK | X_OK))
			return -EINVAL;
		return work->flags & ~(uint64_t)(AT_EACCESS | AT_SYMLINK_NOFOLLOW) ? -EINVAL : 0;
	case PG_OP_READLINKAT:
		work->buffer = (uhyve_gva){ arg[2] };
		if (arg[3] == 0)
			return -EINVAL;
		if (arg[3] < work->size)
			work->size = arg[3];
		return 0;
	case PG_OP_UNLINKAT:
		work->flags = arg[2];
		if (work->flags & ~(uint64_t)AT_REMOVEDIR)
			return -EINVAL;
		break;
	case PG_OP_MKDIRAT:
		work->mode = arg[2] & 01777;
		break;
	case PG_OP_RENAMEAT:
		work->flags = arg[4];
		if (work->flags & ~(uint64_t)(RENAME_NOREPLACE | RENAME_EXCHANGE))
			return -EINVAL;
		code = copy_path(guest, &work->place[1], arg[2], arg[3]);
		if (code)
			return code;
		if (work->place[1].read_only)
			return -EROFS;
		break;
	default:
		break;
	}
	return work->place[0].read_only ? -EROFS : 0;
}

static size_t data_size(uint16_t op)
{
	switch (op) {
	case PG_OP_STATX:
		return sizeof(struct statx);
	case PG_OP_READLINKAT:
		return PG_PATH_MAX;
	case PG_OP_SYMLINKAT:
		return PG_PATH_MAX + 1;
	default:
		return 0;
	}
}

static struct uhyve_work *work_new(size_t size)
{
	struct uhyve_work *work = malloc(sizeof(*work) + size);

	if (work) {
		work->flags = 0;
		work->mode = 0;
		work->size = size;
	}
	return work;
}

int64_t uhyve_files_start(struct uhyve_guest *guest, struct uhyve_request *request,
			  const struct pg_sqe *entry)
{
	struct uhyve_work *work = work_new(data_size(entry->op));
	int64_t result;
	int code;

	if (!work)
		return -ENOMEM;
	request->work = work;
	code = decode(guest, request, work, entry);
	if (code)
		return code;
	result = run(request, false);
	if (result == -EAGAIN) {
		request->step = UHYVE_STEP_WORKER;
		return UHYVE_PENDING;
	}
	return uhyve_files_finish(guest, request, result);
}

int64_t uhyve_files_start_getdents(struct uhyve_guest *guest, struct uhyve_request *request,
				   const struct pg_sqe *entry)
{
	uint64_t length = entry->arg[1] < GETDENTS_MAX ? entry->arg[1] : GETDENTS_MAX;
	uhyve_gva buffer = { entry->arg[0] };
	int code;

	if (request->handle->kind != UHYVE_KIND_DIRECTORY)
		return -ENOTDIR;
	/* Reading moves the position: so be sure of the buffer before. */
	code = uhyve_mmu_buffer(guest->mmu, buffer, length, PG_PROT_WRITE, request->pieces,
				UHYVE_PIECES, NULL);
	if (code < 0)
		return code;
	request->work = work_new(length);
	if (!request->work)
		return -ENOMEM;
	request->work->buffer = buffer;
	request->moves_position = true;
	request->handle->movers++;
	request->step = UHYVE_STEP_WORKER;
	return UHYVE_PENDING;
}

int64_t uhyve_files_finish(struct uhyve_guest *guest, struct uhyve_request *request, int64_t result)
{
	struct uhyve_work *work = request->work;
	uint64_t bytes = 0;
	int code;

	if (result < 0)
		return result;
	if (request->op == PG_OP_OPENAT)
		return uhyve_handles_add(&guest->handles, (int)result, (int)work->flags);
	if (request->op == PG_OP_STATX)
		bytes = sizeof(struct statx);
	else if (request->op == PG_OP_READLINKAT || request->op == PG_OP_GETDENTS)
		bytes = (uint64_t)result;
	if (bytes == 0)
		return result;
	code = uhyve_mmu_copy_to(guest->mmu, work->buffer, work->data, bytes);
	return code ? code : result;
}
