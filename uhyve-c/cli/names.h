/* Names of the guest's system calls. */
#ifndef UHYVE_CLI_NAMES_H
#define UHYVE_CLI_NAMES_H

#include <stdint.h>

/* The name of a system call that our kernel has; NULL for any other number. */
const char *syscall_name(uint32_t number);

#endif
