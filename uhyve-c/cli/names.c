#include "names.h"

#include <stddef.h>

/* Made from the kernel's own table: nothing to keep in step. */
static const char *const names[] = {
#define PG_SYSCALL(number, name, kind) [number] = #name,
#include "sys/syscalls.def"
#undef PG_SYSCALL
};

const char *syscall_name(uint32_t number)
{
	return number < sizeof(names) / sizeof(names[0]) ? names[number] : NULL;
}
