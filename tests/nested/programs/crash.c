/* Writes to address 8, from a function that the fault report shall name. */
#include <stdint.h>

__attribute__((noinline)) static void write_to(volatile uintptr_t address)
{
	*(volatile int *)address = 1;
}

int main(void)
{
	write_to(8);
	return 0;
}
