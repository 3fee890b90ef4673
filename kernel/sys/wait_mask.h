/*
 * The signal mask of ppoll, pselect6 and epoll_pwait: what is to be blocked while they wait.
 * It lies in the call's frame; signals are not delivered to a thread that waits, so nobody
 * looks at it yet.
 */
#ifndef PG_WAIT_MASK_H
#define PG_WAIT_MASK_H

#include <stdbool.h>
#include <stdint.h>

struct pg_wait_mask {
	bool set; /* there is one; otherwise the thread's own holds on */
	uint64_t blocked;
};

/* From the program: `address` may be 0. 0, -EINVAL (`size` is not 8), or -EFAULT. */
int pg_wait_mask_read(struct pg_wait_mask *mask, uint64_t address, uint64_t size);

#endif
