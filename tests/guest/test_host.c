/*
 * A host that lacks something: one sentence says what, and the list of uhyve_host_info() comes
 * all the same. The library's ioctl() is ours here, so KVM lacks what `refusal` names:
 *
 *   capability N   KVM_CHECK_EXTENSION says no to N
 *   open           /dev/kvm can't be opened
 *   api            the version of the API is another one
 *   run-area       a vCPU's run area has no size
 *   cpuid          CPUID is not told
 *   xsave          the processor has no XSAVE: leaf 0xd is missing
 *   fsgsbase       it has no FSGSBASE
 */
#include <cpuid.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "harness.h"

static char refusal[32];

static bool refused(const char *what)
{
	return !strcmp(refusal, what);
}

static bool refused_capability(unsigned long capability)
{
	static const char prefix[] = "capability ";
	return !strncmp(refusal, prefix, strlen(prefix)) &&
	       strtoul(refusal + strlen(prefix), NULL, 10) == capability;
}

/*
 * XSAVE stays in the list of features: where it is missing although the host uses it, the
 * loader takes the host's own word (see kvm_pvm in docs/hosts.md).
 */
static void spoil(struct kvm_cpuid2 *cpuid)
{
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function == 1)
			entry->ecx |= bit_XSAVE;
		else if (entry->function == 7 && refused("fsgsbase"))
			entry->ebx &= ~(unsigned)bit_FSGSBASE;
		else if (entry->function == 0xd && refused("xsave"))
			entry->function = 0x4fffffff;
	}
	if (refused("fsgsbase")) {
		/* kvm_pvm lists no leaf 0xd by itself. */
		cpuid->entries[cpuid->nent - 1].function = 0xd;
		cpuid->entries[cpuid->nent - 1].index = 0;
	}
}

int open(const char *path, int flags, ...)
{
	int (*real)(const char *, int, ...) =
		(int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
	va_list args;

	va_start(args, flags);
	mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
	va_end(args);
	if (!strcmp(path, "/dev/kvm") && refused("open")) {
		errno = EMFILE;
		return -1;
	}
	return real(path, flags, mode);
}

int ioctl(int fd, unsigned long request, ...)
{
	int (*real)(int, unsigned long, ...) =
		(int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
	va_list args;

	va_start(args, request);
	void *argument = va_arg(args, void *);
	va_end(args);

	if (request == KVM_CHECK_EXTENSION && refused_capability((uintptr_t)argument))
		return 0;
	if (request == KVM_GET_API_VERSION && refused("api"))
		return KVM_API_VERSION + 1;
	if (request == KVM_GET_VCPU_MMAP_SIZE && refused("run-area")) {
		errno = 0;
		return 0;
	}
	if (request == KVM_GET_SUPPORTED_CPUID && refused("cpuid")) {
		errno = E2BIG;
		return -1;
	}
	int result = real(fd, request, argument);
	if (request == KVM_GET_SUPPORTED_CPUID && !result &&
	    (refused("xsave") || refused("fsgsbase")))
		spoil(argument);
	return result;
}

/* ---- tests ---- */

/* `sentence` from both, and `line` in the list, unless it is NULL. */
static void check_refusal(const char *sentence, const char *line)
{
	char text[4096];
	struct uhyve_error error = { 0 };
	unsigned descriptors = open_descriptors();
	char *argv[] = { (char *)"hello", NULL };

	cr_expect_null(uhyve_vm_new(guest_path("hello"), argv, NULL, &error));
	cr_expect(strstr(error.text, sentence), "%s: %s", refusal, error.text);
	cr_expect_lt(error.code, 0, "%s: code %d", refusal, error.code);
	cr_expect_eq(open_descriptors(), descriptors, "%s", refusal);

	memset(&error, 0, sizeof(error));
	cr_expect_lt(uhyve_host_info(text, sizeof(text), &error), 0, "%s", refusal);
	cr_expect(strstr(error.text, sentence), "%s: %s", refusal, error.text);
	cr_expect(strstr(text, "kind: "), "%s: %s", refusal, text);
	cr_expect(strstr(text, "vcpus: "), "%s: %s", refusal, text);
	if (line)
		cr_expect(strstr(text, line), "no \"%s\" in: %s", line, text);
	cr_expect_eq(open_descriptors(), descriptors, "%s", refusal);
}

Test(host, has_what_is_needed)
{
	char text[4096];
	struct uhyve_error error = { 0 };

	cr_assert_eq(uhyve_host_info(text, sizeof(text), &error), 0, "%s", error.text);
	cr_expect_null(strstr(text, "no (required"), "%s", text);
}

Test(host, lacks_a_capability)
{
	static const struct {
		int capability;
		const char *name, *use;
	} needed[] = {
		{ KVM_CAP_USER_MEMORY, "user-memory", "guest memory" },
		{ KVM_CAP_SPLIT_IRQCHIP, "split-irqchip", "local APICs in the kernel" },
		{ KVM_CAP_IRQFD, "irqfd", "completion interrupts" },
		{ KVM_CAP_IOEVENTFD, "ioeventfd", "doorbells" },
		{ KVM_CAP_IRQ_ROUTING, "irq-routing", "message-signalled interrupts" },
		{ KVM_CAP_MP_STATE, "mp-state", "starting vCPUs" },
		{ KVM_CAP_XCRS, "xcrs", "vector registers" },
		{ KVM_CAP_IMMEDIATE_EXIT, "immediate-exit", "stopping vCPUs" },
		{ KVM_CAP_GET_TSC_KHZ, "tsc-khz", "the guest's clock" },
	};

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		char sentence[128], line[128];

		snprintf(refusal, sizeof(refusal), "capability %d", needed[i].capability);
		snprintf(sentence, sizeof(sentence), "this host's KVM lacks '%s', needed for %s",
			 needed[i].name, needed[i].use);
		snprintf(line, sizeof(line), "%s: no (required, for %s)\n", needed[i].name,
			 needed[i].use);
		check_refusal(sentence, line);
	}
}

Test(host, lacks_an_optional_capability)
{
	char text[4096];
	struct uhyve_error error = { 0 };
	struct outcome o;

	snprintf(refusal, sizeof(refusal), "capability %d", KVM_CAP_VCPU_ATTRIBUTES);
	cr_assert_eq(uhyve_host_info(text, sizeof(text), &error), 0, "%s", error.text);
	cr_expect(strstr(text, "vcpu-attributes: no (optional, for "), "%s", text);
	guest_run(&(struct guest){ .image = "hello" }, &o);
	ended(&o, 0);
	cr_expect_str_eq(o.out.text, "hello\n");
	outcome_free(&o);
}

Test(host, lacks_a_feature_of_the_processor)
{
	strcpy(refusal, "xsave");
	check_refusal("this processor or its KVM lacks XSAVE", NULL);
	strcpy(refusal, "fsgsbase");
	check_refusal("this processor or its KVM lacks FSGSBASE", "cpu-fsgsbase: no (required");
}

Test(host, has_another_kvm)
{
	char *argv[] = { (char *)"hello", NULL };
	struct uhyve_error error = { 0 };

	strcpy(refusal, "open");
	cr_expect_null(uhyve_vm_new(guest_path("hello"), argv, NULL, &error));
	cr_expect_str_eq(error.text, "cannot open /dev/kvm: Too many open files");
	cr_expect_eq(error.code, -EMFILE);
	memset(&error, 0, sizeof(error));
	strcpy(refusal, "api");
	check_refusal("/dev/kvm speaks an unknown KVM API version", NULL);
	strcpy(refusal, "cpuid");
	check_refusal("KVM does not tell its CPUID: Argument list too long", NULL);
	/* uhyve_host_info() does not ask for it. */
	strcpy(refusal, "run-area");
	cr_expect_null(uhyve_vm_new(guest_path("hello"), argv, NULL, &error));
	cr_expect(strstr(error.text, "how large a vCPU's run area is"), "%s", error.text);
	cr_expect_lt(error.code, 0);
}
