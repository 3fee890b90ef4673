#include "fd.h"

#include <stddef.h>

#include "core/spinlock.h"
#include "file.h"
#include "lib/errno.h"
#include "linux.h"
#include "path.h"

#define WORD_BITS 64
#define WORDS     (PG_FD_MAX / WORD_BITS)

static struct {
	struct pg_spinlock lock; /* guards all */
	uint64_t used[WORDS];    /* also those that are only reserved */
	uint64_t cloexec[WORDS];
	struct pg_file *file[PG_FD_MAX];
} table;

static bool test_bit(const uint64_t *bits, uint32_t number)
{
	return bits[number / WORD_BITS] >> (number % WORD_BITS) & 1;
}

static void set_bit(uint64_t *bits, uint32_t number, bool value)
{
	uint64_t bit = 1ull << (number % WORD_BITS);

	if (value)
		bits[number / WORD_BITS] |= bit;
	else
		bits[number / WORD_BITS] &= ~bit;
}

/* PG_FD_MAX if there is none. */
static uint32_t lowest_free(uint32_t from)
{
	uint64_t below = (1ull << (from % WORD_BITS)) - 1;

	for (uint32_t word = from / WORD_BITS; word < WORDS; word++) {
		uint64_t used = table.used[word] | below;

		if (~used)
			return word * WORD_BITS + (uint32_t)__builtin_ctzll(~used);
		below = 0;
	}
	return PG_FD_MAX;
}

static bool in_range(int fd)
{
	return fd >= 0 && fd < PG_FD_MAX;
}

int pg_fd_reserve(uint32_t from, bool cloexec)
{
	uint32_t fd;

	if (from >= PG_FD_MAX)
		return -EMFILE;
	pg_spin_lock(&table.lock);
	fd = lowest_free(from);
	if (fd < PG_FD_MAX) {
		set_bit(table.used, fd, true);
		set_bit(table.cloexec, fd, cloexec);
	}
	pg_spin_unlock(&table.lock);
	return fd < PG_FD_MAX ? (int)fd : -EMFILE;
}

void pg_fd_install(int fd, struct pg_file *file)
{
	pg_spin_lock(&table.lock);
	table.file[fd] = file;
	pg_spin_unlock(&table.lock);
}

void pg_fd_unreserve(int fd)
{
	pg_spin_lock(&table.lock);
	set_bit(table.used, (uint32_t)fd, false);
	pg_spin_unlock(&table.lock);
}

struct pg_file *pg_fd_get_any(int fd)
{
	struct pg_file *file;

	if (!in_range(fd))
		return NULL;
	pg_spin_lock(&table.lock);
	file = table.file[fd];
	if (file)
		pg_file_ref(file);
	pg_spin_unlock(&table.lock);
	return file;
}

struct pg_file *pg_fd_get(int fd)
{
	struct pg_file *file = pg_fd_get_any(fd);

	if (file && (pg_file_flags(file) & PG_O_PATH)) {
		pg_file_put(file);
		return NULL;
	}
	return file;
}

struct pg_file *pg_fd_remove(int fd)
{
	struct pg_file *file;

	if (!in_range(fd))
		return NULL;
	pg_spin_lock(&table.lock);
	file = table.file[fd];
	if (file) {
		table.file[fd] = NULL;
		set_bit(table.used, (uint32_t)fd, false);
	}
	pg_spin_unlock(&table.lock);
	return file;
}

int pg_fd_replace(int fd, struct pg_file *file, bool cloexec, struct pg_file **old)
{
	bool busy;

	*old = NULL;
	if (!in_range(fd))
		return -EBADF;
	pg_spin_lock(&table.lock);
	busy = !table.file[fd] && test_bit(table.used, (uint32_t)fd);
	if (!busy) {
		*old = table.file[fd];
		table.file[fd] = file;
		set_bit(table.used, (uint32_t)fd, true);
		set_bit(table.cloexec, (uint32_t)fd, cloexec);
	}
	pg_spin_unlock(&table.lock);
	return busy ? -EBUSY : 0;
}

int pg_fd_cloexec(int fd)
{
	int result = -EBADF;

	if (!in_range(fd))
		return result;
	pg_spin_lock(&table.lock);
	if (table.file[fd])
		result = test_bit(table.cloexec, (uint32_t)fd);
	pg_spin_unlock(&table.lock);
	return result;
}

int pg_fd_set_cloexec(int fd, bool cloexec)
{
	int result = -EBADF;

	if (!in_range(fd))
		return result;
	pg_spin_lock(&table.lock);
	if (table.file[fd]) {
		set_bit(table.cloexec, (uint32_t)fd, cloexec);
		result = 0;
	}
	pg_spin_unlock(&table.lock);
	return result;
}

int pg_files_init(void)
{
	for (int fd = 0; fd < 3; fd++) {
		/* As a terminal's usually are; what the host doesn't allow, it refuses. */
		struct pg_file *file = pg_file_new(&pg_host_file_ops, PG_O_RDWR);
		struct pg_file *old;

		if (!file)
			return -ENOMEM;
		file->handle = fd;
		(void)pg_fd_replace(fd, file, false, &old);
	}
	return pg_cwd_init();
}
