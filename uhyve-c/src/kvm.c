#include "kvm.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* CPUID entries KVM reports at most; KVM_GET_SUPPORTED_CPUID says E2BIG otherwise. */
#define CPUID_ENTRIES 256

/* Extended states we know how to size and save: x87, SSE, AVX, AVX-512 (SDM vol. 1, 13.1). */
#define XCR0_KNOWN  0xe7ull
#define XCR0_LEGACY 0x3ull
#define XCR0_AVX512 0xe0ull

static const struct {
	int capability;
	bool required;
	const char *name, *use;
} capabilities[] = {
	{ KVM_CAP_USER_MEMORY, true, "user-memory", "guest memory" },
	{ KVM_CAP_SPLIT_IRQCHIP, true, "split-irqchip", "local APICs in the kernel" },
	{ KVM_CAP_IRQFD, true, "irqfd", "completion interrupts" },
	{ KVM_CAP_IOEVENTFD, true, "ioeventfd", "doorbells" },
	{ KVM_CAP_IRQ_ROUTING, true, "irq-routing", "message-signalled interrupts" },
	{ KVM_CAP_SIGNAL_MSI, true, "signal-msi", "pre-emption" },
	{ KVM_CAP_MP_STATE, true, "mp-state", "starting vCPUs" },
	{ KVM_CAP_XCRS, true, "xcrs", "vector registers" },
	{ KVM_CAP_IMMEDIATE_EXIT, true, "immediate-exit", "stopping vCPUs" },
	{ KVM_CAP_GET_TSC_KHZ, true, "tsc-khz", "the guest's clock" },
	{ KVM_CAP_VCPU_ATTRIBUTES, false, "vcpu-attributes", "one TSC for guest and host" },
};

static const struct kvm_cpuid_entry2 *find(const struct uhyve_kvm *kvm, uint32_t function,
					   uint32_t index)
{
	for (uint32_t i = 0; i < kvm->cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *entry = &kvm->cpuid->entries[i];

		if (entry->function == function && entry->index == index)
			return entry;
	}
	return NULL;
}

/* Bytes of an XSAVE area for the states in xcr0, in both formats (SDM vol. 1, 13.4.2 and 13.4.3). */
static void find_xsave_sizes(struct uhyve_kvm *kvm)
{
	uint32_t compact = 576, standard = 576;

	for (unsigned i = 2; i < 63; i++) {
		const struct kvm_cpuid_entry2 *state = find(kvm, 0xd, i);

		if (!(kvm->xcr0 >> i & 1) || !state)
			continue;
		if (state->ecx & 2) /* aligned to 64 bytes */
			compact = (compact + 63) & ~63u;
		compact += state->eax;
		if (state->ebx + state->eax > standard)
			standard = state->ebx + state->eax;
	}
	kvm->xsave_standard = standard;
	kvm->xsave_size = kvm->xsavec ? compact : standard;
}

/* CPUID bits of instructions that need nothing but XCR0 (SDM vol. 2, CPUID). */
#define BIT(n) (1u << (n))
/* SSE3 PCLMUL SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND */
#define NATIVE_1_ECX                                                                               \
	(BIT(0) | BIT(1) | BIT(9) | BIT(12) | BIT(13) | BIT(19) | BIT(20) | BIT(22) | BIT(23) |    \
	 BIT(25) | BIT(26) | BIT(28) | BIT(29) | BIT(30))
/* FSGSBASE BMI1 AVX2 BMI2 ERMS RDSEED ADX CLFLUSHOPT CLWB SHA, and AVX512 F DQ IFMA CD BW VL */
#define NATIVE_7_EBX                                                                               \
	(BIT(0) | BIT(3) | BIT(5) | BIT(8) | BIT(9) | BIT(18) | BIT(19) | BIT(23) | BIT(24) |      \
	 BIT(29) | BIT(16) | BIT(17) | BIT(21) | BIT(28) | BIT(30) | BIT(31))
/* AVX512-VBMI VBMI2 GFNI VAES VPCLMUL VNNI BITALG VPOPCNTDQ CLDEMOTE MOVDIRI MOVDIR64B */
#define NATIVE_7_ECX                                                                               \
	(BIT(1) | BIT(6) | BIT(8) | BIT(9) | BIT(10) | BIT(11) | BIT(12) | BIT(14) | BIT(25) |     \
	 BIT(27) | BIT(28))
/* AVX512-4VNNIW 4FMAPS, FSRM, VP2INTERSECT, SERIALIZE, AVX512-FP16 */
#define NATIVE_7_EDX (BIT(2) | BIT(3) | BIT(4) | BIT(8) | BIT(14) | BIT(23))
/* LAHF ABM SSE4A 3DNOWPREFETCH XOP FMA4 TBM */
#define NATIVE_81_ECX (BIT(0) | BIT(5) | BIT(6) | BIT(8) | BIT(11) | BIT(16) | BIT(21))

static struct kvm_cpuid_entry2 *entry_for(struct uhyve_kvm *kvm, uint32_t function, uint32_t index)
{
	struct kvm_cpuid_entry2 *entry = (struct kvm_cpuid_entry2 *)find(kvm, function, index);

	if (entry || kvm->cpuid->nent == CPUID_ENTRIES)
		return entry;
	entry = &kvm->cpuid->entries[kvm->cpuid->nent++];
	*entry = (struct kvm_cpuid_entry2){ .function = function, .index = index };
	if (function == 7 || function == 0xd)
		entry->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	return entry;
}

/*
 * kvm_pvm runs the guest's CPL3 code on the bare processor, with all its instructions,
 * but lists only what it emulates at CPL0. Our guests live at CPL3: for them the host's
 * own CPUID is the truth, as far as plain instructions go. Nothing that comes with a
 * register to be switched at each entry is listed (RDTSCP and RDPID: TSC_AUX, SPEC_CTRL,
 * protection keys): where the host is itself a guest, each such switch is an exit.
 */
static void add_native_features(struct uhyve_kvm *kvm)
{
	struct {
		uint32_t eax, ebx, ecx, edx;
	} host;
	struct kvm_cpuid_entry2 *entry;

#define HOST(leaf, sub) __cpuid_count(leaf, sub, host.eax, host.ebx, host.ecx, host.edx)
	HOST(1, 0);
	entry = entry_for(kvm, 1, 0);
	if (entry)
		entry->ecx |= host.ecx & NATIVE_1_ECX;
	HOST(7, 0);
	entry = entry_for(kvm, 7, 0);
	if (entry) {
		entry->ebx |= host.ebx & NATIVE_7_EBX;
		entry->ecx |= host.ecx & NATIVE_7_ECX;
		entry->edx |= host.edx & NATIVE_7_EDX;
	}
	for (uint32_t i = 0; i < 10; i++) {
		if (i >= 2 && !(XCR0_KNOWN >> i & 1))
			continue;
		HOST(0xd, i);
		entry = entry_for(kvm, 0xd, i);
		if (!entry)
			continue;
		entry->eax = i == 0 ? host.eax & XCR0_KNOWN : i == 1 ? host.eax & 7 : host.eax;
		entry->ebx = host.ebx;
		entry->ecx = i == 1 ? 0 : host.ecx;
		entry->edx = i == 0 ? 0 : host.edx;
	}
	HOST(0x80000001, 0);
	entry = entry_for(kvm, 0x80000001, 0);
	if (entry)
		entry->ecx |= host.ecx & NATIVE_81_ECX;
#undef HOST
}

/* Does KVM list less than the guest will find? (XSAVE is in use on this host.) */
static bool lists_too_little(const struct uhyve_kvm *kvm)
{
	const struct kvm_cpuid_entry2 *features = find(kvm, 1, 0);
	uint32_t eax, ebx, ecx, edx;

	__cpuid(1, eax, ebx, ecx, edx);
	return ecx & bit_OSXSAVE && !(features && features->ecx & bit_XSAVE);
}

static int probe_cpu(struct uhyve_kvm *kvm, struct uhyve_error *error)
{
	if (lists_too_little(kvm))
		add_native_features(kvm);

	const struct kvm_cpuid_entry2 *features = find(kvm, 1, 0), *more = find(kvm, 7, 0);
	const struct kvm_cpuid_entry2 *xsave = find(kvm, 0xd, 0), *xsave1 = find(kvm, 0xd, 1);

	if (!features || !(features->ecx & bit_XSAVE) || !xsave)
		return uhyve_fail(error, -ENOTSUP, "this processor or its KVM lacks XSAVE");
	if (!more || !(more->ebx & bit_FSGSBASE))
		return uhyve_fail(error, -ENOTSUP, "this processor or its KVM lacks FSGSBASE");

	kvm->xcr0 = (xsave->eax | (uint64_t)xsave->edx << 32) & XCR0_KNOWN;
	/* AVX-512 comes whole or not at all. */
	if ((kvm->xcr0 & XCR0_AVX512) != XCR0_AVX512)
		kvm->xcr0 &= ~XCR0_AVX512;
	kvm->xcr0 |= XCR0_LEGACY;
	kvm->xsavec = xsave1 && xsave1->eax & 2;
	kvm->xgetbv1 = xsave1 && xsave1->eax & 4;
	find_xsave_sizes(kvm);
	kvm->hwcap = features->edx;
	kvm->hwcap2 = 2; /* HWCAP2_FSGSBASE, asm/hwcap2.h */
	return 0;
}

static int open_device(struct uhyve_error *error)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	switch (errno) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return uhyve_fail(error, -errno,
				  "/dev/kvm is not there: load the KVM module, or enable (nested) "
				  "virtualisation on this host");
	case EACCES:
	case EPERM:
		return uhyve_fail(error, -errno,
				  "no permission to use /dev/kvm: join the group that owns it "
				  "(usually 'kvm'), or run as root");
	default:
		return uhyve_fail(error, -errno, "cannot open /dev/kvm: %s", strerror(errno));
	}
}

static int check_capabilities(const struct uhyve_kvm *kvm, struct uhyve_error *error)
{
	if (ioctl(kvm->fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return uhyve_fail(error, -ENOTSUP, "/dev/kvm speaks an unknown KVM API version");
	for (unsigned i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
		if (capabilities[i].required &&
		    ioctl(kvm->fd, KVM_CHECK_EXTENSION, capabilities[i].capability) <= 0)
			return uhyve_fail(error, -ENOTSUP,
					  "this host's KVM lacks '%s', needed for %s",
					  capabilities[i].name, capabilities[i].use);
	}
	return 0;
}

int uhyve_kvm_open(struct uhyve_kvm *kvm, struct uhyve_error *error)
{
	int result;

	*kvm = (struct uhyve_kvm){ .fd = open_device(error) };
	if (kvm->fd < 0)
		return kvm->fd;
	result = check_capabilities(kvm, error);
	if (result)
		goto fail;

	int run_size = ioctl(kvm->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (run_size < (int)sizeof(struct kvm_run)) {
		result = uhyve_fail(error, run_size < 0 ? -errno : -ENOTSUP,
				    "KVM does not say how large a vCPU's run area is");
		goto fail;
	}
	kvm->run_size = (uint32_t)run_size;

	return 0;

fail:
	uhyve_kvm_close(kvm);
	return result;
}

int uhyve_kvm_probe(struct uhyve_kvm *kvm, struct uhyve_error *error)
{
	kvm->cpuid =
		calloc(1, sizeof(*kvm->cpuid) + CPUID_ENTRIES * sizeof(kvm->cpuid->entries[0]));
	if (!kvm->cpuid)
		return uhyve_fail(error, -ENOMEM, "not enough memory for CPUID");
	kvm->cpuid->nent = CPUID_ENTRIES;
	if (ioctl(kvm->fd, KVM_GET_SUPPORTED_CPUID, kvm->cpuid)) {
		kvm->cpuid->nent = 0;
		return uhyve_fail(error, -errno, "KVM does not tell its CPUID: %s",
				  strerror(errno));
	}
	return probe_cpu(kvm, error);
}

void uhyve_kvm_close(struct uhyve_kvm *kvm)
{
	free(kvm->cpuid);
	kvm->cpuid = NULL;
	if (kvm->fd >= 0)
		(void)close(kvm->fd);
	kvm->fd = -1;
}

/* The modules loaded tell the kind of virtualisation; KVM itself doesn't. */
static const char *host_kind(void)
{
	static const struct {
		const char *path, *kind;
	} kinds[] = {
		{ "/sys/module/kvm_pvm", "kvm_pvm (page-table virtual machine)" },
		{ "/sys/module/kvm_intel", "kvm_intel (VMX)" },
		{ "/sys/module/kvm_amd", "kvm_amd (SVM)" },
	};

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (access(kinds[i].path, F_OK) == 0)
			return kinds[i].kind;
	}
	return "unknown";
}

/* Text that grows; what does not fit is cut off. */
struct text {
	char *at;
	size_t left; /* with the terminating zero */
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int length = vsnprintf(text->at, text->left, format, args);
	va_end(args);
	if (length > 0) {
		size_t used = (size_t)length < text->left ? (size_t)length : text->left - 1;

		text->at += used;
		text->left -= used;
	}
}

static void add_feature(struct text *text, const char *name, bool there, bool required,
			const char *use)
{
	add(text, "%s: %s (%s, for %s)\n", name, there ? "yes" : "no",
	    required ? "required" : "optional", use);
}

static bool has_ecx(const struct uhyve_kvm *kvm, uint32_t bit)
{
	const struct kvm_cpuid_entry2 *features = find(kvm, 1, 0);

	return features && features->ecx & bit;
}

static bool has_ebx7(const struct uhyve_kvm *kvm, uint32_t bit)
{
	const struct kvm_cpuid_entry2 *features = find(kvm, 7, 0);

	return features && features->ebx & bit;
}

/* All of it even where something is missing: that is what one wants to know then. */
int uhyve_host_info(char *buffer, unsigned size, struct uhyve_error *error)
{
	struct uhyve_kvm kvm = { .fd = -1 };
	struct text text = { buffer, size };

	if (!size)
		return uhyve_fail(error, -EINVAL, "no room for the host's information");
	*buffer = '\0';
	kvm.fd = open_device(error);
	if (kvm.fd < 0)
		return kvm.fd;
	int result = check_capabilities(&kvm, error);
	int probed = uhyve_kvm_probe(&kvm, error);

	add(&text, "kind: %s\n", host_kind());
	for (unsigned i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++)
		add_feature(&text, capabilities[i].name,
			    ioctl(kvm.fd, KVM_CHECK_EXTENSION, capabilities[i].capability) > 0,
			    capabilities[i].required, capabilities[i].use);
	if (kvm.cpuid) {
		add_feature(&text, "cpu-xsave", has_ecx(&kvm, bit_XSAVE), true,
			    "switching threads' vector registers");
		add_feature(&text, "cpu-fsgsbase", has_ebx7(&kvm, bit_FSGSBASE), true,
			    "thread-local storage");
	}
	if (!probed) {
		add_feature(&text, "cpu-xsavec", kvm.xsavec, false, "saving less of them");
		add_feature(&text, "cpu-xgetbv1", kvm.xgetbv1, false, "saving only those in use");
		add(&text, "xcr0: 0x%llx\n", (unsigned long long)kvm.xcr0);
		add(&text, "xsave: %u bytes, %s\n", kvm.xsave_size,
		    kvm.xsavec ? "XSAVEC" : "XSAVE");
	}
	add(&text, "vcpus: %d at most\n", ioctl(kvm.fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS));
	uhyve_kvm_close(&kvm);
	return result ? result : probed;
}
