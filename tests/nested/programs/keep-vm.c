/*
 * Runs in the emulated machine, not in a guest: make a virtual machine that is never run, write
 * "kept" when it is there, and keep it until killed.
 *
 * Linux rewrites its own code while it runs, in schedule() and in KVM, when the first VM is made
 * and when the last one goes, and likewise with the first and the last APIC that is switched
 * off. QEMU may miss that: see "When the whole machine stops" in docs/hosts.md. While this VM
 * is kept, none is the first or the last.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	int kvm = open("/dev/kvm", O_RDWR), vm;

	/* The vCPU's APIC is off, as after power-on, and stays so. */
	if (kvm < 0 || (vm = ioctl(kvm, KVM_CREATE_VM, 0)) < 0 ||
	    ioctl(vm, KVM_ENABLE_CAP, &split) || ioctl(vm, KVM_CREATE_VCPU, 0) < 0) {
		perror("keep-vm");
		return 1;
	}
	puts("kept");
	fflush(stdout);
	for (;;)
		pause();
}
