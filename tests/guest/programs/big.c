/* More data than the smallest guest has memory. */
#include <stdio.h>

static volatile char data[64 << 20];

int main(void)
{
	data[sizeof(data) - 1] = 1;
	printf("%d\n", data[sizeof(data) - 1]);
	return 0;
}
