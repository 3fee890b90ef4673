/* The kernel has met something that can't be: say why, and end the machine. */
#ifndef PG_LIB_PANIC_H
#define PG_LIB_PANIC_H

/* `format` as in lib/format.h. Any vCPU, with any locks held: nothing is waited for. */
_Noreturn void pg_panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
