/*
 * A thread's vector registers in the program's memory, in XSAVE's standard format. In the
 * kernel's own they are as cpu.c likes them.
 *
 * All are for the thread whose turn it is on this vCPU, and see to it that its registers are
 * in the processor.
 */
#ifndef PG_ARCH_VECTORS_H
#define PG_ARCH_VECTORS_H

#include <stdint.h>

struct pg_thread;

#define PG_VECTORS_MIN 576 /* legacy area and header                            */

/* The components there are (XCR0), and the bytes that all of them take. */
uint64_t pg_vectors_features(void);
uint32_t pg_vectors_size(void);

/* Write them to `address`, 64-byte aligned. -EFAULT. */
int pg_vectors_to_user(struct pg_thread *thread, uint64_t address);

/*
 * Load those of `features` from `address`, the others get their initial state. 0 features: what
 * FXSAVE knows, in its format. -EFAULT, also for what the processor refuses: then all
 * are initial.
 */
int pg_vectors_from_user(struct pg_thread *thread, uint64_t address, uint64_t features);

/* The initial state of all. */
void pg_vectors_reset(struct pg_thread *thread);

#endif
