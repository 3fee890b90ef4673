/*
 * Traces: what the guest's executors wrote into the rings of abi/trace.h, read after the VM
 * has ended. The guest may have written anything there, and to the count of events too.
 */
#ifndef UHYVE_TRACE_H
#define UHYVE_TRACE_H

#include <stdint.h>

#include "abi/boot.h"
#include "mmu.h"
#include "uhyve-c/uhyve.h"

/* Map the traces of `vcpus` vCPUs, `events` each (0: nothing). 0 or -ENOMEM. */
int uhyve_trace_map(struct uhyve_mmu *mmu, unsigned vcpus, uint32_t events);

/*
 * Hand out what is in there, as uhyve_vm_trace() says. `events` as it was mapped, `heads`: how
 * many each vCPU has written, as it says. No vCPU may run any more.
 */
int uhyve_trace_read(const struct uhyve_mmu *mmu, const struct pg_clock *clock, unsigned vcpus,
		     uint32_t events, const uint64_t *heads,
		     int (*event)(void *context, const struct uhyve_trace_event *event),
		     void *context, struct uhyve_trace_summary *summary);

#endif
