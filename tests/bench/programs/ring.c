/*
 * The ring by itself: an image without kernel and C library, which talks to the loader on its
 * own. Usage: ring PATH, a file of FILE_PAGES pages at least. Prints as bench.h says.
 */
#include "../../freestanding.h"

#define PAGE       4096
#define FILE_PAGES 256
#define DEPTH      32
#define BATCHES    5
#define TRAPS      2000
#define NAPS       51
#define NAP_NS     300000 /* longer than the loader spins */

static const struct pg_clock *clock;
static char buffers[DEPTH][PAGE];

/* ---- what a C library would do ---- */

static uint64_t tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return low | (uint64_t)high << 32;
}

static uint64_t ticks_to_ns(uint64_t ticks)
{
	return (uint64_t)((unsigned __int128)ticks * atomic_load(&clock->mult) >> 32);
}

/* CLOCK_MONOTONIC. The loader changes the clock once a second at most: not looked after. */
static uint64_t now(void)
{
	return atomic_load(&clock->base_ns) + ticks_to_ns(tsc() - atomic_load(&clock->base_tsc));
}

static uint64_t median(uint64_t *samples, unsigned count)
{
	for (unsigned i = 1; i < count; i++) {
		for (unsigned j = i; j > 0 && samples[j] < samples[j - 1]; j--) {
			uint64_t sample = samples[j];

			samples[j] = samples[j - 1];
			samples[j - 1] = sample;
		}
	}
	return samples[count / 2];
}

/* ---- the ring ---- */

static void submit(enum pg_op op, int32_t handle, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	const struct pg_sqe entry = { .op = op, .handle = handle, .arg = { a, b, c, d } };
	static uint32_t rung_for; /* the tail for which the doorbell was rung last */
	uint32_t tail = atomic_load(&vcpu->ring.sq_tail);

	while (pg_sq_full(&vcpu->ring))
		__builtin_ia32_pause();
	if (!pg_sq_push(&vcpu->ring, sq, &entry))
		return;
	/* As the kernel does: none while the loader is on its way because of the last one. */
	if ((int32_t)(atomic_load(&vcpu->ring.sq_head) - rung_for) < 0)
		return;
	rung_for = tail + 1;
	device_write(PG_DEV_DOORBELL, 1);
}

static void print(const char *text, uint64_t length)
{
	submit(PG_OP_WRITE, 1, (uint64_t)text, length, PG_OFFSET_STREAM, 0);
	if (await() != (int64_t)length)
		end(1);
}

/* Hundredths of a nanosecond. */
static void report(const char *name, uint64_t hundredths)
{
	char line[64], digits[24];
	unsigned length = 0, count = 0;

	while (*name)
		line[length++] = *name++;
	line[length++] = ' ';
	do {
		digits[count++] = (char)('0' + hundredths % 10);
		if (count == 2)
			digits[count++] = '.';
		hundredths /= 10;
	} while (hundredths || count < 4);
	while (count)
		line[length++] = digits[--count];
	line[length++] = '\n';
	print(line, length);
}

/* ---- what is measured ---- */

/* Keep `depth` operations in flight until `times` have been carried out. */
static void flow(enum pg_op op, int32_t handle, unsigned depth, uint64_t times)
{
	int64_t expected = op == PG_OP_READ ? PAGE : 0;
	uint64_t submitted = 0;

	for (uint64_t done = 0; done < times; done++) {
		for (; submitted < times && submitted - done < depth; submitted++)
			submit(op, handle, (uint64_t)buffers[submitted % DEPTH], PAGE,
			       submitted % FILE_PAGES * PAGE, 0);
		if (await() != expected)
			end(1);
	}
}

static void measure_flow(const char *name, enum pg_op op, int32_t handle, unsigned depth,
			 uint64_t times)
{
	uint64_t samples[BATCHES];

	flow(op, handle, depth, times);
	for (unsigned i = 0; i < BATCHES; i++) {
		uint64_t start = tsc();

		flow(op, handle, depth, times);
		samples[i] = ticks_to_ns(tsc() - start) * 100 / times;
	}
	report(name, median(samples, BATCHES));
}

/*
 * What `syscall` costs by itself: the nub's stub jumps to where the vCPU's block says, which
 * is, in place of the kernel's entry, the way back. Where the stub runs at CPL0, sysret
 * has left rcx pointing here, and the return address in the block.
 */
__asm__(".pushsection .text\n"
	"trap_return:\n"
	"	jmp *%rcx\n"
	"trap_return0:\n"
	"	jmp *%gs:0x18\n" /* PG_VCPU_USER_RIP */
	".popsection\n");
extern char trap_return[], trap_return0[];

static void measure_trap(void)
{
	uint64_t samples[BATCHES];

	vcpu->syscall = (uint64_t)trap_return;
	vcpu->syscall0 = (uint64_t)trap_return0;
	for (unsigned i = 0; i < BATCHES; i++) {
		uint64_t start = tsc();

		for (unsigned j = 0; j < TRAPS; j++)
			__asm__ volatile("syscall" : : : "rcx", "r11", "memory");
		samples[i] = ticks_to_ns(tsc() - start) * 100 / TRAPS;
	}
	report("ring_trap", median(samples, BATCHES));
}

/* Parked, with a deadline at the loader. */
static void park_until(uint64_t deadline)
{
	pg_ring_park(&vcpu->ring);
	if (pg_ring_set_deadline(&vcpu->ring, deadline))
		device_write(PG_DEV_DOORBELL, 1);
	while (now() < deadline) {
		vcpu->idle = 1;
		__asm__ volatile("int3" : : : "memory");
		vcpu->idle = 0;
		vcpu->pending = 0;
	}
	pg_ring_unpark(&vcpu->ring);
}

/* How late a parked vCPU runs after the deadline it asked for. */
static void measure_deadline(void)
{
	uint64_t samples[NAPS];

	for (unsigned i = 0; i < NAPS; i++) {
		uint64_t deadline = now() + NAP_NS;

		park_until(deadline);
		samples[i] = (now() - deadline) * 100;
	}
	report("ring_deadline", median(samples, NAPS));
}

static void await_sleep(void)
{
	while (!atomic_load(&vcpu->ring.look_at))
		__builtin_ia32_pause();
	/* It has said so; give it the time to do so. */
	for (uint64_t start = tsc(); ticks_to_ns(tsc() - start) < NAP_NS / 3;)
		__builtin_ia32_pause();
}

/* A NOP when the loader sleeps: doorbell, wake-up, answer. The vCPU spins, or parks too. */
static void measure_wake(const char *name, int64_t (*wait)(void))
{
	uint64_t samples[NAPS];

	for (unsigned i = 0; i < NAPS; i++) {
		uint64_t start;

		await_sleep();
		start = tsc();
		submit(PG_OP_NOP, -1, 0, 0, 0, 0);
		if (wait() != 0)
			end(1);
		samples[i] = ticks_to_ns(tsc() - start) * 100;
	}
	report(name, median(samples, NAPS));
}

_Noreturn void pg_entry(const struct pg_boot *boot, uint64_t index)
{
	static const char skip[] = "ring_read skip no such file\nring_read_32 skip no such file\n";
	const char *path = (const char *)boot + boot->strings;
	uint64_t length = 0;
	int64_t handle = -1;

	clock = &boot->clock;
	vcpu->tsc_entry = vcpu->tsc_main = tsc();
	measure_flow("ring_nop", PG_OP_NOP, -1, 1, 5000);
	measure_flow("ring_nop_32", PG_OP_NOP, -1, DEPTH, 20000);

	if (boot->argc > 1) {
		while (*path++) /* argv[0] */
			;
		while (path[length])
			length++;
		submit(PG_OP_OPENAT, -1, (uint64_t)path, length, 0, 0);
		handle = await();
	}
	if (handle < 0) {
		print(skip, sizeof(skip) - 1);
	} else {
		measure_flow("ring_read", PG_OP_READ, (int32_t)handle, 1, 5000);
		measure_flow("ring_read_32", PG_OP_READ, (int32_t)handle, DEPTH, 10000);
	}

	measure_trap();
	measure_deadline();
	measure_wake("ring_doorbell", await);
	measure_wake("ring_doorbell_park", park_and_await);
	end(0);
}
