/* Says that it runs, and goes on for ever: computing, or asleep if there is an argument. */
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	(void)argv;
	puts("running");
	fflush(stdout);
	for (;;)
		if (argc > 1)
			sleep(1000);
}
