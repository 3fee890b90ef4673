#include "fake_mmu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "abi/ops.h"

struct fake_mmu fake_mmu;

void fake_mmu_init(void)
{
	fake_mmu = (struct fake_mmu){ .memory = aligned_alloc(PG_PAGE_SIZE, FAKE_SIZE) };
	memset(fake_mmu.memory, 0, FAKE_SIZE);
}

void fake_mmu_free(void)
{
	free(fake_mmu.memory);
	fake_mmu.memory = NULL;
}

void *fake_at(uint64_t va)
{
	return fake_mmu.memory + (va - FAKE_VA);
}

static bool allowed(uint64_t va, uint64_t length, uint32_t prot)
{
	uint64_t end = prot & PG_PROT_WRITE ? FAKE_READ_ONLY : FAKE_END;

	return va >= FAKE_VA && va <= end && length <= end - va;
}

static int record(const char *name, uhyve_gva va, uint64_t length, uint32_t prot)
{
	fake_mmu.last = name;
	fake_mmu.va = va.v;
	fake_mmu.length = length;
	fake_mmu.prot = prot;
	fake_mmu.calls++;
	return 0;
}

int uhyve_mmu_map(struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length, uint32_t prot)
{
	return record("map", va, length, prot);
}

int uhyve_mmu_protect(struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length, uint32_t prot)
{
	return record("protect", va, length, prot);
}

int uhyve_mmu_unmap(struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length)
{
	return record("unmap", va, length, 0);
}

int uhyve_mmu_discard(struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length)
{
	return record("discard", va, length, 0);
}

int uhyve_mmu_buffer(const struct uhyve_mmu *mmu, uhyve_gva va, uint64_t length, uint32_t prot,
		     struct iovec *pieces, int max, uint64_t *covered)
{
	uint64_t done = 0;
	int count = 0;

	if (!allowed(va.v, length, prot))
		return -EFAULT;
	while (done < length && count < max) {
		uint64_t size = length - done;
		uint64_t page_left = PG_PAGE_SIZE - ((va.v + done) & (PG_PAGE_SIZE - 1));

		if (fake_mmu.scatter && size > page_left)
			size = page_left;
		pieces[count++] = (struct iovec){ fake_at(va.v + done), size };
		done += size;
	}
	if (covered)
		*covered = done;
	return count;
}

int uhyve_mmu_copy_from(const struct uhyve_mmu *mmu, void *to, uhyve_gva from, uint64_t length)
{
	if (!allowed(from.v, length, PG_PROT_READ))
		return -EFAULT;
	memcpy(to, fake_at(from.v), length);
	return 0;
}

int uhyve_mmu_copy_to(const struct uhyve_mmu *mmu, uhyve_gva to, const void *from, uint64_t length)
{
	if (!allowed(to.v, length, PG_PROT_WRITE))
		return -EFAULT;
	memcpy(fake_at(to.v), from, length);
	return 0;
}
