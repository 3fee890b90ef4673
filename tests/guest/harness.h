/*
 * Run an image through the library, or through the command line, and look at what came
 * out of it. Only for tests: what goes wrong here fails the test that called.
 *
 * The test executables exit with status 77, which is "skipped", where /dev/kvm can't be
 * opened.
 */
#ifndef GUEST_HARNESS_H
#define GUEST_HARNESS_H

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uhyve-c/uhyve.h>

#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })

#define SPIN_NONE  (-1)
#define TURN_NONE  (-1)
#define SPIN_LARGE 5000000 /* ns: longer than any pause of a test that means to spin */

/* What to run. Zero means: the default. */
struct guest {
	const char *image;       /* a name in the directory of test programs, or a path with '/' */
	const char *const *args; /* after the program's name                */
	const char *const *env, *const *maps;
	unsigned vcpus;
	uint64_t memory;
	long spin_ns; /* or SPIN_NONE                                       */
	const char *backend, *dispatch;
	long turn_ns;   /* or TURN_NONE                                     */
	unsigned trace; /* events to record, of each vCPU                   */
	int in;         /* standard input; 0: /dev/null                      */
	int out;        /* standard output; 0: captured                      */
	unsigned ms;    /* after this long it is stopped; default 30 s       */
	bool expected;  /* to be stopped: otherwise a stop fails the test    */
};

/* Bytes that were captured; a terminating zero follows them. */
struct capture {
	char *text;
	size_t size;
};

#define TRACED 64

struct outcome {
	struct uhyve_result result; /* its report points to `report`         */
	struct uhyve_stats stats;
	struct uhyve_trace_event events[TRACED]; /* the first ones of the trace */
	struct uhyve_trace_summary trace;
	struct capture out, err;
	char report[8192];
};

/* Run to the end. */
void guest_run(const struct guest *guest, struct outcome *outcome);

/* The same in steps: between them, the test talks to the running guest. */
struct running;
struct running *guest_start(const struct guest *guest);
/* Wait until the guest's standard output contains `text`; false after `ms`. */
bool guest_wait_output(struct running *running, const char *text, unsigned ms);
void guest_stop(struct running *running);
void guest_finish(struct running *running, struct outcome *outcome);
void outcome_free(struct outcome *outcome);

/* A run of the command line, with standard input from /dev/null. */
struct command {
	const char *const *args; /* after "uhyve-c"                         */
	/* Runs in the child before; if it returns false, the test is skipped with `why_not`. */
	bool (*prepare)(void);
	const char *why_not;
	int signal; /* sent to it when it has written something to standard output */

	/* How it ended. */
	int status; /* exit status, or 128 + signal                         */
	struct capture out, err;
	bool orphans; /* it left processes behind                           */
};

void command_run(struct command *command);
void command_free(struct command *command);

/* The path of a test program; a static buffer, overwritten by the next call. */
const char *guest_path(const char *name);

/* A new empty directory, removed with all that is in it when the test ends. */
const char *scratch(void);
/* The path of a file in it, which is written first unless `data` is NULL; not freed. */
const char *scratch_file(const char *name, const void *data, size_t size);

/* Whether this runs on the processor that scripts/nested has QEMU emulate: see docs/hosts.md. */
bool emulated(void);

/*
 * End the test as skipped, and say why in a line that scripts/count-tests counts: Criterion by
 * itself does neither.
 */
_Noreturn void skip_test(const char *why);

/* Open descriptors of this process. */
unsigned open_descriptors(void);

void ended(const struct outcome *outcome, int status);
void faulted(const struct outcome *outcome, int signal);

#endif
