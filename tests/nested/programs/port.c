/*
 * Runs in the emulated machine, not in a guest: port COUNT. A virtual machine of its own writes
 * COUNT times to a port, each of which returns from KVM_RUN: the hypercall of loaders whose
 * guests live at CPL0. Ours live at CPL3 and have no ports, so this needs no more than a vCPU
 * in real mode. Exit status 1: something else happened.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define AT     0x1000
#define PORT   0x10
#define FINISH 0x11

/* 1: out %al, $PORT; dec %ecx; jnz 1b; out %al, $FINISH */
static const unsigned char code[] = { 0xe6, PORT, 0x66, 0x49, 0x75, 0xfa, 0xe6, FINISH };

static int run(int fd, const struct kvm_run *state, unsigned long count)
{
	for (unsigned long i = 0;; i++) {
		if (ioctl(fd, KVM_RUN, 0) || state->exit_reason != KVM_EXIT_IO)
			return 1;
		if (state->io.port == FINISH)
			return i != count;
	}
}

int main(int argc, char **argv)
{
	unsigned long count = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	/* An APIC, unused: without one, KVM would patch Linux's code (see keep-vm.c). */
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	struct kvm_userspace_memory_region region = { .guest_phys_addr = AT, .memory_size = 4096 };
	struct kvm_regs regs = { .rip = AT, .rcx = count, .rflags = 2 };
	struct kvm_sregs sregs;
	int kvm = open("/dev/kvm", O_RDWR), vm = -1, vcpu = -1;
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (!count || count > 0xffffffff)
		return 2;
	if (size <= 0 || page == MAP_FAILED || (vm = ioctl(kvm, KVM_CREATE_VM, 0)) < 0 ||
	    ioctl(vm, KVM_ENABLE_CAP, &split))
		goto fail;
	memcpy(page, code, sizeof(code));
	region.userspace_addr = (unsigned long)page;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) ||
	    (vcpu = ioctl(vm, KVM_CREATE_VCPU, 0)) < 0 || ioctl(vcpu, KVM_GET_SREGS, &sregs))
		goto fail;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	struct kvm_run *state =
		mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (state == MAP_FAILED || ioctl(vcpu, KVM_SET_SREGS, &sregs) ||
	    ioctl(vcpu, KVM_SET_REGS, &regs))
		goto fail;
	return run(vcpu, state, count);

fail:
	perror("port");
	return 1;
}
