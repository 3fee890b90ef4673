/*
 * Fault reports: what ended a program, in words a person can use.
 */
#ifndef UHYVE_FAULT_H
#define UHYVE_FAULT_H

#include <stddef.h>

#include "abi/vcpu.h"
#include "image.h"
#include "mmu.h"

/*
 * Write the report for `fault` (the guest's word: not trusted) into `text`: one line
 * with reason and address, the registers, and a backtrace along the frame pointers,
 * with names where the image has symbols. Reads guest memory through `mmu` with the
 * guest's permissions; the vCPUs have stopped.
 */
void uhyve_fault_report(const struct pg_fault *fault, const struct uhyve_image *image,
			const struct uhyve_mmu *mmu, char *text, size_t size);

#endif
