/* What becomes of a thread that writes where nobody reads, besides -EPIPE. */
#include "core/container.h"
#include "pipe.h"
#include "signal/signal.h"
#include "thread/thread.h"

void pg_pipe_broken(struct pg_task *task)
{
	(void)pg_signal_send_thread(pg_container_of(task, struct pg_thread, task), PG_SIGPIPE);
}
