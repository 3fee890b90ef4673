/*
 * libuhyve-c: run a Pagurus unikernel in a KVM virtual machine.
 *
 *	struct uhyve_error error = { 0 };
 *	struct uhyve_result result;
 *	uhyve_vm *vm = uhyve_vm_new("app", (char *[]){ "app", NULL }, NULL, &error);
 *
 *	if (!vm || uhyve_vm_run(vm, &result, &error))
 *		fprintf(stderr, "%s\n", error.text);
 *	uhyve_vm_free(vm);
 *
 * The library never prints, exits or aborts. A call that can fail returns NULL or
 * a negative errno, and tells why in one sentence in the `error` it was given (NULL
 * is allowed everywhere). Whatever a guest does ends at most that guest's VM.
 *
 * Threads: different configurations and VMs are independent of each other. One of
 * them must not be used by two threads at the same time, but for uhyve_vm_stop() and
 * uhyve_vm_stats(), which any thread may call while uhyve_vm_run() is under way.
 *
 * Signals: a VM's threads use UHYVE_SIGNAL to leave guest mode, and the highest real-time
 * signal that has no handler yet to leave system calls that wait. The library installs empty
 * handlers for them; all other signals are blocked on its threads.
 */
#ifndef UHYVE_C_UHYVE_H
#define UHYVE_C_UHYVE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library is built with hidden symbols: what is declared here is what it exports. */
#pragma GCC visibility push(default)

#define UHYVE_SIGNAL (SIGRTMIN + 5)

#define UHYVE_MEMORY_DEFAULT (256ull << 20)
#define UHYVE_MEMORY_MIN     (8ull << 20)
#define UHYVE_MEMORY_MAX     (1ull << 40)
#define UHYVE_VCPUS_MAX      64
#define UHYVE_SPIN_DEFAULT   100000  /* ns */
#define UHYVE_TURN_DEFAULT   2000000 /* ns */
#define UHYVE_TURN_MIN       20000   /* ns */
#define UHYVE_TRACE_MAX      262144  /* events of a vCPU */

/* What went wrong: a negative errno and a sentence without full stop. */
struct uhyve_error {
	int code;   /* 0: nothing so far                                    */
	bool image; /* the image is missing or was refused                  */
	char text[512];
};

typedef struct uhyve_config uhyve_config;
typedef struct uhyve_vm uhyve_vm;

/* ---- configuration: what the guest gets ---- */

/* A configuration with the defaults: one vCPU, UHYVE_MEMORY_DEFAULT, nothing mapped,
 * an empty environment, the process's standard streams as console. NULL: no memory. */
uhyve_config *uhyve_config_new(void);
void uhyve_config_free(uhyve_config *config);

/* Guest memory in bytes, rounded up to 2 MiB. -EINVAL outside MIN..MAX. */
int uhyve_config_set_memory(uhyve_config *config, uint64_t bytes, struct uhyve_error *error);

/* Number of vCPUs, 1 to UHYVE_VCPUS_MAX. -EINVAL. */
int uhyve_config_set_vcpus(uhyve_config *config, unsigned count, struct uhyve_error *error);

/*
 * Let the guest see a directory or file: `host[:guest[:ro|rw]]`. The guest path is
 * absolute; without it a directory appears at "/" and a file at "/name". Nothing else
 * of the host's files is visible, and no symbolic link leads out. Opened now.
 */
int uhyve_config_add_map(uhyve_config *config, const char *specification,
			 struct uhyve_error *error);

/* Add `NAME=value` to the guest's environment; the last one of a name wins. -EINVAL. */
int uhyve_config_add_env(uhyve_config *config, const char *assignment, struct uhyve_error *error);

/* The guest's descriptors 0, 1, 2. Borrowed until the VM is freed. */
void uhyve_config_set_console(uhyve_config *config, int in, int out, int err);

/*
 * The longest time in nanoseconds that a vCPU with nothing to do, and the engine with
 * nothing to serve, look for work before they sleep. 0: sleep at once. The time used
 * adapts itself below this; on a single CPU, where spinning only keeps the other side from
 * running, it is 0.
 */
void uhyve_config_set_spin(uhyve_config *config, uint64_t nanoseconds);

/* "auto" (default), "io_uring" or "threads": how slow operations are carried out. */
int uhyve_config_set_backend(uhyve_config *config, const char *name, struct uhyve_error *error);

/*
 * How long, in nanoseconds, a thread of the guest may keep its vCPU while something else waits
 * for it: another thread, or what the loader has completed. Then it is interrupted. 0: never;
 * else at least UHYVE_TURN_MIN. What waits has its turn after three times this at most. A vCPU
 * nobody waits for is left alone.
 */
void uhyve_config_set_turn(uhyve_config *config, uint64_t nanoseconds);

/*
 * How the guest's kernel gets from a system call to its future: "union" (default), "return" or
 * "stack". All do the same; this is for comparing them. -EINVAL.
 */
int uhyve_config_set_dispatch(uhyve_config *config, const char *name, struct uhyve_error *error);

/*
 * Let each vCPU record its last `events` scheduling events (rounded up to a power of two, at
 * most UHYVE_TRACE_MAX: else -EINVAL), for uhyve_vm_trace(). 0, the default: none. They take 32
 * bytes of guest memory each.
 */
int uhyve_config_set_trace(uhyve_config *config, unsigned events, struct uhyve_error *error);

/* ---- a virtual machine ---- */

/*
 * Make a VM for `image`, with `argv` (NULL-terminated; argv[0] is the program's name)
 * as its arguments. `config` may be NULL for the defaults; it may serve several VMs and be
 * freed at once, but must not be changed any more. NULL on failure.
 */
uhyve_vm *uhyve_vm_new(const char *image, char *const argv[], const uhyve_config *config,
		       struct uhyve_error *error);
void uhyve_vm_free(uhyve_vm *vm); /* NULL is allowed; not while it runs      */

enum uhyve_end {
	UHYVE_EXITED,  /* the program ended itself: `status`                */
	UHYVE_FAULTED, /* a processor exception or signal: `signal`, `report` */
	UHYVE_FAILED,  /* the kernel or the VM broke: `report`              */
	UHYVE_STOPPED, /* uhyve_vm_stop()                                   */
};

struct uhyve_result {
	enum uhyve_end end;
	/* For a shell: the program's status, 128 + signal, 125 for FAILED, 143 for STOPPED. */
	int status;
	int signal;
	/* Several lines for a person, or "". Belongs to the VM. */
	const char *report;
};

/* Run until the guest ends. Once per VM. 0, or a negative errno if it can't be run. */
int uhyve_vm_run(uhyve_vm *vm, struct uhyve_result *result, struct uhyve_error *error);

/* End a running VM soon, from any thread; one not yet run ends as soon as it is. */
void uhyve_vm_stop(uhyve_vm *vm);

/* What happened so far. Times in nanoseconds of CLOCK_MONOTONIC, 0: not reached yet. */
struct uhyve_stats {
	/* Boot: points in time. */
	uint64_t created;  /* uhyve_vm_new() was called                     */
	uint64_t loaded;   /* image checked                                 */
	uint64_t mapped;   /* memory and page tables are set up             */
	uint64_t ready;    /* vCPUs are set up                              */
	uint64_t started;  /* uhyve_vm_run() was called                     */
	uint64_t entered;  /* first instruction of the guest                */
	uint64_t reached;  /* the program's entry point                     */
	uint64_t ended;    /* the program's end, as the guest saw it        */
	uint64_t finished; /* uhyve_vm_run() returned                       */

	/* Exits to the loader, by reason, all vCPUs. */
	uint64_t exits_mmio, exits_signal, exits_other;

	/* The engine's view. */
	uint64_t operations, answered_at_once, deferred, completions;
	uint64_t interrupts, doorbells, sleeps;
	uint64_t looks;            /* times the clock woke the engine       */
	uint64_t preemptions_sent; /* interrupts of vCPUs that ran          */
	uint64_t balanced;         /* vCPUs woken to take work from another */

	/* The kernel's view. */
	uint64_t polls, switches, tasks;
	uint64_t syscalls, syscalls_pending, syscalls_unknown;
	uint64_t hypercalls, parks, spins, kicks, exceptions;
	uint64_t steals, preemptions;

	unsigned vcpus;
	uint64_t memory;         /* bytes the guest has                     */
	uint64_t memory_touched; /* bytes of it the host has backed so far  */
	const char *backend;
};

void uhyve_vm_stats(const uhyve_vm *vm, struct uhyve_stats *stats);

/* ---- what the guest's executors did ---- */

enum uhyve_trace_kind {
	UHYVE_TRACE_NAME = 1, /* task is a thread with id `arg`; 0: a task of the kernel's */
	UHYVE_TRACE_SPAWN,    /* task was spawned, for vCPU `arg`, by task `more` or 0 */
	UHYVE_TRACE_RUN,      /* task begins to run here                       */
	UHYVE_TRACE_PENDING,  /* it stops running: it waits                    */
	UHYVE_TRACE_YIELD,    /* it stops running, and will run again          */
	UHYVE_TRACE_DONE,     /* it stops running: it is done                  */
	UHYVE_TRACE_SYSCALL,  /* it waits in system call `arg`: before PENDING */
	UHYVE_TRACE_PREEMPT,  /* it was interrupted: YIELD follows             */
	UHYVE_TRACE_WAKE,     /* task may run again, on vCPU `arg`; woken by task `more` or 0 */
	UHYVE_TRACE_STEAL,    /* task was taken over from vCPU `arg`           */
	UHYVE_TRACE_SPIN,     /* nothing to run: the vCPU looks for work       */
	UHYVE_TRACE_PARK,     /* it halts                                      */
	UHYVE_TRACE_UNPARK,   /* it goes on after a halt                       */
	UHYVE_TRACE_WORK,     /* it has found work while it looked             */
};

struct uhyve_trace_event {
	uint64_t time; /* ns of CLOCK_MONOTONIC                             */
	unsigned vcpu; /* where it was recorded                             */
	enum uhyve_trace_kind kind;
	uint64_t task; /* a number that tells tasks apart while they live, and nothing more */
	uint32_t arg;
	uint64_t more;
};

struct uhyve_trace_summary {
	uint64_t events;      /* handed out                                 */
	uint64_t overwritten; /* older ones, which newer ones have replaced */
	uint64_t dropped;     /* of no known kind                           */
};

/*
 * Hand out the events of all vCPUs in the order of their times, when uhyve_vm_run() has
 * returned: `event` is called for each one, and ends it all by returning something else than
 * 0, which is then the result. The guest has written them: kinds and vCPUs are valid, times
 * never go back, all else may be anything. `summary` may be NULL. 0 without events, also when
 * none were asked for; -EINVAL before the VM has run.
 */
int uhyve_vm_trace(const uhyve_vm *vm,
		   int (*event)(void *context, const struct uhyve_trace_event *event),
		   void *context, struct uhyve_trace_summary *summary);

/* Version of the library, "major.minor.patch". */
const char *uhyve_version(void);

/*
 * What this host's KVM offers, for --host-info: one "name: value" per line into
 * `text`. 0, or a negative errno when /dev/kvm can't be used, or lacks something; in the
 * latter case `text` is filled in all the same.
 */
int uhyve_host_info(char *text, unsigned size, struct uhyve_error *error);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
