/*
 * Does one forbidden thing, named by the first argument, in a function of that name, and
 * says before at which address it will be noticed ("at 0x...", if that is known).
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FAULT(name)                                                                                \
	__attribute__((noinline, used)) void fault_##name(void);                                   \
	void fault_##name(void)

#define RETURN 0xc3 /* the machine instruction */

static const char constant[16] = "constant";
static char data[16] = { (char)RETURN };
static volatile int zero;

static void announce(const void *address)
{
	printf("at 0x%lx\n", (unsigned long)address);
	fflush(stdout);
}

static void write_to(uint64_t address)
{
	announce((void *)address);
	*(volatile char *)address = 1;
}

static void execute(void *address)
{
	announce(address);
	((void (*)(void))address)();
	__asm__ volatile(""); /* not a tail call */
}

/* ---- memory ---- */

FAULT(text)
{
	write_to((uint64_t)fault_text);
}

FAULT(rodata)
{
	write_to((uint64_t)constant);
}

FAULT(nub)
{
	write_to(0x700000000000);
}

FAULT(nub_tables)
{
	write_to(0x700000001000);
}

FAULT(nub_stack)
{
	write_to(0x700000002ff8);
}

FAULT(nub_read)
{
	announce((void *)0x700000001000);
	(void)*(volatile char *)0x700000001000;
}

FAULT(nub_call)
{
	execute((void *)0x700000000000);
}

FAULT(frame)
{
	write_to(0x700000401ff8);
}

FAULT(boot)
{
	write_to(0x700000800000);
}

FAULT(lstar)
{
	write_to(0x700000901000);
}

FAULT(kernel_guard)
{
	write_to(0x700000407ff8);
}

FAULT(null_read)
{
	announce(NULL);
	(void)*(volatile char *)(uintptr_t)zero;
}

FAULT(null_write)
{
	write_to((uint64_t)zero);
}

FAULT(null_call)
{
	execute((void *)(uintptr_t)zero);
}

FAULT(execute_stack)
{
	char code[16] = { (char)RETURN };

	execute(code);
}

FAULT(execute_heap)
{
	char *code = malloc(16);

	code[0] = (char)RETURN;
	execute(code);
}

FAULT(execute_data)
{
	execute(data);
}

/* Written, then made executable: from then on it can't be written. */
FAULT(jit_write)
{
	char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	code[0] = (char)RETURN;
	if (mprotect(code, 4096, PROT_READ | PROT_EXEC))
		exit(98);
	((void (*)(void))code)();
	write_to((uint64_t)code);
}

FAULT(unmapped)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	page[0] = 1;
	munmap(page, 4096);
	write_to((uint64_t)page);
}

FAULT(no_access)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	page[0] = 1;
	mprotect(page, 4096, PROT_NONE);
	write_to((uint64_t)page);
}

FAULT(upper_half)
{
	*(volatile char *)0xffff800000000000 = 1;
}

FAULT(not_canonical)
{
	*(volatile char *)0x8000000000000000 = 1;
}

FAULT(call_not_canonical)
{
	((void (*)(void))0x8000000000000000)();
	__asm__ volatile("");
}

__attribute__((noinline)) static unsigned recurse(unsigned depth)
{
	volatile char local[256];

	local[depth % 256] = (char)depth;
	/* Never true, but the compiler doesn't know. */
	return depth == UINT32_MAX && zero ? 0 : recurse(depth + 1) + (unsigned)local[0];
}

FAULT(stack)
{
	zero = (int)recurse(0);
}

static void *overflow(void *argument)
{
	fault_stack();
	return argument;
}

FAULT(thread_stack)
{
	pthread_t thread;

	pthread_create(&thread, NULL, overflow, NULL);
	pthread_join(thread, NULL);
}

/* ---- instructions ---- */

FAULT(ud2)
{
	__asm__ volatile("ud2");
}

FAULT(division)
{
	__asm__ volatile("idivl %0" : : "r"(zero), "a"(1), "d"(0) : "cc");
}

FAULT(cli)
{
	__asm__ volatile("cli");
}

FAULT(hlt)
{
	__asm__ volatile("hlt");
}

FAULT(mov_cr3)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(0ul));
}

FAULT(read_cr0)
{
	uint64_t value;

	__asm__ volatile("mov %%cr0, %0" : "=r"(value));
}

FAULT(lgdt)
{
	const char table[10] = { 0 };

	__asm__ volatile("lgdt %0" : : "m"(table));
}

FAULT(lidt)
{
	const char table[10] = { 0 };

	__asm__ volatile("lidt %0" : : "m"(table));
}

FAULT(wrmsr)
{
	__asm__ volatile("wrmsr" : : "a"(0), "d"(0), "c"(0xc0000082));
}

FAULT(out)
{
	__asm__ volatile("outb %0, %1" : : "a"((char)0), "d"((short)0x3f8));
}

FAULT(in)
{
	char value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "d"((short)0x60));
}

FAULT(invlpg)
{
	__asm__ volatile("invlpg (%0)" : : "r"(data));
}

FAULT(swapgs)
{
	__asm__ volatile("swapgs");
}

FAULT(int3)
{
	__asm__ volatile("int3");
}

FAULT(int80)
{
	__asm__ volatile("int $0x80" : : "a"(20));
}

FAULT(int_wake)
{
	__asm__ volatile("int $0x20");
}

/* Divide by zero with the exception unmasked. */
FAULT(sse)
{
	unsigned control = 0x1f80 & ~0x200u;
	float one = 1, nothing = (float)zero;

	__asm__ volatile("ldmxcsr %1; divss %2, %0" : "+x"(one) : "m"(control), "x"(nothing));
}

FAULT(abort)
{
	abort();
}

FAULT(raise)
{
	raise(SIGTERM);
}

static const struct {
	const char *name;
	void (*run)(void);
} faults[] = {
#define ENTRY(name)                                                                                \
	{                                                                                          \
#name, fault_##name                                                                \
	}
	ENTRY(text),
	ENTRY(rodata),
	ENTRY(nub),
	ENTRY(nub_tables),
	ENTRY(nub_stack),
	ENTRY(nub_read),
	ENTRY(nub_call),
	ENTRY(frame),
	ENTRY(boot),
	ENTRY(lstar),
	ENTRY(kernel_guard),
	ENTRY(null_read),
	ENTRY(null_write),
	ENTRY(null_call),
	ENTRY(execute_stack),
	ENTRY(execute_heap),
	ENTRY(execute_data),
	ENTRY(jit_write),
	ENTRY(unmapped),
	ENTRY(no_access),
	ENTRY(upper_half),
	ENTRY(not_canonical),
	ENTRY(call_not_canonical),
	ENTRY(stack),
	ENTRY(thread_stack),
	ENTRY(ud2),
	ENTRY(division),
	ENTRY(cli),
	ENTRY(hlt),
	ENTRY(mov_cr3),
	ENTRY(read_cr0),
	ENTRY(lgdt),
	ENTRY(lidt),
	ENTRY(wrmsr),
	ENTRY(out),
	ENTRY(in),
	ENTRY(invlpg),
	ENTRY(swapgs),
	ENTRY(int3),
	ENTRY(int80),
	ENTRY(int_wake),
	ENTRY(sse),
	ENTRY(abort),
	ENTRY(raise),
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(faults) / sizeof(faults[0]); i++) {
		if (strcmp(argv[1], faults[i].name))
			continue;
		faults[i].run();
		puts("nothing happened");
		return 97;
	}
	return 96;
}
