/* What becomes of a thread that writes where nobody reads, besides -EPIPE. */
#include "pipe.h"

/*
 * Nothing: signals of a thread to itself are not delivered, so it is as if SIGPIPE was
 * ignored. The task is the `task` of a struct pg_thread.
 */
void pg_pipe_broken(struct pg_task *task)
{
	(void)task;
}
