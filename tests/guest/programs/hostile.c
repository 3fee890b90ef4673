/*
 * A guest without kernel or C library that attacks the loader through everything the two
 * share. The first argument names the attack. Status: 0, or 100 + the vector of an
 * exception, unless the attack says otherwise; 1 to 99 count what went wrong.
 */
#include "abi/boot.h"
#include "abi/ops.h"
#include "abi/vcpu.h"
#include "abi/version.h"

#define EBADF_ERRNO  9
#define ENOMEM_ERRNO 12
#define EACCES_ERRNO 13
#define EFAULT_ERRNO 14
#define EBUSY_ERRNO  16
#define ENOSYS_ERRNO 38

#define PAGE          PG_PAGE_SIZE
#define NOT_CANONICAL 0x8000000000000000
#define NOWHERE       0x5000000000

void pg_entry(const struct pg_boot *boot, uint64_t index);
void on_exception(void);
void *memset(void *to, int byte, unsigned long size);
void *memcpy(void *to, const void *from, unsigned long size);
extern char upcall[], upcall_ud2[], upcall_loop[];

__attribute__((section(".note.pagurus"), used, aligned(4))) static const struct {
	uint32_t name_size, size, type;
	char name[8];
	struct pg_abi_note abi;
} note = { sizeof(PG_NOTE_NAME),
	   sizeof(struct pg_abi_note),
	   PG_NOTE_ABI,
	   PG_NOTE_NAME,
	   { PG_ABI_MAJOR, PG_ABI_MINOR } };

static const struct pg_boot *boot_block;
static struct pg_vcpu *self;
static struct pg_sqe *sq;
static struct pg_cqe *cq;
static unsigned char buffer[4 * PAGE] __attribute__((aligned(PAGE)));
static int wrong; /* answers that should have been others                  */
static int first; /* line of the first one                                 */
static const char constant[PAGE] __attribute__((aligned(PAGE))) = "constant";

void *memset(void *to, int byte, unsigned long size)
{
	for (unsigned long i = 0; i < size; i++)
		((volatile char *)to)[i] = (char)byte;
	return to;
}

void *memcpy(void *to, const void *from, unsigned long size)
{
	for (unsigned long i = 0; i < size; i++)
		((volatile char *)to)[i] = ((const char *)from)[i];
	return to;
}

static unsigned long length_of(const char *text)
{
	unsigned long length = 0;

	while (text[length])
		length++;
	return length;
}

static int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static void device(unsigned offset, uint32_t value)
{
	*(volatile uint32_t *)(PG_VA_DEVICE + offset) = value;
}

_Noreturn static void hang(void)
{
	for (;;)
		__builtin_ia32_pause();
}

_Noreturn static void leave(int status)
{
	self->exit_status = status;
	device(PG_DEV_CONTROL, PG_CTL_EXIT);
	hang();
}

/* Exceptions come here, on a stack of their own. */
__asm__(".bss\n"
	".balign 16\n"
	"exception_stack: .skip 16384\n"
	".text\n"
	"upcall: lea exception_stack + 16384(%rip), %rsp\n"
	"cld\n"
	"call on_exception\n"
	"upcall_ud2: ud2\n"
	"upcall_loop: jmp upcall_loop\n");

void on_exception(void)
{
	const struct pg_frame *frame =
		(const void *)((char *)self + PG_VCPU_FRAME + PAGE - PG_FRAME_SIZE);

	leave(100 + (int)frame->vector);
}

/* ---- a decent client of the rings ---- */

static void push(uint16_t op, int handle, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	struct pg_sqe entry = { .op = op, .handle = handle, .arg = { a, b, c, d } };

	if (pg_sq_push(&self->ring, sq, &entry))
		device(PG_DEV_DOORBELL, 1);
}

static int64_t take(void)
{
	struct pg_cqe entry;

	while (!pg_cq_pop(&self->ring, cq, &entry))
		__builtin_ia32_pause();
	return entry.result;
}

static int64_t operate(uint16_t op, int handle, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	push(op, handle, a, b, c, d);
	return take();
}

static void check(int good, int line)
{
	wrong += !good;
	if (!good && !first)
		first = line;
}

#define is(result, expected) check((result) == (expected), __LINE__)
#define fails(result)        check((result) < 0, __LINE__)

/* For whoever has to find out. */
static void say_first(void)
{
	char text[] = "line 0000\n";

	for (int i = 8, n = first; i > 4; i--, n /= 10)
		text[i] = (char)('0' + n % 10);
	(void)operate(PG_OP_WRITE, 1, (uint64_t)text, sizeof(text) - 1, PG_OFFSET_STREAM, 0);
}

static uint64_t at(const void *pointer)
{
	return (uint64_t)pointer;
}

static uint64_t seed = 88172645463325252ull;

static uint64_t random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* ---- rings ---- */

static void tail_out_of_bounds(void)
{
	atomic_store(&self->ring.sq_tail, 1000);
	device(PG_DEV_DOORBELL, 1);
	hang();
}

static void tail_backwards(void)
{
	is(operate(PG_OP_NOP, 0, 0, 0, 0, 0), 0);
	atomic_store(&self->ring.sq_tail, 0);
	device(PG_DEV_DOORBELL, 1);
	hang();
}

static void head_out_of_bounds(void)
{
	atomic_store(&self->ring.cq_head, 12345);
	push(PG_OP_NOP, 0, 0, 0, 0, 0);
	device(PG_DEV_DOORBELL, 1);
	hang();
}

static void completions_not_taken(void)
{
	for (int i = 0; i < 1000; i++) {
		while (pg_sq_full(&self->ring))
			__builtin_ia32_pause();
		push(PG_OP_NOP, 0, 0, 0, 0, 0);
	}
	hang();
}

static void too_many_in_flight(void)
{
	for (int i = 0; i < 1000; i++) {
		while (pg_sq_full(&self->ring))
			__builtin_ia32_pause();
		push(PG_OP_READ, 0, at(buffer), 1, PG_OFFSET_STREAM, 0);
	}
	hang();
}

/* The loader has copies of its own of the fields it writes. */
static void loaders_fields(void)
{
	for (int i = 0; i < 100; i++) {
		atomic_store(&self->ring.sq_head, (uint32_t)random());
		atomic_store(&self->ring.cq_tail, atomic_load(&self->ring.cq_head));
		atomic_store(&self->ring.look_at, 1);
		atomic_store(&self->ring.parked, (uint32_t)random());
		push(PG_OP_NOP, 0, 0, 0, 0, 0);
		is(take(), 0);
	}
}

static uint64_t random_argument(int memory)
{
	switch (random() % 12) {
	case 0:
		return 0;
	case 1:
		return random() % 5000;
	case 2:
		return UINT64_MAX - random() % 5000;
	case 3:
		return random();
	case 4:
		return PG_VA_NUB + random() % 0x1000000;
	case 5:
		return at(constant);
	case 6:
		return NOT_CANONICAL;
	case 7:
		return 1ull << random() % 64;
	default:
		/* Own memory, but not where it would be taken away. */
		return memory ? NOWHERE + random() % 100000
			      : at(buffer) + random() % sizeof(buffer);
	}
}

static void garbage_entries(void)
{
	uint32_t outstanding = 0;
	struct pg_cqe done;

	for (int i = 0; i < 20000 && outstanding < 200; i++) {
		uint16_t op = (uint16_t)(random() % 8 ? random() % 32 : random());
		int memory = op >= PG_OP_MAP && op <= PG_OP_DISCARD;
		int handle = (int)(random() % 8 ? random() % 8 - 2 : random());
		struct pg_sqe entry = { .op = op, .handle = handle, .user_data = random() };

		/* Its own doing, and no fun: standard output would be spoilt. */
		if (op == PG_OP_WRITE || op == PG_OP_WRITEV)
			entry.handle |= 1 << 20;
		for (int j = 0; j < 6; j++)
			entry.arg[j] = random_argument(memory);
		entry.flags = (uint16_t)(random() % 4 ? 0 : random());
		if (pg_sq_push(&self->ring, sq, &entry))
			device(PG_DEV_DOORBELL, 1);
		outstanding++;
		while (pg_sq_full(&self->ring))
			__builtin_ia32_pause();
		while (pg_cq_pop(&self->ring, cq, &done))
			outstanding--;
	}
}

static void unknown_operations(void)
{
	for (unsigned op = PG_OP_COUNT; op < 0x10000; op += op < 100 ? 1 : 1117)
		is(operate((uint16_t)op, 0, 0, 0, 0, 0), -ENOSYS_ERRNO);
	is(operate(PG_OP_NOP, 0, 0, 0, 0, 0), 0);
}

/* The second vCPU rewrites the entries while the first one submits them. */
static void changing_entries(void)
{
	device(PG_DEV_START, 1);
	for (int i = 0; i < 3000; i++) {
		while (pg_sq_full(&self->ring))
			__builtin_ia32_pause();
		push(PG_OP_STATX, 0, at("/x"), 2, at(buffer), 0);
		(void)take();
	}
}

static void change_entries(void)
{
	struct pg_sqe *others = (struct pg_sqe *)(PG_VA_VCPU + PG_VCPU_SQ);

	for (;;) {
		struct pg_sqe *entry = &others[random() % PG_SQ_DEPTH];

		/* Operations that end by themselves, and no memory of ours taken away. */
		entry->op = (uint16_t)(random() % 2 ? PG_OP_STATX : PG_OP_READLINKAT);
		entry->arg[random() % 6] = random_argument(0);
		entry->handle = (int)random();
	}
}

/* ---- the control register and the rest of the device page ---- */

static void unknown_control(void)
{
	device(PG_DEV_CONTROL, 0x12345678);
	hang();
}

static void control_zero(void)
{
	device(PG_DEV_CONTROL, 0);
	hang();
}

static void nub_control(void)
{
	device(PG_DEV_CONTROL, PG_CTL_NUB);
	hang();
}

static void panic_with_escapes(void)
{
	for (unsigned i = 0; i < sizeof(self->message); i++)
		self->message[i] = (char)(i % 2 ? 0x1b : '\r'); /* and no end */
	device(PG_DEV_CONTROL, PG_CTL_PANIC);
	hang();
}

static void fault(uint32_t signal, uint32_t vector, uint64_t frame)
{
	memset(&self->fault, 0xff, sizeof(self->fault));
	self->fault.signal = signal;
	self->fault.vector = vector;
	self->fault.regs.rbp = frame;
	device(PG_DEV_CONTROL, PG_CTL_FAULT);
	hang();
}

static void wild_fault(void)
{
	fault(0xffffffff, 0xfffffffe, UINT64_MAX - 7);
}

static void fault_of_no_signal(void)
{
	fault(0, 14, 0);
}

static void fault_frames_in_a_circle(void)
{
	uint64_t *frames = (uint64_t *)buffer;

	frames[0] = at(buffer);
	frames[1] = at(constant);
	fault(11, 14, at(buffer));
}

static void fault_frame_in_the_nub(void)
{
	fault(11, 14, PG_VA_NUB + PG_NUB_TABLES);
}

/* As many frames as the report shows, each a fault of translation or not. */
static void fault_many_frames(void)
{
	uint64_t *frames = (uint64_t *)buffer;

	for (unsigned i = 0; i + 3 < sizeof(buffer) / 8; i += 2) {
		frames[i] = at(&frames[i + 2]);
		frames[i + 1] = random();
	}
	fault(11, 14, at(buffer));
}

static void greatest_status(void)
{
	leave(0x7fffffff);
}

static void least_status(void)
{
	leave(-0x7fffffff - 1);
}

static void device_page(void)
{
	for (unsigned offset = 0; offset < PAGE; offset += 4) {
		if (offset != PG_DEV_CONTROL)
			device(offset, 0xffffffff);
	}
	for (unsigned offset = 0; offset < PAGE; offset += 256) {
		/* Not at CONTROL with four bytes: that one counts. */
		*(volatile uint8_t *)(PG_VA_DEVICE + offset) = PG_CTL_PANIC;
		*(volatile uint16_t *)(PG_VA_DEVICE + offset) = PG_CTL_PANIC;
		*(volatile uint64_t *)(PG_VA_DEVICE + offset) = PG_CTL_PANIC;
		is(*(volatile uint32_t *)(PG_VA_DEVICE + offset), 0xffffffff);
	}
	is(operate(PG_OP_NOP, 0, 0, 0, 0, 0), 0);
}

static void kick_storm(void)
{
	for (int i = 0; i < 3000; i++)
		device(PG_DEV_KICK, 1);
	for (int i = 0; i < 3000; i++)
		device(PG_DEV_DOORBELL, 1);
	is(operate(PG_OP_NOP, 0, 0, 0, 0, 0), 0);
}

/* ---- exceptions ---- */

static void jump_not_canonical(void)
{
	__asm__ volatile("jmp *%0" : : "r"(NOT_CANONICAL));
}

static void return_not_canonical(void)
{
	__asm__ volatile("push %0; ret" : : "r"(NOT_CANONICAL));
}

static void with_upcall(uint64_t address)
{
	self->upcall = address;
	__asm__ volatile("ud2");
}

static void upcall_not_canonical(void)
{
	with_upcall(NOT_CANONICAL);
}

static void upcall_upper_half(void)
{
	with_upcall(0xffffffff81000000);
}

static void upcall_null(void)
{
	with_upcall(0);
}

static void upcall_nub(void)
{
	with_upcall(PG_VA_NUB);
}

static void upcall_faults(void)
{
	with_upcall(at(upcall_ud2));
}

static void upcall_never_ends(void)
{
	with_upcall(at(upcall_loop));
}

static void stack_pointer(void)
{
	__asm__ volatile("mov %0, %%rsp; push %%rax" : : "r"(NOT_CANONICAL));
}

static void stack_in_the_nub(void)
{
	__asm__ volatile("mov %0, %%rsp; push %%rax" : : "r"(PG_VA_NUB + PG_NUB_EXC + PAGE));
}

static void no_gs(void)
{
	__asm__ volatile("mov %0, %%gs; ud2" : : "r"(0));
}

static void single_step(void)
{
	__asm__ volatile("pushf; orq $0x100, (%rsp); popf; nop; nop");
}

/* Direction and alignment flags, nested task: none of it may matter to the nub. */
static void strange_flags(void)
{
	__asm__ volatile("pushf; orq $0x44400, (%rsp); popf; ud2");
}

static void far_to_kernel_code(void)
{
	__asm__ volatile("push %0; push %1; lretq" : : "r"((uint64_t)PG_SEL_KCODE), "r"(PG_VA_NUB));
}

static void iret_to_kernel_code(void)
{
	__asm__ volatile("push %0; push %%rsp; pushf; push %1; push %2; iretq"
			 :
			 : "r"((uint64_t)PG_SEL_KDATA), "r"((uint64_t)PG_SEL_KCODE),
			   "r"(PG_VA_NUB));
}

static void hypercall(void)
{
	for (uint64_t number = 0; number < 16; number++) {
		uint64_t result = number;

		__asm__ volatile("vmcall" : "+a"(result) : "b"(0), "c"(0), "d"(0), "S"(0));
	}
}

/* `syscall` with an entry of the program's choice goes there: at CPL3. */
static void syscall_entry(void)
{
	self->syscall = self->syscall0 = PG_VA_NUB;
	__asm__ volatile("syscall" : : : "rcx", "r11", "memory");
}

static void halt_for_ever(void)
{
	for (;;) {
		self->idle = 1;
		self->pending = 0;
		__asm__ volatile("int3" : : : "memory");
	}
}

static void compute_for_ever(void)
{
	hang();
}

/* The whole block, with all that nub and loader find there. */
static void smash_block(void)
{
	struct pg_vcpu *block = self;

	for (unsigned i = 0; i < sizeof(*block) / 8; i++)
		((volatile uint64_t *)block)[i] = UINT64_MAX;
	device(PG_DEV_DOORBELL, 1);
	device(PG_DEV_KICK, 1);
	device(PG_DEV_CONTROL, PG_CTL_EXIT);
	hang();
}

/* ---- operations ---- */

static void bad_handles(void)
{
	static const int handles[] = {
		-1, 3, 4, 5, 6, 7, 20, 1000000, 0x7fffffff, -0x7fffffff - 1
	};

	for (unsigned i = 0; i < sizeof(handles) / sizeof(handles[0]); i++) {
		int h = handles[i];

		is(operate(PG_OP_READ, h, at(buffer), 16, PG_OFFSET_STREAM, 0), -EBADF_ERRNO);
		is(operate(PG_OP_WRITE, h, at(buffer), 16, PG_OFFSET_STREAM, 0), -EBADF_ERRNO);
		is(operate(PG_OP_FSYNC, h, 0, 0, 0, 0), -EBADF_ERRNO);
		is(operate(PG_OP_LSEEK, h, 0, 0, 0, 0), -EBADF_ERRNO);
		is(operate(PG_OP_POLL, h, 1, 0, 0, 0), -EBADF_ERRNO);
		is(operate(PG_OP_GETDENTS, h, at(buffer), PAGE, 0, 0), -EBADF_ERRNO);
		is(operate(PG_OP_CLOSE, h, 0, 0, 0, 0), -EBADF_ERRNO);
	}
}

static void mappings(void)
{
	static const uint64_t places[] = {
		0,
		PG_VA_NUB,
		PG_VA_VCPU,
		PG_VA_VCPU + PG_VCPU_GUARD,
		PG_VA_BOOT,
		PG_VA_DEVICE,
		PG_VA_LSTAR,
		PG_VA_KHEAP,
		NOT_CANONICAL,
		0xfffffffffffff000,
		PG_VA_USER_END - PAGE + 1,
		0xffff800000000000,
	};
	const uint64_t rw = PG_PROT_READ | PG_PROT_WRITE;
	uint64_t text = at((void *)mappings) & ~(uint64_t)(PAGE - 1);

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		fails(operate(PG_OP_MAP, 0, places[i], PAGE, rw, 0));
		fails(operate(PG_OP_PROTECT, 0, places[i], PAGE, rw, 0));
		fails(operate(PG_OP_UNMAP, 0, places[i], PAGE, 0, 0));
		fails(operate(PG_OP_DISCARD, 0, places[i], PAGE, 0, 0));
	}
	/* The image: sealed. */
	fails(operate(PG_OP_MAP, 0, text, PAGE, rw, 0));
	is(operate(PG_OP_PROTECT, 0, text, PAGE, rw, 0), -EACCES_ERRNO);
	is(operate(PG_OP_PROTECT, 0, at(constant), PAGE, rw, 0), -EACCES_ERRNO);
	is(operate(PG_OP_UNMAP, 0, text, PAGE, 0, 0), -EACCES_ERRNO);
	is(operate(PG_OP_DISCARD, 0, text, PAGE, 0, 0), -EACCES_ERRNO);
	/* Permissions and sizes. */
	is(operate(PG_OP_MAP, 0, NOWHERE, PAGE, 7, 0), -EACCES_ERRNO);
	fails(operate(PG_OP_MAP, 0, NOWHERE, PAGE, 0x400 | 3, 0));
	fails(operate(PG_OP_MAP, 0, NOWHERE, PAGE, 0x10000003, 0));
	fails(operate(PG_OP_MAP, 0, NOWHERE, PAGE, UINT64_MAX, 0));
	fails(operate(PG_OP_MAP, 0, NOWHERE, 0, rw, 0));
	fails(operate(PG_OP_MAP, 0, NOWHERE + 1, PAGE, rw, 0));
	fails(operate(PG_OP_MAP, 0, NOWHERE, UINT64_MAX, rw, 0));
	fails(operate(PG_OP_MAP, 0, NOWHERE, 0 - (uint64_t)PAGE, rw, 0));
	fails(operate(PG_OP_MAP, 0, NOWHERE, 1ull << 46, rw, 0));
	fails(operate(PG_OP_MAP, 0, PG_VA_USER_END - PAGE, 2 * PAGE, rw, 0));
	/* A failed one leaves nothing: it is there once, and once only. */
	is(operate(PG_OP_MAP, 0, NOWHERE, PAGE, rw, 0), 0);
	fails(operate(PG_OP_MAP, 0, NOWHERE, PAGE, rw, 0));
	fails(operate(PG_OP_MAP, 0, NOWHERE - PAGE, 2 * PAGE, rw, 0));
	is(operate(PG_OP_PROTECT, 0, NOWHERE, PAGE, 7, 0), -EACCES_ERRNO);
	*(volatile char *)NOWHERE = 1;
	is(operate(PG_OP_UNMAP, 0, NOWHERE, PAGE, 0, 0), 0);
	is(constant[0], 'c');
}

static void all_memory(void)
{
	const uint64_t rw = PG_PROT_READ | PG_PROT_WRITE, piece = 1 << 20;
	uint64_t next = NOWHERE;
	int64_t result;

	while (!(result = operate(PG_OP_MAP, 0, next, piece, rw, 0))) {
		*(volatile char *)next = 1;
		next += piece;
	}
	is(result, -ENOMEM_ERRNO);
	/* All comes back. */
	is(operate(PG_OP_UNMAP, 0, NOWHERE, next - NOWHERE, 0, 0), 0);
	is(operate(PG_OP_MAP, 0, NOWHERE, next - NOWHERE, rw, 0), 0);
	for (uint64_t address = NOWHERE; address < next; address += piece)
		is(*(volatile char *)address, 0);
}

/* One page in each gigabyte: the page tables take all the memory. */
static void all_tables(void)
{
	const uint64_t rw = PG_PROT_READ | PG_PROT_WRITE;
	uint64_t next = NOWHERE;
	int64_t result = 0;

	while (next < PG_VA_MMAP_END && !(result = operate(PG_OP_MAP, 0, next, PAGE, rw, 0)))
		next += 1ull << 30;
	is(result, -ENOMEM_ERRNO);
	is(operate(PG_OP_NOP, 0, 0, 0, 0, 0), 0);
}

static void bad_buffers(void)
{
	static const uint64_t places[] = { 0,
					   NOWHERE,
					   PG_VA_NUB,
					   PG_VA_NUB + PG_NUB_TABLES,
					   PG_VA_BOOT,
					   PG_VA_LSTAR,
					   PG_VA_DEVICE,
					   PG_VA_VCPU + PG_VCPU_FRAME,
					   PG_VA_VCPU + PG_VCPU_GUARD,
					   NOT_CANONICAL,
					   UINT64_MAX,
					   UINT64_MAX - 15,
					   0xffff800000000000 };
	const uint64_t stream = PG_OFFSET_STREAM;
	struct pg_iovec *vector = (struct pg_iovec *)buffer;

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint64_t p = places[i];

		is(operate(PG_OP_READ, 0, p, 16, stream, 0), -EFAULT_ERRNO);
		vector[0] = (struct pg_iovec){ p, 16 };
		is(operate(PG_OP_READV, 0, at(vector), 1, stream, 0), -EFAULT_ERRNO);
		if (p != PG_VA_BOOT && p != PG_VA_LSTAR && p != PG_VA_VCPU + PG_VCPU_FRAME) {
			is(operate(PG_OP_WRITE, 1, p, 16, stream, 0), -EFAULT_ERRNO);
			is(operate(PG_OP_READV, 0, p, 1, stream, 0), -EFAULT_ERRNO);
			fails(operate(PG_OP_OPENAT, 0, p, 16, 0, 0));
			fails(operate(PG_OP_UNLINKAT, 0, p, 16, 0, 0));
			fails(operate(PG_OP_RENAMEAT, 0, p, 16, p, 16));
		}
		fails(operate(PG_OP_STATX, 0, 0, 0, p, 0));
	}
	is(operate(PG_OP_READ, 0, at(bad_buffers), 16, stream, 0), -EFAULT_ERRNO);
	is(operate(PG_OP_READ, 0, at(constant), 16, stream, 0), -EFAULT_ERRNO);
	/* Counts and lengths that overflow. */
	vector[0] = (struct pg_iovec){ at(buffer), 1 };
	fails(operate(PG_OP_READV, 0, at(vector), PG_IOV_MAX + 1, stream, 0));
	fails(operate(PG_OP_READV, 0, at(vector), UINT64_MAX, stream, 0));
	fails(operate(PG_OP_READV, 0, at(vector), 1ull << 60, stream, 0));
	vector[0] = (struct pg_iovec){ NOWHERE, UINT64_MAX };
	fails(operate(PG_OP_WRITEV, 1, at(vector), 1, stream, 0));
	vector[0] = (struct pg_iovec){ PG_VA_NUB - 8, UINT64_MAX };
	fails(operate(PG_OP_WRITEV, 1, at(vector), 1, stream, 0));
	is(constant[0], 'c');
}

/* ---- paths: the host has put links into what it maps ---- */

static const char file_path[] = "/inside";

static int64_t open_path(const char *path, uint64_t length, uint64_t flags)
{
	return operate(PG_OP_OPENAT, 0, at(path), length, flags, 0600);
}

#define O_WRITE     1
#define O_CREATE    0100
#define O_TRUNCATE  01000
#define O_DIRECTORY 0200000
#define O_TEMPORARY (020000000 | O_DIRECTORY)

/* A link that procfs makes up, mapped as /magic. */
#define MAGIC(link) "/magic/self/" link

static void paths(void)
{
	/* These lead out, or nowhere... */
	static const char *const bad[] = {
		"/../etc/passwd",
		"/../../../../../../etc/passwd",
		"/sub/../../etc/passwd",
		"/sub/../sub/../../etc/passwd",
		"/directory/passwd",
		"/directory/new",
		"/directory/../etc/passwd",
		"/circle/inside",
		"inside",
		"../etc/passwd",
		"",
		"/etc/passwd",
		"/proc/self/mem",
		"/dev/kvm",
		"/proc/self/fd/0",
		"/inside/new",
		MAGIC("root") "/etc/passwd",
		"//../etc/passwd",
		"/./../etc/passwd",
	};
	/* ... and these are links that do, but may be replaced. */
	static const char *const links[] = { "/absolute",   "/upwards",     "/circle",
					     "/directory/", "/directory/.", MAGIC("fd/0"),
					     "/inside/" };
	static const char with_zero[] = "/inside\0/../../etc/passwd";
	static char dots[PG_PATH_MAX + 64], slashes[2 * PG_PATH_MAX];

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t length = length_of(bad[i]);

		fails(open_path(bad[i], length, 0));
		fails(open_path(bad[i], length, O_WRITE | O_CREATE | O_TRUNCATE));
		fails(operate(PG_OP_MKDIRAT, 0, at(bad[i]), length, 0700, 0));
		fails(operate(PG_OP_UNLINKAT, 0, at(bad[i]), length, 0, 0));
		fails(operate(PG_OP_STATX, -1, at(bad[i]), length, at(buffer), 0));
		fails(operate(PG_OP_RENAMEAT, 0, at(file_path), 7, at(bad[i]), length));
		fails(operate(PG_OP_SYMLINKAT, 0, at("x"), 1, at(bad[i]), length));
	}
	for (unsigned i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		fails(open_path(links[i], length_of(links[i]), 0));
		fails(open_path(links[i], length_of(links[i]), O_WRITE | O_CREATE | O_TRUNCATE));
	}
	fails(open_path(with_zero, sizeof(with_zero) - 1, 0));
	fails(open_path(with_zero, 8, 0)); /* the zero is the last byte */
	for (unsigned i = 0; i + 3 <= sizeof(dots); i += 3)
		memcpy(dots + i, "/..", 3);
	fails(open_path(dots, 4095, O_WRITE)); /* the top, at most */
	fails(open_path(dots, sizeof(dots), 0));
	memset(slashes, '/', sizeof(slashes));
	fails(open_path(slashes, sizeof(slashes), 0));
	fails(open_path(file_path, UINT64_MAX, 0));
	fails(open_path(file_path, 1ull << 32 | 7, 0));
	fails(open_path(file_path, 0, 0));
	fails(open_path(bad[0], 14, UINT64_MAX));

	int64_t handle = open_path(file_path, 7, 0);
	if (handle < 0)
		leave(99);
	is(operate(PG_OP_READ, (int)handle, at(buffer), 6, 0, 0), 6);
	is(buffer[0], 'i');
	/* A link's text may be read; it says nothing about what is there. */
	is(operate(PG_OP_READLINKAT, 0, at("/absolute"), 9, at(buffer), PAGE), 11);
	is(operate(PG_OP_WRITE, (int)handle, at(buffer), 6, 0, 0), -EBADF_ERRNO);
}

static void read_only_paths(void)
{
	fails(open_path(file_path, 7, O_WRITE));
	fails(open_path(file_path, 7, 2));
	fails(open_path(file_path, 7, O_TRUNCATE));
	fails(open_path("/new", 4, O_WRITE | O_CREATE));
	fails(open_path("/new", 4, O_CREATE));
	fails(open_path("/", 1, O_TEMPORARY | O_WRITE));
	fails(operate(PG_OP_UNLINKAT, 0, at(file_path), 7, 0, 0));
	fails(operate(PG_OP_MKDIRAT, 0, at("/new"), 4, 0700, 0));
	fails(operate(PG_OP_RENAMEAT, 0, at(file_path), 7, at("/new"), 4));
	fails(operate(PG_OP_SYMLINKAT, 0, at("x"), 1, at("/new"), 4));

	int64_t handle = open_path(file_path, 7, 0);
	if (handle < 0)
		leave(99);
	fails(operate(PG_OP_WRITE, (int)handle, at(buffer), 6, 0, 0));
	fails(operate(PG_OP_FTRUNCATE, (int)handle, 0, 0, 0, 0));
}

/* More files than a process may have. */
static void all_handles(void)
{
	int64_t handle, last = -1;

	for (int i = 0; i < 100000 && (handle = open_path(file_path, 7, 0)) >= 0; i++)
		last = handle;
	is(last >= 3, 1);
	is(operate(PG_OP_CLOSE, (int)last, 0, 0, 0, 0), 0);
	is(open_path(file_path, 7, 0), last);
}

/* ---- operations in flight: standard input is a pipe that stays empty ---- */

static void busy_memory(void)
{
	const uint64_t rw = PG_PROT_READ | PG_PROT_WRITE;

	is(operate(PG_OP_MAP, 0, NOWHERE, PAGE, rw, 0), 0);
	push(PG_OP_READ, 0, NOWHERE, PAGE, PG_OFFSET_STREAM, 0);
	is(operate(PG_OP_UNMAP, 0, NOWHERE, PAGE, 0, 0), -EBUSY_ERRNO);
	is(operate(PG_OP_NOP, 0, 0, 0, 0, 0), 0);
}

static void end_with_all_in_flight(void)
{
	for (int i = 0; i < PG_SQ_DEPTH; i++)
		push(PG_OP_READ, 0, at(buffer), 1, PG_OFFSET_STREAM, 0);
	/* The loader may have taken one entry only. */
	while (pg_sq_full(&self->ring))
		__builtin_ia32_pause();
	push(PG_OP_POLL, 0, 1, 0, 0, 0);
	while (pg_sq_full(&self->ring))
		__builtin_ia32_pause();
	(void)pg_ring_set_deadline(&self->ring, UINT64_MAX - 1);
	while (atomic_load(&self->ring.sq_head) != atomic_load(&self->ring.sq_tail))
		__builtin_ia32_pause();
}

static void close_the_console(void)
{
	push(PG_OP_READ, 0, at(buffer), 1, PG_OFFSET_STREAM, 0);
	for (int h = 0; h < 3; h++)
		is(operate(PG_OP_CLOSE, h, 0, 0, 0, 0), 0);
	is(operate(PG_OP_WRITE, 1, at(constant), 8, PG_OFFSET_STREAM, 0), -EBADF_ERRNO);
}

static void cancel_everything(void)
{
	for (int i = 0; i < 200; i++) {
		struct pg_sqe entry = { .op = i % 2 ? PG_OP_READ : PG_OP_POLL,
					.user_data = (uint64_t)i % 7,
					.arg = { i % 2 ? at(buffer) : 1, 1, PG_OFFSET_STREAM } };
		struct pg_sqe cancel = { .op = PG_OP_CANCEL,
					 .user_data = 1000,
					 .arg = { (uint64_t)i % 9 } };
		struct pg_cqe done;

		if (pg_sq_push(&self->ring, sq, &entry))
			device(PG_DEV_DOORBELL, 1);
		while (pg_sq_full(&self->ring))
			__builtin_ia32_pause();
		if (pg_sq_push(&self->ring, sq, &cancel))
			device(PG_DEV_DOORBELL, 1);
		while (pg_sq_full(&self->ring))
			__builtin_ia32_pause();
		while (pg_cq_pop(&self->ring, cq, &done))
			;
	}
}

static const struct {
	const char *name;
	void (*run)(void);
} attacks[] = {
#define ATTACK(name)                                                                               \
	{                                                                                          \
#name, name                                                                        \
	}
	ATTACK(tail_out_of_bounds),
	ATTACK(tail_backwards),
	ATTACK(head_out_of_bounds),
	ATTACK(completions_not_taken),
	ATTACK(too_many_in_flight),
	ATTACK(loaders_fields),
	ATTACK(garbage_entries),
	ATTACK(unknown_operations),
	ATTACK(changing_entries),
	ATTACK(unknown_control),
	ATTACK(control_zero),
	ATTACK(nub_control),
	ATTACK(panic_with_escapes),
	ATTACK(wild_fault),
	ATTACK(fault_of_no_signal),
	ATTACK(fault_frames_in_a_circle),
	ATTACK(fault_frame_in_the_nub),
	ATTACK(fault_many_frames),
	ATTACK(greatest_status),
	ATTACK(least_status),
	ATTACK(device_page),
	ATTACK(kick_storm),
	ATTACK(jump_not_canonical),
	ATTACK(return_not_canonical),
	ATTACK(upcall_not_canonical),
	ATTACK(upcall_upper_half),
	ATTACK(upcall_null),
	ATTACK(upcall_nub),
	ATTACK(upcall_faults),
	ATTACK(upcall_never_ends),
	ATTACK(stack_pointer),
	ATTACK(stack_in_the_nub),
	ATTACK(no_gs),
	ATTACK(single_step),
	ATTACK(strange_flags),
	ATTACK(far_to_kernel_code),
	ATTACK(iret_to_kernel_code),
	ATTACK(hypercall),
	ATTACK(syscall_entry),
	ATTACK(halt_for_ever),
	ATTACK(compute_for_ever),
	ATTACK(smash_block),
	ATTACK(bad_handles),
	ATTACK(mappings),
	ATTACK(all_memory),
	ATTACK(all_tables),
	ATTACK(bad_buffers),
	ATTACK(paths),
	ATTACK(read_only_paths),
	ATTACK(all_handles),
	ATTACK(busy_memory),
	ATTACK(end_with_all_in_flight),
	ATTACK(close_the_console),
	ATTACK(cancel_everything),
};

void pg_entry(const struct pg_boot *boot, uint64_t index)
{
	const char *name;

	if (index != 0)
		change_entries();
	boot_block = boot;
	self = (struct pg_vcpu *)PG_VA_VCPU;
	sq = (struct pg_sqe *)((char *)self + PG_VCPU_SQ);
	cq = (struct pg_cqe *)((char *)self + PG_VCPU_CQ);
	self->upcall = at(upcall);
	name = (const char *)boot + boot->strings;
	name += length_of(name) + 1;
	for (unsigned i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		if (!same(name, attacks[i].name))
			continue;
		attacks[i].run();
		if (wrong)
			say_first();
		leave(wrong > 98 ? 98 : wrong);
	}
	leave(97);
}
