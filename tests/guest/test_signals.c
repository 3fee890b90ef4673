/*
 * Signals: programs/signals.c in a guest, and on Linux itself, since what it expects is what
 * Linux does.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define WAIT_MS 15000

static const char *const names[] = {
	"handler",   "actions", "siginfo", "nested", "flags",           "masks",
	"realtime",  "limit",   "longjmp", "fix",    "traps",           "altstack",
	"registers", "vectors", "frame",   "wait",   "altstack_nested", "wait_thread",
	"pause",     "sleep",   "futex",   "ppoll",  "futex_restart",   "wakeups",
	"cancel",    "threads", "storm",   "itimer", "hostile",         "vectors512",
};

/* A pipe that never has anything to read, as standard input. */
static int idle[2];

static void open_idle(void)
{
	cr_assert_eq(pipe2(idle, O_CLOEXEC), 0);
}

static void says_ok(const struct outcome *o, const char *name)
{
	cr_assert_eq(o->result.end, UHYVE_EXITED, "%s: %s%s", name, o->out.text, o->report);
	cr_assert_eq(o->result.status, 0, "%s: %s", name, o->out.text);
	cr_assert_str_eq(o->out.text, "ok\n", "%s: %s", name, o->out.text);
}

static void run(const char *name, unsigned vcpus, long spin_ns, const char *backend)
{
	struct outcome o;

	guest_run(&(struct guest){ .image = "signals",
				   .args = LIST(name),
				   .vcpus = vcpus,
				   .spin_ns = spin_ns,
				   .backend = backend,
				   .in = idle[0] },
		  &o);
	says_ok(&o, name);
	outcome_free(&o);
}

static void run_all(unsigned vcpus, long spin_ns, const char *backend)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		run(names[i], vcpus, spin_ns, backend);
}

Test(signals, one_vcpu, .init = open_idle, .timeout = 60)
{
	run_all(1, 0, "auto");
}

Test(signals, two_vcpus, .init = open_idle, .timeout = 60)
{
	run_all(2, 0, "auto");
}

Test(signals, four_vcpus_that_park_with_threads, .init = open_idle, .timeout = 60)
{
	run_all(4, SPIN_NONE, "threads");
}

Test(signals, alarm, .init = open_idle)
{
	run("alarm", 2, 0, "auto");
}

/* The timer's deadline interrupts the vCPU, and with it the thread that computes. */
Test(signals, a_thread_that_computes, .init = open_idle)
{
	run("compute", 1, 0, "auto");
	run("compute", 1, SPIN_NONE, "threads");
	run("compute", 2, 0, "auto");
	run("compute", 4, SPIN_NONE, "auto");
}

/* ---- the same on Linux ---- */

static int run_on_linux(const char *name)
{
	int status;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		int out = open("/dev/null", O_WRONLY);

		dup2(idle[0], 0);
		dup2(out, 1);
		dup2(out, 2);
		signal(SIGPIPE, SIG_DFL);
		execl(guest_path("signals-linux"), "signals", name, (char *)NULL);
		_exit(99);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Test(signals, on_linux, .init = open_idle, .timeout = 60)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int status = run_on_linux(names[i]);

		cr_expect_eq(status, 0, "%s: %d", names[i], status);
	}
	cr_expect_eq(run_on_linux("compute"), 0);
}

/* ---- reading what the test writes ---- */

static void read_restarts(const char *backend, unsigned vcpus)
{
	struct outcome o;
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	struct running *running = guest_start(&(struct guest){ .image = "signals",
							       .args = LIST("read"),
							       .in = ends[0],
							       .vcpus = vcpus,
							       .backend = backend });
	bool waits = guest_wait_output(running, "restart\n", WAIT_MS);
	/* Long enough for some signals to come first; were there none, the guest would tell. */
	usleep(50000);
	cr_expect_eq(write(ends[1], "input", 5), 5);
	usleep(20000);
	close(ends[1]);
	guest_finish(running, &o);
	close(ends[0]);
	cr_assert(waits, "%s%s", o.out.text, o.report);
	ended(&o, 0);
	cr_assert_str_eq(o.out.text, "restart\nok\n");
	outcome_free(&o);
}

Test(signals, reading_is_interrupted_or_restarted)
{
	read_restarts("auto", 1);
	read_restarts("auto", 2);
	read_restarts("threads", 1);
	read_restarts("threads", 2);
}

#define STREAM_BYTES 20000

/* Bytes in small pieces, while signals interrupt every read: all arrive, in order, once. */
static void nothing_is_lost(const char *backend, unsigned vcpus)
{
	char expected[64], bytes[7];
	uint64_t next = 0;
	struct outcome o;
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	struct running *running = guest_start(&(struct guest){ .image = "signals",
							       .args = LIST("stream"),
							       .in = ends[0],
							       .vcpus = vcpus,
							       .backend = backend });
	for (size_t sent = 0; sent < STREAM_BYTES;) {
		size_t piece =
			STREAM_BYTES - sent < sizeof(bytes) ? STREAM_BYTES - sent : sizeof(bytes);

		for (size_t i = 0; i < piece; i++) {
			bytes[i] = (char)next;
			next = next * 5 + 3;
		}
		cr_assert_eq(write(ends[1], bytes, piece), (ssize_t)piece);
		sent += piece;
		if (sent % 70 == 0)
			usleep(500);
	}
	close(ends[1]);
	guest_finish(running, &o);
	close(ends[0]);
	ended(&o, 0);
	snprintf(expected, sizeof(expected), "bytes %d\nok\n", STREAM_BYTES);
	cr_assert_str_eq(o.out.text, expected);
	outcome_free(&o);
}

Test(signals, nothing_is_lost, .timeout = 60)
{
	nothing_is_lost("auto", 1);
	nothing_is_lost("auto", 2);
	nothing_is_lost("threads", 1);
	nothing_is_lost("threads", 2);
}

static void fifo(const char *backend)
{
	const char *path = scratch_file("fifo", NULL, 0);
	struct outcome o;
	char *map;

	(void)unlink(path);
	cr_assert_eq(mkfifo(path, 0600), 0);
	cr_assert_gt(asprintf(&map, "%s:/:rw", scratch()), 0);
	guest_run(&(struct guest){ .image = "signals",
				   .args = LIST("fifo", "/fifo"),
				   .maps = LIST(map),
				   .backend = backend,
				   .vcpus = 2 },
		  &o);
	says_ok(&o, "fifo");
	outcome_free(&o);
	free(map);
}

Test(signals, reading_a_fifo_is_interrupted)
{
	fifo("auto");
	fifo("threads");
}

/* ---- the end of the program ---- */

static void ends_by(const char *name, const char *argument, int signal, const char *reason)
{
	struct outcome o;

	guest_run(&(struct guest){ .image = "signals", .args = LIST(name, argument), .vcpus = 2 },
		  &o);
	faulted(&o, signal);
	cr_assert(strstr(o.report, reason), "%s: %s", name, o.report);
	cr_assert_str_empty(o.out.text, "%s: %s", name, o.out.text);
	outcome_free(&o);
}

Test(signals, ends)
{
	static const int all[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGABRT, SIGKILL, SIGUSR1,
				   SIGSEGV, SIGPIPE, SIGALRM, SIGTERM, SIGSYS,  34 };
	const char *raised = "raised by the program itself";
	char number[16];

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		snprintf(number, sizeof(number), "%d", all[i]);
		ends_by("end", number, all[i], raised);
	}
	ends_by("end_alarm", NULL, SIGALRM, raised);
	ends_by("end_blocked", NULL, SIGTERM, raised);
	ends_by("end_by_thread", NULL, SIGTERM, raised);
	ends_by("end_abort", NULL, SIGABRT, raised);
	ends_by("end_fault_blocked", NULL, SIGSEGV, "cannot write to 0x10");
	ends_by("end_overflow", NULL, SIGSEGV, "cannot write to");
}

Test(signals, ends_on_linux, .init = open_idle)
{
	cr_assert_eq(run_on_linux("end_alarm"), 128 + SIGALRM);
	cr_assert_eq(run_on_linux("end_blocked"), 128 + SIGTERM);
	cr_assert_eq(run_on_linux("end_by_thread"), 128 + SIGTERM);
	cr_assert_eq(run_on_linux("end_abort"), 128 + SIGABRT);
	cr_assert_eq(run_on_linux("end_fault_blocked"), 128 + SIGSEGV);
	cr_assert_eq(run_on_linux("end_overflow"), 128 + SIGSEGV);
}
