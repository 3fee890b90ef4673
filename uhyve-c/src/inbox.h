/*
 * The engine's inbox: finished requests, put in by any thread, taken out by the engine.
 *
 * A stack without locks. `asleep` and `head` follow the protocol of ring.h: who puts
 * publishes the request, then looks at `asleep`; the engine publishes `asleep`, then
 * looks at `head`. Both sequentially consistent, so no wake-up is lost.
 */
#ifndef UHYVE_INBOX_H
#define UHYVE_INBOX_H

#include <stdatomic.h>
#include <stdbool.h>

#include "request.h"

struct uhyve_inbox {
	_Atomic(struct uhyve_request *) head; /* newest first; linked by next */
	_Atomic bool asleep;                  /* written by the engine        */
	int wake_fd; /* eventfd, owned by the engine; non-blocking            */
};

/* Hand a request back; its `result` is set. Any thread. */
void uhyve_inbox_put(struct uhyve_inbox *inbox, struct uhyve_request *request);

/* Wake the engine, whatever it does. Any thread. */
void uhyve_inbox_wake(struct uhyve_inbox *inbox);

/* Everything put so far, oldest first, linked by next; NULL: nothing. Engine thread. */
struct uhyve_request *uhyve_inbox_take(struct uhyve_inbox *inbox);

#endif
