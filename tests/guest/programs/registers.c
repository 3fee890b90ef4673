/*
 * Threads whose registers are all in use, and each thread's are others. They never wait, so they
 * change places only because they are interrupted. usage: registers THREADS MS [nap]
 * With `nap` they sleep now and then, so that other vCPUs take them over.
 */
#include "registers.h"

#include <cpuid.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RED_ZONE 128

static bool naps;
static uint64_t end;
static _Atomic long rounds;

static uint64_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

/* Which vector registers the processor has, and the system has switched on. */
static uint32_t level(void)
{
	unsigned eax, ebx, ecx, edx, low, high;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE) || !(ecx & bit_AVX))
		return 0;
	__asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	if ((low & 6) != 6)
		return 0;
	if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (low & 0xe6) != 0xe6)
		return 1;
	return ebx & bit_AVX512F && ebx & bit_AVX512BW ? 2 : 1;
}

static void fill(void *at, size_t size, unsigned thread, unsigned what)
{
	uint8_t *bytes = at;

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(thread * 37 + what * 101 + i * 7 + 1);
}

static void prepare(struct registers *r, unsigned thread)
{
	/* CF, PF, AF, ZF, SF, DF, OF, AC, ID: half of the threads have one half of them. */
	static const uint64_t flags[] = { 0x240cd5, 0x000402, 0x200841, 0x0404d6 };
	static const uint16_t controls[] = { 0x037f, 0x027f, 0x0c7f, 0x0b7f };
	/* Rounding, flush to zero, denormals are zero; flags that stay. */
	static const uint32_t mxcsrs[] = { 0x1f80, 0x7fa1, 0x9fc2, 0x3fbf };
	uint16_t status = (uint16_t)((thread * 3 & 7) << 11 | (thread & 1) << 8 | 0x4000);
	uint32_t mxcsr = mxcsrs[thread % 4];

	memset(r, 0, sizeof(*r));
	fill(r->general_in, sizeof(r->general_in), thread, 1);
	r->general_in[7] = (uint64_t)r + STACK_TOP;
	r->flags_in = flags[thread % 4] | 2;
	r->fs_in = 0x123456789000 + thread * 0x1001;
	fill(r->mask_in, sizeof(r->mask_in), thread, 2);
	fill(r->vector_in, sizeof(r->vector_in), thread, 3);
	fill(r->stack, sizeof(r->stack), thread, 4);
	r->level = level();
	memcpy(r->fx_in, &controls[thread % 4], 2);
	memcpy(r->fx_in + 2, &status, 2);
	r->fx_in[4] = (uint8_t)(0xa5 + thread); /* which ones are in use */
	memcpy(r->fx_in + 24, &mxcsr, 4);
	for (unsigned i = 0; i < 8; i++) {
		/* Numbers, neither denormal nor anything else that changes when it is moved. */
		fill(r->fx_in + 32 + 16 * i, 8, thread, 5 + i);
		r->fx_in[32 + 16 * i + 7] |= 0x80;
		r->fx_in[32 + 16 * i + 8] = (uint8_t)(i + thread);
		r->fx_in[32 + 16 * i + 9] = 0x3f;
	}
	for (unsigned i = 0; i < 16; i++)
		memcpy(r->fx_in + 160 + 16 * i, r->vector_in[i], 16);
}

static void expect(bool good, const char *what, unsigned number, unsigned thread)
{
	if (good)
		return;
	printf("thread %u, round %ld: %s %u is wrong\n", thread, rounds, what, number);
	fflush(stdout);
	_exit(1);
}

static void check(const struct registers *r, unsigned thread)
{
	/* The arithmetic flags, DF, OF, AC and ID. */
	const uint64_t seen = 0x240cd5;
	size_t vectors = r->level == 2 ? 32 : 16, size = 16u << r->level;
	uint8_t stack[sizeof(r->stack)];

	for (unsigned i = 0; i < 16; i++)
		expect(r->general_in[i] == r->general_out[i], "general register", i, thread);
	expect((r->flags_in & seen) == (r->flags_out & seen), "flags", (unsigned)r->flags_out,
	       thread);
	expect(r->fs_in == r->fs_out, "FS base", 0, thread);
	expect(!memcmp(r->fx_in, r->fx_out, 2), "x87 control word", 0, thread);
	expect(!memcmp(r->fx_in + 2, r->fx_out + 2, 2), "x87 status word", 0, thread);
	expect(r->fx_in[4] == r->fx_out[4], "x87 tag word", r->fx_out[4], thread);
	expect(!memcmp(r->fx_in + 24, r->fx_out + 24, 4), "MXCSR", 0, thread);
	for (unsigned i = 0; i < 8; i++)
		expect(!memcmp(r->fx_in + 32 + 16 * i, r->fx_out + 32 + 16 * i, 10), "ST", i,
		       thread);
	for (unsigned i = 0; i < 16; i++)
		expect(!memcmp(r->fx_in + 160 + 16 * i, r->fx_out + 160 + 16 * i, 16), "XMM", i,
		       thread);
	for (unsigned i = 0; r->level && i < vectors; i++)
		expect(!memcmp(r->vector_in[i], r->vector_out[i], size), "vector", i, thread);
	for (unsigned i = 0; r->level == 2 && i < 8; i++)
		expect(r->mask_in[i] == r->mask_out[i], "mask", i, thread);
	fill(stack, sizeof(stack), thread, 4);
	expect(!memcmp(r->stack + sizeof(stack) - RED_ZONE, stack + sizeof(stack) - RED_ZONE,
		       RED_ZONE),
	       "red zone", 0, thread);
}

static void *run(void *argument)
{
	unsigned thread = (unsigned)(uintptr_t)argument;
	struct registers *r = aligned_alloc(64, sizeof(*r));

	if (!r)
		_exit(2);
	prepare(r, thread);
	for (unsigned i = 0; now() < end; i++) {
		r->spins = 3000;
		registers_round(r);
		check(r, thread);
		rounds++;
		if (naps && (i + thread) % 4 == 0)
			usleep(200);
	}
	free(r);
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned count = argc > 1 ? (unsigned)atoi(argv[1]) : 2;
	pthread_t threads[64];

	naps = argc > 3;
	end = now() + (argc > 2 ? (uint64_t)atoi(argv[2]) : 400) * 1000000;
	for (uintptr_t i = 1; i < count; i++)
		if (pthread_create(&threads[i], NULL, run, (void *)i))
			return 3;
	run(NULL);
	for (unsigned i = 1; i < count; i++)
		pthread_join(threads[i], NULL);
	printf("level %u, rounds %ld\nok\n", level(), rounds);
	return 0;
}
