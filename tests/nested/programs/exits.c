/*
 * What leaves the guest, and how often: an image without kernel and C library that does one
 * thing COUNT times. Usage: exits WHAT COUNT, WHAT being the name in `things` below. Somebody
 * else counts, from outside. Exit status 1: an operation failed, 2: bad usage.
 */
#include "../../freestanding.h"

/* A register of the device page that means nothing: writes go to the loader and back. */
#define DEV_NOTHING 0xc00

/* ---- the ring ---- */

static void submit(enum pg_op op, uint64_t a, uint64_t b, uint64_t c)
{
	const struct pg_sqe entry = { .op = op, .handle = -1, .arg = { a, b, c } };

	if (pg_sq_push(&vcpu->ring, sq, &entry))
		device_write(PG_DEV_DOORBELL, 1);
}

static void expect(int64_t result)
{
	if (result != 0)
		end(1);
}

static void call(enum pg_op op, uint64_t a, uint64_t b, uint64_t c)
{
	submit(op, a, b, c);
	expect(await());
}

static void await_sleep(void)
{
	while (!atomic_load(&vcpu->ring.look_at))
		__builtin_ia32_pause();
}

/* ---- things to do, each once per call ---- */

static void nothing(uint64_t i)
{
	__asm__ volatile("");
}

/* A call to the host the synchronous way: the vCPU stops until the loader has answered. */
static void mmio(uint64_t i)
{
	device_write(DEV_NOTHING, (uint32_t)i);
}

static void nop(uint64_t i)
{
	call(PG_OP_NOP, 0, 0, 0);
}

/* Run with --spin 0: the loader sleeps each time. */
static void doorbell(uint64_t i)
{
	await_sleep();
	call(PG_OP_NOP, 0, 0, 0);
}

/* With --spin 0, too: the loader sleeps, and so does the vCPU until the answer is there. */
static void park(uint64_t i)
{
	await_sleep();
	submit(PG_OP_NOP, 0, 0, 0);
	expect(park_and_await());
}

static void map(uint64_t i)
{
	call(PG_OP_MAP, PG_VA_MMAP + i * PG_PAGE_SIZE, PG_PAGE_SIZE, PG_PROT_READ | PG_PROT_WRITE);
}

static void touch(uint64_t i)
{
	map(i);
	*(volatile uint64_t *)(PG_VA_MMAP + i * PG_PAGE_SIZE) = i;
}

static void protect(uint64_t i)
{
	uint32_t prot = i % 2 ? PG_PROT_READ | PG_PROT_WRITE : PG_PROT_READ;

	if (i == 0)
		touch(0);
	call(PG_OP_PROTECT, PG_VA_MMAP, PG_PAGE_SIZE, prot);
	(void)*(volatile uint64_t *)PG_VA_MMAP;
}

static void unmap(uint64_t i)
{
	touch(i);
	call(PG_OP_UNMAP, PG_VA_MMAP + i * PG_PAGE_SIZE, PG_PAGE_SIZE, 0);
}

static const struct {
	char name[12];
	void (*act)(uint64_t i);
} things[] = {
	{ "nothing", nothing },   { "mmio", mmio },       { "nop", nop },
	{ "doorbell", doorbell }, { "park", park },       { "map", map },
	{ "touch", touch },       { "protect", protect }, { "unmap", unmap },
};

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

_Noreturn void pg_entry(const struct pg_boot *boot, uint64_t index)
{
	const char *what = (const char *)boot + boot->strings, *text;
	uint64_t count = 0;

	if (boot->argc != 3)
		end(2);
	while (*what++) /* argv[0] */
		;
	for (text = what; *text++;)
		;
	for (; *text >= '0' && *text <= '9'; text++)
		count = count * 10 + (uint64_t)(*text - '0');
	for (unsigned i = 0; i < sizeof(things) / sizeof(things[0]); i++) {
		if (!same(what, things[i].name))
			continue;
		for (uint64_t j = 0; j < count; j++)
			things[i].act(j);
		end(0);
	}
	end(2);
}
