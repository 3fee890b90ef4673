#include "vcpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi/layout.h"

/* Control registers (SDM vol. 3, 2.5) and EFER. */
#define CR0_PE         (1u << 0)
#define CR0_MP         (1u << 1)
#define CR0_ET         (1u << 4)
#define CR0_NE         (1u << 5)
#define CR0_WP         (1u << 16)
#define CR0_AM         (1u << 18)
#define CR0_PG         (1u << 31)
#define CR4_PAE        (1u << 5)
#define CR4_OSFXSR     (1u << 9)
#define CR4_OSXMMEXCPT (1u << 10)
#define CR4_FSGSBASE   (1u << 16)
#define CR4_OSXSAVE    (1u << 18)
#define EFER_SCE       (1u << 0)
#define EFER_LME       (1u << 8)
#define EFER_LMA       (1u << 10)
#define EFER_NX        (1u << 11)

#define MSR_STAR           0xc0000081
#define MSR_LSTAR          0xc0000082
#define MSR_SYSCALL_MASK   0xc0000084
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_TSC_AUX        0xc0000103

#define RFLAGS_FIXED 0x2
#define RFLAGS_IF    0x200

/* Offset and fields of the spurious-interrupt vector register (SDM vol. 3, 11.9). */
#define APIC_SVR        0xf0
#define APIC_SVR_ENABLE 0x100

static int fail(struct uhyve_error *error, const char *what)
{
	return uhyve_fail(error, -errno, "KVM refuses to %s: %s", what, strerror(errno));
}

static int set_cpuid(struct uhyve_vcpu *vcpu, const struct uhyve_kvm *kvm,
		     struct uhyve_error *error)
{
	size_t size = sizeof(*kvm->cpuid) + kvm->cpuid->nent * sizeof(kvm->cpuid->entries[0]);
	struct kvm_cpuid2 *cpuid = malloc(size);

	if (!cpuid)
		return uhyve_fail(error, -ENOMEM, "not enough memory for CPUID");
	memcpy(cpuid, kvm->cpuid, size);
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		/* Initial APIC ids: the host's are not ours. */
		if (entry->function == 1)
			entry->ebx = (entry->ebx & 0xffffff) | vcpu->index << 24;
		else if (entry->function == 0xb || entry->function == 0x1f)
			entry->edx = vcpu->index;
	}
	int result = ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) ? fail(error, "set CPUID") : 0;
	free(cpuid);
	return result;
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, uint8_t dpl, bool code)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.dpl = dpl,
		.db = !code,
		.s = 1,
		.l = code,
		.g = 1,
	};
}

static int set_sregs(struct uhyve_vcpu *vcpu, const struct uhyve_nub *nub, uint64_t cr3,
		     struct uhyve_error *error)
{
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return fail(error, "read system registers");
	sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	sregs.cr3 = cr3;
	sregs.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE | CR4_OSXSAVE;
	sregs.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX;
	/* Types: 11 execute/read, 3 read/write, each accessed. */
	sregs.cs = segment(PG_SEL_UCODE, 11, 3, true);
	sregs.ds = sregs.es = sregs.ss = segment(PG_SEL_UDATA, 3, 3, false);
	sregs.fs = sregs.gs = segment(PG_SEL_UDATA, 3, 3, false);
	sregs.gs.base = PG_VA_VCPU + (uint64_t)vcpu->index * PG_VCPU_STRIDE;
	sregs.tr = (struct kvm_segment){
		.base = nub->tss,
		.limit = nub->tss_limit,
		.selector = PG_SEL_TSS,
		.type = 11, /* busy 64-bit TSS */
		.present = 1,
	};
	sregs.ldt = (struct kvm_segment){ .unusable = 1 };
	sregs.gdt = (struct kvm_dtable){ .base = nub->gdt, .limit = nub->gdt_limit };
	sregs.idt = (struct kvm_dtable){ .base = nub->idt, .limit = nub->idt_limit };
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs))
		return fail(error, "set system registers");
	return 0;
}

static int set_msrs(struct uhyve_vcpu *vcpu, const struct uhyve_nub *nub, struct uhyve_error *error)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[5];
	} msrs = {
		.head.nmsrs = 5,
		.entries = {
			/* sysret takes user CS from bits 63:48 + 16, syscall CS from 47:32. */
			{ .index = MSR_STAR, .data = (uint64_t)(PG_SEL_UCODE - 16) << 48 |
						     (uint64_t)PG_SEL_KCODE << 32 },
			{ .index = MSR_LSTAR, .data = nub->lstar },
			/* kvm_pvm stays at CPL3, where a cleared IF could not be set again. */
			{ .index = MSR_SYSCALL_MASK, .data = 0 },
			{ .index = MSR_KERNEL_GS_BASE,
			  .data = PG_VA_VCPU + (uint64_t)vcpu->index * PG_VCPU_STRIDE },
			{ .index = MSR_TSC_AUX, .data = vcpu->index },
		},
	};

	int done = ioctl(vcpu->fd, KVM_SET_MSRS, &msrs);
	if (done < 0)
		return fail(error, "set model-specific registers");
	/* TSC_AUX comes last: rdpid and rdtscp are a luxury. */
	if (done < 4)
		return uhyve_fail(error, -ENOTSUP,
				  "KVM refuses to set model-specific register 0x%x",
				  msrs.entries[done].index);
	return 0;
}

/*
 * Guest TSC = host TSC: then both sides speak of the same clock. Not all KVMs know the
 * attribute; kvm_pvm doesn't need it, since its guests read the host's TSC anyway.
 */
static void set_tsc(struct uhyve_vcpu *vcpu)
{
	uint64_t offset = 0;
	struct kvm_device_attr attribute = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)&offset,
	};

	(void)ioctl(vcpu->fd, KVM_SET_DEVICE_ATTR, &attribute);
}

static int set_state(struct uhyve_vcpu *vcpu, const struct uhyve_kvm *kvm, uint64_t entry,
		     struct uhyve_error *error)
{
	struct kvm_xcrs xcrs = { .nr_xcrs = 1 };
	struct kvm_lapic_state apic;
	struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct kvm_regs regs = {
		.rip = entry,
		.rflags = RFLAGS_FIXED | RFLAGS_IF,
		.rdi = PG_VA_BOOT,
		.rsi = vcpu->index,
		.rsp = PG_VA_VCPU + (uint64_t)(vcpu->index + 1) * PG_VCPU_STRIDE - 8,
	};

	xcrs.xcrs[0].value = kvm->xcr0;
	if (ioctl(vcpu->fd, KVM_SET_XCRS, &xcrs))
		return fail(error, "set XCR0");

	if (ioctl(vcpu->fd, KVM_GET_LAPIC, &apic))
		return fail(error, "read the local APIC");
	uint32_t svr = APIC_SVR_ENABLE | PG_VECTOR_SPURIOUS;
	memcpy(apic.regs + APIC_SVR, &svr, sizeof(svr));
	if (ioctl(vcpu->fd, KVM_SET_LAPIC, &apic))
		return fail(error, "set the local APIC");

	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		return fail(error, "set registers");
	if (ioctl(vcpu->fd, KVM_SET_MP_STATE, &runnable))
		return fail(error, "start a vCPU");
	return 0;
}

int uhyve_vcpu_init(struct uhyve_vcpu *vcpu, unsigned index, int vm_fd, const struct uhyve_kvm *kvm,
		    const struct uhyve_nub *nub, uint64_t cr3, uint64_t entry,
		    struct uhyve_error *error)
{
	int result;

	vcpu->index = index;
	vcpu->run = NULL;
	vcpu->run_size = kvm->run_size;
	vcpu->fd = ioctl(vm_fd, KVM_CREATE_VCPU, index);
	if (vcpu->fd < 0)
		return uhyve_fail(error, -errno, "KVM refuses to create vCPU %u: %s", index,
				  strerror(errno));
	vcpu->run = mmap(NULL, vcpu->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		result = fail(error, "share a vCPU's run area");
		goto fail;
	}
	/* CPUID first: it decides what the other registers may hold. */
	if ((result = set_cpuid(vcpu, kvm, error)) || (result = set_sregs(vcpu, nub, cr3, error)) ||
	    (result = set_msrs(vcpu, nub, error)) || (result = set_state(vcpu, kvm, entry, error)))
		goto fail;
	set_tsc(vcpu);
	return 0;

fail:
	uhyve_vcpu_free(vcpu);
	return result;
}

void uhyve_vcpu_free(struct uhyve_vcpu *vcpu)
{
	if (vcpu->run)
		(void)munmap(vcpu->run, vcpu->run_size);
	if (vcpu->fd >= 0)
		(void)close(vcpu->fd);
	vcpu->run = NULL;
	vcpu->fd = -1;
}

uint64_t uhyve_vcpu_tsc_khz(const struct uhyve_vcpu *vcpu)
{
	int khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);

	return khz > 0 ? (uint64_t)khz : 0;
}

static void count(_Atomic uint64_t *counter)
{
	/* One writer: no need for an atomic increment. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/* KVM can't go on: say so in words, with where the vCPU is. */
static void broken(struct uhyve_vcpu *vcpu, const char *what)
{
	struct kvm_regs regs = { 0 };
	struct kvm_sregs sregs = { 0 };
	char text[256];

	(void)ioctl(vcpu->fd, KVM_GET_REGS, &regs);
	(void)ioctl(vcpu->fd, KVM_GET_SREGS, &sregs);
	(void)snprintf(text, sizeof(text), "vCPU %u: %s (rip 0x%llx, rsp 0x%llx, cs 0x%x)",
		       vcpu->index, what, (unsigned long long)regs.rip,
		       (unsigned long long)regs.rsp, sregs.cs.selector);
	vcpu->leave(vcpu, UHYVE_LEAVE_BROKEN, 0, text);
}

/* True: go on. */
static bool handle_mmio(struct uhyve_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint32_t value;

	count(&vcpu->exits_mmio);
	uint64_t offset = run->mmio.phys_addr - PG_GPA_DEVICE; /* huge if below */

	if (!run->mmio.is_write) {
		memset(run->mmio.data, 0xff, sizeof(run->mmio.data)); /* nothing to read there */
		return true;
	}
	if (offset >= PG_PAGE_SIZE || run->mmio.len != sizeof(value))
		return true;
	memcpy(&value, run->mmio.data, sizeof(value));
	if (offset == PG_DEV_CONTROL) {
		vcpu->leave(vcpu, UHYVE_LEAVE_CONTROL, value, NULL);
		return false;
	}
	vcpu->device(vcpu, offset);
	return true;
}

/* How often in a row KVM_RUN may say EFAULT: see "flushing" in mmu.c. */
#define FAULT_RETRIES 1000

static void run(struct uhyve_vcpu *vcpu)
{
	unsigned faults = 0;

	while (!atomic_load(&vcpu->stop)) {
		char text[96];

		if (ioctl(vcpu->fd, KVM_RUN, 0) < 0) {
			if (errno == EINTR || errno == EAGAIN) {
				count(&vcpu->exits_signal);
				continue;
			}
			if (errno == EFAULT && faults++ < FAULT_RETRIES)
				continue;
			(void)snprintf(text, sizeof(text), "KVM_RUN failed: %s", strerror(errno));
			broken(vcpu, text);
			return;
		}
		faults = 0;
		switch (vcpu->run->exit_reason) {
		case KVM_EXIT_MMIO:
			if (!handle_mmio(vcpu))
				return;
			break;
		case KVM_EXIT_INTR:
			count(&vcpu->exits_signal);
			break;
		case KVM_EXIT_SHUTDOWN:
			count(&vcpu->exits_other);
			broken(vcpu, "triple fault");
			return;
		case KVM_EXIT_INTERNAL_ERROR:
			count(&vcpu->exits_other);
			(void)snprintf(text, sizeof(text), "KVM internal error %u",
				       vcpu->run->internal.suberror);
			broken(vcpu, text);
			return;
		default:
			count(&vcpu->exits_other);
			(void)snprintf(text, sizeof(text), "unexpected KVM exit %u",
				       vcpu->run->exit_reason);
			broken(vcpu, text);
			return;
		}
	}
}

static void *thread_main(void *argument)
{
	run(argument);
	return NULL;
}

int uhyve_vcpu_start(struct uhyve_vcpu *vcpu, struct uhyve_error *error)
{
	sigset_t all, old;
	char name[16];

	/* The new thread inherits the mask: everything but the kick is blocked there. */
	(void)sigfillset(&all);
	(void)sigdelset(&all, UHYVE_SIGNAL);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	int result = pthread_create(&vcpu->thread, NULL, thread_main, vcpu);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (result)
		return uhyve_fail(error, -result, "cannot start a thread for vCPU %u: %s",
				  vcpu->index, strerror(result));
	vcpu->started = true;
	(void)snprintf(name, sizeof(name), "uhyve-vcpu%u", vcpu->index);
	(void)pthread_setname_np(vcpu->thread, name);
	return 0;
}

void uhyve_vcpu_stop(struct uhyve_vcpu *vcpu)
{
	atomic_store(&vcpu->stop, true);
	/* KVM looks at immediate_exit after the signal could no longer be missed. */
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	if (vcpu->started)
		(void)pthread_kill(vcpu->thread, UHYVE_SIGNAL);
}

void uhyve_vcpu_join(struct uhyve_vcpu *vcpu)
{
	if (vcpu->started)
		(void)pthread_join(vcpu->thread, NULL);
	vcpu->started = false;
}
