/*
 * A vCPU: its registers at the start, and the loop that runs it on its own thread.
 */
#ifndef UHYVE_VCPU_H
#define UHYVE_VCPU_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "error.h"
#include "kvm.h"
#include "nub.h"

struct kvm_run;
struct uhyve_vcpu;

/* Why the loop ended, or what the guest wants: handled by the VM, on the vCPU's thread. */
enum uhyve_leave {
	UHYVE_LEAVE_CONTROL, /* the guest wrote `value` (PG_CTL_*) to its control register */
	UHYVE_LEAVE_BROKEN,  /* the vCPU can't go on: `text` says why       */
};

struct uhyve_vcpu {
	unsigned index;
	int fd;
	struct kvm_run *run;
	uint32_t run_size;
	pthread_t thread;
	bool started;

	/* Set by anyone, before the thread is signalled: the loop ends. */
	_Atomic bool stop;
	/* Written by the vCPU's thread, read by anyone (relaxed). */
	_Atomic uint64_t exits_mmio, exits_signal, exits_other;

	/* Called on the vCPU's thread: a 32-bit write to the device page, at `offset`. */
	void (*device)(struct uhyve_vcpu *vcpu, uint64_t offset);
	/* Called on the vCPU's thread; the loop ends afterwards. */
	void (*leave)(struct uhyve_vcpu *vcpu, enum uhyve_leave why, uint32_t value,
		      const char *text);
	void *context;
};

/*
 * Create vCPU `index` in the VM `vm_fd` and set all its registers: it will start at
 * `entry` at CPL3. Returns 0 or a negative errno with a sentence.
 */
int uhyve_vcpu_init(struct uhyve_vcpu *vcpu, unsigned index, int vm_fd, const struct uhyve_kvm *kvm,
		    const struct uhyve_nub *nub, uint64_t cr3, uint64_t entry,
		    struct uhyve_error *error);
void uhyve_vcpu_free(struct uhyve_vcpu *vcpu);

/* Start the thread / ask it to end (any thread, any number of times) / wait for it. */
int uhyve_vcpu_start(struct uhyve_vcpu *vcpu, struct uhyve_error *error);
void uhyve_vcpu_stop(struct uhyve_vcpu *vcpu);
void uhyve_vcpu_join(struct uhyve_vcpu *vcpu);

/* TSC frequency of the guest, in kHz, or 0. */
uint64_t uhyve_vcpu_tsc_khz(const struct uhyve_vcpu *vcpu);

#endif
