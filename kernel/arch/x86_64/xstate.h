/*
 * Vector registers at a switch of threads: from the processor to the thread, and back.
 *
 * XSAVE and XRSTOR do all there is, and take some 400 cycles for it. But most threads use
 * nothing beyond x87 and SSE, or have cleared the upper halves of the wider registers as
 * compilers do (vzeroupper). The processor knows (XINUSE, SDM vol. 1, 13.6): then FXSAVE
 * does. And most do nothing with x87 but leave it as they found it: no value on its stack, and
 * the same control and status words as the thread before. Then only the 16 SSE registers
 * are loaded, by hand. (What is not exchanged then is where the last x87 instruction was:
 * it means something only while an x87 exception is pending.)
 *
 * What is in the thread's area is in XSAVE's format either way.
 */
#ifndef PG_ARCH_XSTATE_H
#define PG_ARCH_XSTATE_H

struct pg_cpu;
struct pg_thread;

/* The processor's registers to the thread whose they are. */
void pg_xstate_save(struct pg_cpu *cpu, struct pg_thread *thread);

/* The thread's registers into the processor; nobody needs what is there. */
void pg_xstate_load(struct pg_cpu *cpu, const struct pg_thread *thread);

/* The initial state of all. */
void pg_xstate_reset(struct pg_cpu *cpu);

#endif
