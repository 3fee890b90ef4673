/*
 * What scripts/nested needs a program for. Neither runs in a guest.
 *
 * keep-vm tsc-khz, on the host: print the frequency of the TSC, which is also the emulated
 * machine's. Left alone, Linux measures it while it boots; when the host was busy then, its
 * clock went several times too fast.
 *
 * keep-vm, in the emulated machine: make a virtual machine that is never run, write
 * "kept" when it is there, and keep it until killed.
 *
 * Linux rewrites its own code while it runs, in schedule() and in KVM, when the first VM is made
 * and when the last one goes, and likewise with the first and the last APIC that is switched
 * off. QEMU may miss that: see "When the whole machine stops" in docs/hosts.md. While this VM
 * is kept, none is the first or the last.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define TRIES 100

/* The TSC at a time in ns: of several readings, the one with the shortest way around. */
static uint64_t read_both(uint64_t *ns)
{
	uint64_t best = UINT64_MAX, tsc = 0;

	for (int i = 0; i < TRIES; i++) {
		struct timespec now;
		uint64_t before = __rdtsc();

		clock_gettime(CLOCK_MONOTONIC_RAW, &now);
		uint64_t after = __rdtsc();
		if (after - before >= best)
			continue;
		best = after - before;
		tsc = before + best / 2;
		*ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	}
	return tsc;
}

static uint64_t tsc_khz(void)
{
	const struct timespec pause = { .tv_nsec = 100000000 };
	uint64_t ns, later, tsc = read_both(&ns);

	(void)nanosleep(&pause, NULL);
	tsc = read_both(&later) - tsc;
	return tsc * 1000000 / (later - ns);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "tsc-khz")) {
		printf("%llu\n", (unsigned long long)tsc_khz());
		return 0;
	}

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
