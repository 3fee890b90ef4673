/* Shows its arguments and environment; the first argument, if a number, is its status. */
#include <stdio.h>
#include <stdlib.h>

extern char **environ;

int main(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		printf("argv[%d]=%s\n", i, argv[i]);
	if (argv[argc])
		return 99;
	for (char **at = environ; *at; at++)
		printf("env %s\n", *at);
	return argc > 1 ? atoi(argv[1]) : 0;
}
