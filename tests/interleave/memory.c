#include "memory.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define CELLS  16384 /* of 8 bytes; power of two */
#define DEAD   32    /* ranges */
#define LOCAL  2000000
#define UNIT   8
#define POISON 0xdb

/* Clock values of the accesses to each of the eight bytes; 0: none. */
struct cell {
	uintptr_t unit;
	uint64_t execution;
	int8_t writer[UNIT];
	uint32_t written[UNIT];
	uint32_t read[UNIT][INTERLEAVE_THREADS];
	uint32_t atomic[UNIT][INTERLEAVE_THREADS];
	struct memory_clock released; /* by an atomic word that starts here or at +4 */
	struct memory_clock released_upper;
};

struct range {
	uintptr_t from, to;
	int by;
};

static struct cell cells[CELLS];
static uint64_t execution;
static struct memory_clock clocks[INTERLEAVE_THREADS];
static struct range dead[DEAD];
static size_t dead_count;
static uint64_t accesses; /* since the execution began */

void memory_reset(void)
{
	execution++;
	memset(clocks, 0, sizeof(clocks));
	for (int i = 0; i < INTERLEAVE_THREADS; i++)
		clocks[i].of[i] = 1;
	dead_count = 0;
	accesses = 0;
}

static struct cell *cell_of(uintptr_t address)
{
	uintptr_t unit = address / UNIT;
	size_t at = unit * 0x9e3779b97f4a7c15ull >> 50;

	for (size_t i = 0; i < CELLS; i++, at = (at + 1) & (CELLS - 1)) {
		struct cell *cell = &cells[at];

		if (cell->execution == execution && cell->unit == unit)
			return cell;
		if (cell->execution != execution) {
			memset(cell, 0, sizeof(*cell));
			cell->execution = execution;
			cell->unit = unit;
			return cell;
		}
	}
	interleave_fail("the tester has no room for so much memory");
}

_Static_assert(CELLS == 1 << (64 - 50), "cell_of");

static void join(struct memory_clock *into, const struct memory_clock *from)
{
	for (int i = 0; i < INTERLEAVE_THREADS; i++)
		if (from->of[i] > into->of[i])
			into->of[i] = from->of[i];
}

static struct memory_clock *released_at(uintptr_t address)
{
	struct cell *cell = cell_of(address);

	return address % UNIT < UNIT / 2 ? &cell->released : &cell->released_upper;
}

bool memory_is_dead(uintptr_t address, size_t size, int thread)
{
	for (size_t i = 0; i < dead_count; i++)
		if (address < dead[i].to && address + size > dead[i].from && dead[i].by != thread)
			return true;
	return false;
}

/* Where in the program: function and file, if addr2line is there. */
static const char *place(void *pc)
{
	static char text[512];
	char command[600];
	Dl_info info;
	FILE *pipe;
	char *end;

	if (!pc || !dladdr(pc, &info))
		return "an atomic operation";
	snprintf(command, sizeof(command), "addr2line -se '%s' 0x%zx 2>/dev/null", info.dli_fname,
		 (size_t)((char *)pc - (char *)info.dli_fbase - 1));
	text[0] = '\0';
	pipe = popen(command, "r");
	if (pipe) {
		if (!fgets(text, sizeof(text), pipe))
			text[0] = '\0';
		pclose(pipe);
	}
	end = strchr(text, '\n');
	if (end)
		*end = '\0';
	return text[0] ? text : "?";
}

__attribute__((noreturn)) static void race(uintptr_t address, const char *with, int other, void *pc)
{
	interleave_fail("data race at %#zx: %s, and %s by thread %d before it", address, place(pc),
			with, other);
}

static void check_dead(uintptr_t address, size_t size, void *pc)
{
	if (memory_is_dead(address, size, -2))
		interleave_fail("use after the end: %#zx, %s", address, place(pc));
}

void memory_access(uintptr_t address, size_t size, bool write, void *pc)
{
	int self = interleave_self();
	const struct memory_clock *now;

	if (self < 0)
		return;
	if (++accesses > LOCAL)
		interleave_fail("an endless loop: %s", place(pc));
	if (dead_count)
		check_dead(address, size, pc);
	now = &clocks[self];
	for (struct cell *cell = NULL; size; address++, size--) {
		size_t byte = address % UNIT;

		if (!cell || !byte)
			cell = cell_of(address);
		if (cell->written[byte] > now->of[cell->writer[byte]])
			race(address, "a write", cell->writer[byte], pc);
		if (!write) {
			cell->read[byte][self] = now->of[self];
			continue;
		}
		for (int i = 0; i < INTERLEAVE_THREADS; i++) {
			if (cell->read[byte][i] > now->of[i])
				race(address, "a read", i, pc);
			if (cell->atomic[byte][i] > now->of[i])
				race(address, "an atomic operation", i, pc);
		}
		cell->writer[byte] = (int8_t)self;
		cell->written[byte] = now->of[self];
	}
}

void memory_atomic(int thread, uintptr_t address, size_t size)
{
	struct cell *cell;

	if (dead_count)
		check_dead(address, size, NULL);
	cell = cell_of(address);
	for (size_t i = 0; i < size; i++) {
		size_t byte = address % UNIT + i;

		if (cell->written[byte] > clocks[thread].of[cell->writer[byte]])
			race(address, "a plain write", cell->writer[byte], NULL);
		cell->atomic[byte][thread] = clocks[thread].of[thread];
	}
}

static bool acquires(int order)
{
	return order == memory_order_acquire || order == memory_order_consume ||
	       order == memory_order_acq_rel || order == memory_order_seq_cst;
}

static bool releases_at(int order)
{
	return order == memory_order_release || order == memory_order_acq_rel ||
	       order == memory_order_seq_cst;
}

void memory_load(int thread, uintptr_t address, int order)
{
	if (acquires(order))
		join(&clocks[thread], released_at(address));
}

void memory_modify(int thread, uintptr_t address, int order)
{
	memory_load(thread, address, order);
	/* A read-modify-write goes on with the release sequence it finds. */
	if (releases_at(order)) {
		join(released_at(address), &clocks[thread]);
		clocks[thread].of[thread]++;
	}
}

void memory_store_begin(int thread, int order, struct memory_clock *carries, bool *releases)
{
	*releases = releases_at(order);
	*carries = clocks[thread];
	if (*releases)
		clocks[thread].of[thread]++;
}

void memory_store_end(uintptr_t address, const struct memory_clock *carries, bool releases)
{
	*released_at(address) = releases ? *carries : (struct memory_clock){ 0 };
}

void interleave_dead(volatile void *address, size_t size)
{
	uintptr_t from = (uintptr_t)address;

	memory_access(from, size, true, __builtin_return_address(0));
	if (dead_count == DEAD)
		interleave_fail("the tester has no room for so many dead ranges");
	dead[dead_count++] = (struct range){ from, from + size, interleave_self() };
	memset((void *)from, POISON, size);
}

void interleave_alive(volatile void *address, size_t size)
{
	uintptr_t from = (uintptr_t)address;

	for (size_t i = 0; i < dead_count; i++)
		if (dead[i].from == from && dead[i].to == from + size)
			dead[i--] = dead[--dead_count];
	memory_access(from, size, true, __builtin_return_address(0));
}

void interleave_init(volatile void *address, size_t size, uint64_t value)
{
	memory_access((uintptr_t)address, size, true, __builtin_return_address(0));
	memcpy((void *)(uintptr_t)address, &value, size);
}

/* ---- what -fsanitize=thread makes the compiler call ---- */

#define HOOK(name, size, write)                                                                    \
	void name(void *address);                                                                  \
	void name(void *address)                                                                   \
	{                                                                                          \
		memory_access((uintptr_t)address, size, write, __builtin_return_address(0));       \
	}

HOOK(__tsan_read1, 1, false)
HOOK(__tsan_read2, 2, false)
HOOK(__tsan_read4, 4, false)
HOOK(__tsan_read8, 8, false)
HOOK(__tsan_read16, 16, false)
HOOK(__tsan_write1, 1, true)
HOOK(__tsan_write2, 2, true)
HOOK(__tsan_write4, 4, true)
HOOK(__tsan_write8, 8, true)
HOOK(__tsan_write16, 16, true)
HOOK(__tsan_unaligned_read2, 2, false)
HOOK(__tsan_unaligned_read4, 4, false)
HOOK(__tsan_unaligned_read8, 8, false)
HOOK(__tsan_unaligned_read16, 16, false)
HOOK(__tsan_unaligned_write2, 2, true)
HOOK(__tsan_unaligned_write4, 4, true)
HOOK(__tsan_unaligned_write8, 8, true)
HOOK(__tsan_unaligned_write16, 16, true)

void __tsan_read_range(void *address, size_t size);
void __tsan_read_range(void *address, size_t size)
{
	memory_access((uintptr_t)address, size, false, __builtin_return_address(0));
}

void __tsan_write_range(void *address, size_t size);
void __tsan_write_range(void *address, size_t size)
{
	memory_access((uintptr_t)address, size, true, __builtin_return_address(0));
}

void *__tsan_memcpy(void *to, const void *from, size_t size);
void *__tsan_memcpy(void *to, const void *from, size_t size)
{
	memory_access((uintptr_t)from, size, false, __builtin_return_address(0));
	memory_access((uintptr_t)to, size, true, __builtin_return_address(0));
	return memcpy(to, from, size);
}

void *__tsan_memset(void *to, int byte, size_t size);
void *__tsan_memset(void *to, int byte, size_t size)
{
	memory_access((uintptr_t)to, size, true, __builtin_return_address(0));
	return memset(to, byte, size);
}

void __tsan_init(void);
void __tsan_init(void)
{
}

void __tsan_func_entry(void *pc);
void __tsan_func_entry(void *pc)
{
}

void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}
