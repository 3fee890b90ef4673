#include "vectors.h"

#include "arch/x86_64/cpu.h"
#include "sys/process.h"
#include "lib/errno.h"
#include "sys/user.h"

/* user.S; each returns -EFAULT if an access faults, or the processor refuses what it finds. */
int pg_user_xsave(void *to, uint32_t low, uint32_t high);
int pg_user_xrstor(const void *from, uint32_t low, uint32_t high);
int pg_user_fxrstor(const void *from);

#define HEADER      512 /* offset of XSAVE's header                          */
#define HEADER_SIZE 64

/* XCR0's x87 and SSE: the legacy area. */
#define LEGACY 3ull

uint64_t pg_vectors_features(void)
{
	return pg_boot->xcr0;
}

uint32_t pg_vectors_size(void)
{
	return pg_boot->xsave_standard;
}

int pg_vectors_to_user(struct pg_thread *thread, uint64_t address)
{
	static const uint8_t zero[HEADER_SIZE];
	uint64_t features = pg_vectors_features();

	pg_arch_load(thread);
	/* XSAVE writes the first 8 bytes of the header only, and XRSTOR wants all to be right. */
	if (pg_user_write(address + HEADER, zero, sizeof(zero)))
		return -EFAULT;
	return pg_user_xsave((void *)address, (uint32_t)features, (uint32_t)(features >> 32));
}

void pg_vectors_reset(struct pg_thread *thread)
{
	pg_arch_load(thread);
	pg_arch_reset_vectors();
}

int pg_vectors_from_user(struct pg_thread *thread, uint64_t address, uint64_t features)
{
	int code;

	pg_vectors_reset(thread);
	features &= pg_vectors_features();
	if (features & ~LEGACY)
		code = pg_user_xrstor((const void *)address, (uint32_t)features,
				      (uint32_t)(features >> 32));
	else
		code = pg_user_fxrstor((const void *)address);
	/* It may have loaded a part. */
	if (code)
		pg_arch_reset_vectors();
	return code;
}
