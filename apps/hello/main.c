/* The smallest program that says something about where it runs. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	printf("Hello from Pagurus, on %ld vCPU(s).\n", sysconf(_SC_NPROCESSORS_ONLN));
	return 0;
}
