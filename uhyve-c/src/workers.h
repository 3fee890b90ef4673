/*
 * Worker threads: they carry out requests that may block, and put them into the
 * engine's inbox. A thread is started when there is work and nobody is idle, up to
 * UHYVE_WORKERS_MAX; it then stays until the end.
 */
#ifndef UHYVE_WORKERS_H
#define UHYVE_WORKERS_H

#include <stdbool.h>

#include "inbox.h"

#define UHYVE_WORKERS_MAX 32

struct uhyve_workers;

/* NULL when memory is short. */
struct uhyve_workers *uhyve_workers_new(struct uhyve_inbox *inbox);

/* Have `request` carried out; it comes back through the inbox. Any thread. */
void uhyve_workers_submit(struct uhyve_workers *workers, struct uhyve_request *request);

/*
 * True: the request had not begun, and comes back through the inbox with -ECANCELED.
 * False: it is running, or it is on its way back.
 */
bool uhyve_workers_cancel(struct uhyve_workers *workers, struct uhyve_request *request);

/*
 * Take back all work: what has not begun ends with -ECANCELED, a system call that waits
 * for another program is interrupted. On return every request is in the inbox, and all
 * threads are gone. Nothing may be submitted afterwards. Frees. NULL is allowed.
 */
void uhyve_workers_stop(struct uhyve_workers *workers);

#endif
