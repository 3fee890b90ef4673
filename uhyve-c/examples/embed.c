/* Run a unikernel from a program of your own: `embed IMAGE [ARGUMENT...]`. */
#include <stdio.h>
#include <uhyve-c/uhyve.h>

int main(int argc, char **argv)
{
	struct uhyve_error error = { 0 };
	struct uhyve_result result;
	uhyve_vm *vm = argc > 1 ? uhyve_vm_new(argv[1], argv + 1, NULL, &error) : NULL;

	if (!vm || uhyve_vm_run(vm, &result, &error))
		fprintf(stderr, "embed: %s\n", argc > 1 ? error.text : "which image?");
	else
		printf("exit status %d\n", result.status);
	uhyve_vm_free(vm);
	return error.code || argc < 2;
}
