/* A virtual machine from image to exit status: the public API's uhyve_vm_*. */
#include "uhyve-c/uhyve.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>
#include <x86intrin.h>

#include "abi/boot.h"
#include "abi/layout.h"
#include "abi/ops.h"
#include "abi/trace.h"
#include "abi/vcpu.h"
#include "abi/version.h"
#include "clock.h"
#include "config.h"
#include "engine.h"
#include "fault.h"
#include "image.h"
#include "kvm.h"
#include "mmu.h"
#include "nub.h"
#include "trace.h"
#include "vcpu.h"

#define LARGE_PAGE (2ull << 20)

/* The kernel's heap: an eighth of the memory, at most this. */
#define HEAP_MAX (1ull << 30)

/* The main thread's stack: an eighth of the memory, at most what Linux gives. */
#define STACK_MAX (8ull << 20)

/* GSI numbers: one message-signalled interrupt per vCPU, from here. */
#define GSI_WAKE 0

struct uhyve_vm {
	uhyve_config *config; /* counted                                    */
	struct uhyve_image image;
	struct uhyve_kvm kvm;
	struct uhyve_memory memory;
	struct uhyve_mmu mmu;
	int vm_fd;
	int doorbell_fd;
	int kick_fds[UHYVE_VCPUS_MAX];
	struct uhyve_vcpu *vcpus;      /* owned array of config->vcpus          */
	struct pg_vcpu **shared;       /* each vCPU's block; owned array        */
	struct uhyve_port *ports;      /* owned array                           */
	struct pg_boot *boot;          /* in guest memory                       */
	_Atomic unsigned device_exits; /* writes to eventfd registers       */
	struct uhyve_engine *engine;
	struct uhyve_engine_stats engine_stats; /* outlives the engine          */

	/* How the VM ends: the first one to say so decides. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ended, ran, started_all;
	struct uhyve_result result;
	char report[8192];

	uint64_t created, loaded, mapped, ready, started, finished;
	char backend[16];
};

/* ---- the end ---- */

/* Report text comes from the guest and its image: nothing but printable characters. */
static void clean(char *text)
{
	for (; *text; text++) {
		if (((unsigned char)*text < ' ' && *text != '\n') || (unsigned char)*text == 0x7f)
			*text = '?';
	}
}

/* Any thread. `report` may be NULL. Only the first call counts. */
static void end(struct uhyve_vm *vm, enum uhyve_end how, int status, int signal, const char *report)
{
	(void)pthread_mutex_lock(&vm->lock);
	if (!vm->ended) {
		vm->ended = true;
		vm->result.end = how;
		vm->result.status = status;
		vm->result.signal = signal;
		(void)snprintf(vm->report, sizeof(vm->report), "%s", report ? report : "");
	}
	(void)pthread_cond_broadcast(&vm->changed);
	(void)pthread_mutex_unlock(&vm->lock);
}

/* A vCPU has left for good: on its thread. */
static void vcpu_left(struct uhyve_vcpu *vcpu, enum uhyve_leave why, uint32_t value,
		      const char *text)
{
	struct uhyve_vm *vm = vcpu->context;
	struct pg_vcpu *shared = vm->shared[vcpu->index];
	char message[400];

	if (why == UHYVE_LEAVE_BROKEN) {
		end(vm, UHYVE_FAILED, 125, 0, text);
		return;
	}
	switch (value) {
	case PG_CTL_EXIT:
		end(vm, UHYVE_EXITED, shared->exit_status & 0xff, 0, NULL);
		break;
	case PG_CTL_FAULT: {
		/* The report needs the guest stopped: uhyve_vm_run() writes it. */
		int signal = (int)(shared->fault.signal & 63);

		end(vm, UHYVE_FAULTED, 128 + signal, signal, NULL);
		break;
	}
	case PG_CTL_PANIC:
		(void)snprintf(message, sizeof(message), "kernel panic on vCPU %u: %.*s",
			       vcpu->index, (int)sizeof(shared->message) - 1,
			       (const char *)shared->message);
		end(vm, UHYVE_FAILED, 125, 0, message);
		break;
	case PG_CTL_NUB:
		(void)snprintf(message, sizeof(message),
			       "vCPU %u: exception at CPL0 (a bug, or hostile register values)",
			       vcpu->index);
		end(vm, UHYVE_FAILED, 125, 0, message);
		break;
	default:
		(void)snprintf(message, sizeof(message), "vCPU %u: unknown control code %u",
			       vcpu->index, value);
		end(vm, UHYVE_FAILED, 125, 0, message);
	}
}

static void ring_violated(void *context, const char *reason)
{
	char message[200];

	(void)snprintf(message, sizeof(message), "the guest broke the ring's rules: %s", reason);
	end(context, UHYVE_FAILED, 125, 0, message);
}

static void tick(void *context)
{
	uhyve_clock_tick(&((struct uhyve_vm *)context)->boot->clock);
}

/* The guest's clock, which only the engine's thread changes (tick). */
static uint64_t guest_now(void *context)
{
	return uhyve_clock_ns(&((struct uhyve_vm *)context)->boot->clock, __rdtsc());
}

void uhyve_vm_stop(uhyve_vm *vm)
{
	end(vm, UHYVE_STOPPED, 128 + SIGTERM, SIGTERM, NULL);
}

/* ---- setting up ---- */

static int load_segment(struct uhyve_vm *vm, const struct uhyve_segment *segment,
			struct uhyve_error *error)
{
	uint32_t prot = segment->prot;

	if (!(prot & PG_PROT_WRITE))
		prot |= UHYVE_PROT_SEALED;
	int result =
		uhyve_mmu_map(&vm->mmu, (uhyve_gva){ segment->address }, segment->length, prot);
	if (result)
		return uhyve_fail(error, result,
				  "%s: not enough guest memory for the image (%llu KiB needed); "
				  "give it more with --memory",
				  vm->image.path,
				  (unsigned long long)(uhyve_image_memory(&vm->image) >> 10));

	for (uint64_t done = 0; done < segment->file_size;) {
		uint64_t at = segment->data + done;
		uint64_t size = PG_PAGE_SIZE - (at & (PG_PAGE_SIZE - 1));
		void *host;

		if (size > segment->file_size - done)
			size = segment->file_size - done;
		host = uhyve_mmu_at(&vm->mmu, (uhyve_gva){ at }, size);
		/* Frames mostly follow each other: read as much as lies in one piece. */
		while (host && done + size < segment->file_size) {
			uint64_t more = segment->file_size - done - size;

			if (more > PG_PAGE_SIZE)
				more = PG_PAGE_SIZE;
			if (uhyve_mmu_at(&vm->mmu, (uhyve_gva){ at + size }, more) !=
			    (uint8_t *)host + size)
				break;
			size += more;
		}
		ssize_t got =
			host ? pread(vm->image.fd, host, size, (off_t)(segment->file_offset + done))
			     : -1;
		if (got <= 0)
			return uhyve_fail(error, got ? -errno : -EIO, "%s: cannot read it: %s",
					  vm->image.path,
					  got ? strerror(errno) : "the file became shorter");
		done += (uint64_t)got;
	}
	return 0;
}

/* On one CPU, who spins keeps the other side from doing what it waits for. */
static uint64_t spin_ns(const struct uhyve_config *config)
{
	cpu_set_t cpus;

	if (!sched_getaffinity(0, sizeof(cpus), &cpus) && CPU_COUNT(&cpus) == 1)
		return 0;
	return config->spin_ns;
}

/* The boot block: structure, then all strings. */
static int write_boot(struct uhyve_vm *vm, char *const argv[], struct uhyve_error *error)
{
	const struct uhyve_config *config = vm->config;
	size_t strings = 0, used = sizeof(struct pg_boot);
	uint32_t argc = 0;

	while (argv[argc])
		strings += strlen(argv[argc++]) + 1;
	for (size_t i = 0; i < config->env_count; i++)
		strings += strlen(config->env[i]) + 1;
	strings += sizeof("/");
	if (used + strings > PG_BOOT_MAX)
		return uhyve_fail(error, -E2BIG, "arguments and environment take more than %u KiB",
				  PG_BOOT_MAX >> 10);

	/* One piece of host memory, so that the clock can be a structure: page by page. */
	uint64_t length = (used + strings + PG_PAGE_SIZE - 1) & ~(PG_PAGE_SIZE - 1ull);
	int result = uhyve_mmu_map(&vm->mmu, (uhyve_gva){ PG_VA_BOOT }, length,
				   PG_PROT_READ | UHYVE_PROT_SEALED);
	if (result)
		return uhyve_fail(error, result, "not enough guest memory for arguments");

	char *block = calloc(1, length);
	if (!block)
		return uhyve_fail(error, -ENOMEM, "not enough memory");
	struct pg_boot *boot = (struct pg_boot *)block;
	uint64_t stack_size = vm->memory.size / 8;
	if (stack_size > STACK_MAX)
		stack_size = STACK_MAX;
	*boot = (struct pg_boot){
		.magic = PG_BOOT_MAGIC,
		.abi_major = PG_ABI_MAJOR,
		.abi_minor = PG_ABI_MINOR,
		.vcpus = config->vcpus,
		.image_base = vm->image.base,
		.image_start = vm->image.start,
		.image_end = vm->image.end,
		.phdr = vm->image.phdr,
		.phnum = vm->image.phnum,
		.phent = vm->image.phent,
		.stack = PG_VA_STACK_TOP - stack_size,
		.stack_size = stack_size,
		.heap = PG_VA_KHEAP,
		.heap_size = vm->mmu.frames * PG_PAGE_SIZE / 8 & ~(LARGE_PAGE - 1),
		.ram_size = vm->memory.size,
		.spin_ns = spin_ns(config),
		.turn_ns = config->turn_ns,
		.dispatch = config->dispatch,
		.trace_events = config->trace_events,
		.argc = argc,
		.envc = (uint32_t)config->env_count,
		.strings = (uint32_t)used,
		.strings_size = (uint32_t)strings,
		.size = (uint32_t)(used + strings),
	};
	if (boot->heap_size < LARGE_PAGE)
		boot->heap_size = LARGE_PAGE;
	if (boot->heap_size > HEAP_MAX)
		boot->heap_size = HEAP_MAX;
	if (getrandom(boot->random, sizeof(boot->random), 0) != sizeof(boot->random)) {
		free(block);
		return uhyve_fail(error, -EIO, "the host has no random numbers to give");
	}
	for (uint32_t i = 0; i < argc; i++)
		used += (size_t)(stpcpy(block + used, argv[i]) - (block + used)) + 1;
	for (size_t i = 0; i < config->env_count; i++)
		used += (size_t)(stpcpy(block + used, config->env[i]) - (block + used)) + 1;
	boot->cwd = (uint32_t)used;
	memcpy(block + used, "/", sizeof("/"));

	result = uhyve_mmu_write(&vm->mmu, (uhyve_gva){ PG_VA_BOOT }, block, length);
	free(block);
	if (result)
		return uhyve_fail(error, result, "cannot write boot information");
	vm->boot = uhyve_mmu_at(&vm->mmu, (uhyve_gva){ PG_VA_BOOT }, sizeof(*boot));
	const uint32_t rw = PG_PROT_READ | PG_PROT_WRITE;
	result = uhyve_mmu_map_large(&vm->mmu, (uhyve_gva){ PG_VA_KHEAP }, vm->boot->heap_size,
				     rw | UHYVE_PROT_SEALED);
	if (!result)
		result = uhyve_mmu_map(&vm->mmu, (uhyve_gva){ vm->boot->stack },
				       vm->boot->stack_size, rw);
	if (result)
		return uhyve_fail(
			error, result,
			"%s: not enough guest memory for the kernel's heap and the stack; "
			"give it more with --memory",
			vm->image.path);
	return 0;
}

/* Everything in guest memory, page tables included. */
static int fill_memory(struct uhyve_vm *vm, char *const argv[], struct uhyve_nub *nubs,
		       struct uhyve_error *error)
{
	int result = uhyve_memory_init(&vm->memory, vm->config->memory, error);

	if (result || (result = uhyve_mmu_init(&vm->mmu, &vm->memory, error)))
		return result;
	for (unsigned i = 0; i < vm->image.count; i++) {
		result = load_segment(vm, &vm->image.segments[i], error);
		if (result)
			return result;
	}
	for (unsigned i = 0; i < vm->config->vcpus; i++) {
		uint64_t block = PG_VA_VCPU + (uint64_t)i * PG_VCPU_STRIDE;

		result = uhyve_nub_install(&vm->mmu, i, &nubs[i]);
		if (result)
			return uhyve_fail(error, result,
					  "not enough guest memory for %u vCPUs; give it more with "
					  "--memory",
					  vm->config->vcpus);
		vm->shared[i] =
			uhyve_mmu_at(&vm->mmu, (uhyve_gva){ block + PG_VCPU_CTL }, PG_PAGE_SIZE);
		vm->shared[i]->self = block;
		vm->shared[i]->index = i;
		vm->ports[i].ring = &vm->shared[i]->ring;
		/* Both queues were mapped together, from frames in a row, or we can't use them. */
		vm->ports[i].sq =
			uhyve_mmu_at(&vm->mmu, (uhyve_gva){ block + PG_VCPU_SQ }, PG_PAGE_SIZE);
		vm->ports[i].cq =
			uhyve_mmu_at(&vm->mmu, (uhyve_gva){ block + PG_VCPU_CQ }, PG_PAGE_SIZE);
		if ((char *)vm->ports[i].cq - (char *)vm->ports[i].sq != PG_VCPU_CQ - PG_VCPU_SQ)
			return uhyve_fail(error, -ENOMEM, "guest memory is fragmented");
	}
	if (uhyve_trace_map(&vm->mmu, vm->config->vcpus, vm->config->trace_events))
		return uhyve_fail(error, -ENOMEM,
				  "not enough guest memory for traces of %u events; give it more "
				  "with --memory",
				  vm->config->trace_events);
	return write_boot(vm, argv, error);
}

static int kvm_fail(struct uhyve_error *error, const char *what)
{
	return uhyve_fail(error, -errno, "KVM refuses to %s: %s", what, strerror(errno));
}

/* VM, interrupt controller, memory slot. */
static int create_vm(struct uhyve_vm *vm, struct uhyve_error *error)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	struct kvm_userspace_memory_region slot = {
		.guest_phys_addr = PG_GPA_RAM,
		.memory_size = vm->memory.size,
		.userspace_addr = (uintptr_t)vm->memory.host,
	};

	vm->vm_fd = ioctl(vm->kvm.fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0)
		return kvm_fail(error, "create a virtual machine");
	if (ioctl(vm->vm_fd, KVM_ENABLE_CAP, &split))
		return kvm_fail(error, "split the interrupt controller");
	if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot))
		return kvm_fail(error, "use the guest's memory");
	return 0;
}

/*
 * Doorbells and kicks are eventfds. At first a write to their registers leaves to the vCPU's
 * thread, which signals the eventfd; after some of these KVM is asked to do that itself. Not
 * from the start: destroying a VM waits for a grace period of the host's (10-15 ms) if
 * KVM_IOEVENTFD was called shortly before, and many a program is done sooner.
 */
#define BIND_AFTER 64 /* exits, of all vCPUs                                */

static void bind_registers(struct uhyve_vm *vm)
{
	struct kvm_ioeventfd bind = { .addr = PG_GPA_DEVICE + PG_DEV_DOORBELL,
				      .len = 4,
				      .fd = vm->doorbell_fd };

	/* Where it fails, the exits go on: slower, but right. */
	(void)ioctl(vm->vm_fd, KVM_IOEVENTFD, &bind);
	for (unsigned i = 0; vm->config->vcpus > 1 && i < vm->config->vcpus; i++) {
		bind.addr = PG_GPA_DEVICE + PG_DEV_KICK + 8ull * i;
		bind.fd = vm->kick_fds[i];
		(void)ioctl(vm->vm_fd, KVM_IOEVENTFD, &bind);
	}
}

/*
 * vCPU 0 has set everything up: start the others, the first time. Under the lock: either
 * uhyve_vm_run() finds them started when it stops and joins all, or it has ended before.
 */
static void start_others(struct uhyve_vm *vm)
{
	struct uhyve_error error = { 0 };
	int result = 0;

	(void)pthread_mutex_lock(&vm->lock);
	bool first = !vm->started_all && !vm->ended;
	if (first)
		vm->started_all = true;
	for (unsigned i = 1; first && i < vm->config->vcpus && !result; i++)
		result = uhyve_vcpu_start(&vm->vcpus[i], &error);
	(void)pthread_mutex_unlock(&vm->lock);
	if (result)
		end(vm, UHYVE_FAILED, 125, 0, error.text);
}

/* The guest wrote to a register that is not bound. On that vCPU's thread. */
static void device_written(struct uhyve_vcpu *vcpu, uint64_t offset)
{
	struct uhyve_vm *vm = vcpu->context;
	uint64_t target = (offset - PG_DEV_KICK) / 8, one = 1;
	int fd = -1;

	if (offset == PG_DEV_START) {
		start_others(vm);
		return;
	}
	if (offset == PG_DEV_DOORBELL)
		fd = vm->doorbell_fd;
	else if (offset >= PG_DEV_KICK && offset % 8 == 0 && target < vm->config->vcpus)
		fd = vm->kick_fds[target];
	if (fd < 0)
		return;
	/* A full counter fails: then it is signalled already. */
	ssize_t ignored = write(fd, &one, sizeof(one));
	(void)ignored;
	if (atomic_fetch_add(&vm->device_exits, 1) + 1 == BIND_AFTER)
		bind_registers(vm);
}

/*
 * On the engine's thread. No eventfd as for wakes: nobody but the engine sends it, and it is
 * rare. Should KVM refuse, the task runs on; the next look tries again.
 */
static void preempt(void *context, unsigned port)
{
	struct kvm_msi message = { .address_lo = PG_GPA_APIC | port << 12,
				   .data = PG_VECTOR_PREEMPT };

	(void)ioctl(((struct uhyve_vm *)context)->vm_fd, KVM_SIGNAL_MSI, &message);
}

/*
 * One eventfd wakes the engine, and one per vCPU is its wake interrupt: whoever signals it (the
 * engine; another vCPU through its register), KVM delivers PG_VECTOR_WAKE.
 */
static int connect_events(struct uhyve_vm *vm, struct uhyve_error *error)
{
	unsigned count = vm->config->vcpus;
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entries[UHYVE_VCPUS_MAX];
	} routing = { .head.nr = count };

	vm->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->doorbell_fd < 0)
		return uhyve_fail(error, -errno, "cannot create an eventfd: %s", strerror(errno));
	for (unsigned i = 0; i < count; i++) {
		routing.entries[i] = (struct kvm_irq_routing_entry){
			.gsi = GSI_WAKE + i,
			.type = KVM_IRQ_ROUTING_MSI,
			/* SDM vol. 3, 11.11: physical destination, fixed delivery, edge. */
			.u.msi = { .address_lo = PG_GPA_APIC | i << 12, .data = PG_VECTOR_WAKE },
		};
	}
	if (ioctl(vm->vm_fd, KVM_SET_GSI_ROUTING, &routing))
		return kvm_fail(error, "route interrupts");
	for (unsigned i = 0; i < count; i++) {
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		struct kvm_irqfd irqfd = { .fd = (uint32_t)fd, .gsi = GSI_WAKE + i };

		if (fd < 0)
			return uhyve_fail(error, -errno, "cannot create an eventfd: %s",
					  strerror(errno));
		vm->kick_fds[i] = vm->ports[i].kick_fd = fd;
		if (ioctl(vm->vm_fd, KVM_IRQFD, &irqfd))
			return kvm_fail(error, "bind a wake interrupt");
	}
	return 0;
}

static int create_vcpus(struct uhyve_vm *vm, const struct uhyve_nub *nubs,
			struct uhyve_error *error)
{
	for (unsigned i = 0; i < vm->config->vcpus; i++) {
		struct uhyve_vcpu *vcpu = &vm->vcpus[i];
		int result = uhyve_vcpu_init(vcpu, i, vm->vm_fd, &vm->kvm, &nubs[i], vm->mmu.root.v,
					     vm->image.entry, error);

		if (result)
			return result;
		vcpu->leave = vcpu_left;
		vcpu->device = device_written;
		vcpu->context = vm;
	}
	uint64_t khz = uhyve_vcpu_tsc_khz(&vm->vcpus[0]);
	if (!khz)
		return uhyve_fail(error, -ENOTSUP, "KVM does not tell the guest's TSC frequency");
	uhyve_clock_init(&vm->boot->clock, khz);
	return 0;
}

/* ---- what the processor can do: found out on a thread, while the memory is filled ---- */

struct probe {
	struct uhyve_kvm *kvm;
	struct uhyve_error error;
	pthread_t thread;
	bool threaded;
};

static void *probe_main(void *argument)
{
	struct probe *probe = argument;

	(void)uhyve_kvm_probe(probe->kvm, &probe->error);
	return NULL;
}

static void probe_start(struct probe *probe, struct uhyve_kvm *kvm)
{
	sigset_t all, old;

	*probe = (struct probe){ .kvm = kvm };
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	probe->threaded = pthread_create(&probe->thread, NULL, probe_main, probe) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!probe->threaded)
		(void)probe_main(probe);
}

/* Wait for it, and tell the guest (`boot` NULL: there will be none). */
static int probe_finish(struct probe *probe, struct pg_boot *boot, struct uhyve_error *error)
{
	const struct uhyve_kvm *kvm = probe->kvm;

	if (probe->threaded)
		(void)pthread_join(probe->thread, NULL);
	if (probe->error.code)
		return uhyve_fail(error, probe->error.code, "%s", probe->error.text);
	if (!boot)
		return 0;
	boot->xcr0 = kvm->xcr0;
	boot->xsave_size = kvm->xsave_size;
	boot->xsave_standard = kvm->xsave_standard;
	boot->xsave_flags =
		(kvm->xsavec ? PG_XSAVE_XSAVEC : 0u) | (kvm->xgetbv1 ? PG_XSAVE_XGETBV1 : 0u);
	boot->hwcap = kvm->hwcap;
	boot->hwcap2 = kvm->hwcap2;
	return 0;
}

static struct uhyve_vm *allocate(const uhyve_config *config)
{
	struct uhyve_vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	if (config) {
		vm->config = (uhyve_config *)config;
		atomic_fetch_add(&vm->config->references, 1);
	} else {
		vm->config = uhyve_config_new();
	}
	vm->image.fd = vm->kvm.fd = vm->vm_fd = vm->doorbell_fd = -1;
	(void)pthread_mutex_init(&vm->lock, NULL);
	(void)pthread_cond_init(&vm->changed, NULL);
	for (unsigned i = 0; i < UHYVE_VCPUS_MAX; i++)
		vm->kick_fds[i] = -1;
	if (!vm->config)
		return vm;
	vm->vcpus = calloc(vm->config->vcpus, sizeof(*vm->vcpus));
	vm->shared = calloc(vm->config->vcpus, sizeof(*vm->shared));
	vm->ports = calloc(vm->config->vcpus, sizeof(*vm->ports));
	for (unsigned i = 0; vm->vcpus && i < vm->config->vcpus; i++)
		vm->vcpus[i].fd = -1;
	return vm;
}

uhyve_vm *uhyve_vm_new(const char *image, char *const argv[], const uhyve_config *config,
		       struct uhyve_error *error)
{
	struct uhyve_nub nubs[UHYVE_VCPUS_MAX];
	struct probe probe;
	uint64_t created = uhyve_clock_now();
	struct uhyve_vm *vm = allocate(config);

	if (!vm || !vm->config || !vm->vcpus || !vm->shared || !vm->ports) {
		(void)uhyve_fail(error, -ENOMEM, "not enough memory");
		goto fail;
	}
	vm->created = created;
	/* The image first: what is wrong with it can be told without KVM. */
	if (uhyve_image_open(&vm->image, image, error)) {
		if (error)
			error->image = true;
		goto fail;
	}
	vm->loaded = uhyve_clock_now();
	if (uhyve_kvm_open(&vm->kvm, error))
		goto fail;
	probe_start(&probe, &vm->kvm);
	int result = fill_memory(vm, argv, nubs, error);
	vm->mapped = uhyve_clock_now();
	if (!result)
		result = create_vm(vm, error);
	if (!result)
		result = connect_events(vm, error);
	int probed = probe_finish(&probe, vm->boot, error);
	if (result || probed || create_vcpus(vm, nubs, error))
		goto fail;
	vm->ready = uhyve_clock_now();
	return vm;

fail:
	uhyve_vm_free(vm);
	return NULL;
}

void uhyve_vm_free(uhyve_vm *vm)
{
	if (!vm)
		return;
	uhyve_engine_stop(vm->engine);
	for (unsigned i = 0; vm->vcpus && i < vm->config->vcpus; i++)
		uhyve_vcpu_free(&vm->vcpus[i]);
	for (unsigned i = 0; i < UHYVE_VCPUS_MAX; i++) {
		if (vm->kick_fds[i] >= 0)
			(void)close(vm->kick_fds[i]);
	}
	if (vm->doorbell_fd >= 0)
		(void)close(vm->doorbell_fd);
	if (vm->vm_fd >= 0)
		(void)close(vm->vm_fd);
	uhyve_mmu_free(&vm->mmu);
	uhyve_memory_free(&vm->memory);
	uhyve_kvm_close(&vm->kvm);
	uhyve_image_close(&vm->image);
	uhyve_config_free(vm->config);
	free(vm->vcpus);
	free(vm->shared);
	free(vm->ports);
	(void)pthread_cond_destroy(&vm->changed);
	(void)pthread_mutex_destroy(&vm->lock);
	free(vm);
}

/* ---- running ---- */

static void ignore_signal(int number)
{
	(void)number;
}

/* Interrupt system calls, nothing else; a handler the program already has stays. */
static int install_signal(struct uhyve_error *error)
{
	struct sigaction old, handler = { .sa_handler = ignore_signal };

	if (sigaction(UHYVE_SIGNAL, NULL, &old) ||
	    ((old.sa_handler == SIG_DFL || old.sa_handler == SIG_IGN) &&
	     sigaction(UHYVE_SIGNAL, &handler, NULL)))
		return uhyve_fail(error, -errno, "cannot handle signal %d: %s", UHYVE_SIGNAL,
				  strerror(errno));
	return 0;
}

static int start(struct uhyve_vm *vm, struct uhyve_error *error)
{
	struct uhyve_engine_config engine = {
		.mmu = &vm->mmu,
		.mounts = vm->config->mounts,
		.ports = vm->ports,
		.port_count = vm->config->vcpus,
		.doorbell_fd = vm->doorbell_fd,
		.console = { vm->config->console[0], vm->config->console[1],
			     vm->config->console[2] },
		.spin_ns = spin_ns(vm->config),
		.backend = vm->config->backend,
		.violation = ring_violated,
		.turn_ns = vm->config->turn_ns,
		.preempt = preempt,
		.now = guest_now,
		.tick = tick,
		.context = vm,
		.stats = &vm->engine_stats,
	};
	int result = install_signal(error);

	if (result || (result = uhyve_engine_start(&vm->engine, &engine, error)))
		return result;
	return uhyve_vcpu_start(&vm->vcpus[0], error);
}

int uhyve_vm_run(uhyve_vm *vm, struct uhyve_result *result, struct uhyve_error *error)
{
	if (vm->ran)
		return uhyve_fail(error, -EINVAL, "a VM runs only once");
	vm->ran = true;
	vm->started = uhyve_clock_now();

	int code = start(vm, error);

	(void)pthread_mutex_lock(&vm->lock);
	while (!code && !vm->ended)
		(void)pthread_cond_wait(&vm->changed, &vm->lock);
	vm->ended = true;
	(void)pthread_mutex_unlock(&vm->lock);

	for (unsigned i = 0; i < vm->config->vcpus; i++)
		uhyve_vcpu_stop(&vm->vcpus[i]);
	for (unsigned i = 0; i < vm->config->vcpus; i++)
		uhyve_vcpu_join(&vm->vcpus[i]);
	if (vm->engine) {
		(void)snprintf(vm->backend, sizeof(vm->backend), "%s",
			       uhyve_engine_backend(vm->engine));
		uhyve_engine_stop(vm->engine);
		vm->engine = NULL;
	}
	vm->finished = uhyve_clock_now();
	if (code)
		return code;

	if (vm->result.end == UHYVE_FAULTED) {
		for (unsigned i = 0; i < vm->config->vcpus; i++) {
			if (vm->shared[i]->fault.signal)
				uhyve_fault_report(&vm->shared[i]->fault, &vm->image, &vm->mmu,
						   vm->report, sizeof(vm->report));
		}
	}
	clean(vm->report);
	vm->result.report = vm->report;
	*result = vm->result;
	return 0;
}

/* ---- statistics ---- */

/* Bytes of guest memory the host has backed. */
static uint64_t memory_touched(const struct uhyve_memory *memory)
{
	uint64_t pages = memory->size / PG_PAGE_SIZE, touched = 0;
	unsigned char *resident = malloc(pages);

	if (resident && !mincore(memory->host, memory->size, resident)) {
		for (uint64_t i = 0; i < pages; i++)
			touched += resident[i] & 1;
	}
	free(resident);
	return touched * PG_PAGE_SIZE;
}

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void uhyve_vm_stats(const uhyve_vm *vm, struct uhyve_stats *stats)
{
	*stats = (struct uhyve_stats){
		.created = vm->created,
		.loaded = vm->loaded,
		.mapped = vm->mapped,
		.ready = vm->ready,
		.started = vm->started,
		.finished = vm->finished,
		.operations = load(&vm->engine_stats.operations),
		.answered_at_once = load(&vm->engine_stats.inline_done),
		.deferred = load(&vm->engine_stats.deferred),
		.completions = load(&vm->engine_stats.completions),
		.interrupts = load(&vm->engine_stats.interrupts),
		.doorbells = load(&vm->engine_stats.doorbells),
		.sleeps = load(&vm->engine_stats.sleeps),
		.looks = load(&vm->engine_stats.looks),
		.preemptions_sent = load(&vm->engine_stats.preemptions),
		.balanced = load(&vm->engine_stats.balanced),
		.vcpus = vm->config->vcpus,
		.memory = vm->memory.size,
		.memory_touched = memory_touched(&vm->memory),
		.backend = vm->backend,
	};
	for (unsigned i = 0; i < vm->config->vcpus; i++) {
		/* The guest writes these at any time: copied once, and only shown. */
		const struct pg_counters counters = vm->shared[i]->counters;

		stats->exits_mmio += load(&vm->vcpus[i].exits_mmio);
		stats->exits_signal += load(&vm->vcpus[i].exits_signal);
		stats->exits_other += load(&vm->vcpus[i].exits_other);
		stats->polls += counters.polls;
		stats->switches += counters.switches;
		stats->tasks += counters.tasks;
		stats->syscalls += counters.syscalls;
		stats->syscalls_pending += counters.pending;
		stats->syscalls_unknown += counters.unknown;
		stats->hypercalls += counters.hypercalls;
		stats->parks += counters.parks;
		stats->spins += counters.spins;
		stats->kicks += counters.kicks;
		stats->exceptions += counters.exceptions;
		stats->steals += counters.steals;
		stats->preemptions += counters.preemptions;
		if (vm->shared[i]->tsc_exit)
			stats->ended = uhyve_clock_ns(&vm->boot->clock, vm->shared[i]->tsc_exit);
	}
	stats->entered = uhyve_clock_ns(&vm->boot->clock, vm->shared[0]->tsc_entry);
	stats->reached = uhyve_clock_ns(&vm->boot->clock, vm->shared[0]->tsc_main);
}

/* ---- traces ---- */

int uhyve_vm_trace(const uhyve_vm *vm,
		   int (*event)(void *context, const struct uhyve_trace_event *event),
		   void *context, struct uhyve_trace_summary *summary)
{
	uint64_t heads[UHYVE_VCPUS_MAX];

	if (!vm->finished)
		return -EINVAL;
	for (unsigned i = 0; i < vm->config->vcpus; i++)
		heads[i] = vm->shared[i]->trace_head;
	return uhyve_trace_read(&vm->mmu, &vm->boot->clock, vm->config->vcpus,
				vm->config->trace_events, heads, event, context, summary);
}

const char *uhyve_version(void)
{
	return UHYVE_VERSION;
}
