/*
 * The process: there is one. What its threads share.
 */
#ifndef PG_PROCESS_H
#define PG_PROCESS_H

#include <stdint.h>

#include "abi/boot.h"

extern const struct pg_boot *pg_boot; /* never NULL after boot                */

#define PG_PID 1

/* End the program with `status` (0-255). */
_Noreturn void pg_process_exit(int status);

/* End it because of `signal`, with a fault report for `thread`. */
struct pg_thread;
_Noreturn void pg_process_kill(int signal, struct pg_thread *thread);

/* A task has made a system call (SIGSYS), and its registers were saved in `thread`. */
_Noreturn void pg_process_kill_task(struct pg_thread *thread);

#endif
