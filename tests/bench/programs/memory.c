/* Memory: getting it, touching it, copying it. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define PAGE 4096
#define MIB  (1ul << 20)

static char *map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		bench_fail("mmap");
	return memory;
}

static void unmap(void *memory, size_t size)
{
	if (munmap(memory, size))
		bench_fail("munmap");
}

/* Fresh pages each time. Mapping and unmapping count too, a little per page. */
static void touch(void *context, uint64_t pages)
{
	volatile char *memory = map(pages * PAGE);

	for (uint64_t i = 0; i < pages; i++)
		memory[i * PAGE] = 1;
	unmap((void *)memory, pages * PAGE);
}

static void map_and_unmap(void *context, uint64_t times)
{
	while (times--)
		unmap(map(MIB), MIB);
}

static void copy(void *context, uint64_t times)
{
	char **buffers = context;

	while (times--) {
		memcpy(buffers[0], buffers[1], 64 * MIB);
		/* Or the compiler sees that nobody looks. */
		__asm__ volatile("" : : "r"(buffers[0]) : "memory");
	}
}

int main(void)
{
	char *buffers[2];

	bench_run("map", 200, map_and_unmap, NULL);
	bench_run("touch", 4096, touch, NULL);
	for (unsigned i = 0; i < 2; i++) {
		buffers[i] = map(64 * MIB);
		memset(buffers[i], (int)i + 1, 64 * MIB);
	}
	bench_run("memcpy", 2, copy, buffers);
	return 0;
}
