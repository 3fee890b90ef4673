/*
 * A guest without kernel or C library that has itself interrupted by PG_VECTOR_PREEMPT, in code
 * of all kinds, and looks at what the nub makes of it; and that has its other vCPUs started.
 * The first argument names what to do. Status: 0; 1 to 89 tell what is wrong; 90: handed over
 * where it must not be; 100 + the vector of an exception.
 */
#include "../../freestanding.h"
#include "abi/trace.h"

#define MS 1000000ull

/* preempt-code.S */
extern char upcall[], to_registers[], to_resume[], to_nowhere[];
extern char registers_loop[], loop_end[], in_the_stub[];
_Noreturn void run_registers(void);
void run_loop(void);
void run_loop_on(uint64_t stack);
void run_stub(void);
uint64_t compute_on_user_stack(uint64_t rounds);

/* And what it uses. */
_Noreturn void on_exception(void);
_Noreturn void on_registers(void);
_Noreturn void on_nowhere(void);
void on_resume(void);
uint64_t compute(uint64_t rounds);
extern char __start_user_text[];
uint64_t seen[17]; /* registers in the order of struct pg_regs, and flags  */
unsigned char user_stack[16384] __attribute__((aligned(16)));

static const struct pg_boot *boot_block;
static uint64_t last_deadline;
static unsigned handed_over;
static _Atomic unsigned others;

/* ---- the clock, the engine ---- */

static uint64_t now(void)
{
	const struct pg_clock *clock = &boot_block->clock;
	uint64_t base_tsc, base_ns, mult;
	uint32_t sequence;

	do {
		sequence = atomic_load(&clock->sequence);
		base_tsc = atomic_load(&clock->base_tsc);
		base_ns = atomic_load(&clock->base_ns);
		mult = atomic_load(&clock->mult);
	} while (sequence & 1 || atomic_load(&clock->sequence) != sequence);
	return base_ns +
	       (uint64_t)((unsigned __int128)(__builtin_ia32_rdtsc() - base_tsc) * mult >> 32);
}

/* Ask for an interrupt `ns` from now; each time another deadline. */
static void interrupt_in(uint64_t ns)
{
	uint64_t at = now() + ns;

	last_deadline = at > last_deadline ? at : last_deadline + 1;
	if (pg_ring_set_deadline(&vcpu->ring, last_deadline))
		device_write(PG_DEV_DOORBELL, 1);
}

static void expect(int good, int status)
{
	if (!good)
		end(status);
}

/* ---- where the nub leads ---- */

void on_exception(void)
{
	const struct pg_frame *frame =
		(const void *)(PG_VA_VCPU + PG_VCPU_FRAME + PG_PAGE_SIZE - PG_FRAME_SIZE);

	end(100 + (int)frame->vector);
}

void on_nowhere(void)
{
	end(90);
}

static const uint64_t loaded[16] = {
	0x1101010101010111, 0x1201010101010112, 0x1301010101010113, 0x1401010101010114,
	0x1501010101010115, 0x1601010101010116, 0x1701010101010117, 0,
	0x1801010101010118, 0x1901010101010119, 0x1a0101010101011a, 0x1b0101010101011b,
	0x1c0101010101011c, 0x1d0101010101011d, 0x1e0101010101011e, 0x1f0101010101011f,
};

void on_registers(void)
{
	for (int i = 1; i < 16; i++) {
		if (i != 7)
			expect(seen[i] == loaded[i], 10 + i);
	}
	expect(seen[7] == (uint64_t)user_stack + 8192, 17);
	expect(seen[16] == 0x202, 30);
	expect(vcpu->preempt_rax == loaded[0], 10);
	expect(vcpu->preempt_rip == (uint64_t)registers_loop, 31);
	expect((vcpu->preempt_rflags & 0xfff & ~0x8d4u) == 0x603, 32); /* IF, DF, CF */
	end(0);
}

/* ---- what is done ---- */

static void registers(void)
{
	vcpu->preempted = (uint64_t)to_registers;
	/* Again and again while the turn is the same, should the first one be early. */
	if (pg_ring_contend(&vcpu->ring))
		device_write(PG_DEV_DOORBELL, 1);
	run_registers();
}

/* The text range lies right below, or right above what is interrupted. */
static void behind_the_text(void)
{
	vcpu->text_start = 0;
	vcpu->text_end = (uint64_t)registers_loop;
	registers();
}

static void before_the_text(void)
{
	vcpu->text_start = (uint64_t)registers_loop + 1;
	vcpu->text_end = UINT64_MAX;
	registers();
}

#define TIMES 60

void on_resume(void)
{
	handed_over++;
}

/* Apart from all other code; with red zone and registers as the compiler likes. */
__attribute__((section("user_text"))) uint64_t compute(uint64_t rounds)
{
	uint64_t a = 1, b = 2, c = 3, d = 4;

	for (uint64_t i = 0; i < rounds; i++) {
		a = a * 6364136223846793005ull + b;
		b = (b << 7 | b >> 57) ^ c;
		c += a ^ d;
		d = d * 3 + (a < b);
	}
	return a ^ b ^ c ^ d;
}

/* Interrupted many times: as if it had not been. */
static void resumes(void)
{
	uint64_t expected = compute_on_user_stack(20000);

	/* Nothing else is user code, least of all the handler. */
	vcpu->text_start = boot_block->image_start;
	vcpu->text_end = (uint64_t)__start_user_text;
	expect((uint64_t)to_resume < vcpu->text_end && (uint64_t)on_resume < vcpu->text_end, 4);
	vcpu->preempted = (uint64_t)to_resume;
	for (uint64_t i = 0; i < 10000 && handed_over < TIMES; i++) {
		interrupt_in(i % 16 * 10000);
		expect(compute_on_user_stack(20000) == expected, 1);
	}
	expect(handed_over >= TIMES, 2);
}

static void only_the_flag(void)
{
	for (int i = 0; i < 10; i++) {
		vcpu->preempt = 0;
		interrupt_in(100000);
		run_loop();
		expect(vcpu->preempt == 1, 1);
		expect(vcpu->preempt_rip == 0 && vcpu->preempt_rflags == 0, 2);
	}
}

static void inside_the_text(void)
{
	vcpu->preempted = (uint64_t)to_nowhere;
	vcpu->text_start = (uint64_t)run_loop;
	vcpu->text_end = (uint64_t)loop_end;
	only_the_flag();
}

static void no_handler(void)
{
	vcpu->preempted = 0;
	only_the_flag();
}

static void on_the_kernels_stack(void)
{
	vcpu->preempted = (uint64_t)to_nowhere;
	for (int i = 0; i < 10; i++) {
		vcpu->preempt = 0;
		interrupt_in(100000);
		run_loop_on(PG_VA_VCPU + PG_VCPU_STACK + PG_VCPU_STACK_SIZE / 2);
		expect(vcpu->preempt == 1, 1);
	}
}

static void above_the_stack(void)
{
	/* The first address that is not the program's; nothing is read there. */
	vcpu->preempted = (uint64_t)to_nowhere;
	vcpu->preempt = 0;
	interrupt_in(100000);
	run_loop_on(PG_VA_USER_END);
}

static void in_the_system_call_stub(void)
{
	vcpu->preempted = (uint64_t)to_nowhere;
	/* All of the image: what is left is the stub. */
	vcpu->text_start = boot_block->image_start;
	vcpu->text_end = boot_block->image_end;
	vcpu->syscall = (uint64_t)in_the_stub;
	for (int i = 0; i < 30; i++) {
		vcpu->preempt = 0;
		interrupt_in(50000 + (uint64_t)i * 1000);
		run_stub();
	}
}

/* At CPL0, in the nub's halt: it returns, and only the flag is set. */
static void halted(void)
{
	vcpu->preempted = (uint64_t)to_nowhere;
	for (int i = 0; i < 5; i++) {
		vcpu->preempt = 0;
		if (pg_ring_contend(&vcpu->ring))
			device_write(PG_DEV_DOORBELL, 1);
		vcpu->idle = 1;
		__asm__ volatile("int3" : : : "memory");
		vcpu->idle = 0;
		expect(vcpu->preempt == 1, 1);
		expect(vcpu->pending == 0, 2);
		pg_ring_next_turn(&vcpu->ring);
	}
}

static void left_completions(void)
{
	const struct pg_sqe entry = { .op = PG_OP_NOP };

	if (pg_sq_push(&vcpu->ring, sq, &entry))
		device_write(PG_DEV_DOORBELL, 1);
	run_loop();
	expect(await() == 0, 1);
}

/* ---- hostile values ---- */

_Noreturn static void interrupted_with(uint64_t preempted)
{
	vcpu->preempted = preempted;
	for (;;) {
		vcpu->preempt = 0;
		interrupt_in(100000);
		run_loop();
	}
}

static void to_null(void)
{
	interrupted_with(16);
}

static void to_the_nub(void)
{
	interrupted_with(PG_VA_NUB);
}

static void not_canonical(void)
{
	interrupted_with(0x8000000000000000);
}

static void upper_half(void)
{
	interrupted_with(0xffffffff80000000);
}

/* What was asked for is not asked again, and what is on its way has arrived. */
static void calm_down(void)
{
	uint64_t until;

	(void)pg_ring_set_deadline(&vcpu->ring, PG_LOOK_NEVER);
	for (until = now() + 50000000; now() < until;)
		__builtin_ia32_pause();
}

static void strange_text(void)
{
	static const uint64_t values[] = { 0, 1, 0x8000000000000000, UINT64_MAX, PG_VA_NUB };

	for (unsigned i = 0; i < 25; i++) {
		vcpu->text_start = values[i / 5];
		vcpu->text_end = values[i % 5];
		no_handler();
	}
	calm_down();
	vcpu->text_start = UINT64_MAX;
	vcpu->text_end = 0;
	registers();
}

/* The second vCPU plays with the first one's needs while that one works. */
static void needs(void)
{
	const struct pg_sqe entry = { .op = PG_OP_NOP };

	device_write(PG_DEV_START, 1);
	for (int i = 0; i < 3000; i++) {
		if (pg_sq_push(&vcpu->ring, sq, &entry))
			device_write(PG_DEV_DOORBELL, 1);
		expect(await() == 0, 1);
	}
}

static void play_with_needs(void)
{
	uint64_t seed = 88172645463325252ull;

	for (;;) {
		struct pg_vcpu *of = seed & 64 ? vcpu : (void *)(PG_VA_VCPU + PG_VCPU_STRIDE);

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		atomic_store(&of->ring.deadline, seed & 1 ? now() + seed % 10000 : seed);
		atomic_store(&of->ring.turn, (uint32_t)seed);
		atomic_store(&of->ring.contended, (uint32_t)(seed >> 8) & 1);
		atomic_store(&of->ring.look_at, seed >> 9);
		of->text_start = seed;
		of->text_end = seed >> (seed & 31);
	}
}

/* ---- PG_DEV_START ---- */

static void wait_ns(uint64_t ns)
{
	uint64_t until = now() + ns;

	while (now() < until)
		__builtin_ia32_pause();
}

static void start(void)
{
	unsigned count = boot_block->vcpus - 1;

	wait_ns(20 * MS);
	expect(atomic_load(&others) == 0, 1);
	device_write(PG_DEV_START, 1);
	while (atomic_load(&others) < count)
		__builtin_ia32_pause();
	/* Once more: nobody starts twice. */
	device_write(PG_DEV_START, 1);
	device_write(PG_DEV_START, 0);
	wait_ns(20 * MS);
	expect(atomic_load(&others) == count, 2);
}

static void never_start(void)
{
}

_Noreturn static void start_and_go_on(void)
{
	device_write(PG_DEV_START, 1);
	for (;;)
		device_write(PG_DEV_START, 1);
}

_Noreturn static void go_on(void)
{
	for (;;)
		__builtin_ia32_pause();
}

/* ---- what the loader was told, and traces ---- */

/* As test_traces.c asks for it. */
static void settings(void)
{
	expect(boot_block->turn_ns == 5 * MS, 1);
	expect(boot_block->dispatch == PG_DISPATCH_STACK, 2);
	expect(boot_block->trace_events == 128, 3);
}

static void defaults(void)
{
	expect(boot_block->turn_ns == 2 * MS, 1);
	expect(boot_block->dispatch == PG_DISPATCH_UNION, 2);
	expect(boot_block->trace_events == 0, 3);
	/* And nothing is there: the upcall ends it. */
	*(volatile uint64_t *)PG_VA_TRACE = 1;
}

static void trace(uint32_t kind, uint64_t tsc, uint64_t task, uint32_t arg)
{
	struct pg_trace_event *slots = (struct pg_trace_event *)PG_VA_TRACE;
	struct pg_trace_event *slot = &slots[vcpu->trace_head & (boot_block->trace_events - 1)];

	slot->tsc = tsc;
	slot->task = task;
	slot->kind = kind;
	slot->arg = arg;
	slot->more = 0;
	vcpu->trace_head++;
}

static void traces(void)
{
	uint64_t start_tsc = __builtin_ia32_rdtsc();

	trace(PG_TRACE_NAME, start_tsc, 0x1000, 1);
	trace(PG_TRACE_RUN, __builtin_ia32_rdtsc(), 0x1000, 0);
	wait_ns(1 * MS);
	trace(99, 0, 0, 0); /* no event */
	trace(PG_TRACE_SYSCALL, __builtin_ia32_rdtsc(), 0x1000, 231);
	trace(PG_TRACE_PENDING, __builtin_ia32_rdtsc(), 0x1000, 0);
	trace(PG_TRACE_SPIN, 5, 0, 0); /* time does not go back */
}

static void hostile_traces(void)
{
	uint64_t *words = (uint64_t *)PG_VA_TRACE, seed = 88172645463325252ull;

	for (unsigned i = 0; i < boot_block->trace_events * sizeof(struct pg_trace_event) / 8;
	     i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		words[i] = i % 4 == 2 ? seed & 0xf : seed;
	}
	vcpu->trace_head = UINT64_MAX;
}

/* ---- which one ---- */

static const struct {
	const char *name;
	void (*run)(void);
} all[] = {
#define CASE(name)                                                                                 \
	{                                                                                          \
#name, name                                                                        \
	}
	CASE(registers),
	CASE(behind_the_text),
	CASE(before_the_text),
	CASE(resumes),
	CASE(inside_the_text),
	CASE(no_handler),
	CASE(halted),
	CASE(on_the_kernels_stack),
	CASE(above_the_stack),
	CASE(left_completions),
	CASE(in_the_system_call_stub),
	CASE(to_null),
	CASE(to_the_nub),
	CASE(not_canonical),
	CASE(upper_half),
	CASE(strange_text),
	CASE(needs),
	CASE(start),
	CASE(settings),
	CASE(defaults),
	CASE(traces),
	CASE(hostile_traces),
	CASE(never_start),
	CASE(start_and_go_on),
	CASE(go_on),
};

static int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

void pg_entry(const struct pg_boot *boot, uint64_t index)
{
	const char *name = (const char *)boot + boot->strings;

	while (*name++)
		;
	if (index != 0) {
		atomic_fetch_add(&others, 1);
		if (same(name, "needs"))
			play_with_needs();
		device_write(PG_DEV_START, 1); /* only the first vCPU's counts */
		go_on();
	}
	boot_block = boot;
	vcpu->upcall = (uint64_t)upcall;
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (same(name, all[i].name)) {
			all[i].run();
			end(0);
		}
	}
	end(89);
}
