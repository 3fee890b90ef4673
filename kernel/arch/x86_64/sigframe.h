/*
 * What a handler finds on the stack, and how a thread gets back from it: Linux's rt_sigframe.
 *
 *	higher addresses
 *	  ... the interrupted code's stack, and 128 bytes below it that are its own (red zone)
 *	  magic 2 (4 bytes)
 *	  vector registers, as XSAVE writes them, 64-byte aligned; magic 1 in what XSAVE leaves
 *	  siginfo (128)
 *	  ucontext (304): flags, link, alternate stack, registers, mask
 *	  return address: the restorer, which calls rt_sigreturn    <- rsp, 16n + 8
 *
 * On an alternate stack the frame begins at its upper end.
 */
#ifndef PG_ARCH_SIGFRAME_H
#define PG_ARCH_SIGFRAME_H

#include <stdint.h>

#include "signal/signal.h"

#define PG_VECTOR_GP 13
#define PG_VECTOR_PF 14

/*
 * Build the frame for `action`'s handler, and have the thread enter that: registers and vector
 * registers change, mask and pending signals don't. `mask` is the one to go back to. All of the
 * thread's registers are valid; it is on this vCPU. -EFAULT: no room, or no address to go to.
 */
int pg_arch_signal_frame(struct pg_thread *thread, const struct pg_siginfo *info,
			 const struct pg_sigaction *action, uint64_t mask);

/*
 * In rt_sigreturn: put back what the frame above rsp says, which may be anything. The mask goes
 * to `*mask`. -EFAULT: it is not a frame; registers are unchanged, vector registers initial.
 */
int pg_arch_signal_return(struct pg_thread *thread, uint64_t *mask);

/* What Linux tells of the thread's last exception; `info->signal` included. On its vCPU. */
void pg_arch_fault_info(struct pg_thread *thread, struct pg_siginfo *info);

/* What a frame needs of a stack, at most: AT_MINSIGSTKSZ. */
uint32_t pg_arch_signal_frame_max(void);

/* Linux's signal for an exception. */
int pg_arch_signal_of(uint64_t vector);

#endif
