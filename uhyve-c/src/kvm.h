/*
 * /dev/kvm: opening it, what it must be able to do, and the few ioctls that more
 * than one module needs. What differs between kinds of host is probed here.
 */
#ifndef UHYVE_KVM_H
#define UHYVE_KVM_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

struct kvm_cpuid2;

struct uhyve_kvm {
	int fd;
	uint32_t run_size;        /* bytes of a vCPU's struct kvm_run       */
	struct kvm_cpuid2 *cpuid; /* what KVM supports; owned               */
	uint64_t xcr0;            /* states we switch on                    */
	uint32_t xsave_size;      /* bytes XSAVEC (or XSAVE) needs for them */
	uint32_t xsave_standard;  /* bytes XSAVE needs                      */
	bool xsavec, xgetbv1;
	uint32_t hwcap, hwcap2;
};

/*
 * Open /dev/kvm and check that all we need is there. -ENOENT, -EACCES, -ENOTSUP ...
 * with a sentence that says what to do.
 */
int uhyve_kvm_open(struct uhyve_kvm *kvm, struct uhyve_error *error);

/*
 * Find out about the processor: fills in everything from `cpuid` on. Where the host is a
 * guest itself this is slow (each CPUID instruction is an exit, and KVM executes dozens),
 * and it touches nothing else: it may run on a thread of its own.
 */
int uhyve_kvm_probe(struct uhyve_kvm *kvm, struct uhyve_error *error);
void uhyve_kvm_close(struct uhyve_kvm *kvm);

#endif
