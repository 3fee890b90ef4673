#include "memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "abi/layout.h"

#define HUGE_PAGE (2ull << 20)

int uhyve_memory_init(struct uhyve_memory *memory, uint64_t size, struct uhyve_error *error)
{
	if (size > (1ull << 40))
		return uhyve_fail(error, -EINVAL, "memory size is limited to 1 TiB");
	size = (size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);

	/* Over-reserve, so that guest-physical and host alignment to 2 MiB agree. */
	uint8_t *raw = mmap(NULL, size + HUGE_PAGE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (raw == MAP_FAILED)
		return uhyve_fail(error, -ENOMEM, "cannot reserve %llu MiB of guest memory: %s",
				  (unsigned long long)(size >> 20), strerror(errno));

	uint8_t *host = (uint8_t *)(((uintptr_t)raw + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
	if (host > raw)
		(void)munmap(raw, (size_t)(host - raw));
	if (raw + HUGE_PAGE > host)
		(void)munmap(host + size, (size_t)(raw + HUGE_PAGE - host));
	if (mprotect(host, size, PROT_READ | PROT_WRITE)) {
		int code = -errno;

		(void)munmap(host, size);
		return uhyve_fail(error, code, "cannot reserve %llu MiB of guest memory: %s",
				  (unsigned long long)(size >> 20), strerror(-code));
	}
	/* Not in core dumps: the guest's secrets are not ours to write to disk. */
	(void)madvise(host, size, MADV_DONTDUMP);
	memory->host = host;
	memory->size = size;
	return 0;
}

void uhyve_memory_free(struct uhyve_memory *memory)
{
	if (memory->host)
		(void)munmap(memory->host, memory->size);
	memory->host = NULL;
	memory->size = 0;
}

void *uhyve_memory_at(const struct uhyve_memory *memory, uhyve_gpa gpa, uint64_t length)
{
	uint64_t offset = gpa.v - PG_GPA_RAM; /* wraps to something huge below the slot */

	if (length == 0 || offset >= memory->size || length > memory->size - offset)
		return NULL;
	return memory->host + offset;
}
