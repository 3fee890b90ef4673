#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SKIPPED    77
#define LIMIT_MS   30000
#define COMMAND_MS 20000

int main(int argc, char **argv)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		printf("skipped: /dev/kvm cannot be opened: %s\n", strerror(errno));
		return SKIPPED;
	}
	close(fd);

	struct criterion_test_set *tests = criterion_initialize();
	int status = 0;
	if (criterion_handle_args(argc, argv, true))
		status = !criterion_run_all_tests(tests);
	criterion_finalize(tests);
	return status;
}

/* ---- capturing ---- */

/* Two pipes that are read by a thread until their other ends are closed. */
struct reader {
	int fds[2];
	struct capture captures[2];
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t grown; /* or over */
	bool over;
};

static void *read_all(void *context)
{
	struct reader *reader = context;
	struct pollfd fds[2] = { { reader->fds[0], POLLIN, 0 }, { reader->fds[1], POLLIN, 0 } };
	char buffer[65536];

	while (fds[0].fd >= 0 || fds[1].fd >= 0) {
		(void)poll(fds, 2, -1);
		for (int i = 0; i < 2; i++) {
			struct capture *capture = &reader->captures[i];

			if (fds[i].fd < 0 || !fds[i].revents)
				continue;
			ssize_t n = read(fds[i].fd, buffer, sizeof(buffer));
			if (n <= 0) {
				fds[i].fd = -1;
				continue;
			}
			pthread_mutex_lock(&reader->lock);
			capture->text = realloc(capture->text, capture->size + (size_t)n + 1);
			memcpy(capture->text + capture->size, buffer, (size_t)n);
			capture->size += (size_t)n;
			capture->text[capture->size] = '\0';
			pthread_cond_broadcast(&reader->grown);
			pthread_mutex_unlock(&reader->lock);
		}
	}
	pthread_mutex_lock(&reader->lock);
	reader->over = true;
	pthread_cond_broadcast(&reader->grown);
	pthread_mutex_unlock(&reader->lock);
	return NULL;
}

static void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attributes);
	pthread_condattr_destroy(&attributes);
}

/* Start reading; the ends to write to go to `write_ends`. */
static void reader_start(struct reader *reader, int write_ends[2])
{
	*reader = (struct reader){ .over = false };
	for (int i = 0; i < 2; i++) {
		int ends[2];

		cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
		reader->fds[i] = ends[0];
		write_ends[i] = ends[1];
		reader->captures[i].text = calloc(1, 1);
	}
	pthread_mutex_init(&reader->lock, NULL);
	cond_init(&reader->grown);
	cr_assert_eq(pthread_create(&reader->thread, NULL, read_all, reader), 0);
}

/* Afterwards the captures are the caller's. */
static void reader_end(struct reader *reader)
{
	pthread_join(reader->thread, NULL);
	close(reader->fds[0]);
	close(reader->fds[1]);
	pthread_mutex_destroy(&reader->lock);
	pthread_cond_destroy(&reader->grown);
}

/* Many times as long where the processor is emulated, maybe on a busy host. */
static struct timespec after(unsigned ms)
{
	struct timespec at;

	if (emulated())
		ms *= 3;
	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += ms / 1000;
	at.tv_nsec += (long)(ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	return at;
}

/* ---- the library ---- */

struct running {
	uhyve_vm *vm;
	struct reader reader;
	int in, ends[2];
	pthread_t thread;
	struct timespec limit;
	bool expected;

	/* Written by the thread, under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool over;
	int code;
	struct uhyve_error error;
	struct uhyve_result result;
};

const char *guest_path(const char *name)
{
	static char path[4096];

	if (strchr(name, '/'))
		snprintf(path, sizeof(path), "%s", name);
	else
		snprintf(path, sizeof(path), "%s/%s", GUEST_PROGRAMS, name);
	return path;
}

static void *run(void *context)
{
	struct running *running = context;
	struct uhyve_result result = { 0 };
	struct uhyve_error error = { 0 };
	int code = uhyve_vm_run(running->vm, &result, &error);

	pthread_mutex_lock(&running->lock);
	running->code = code;
	running->error = error;
	running->result = result;
	running->over = true;
	pthread_cond_broadcast(&running->changed);
	pthread_mutex_unlock(&running->lock);
	return NULL;
}

static uhyve_config *configure(const struct guest *guest, int in, int out, int err)
{
	struct uhyve_error error = { 0 };
	uhyve_config *config = uhyve_config_new();
	const char *const *at;

	cr_assert(config);
	if (guest->vcpus)
		cr_assert_eq(uhyve_config_set_vcpus(config, guest->vcpus, &error), 0, "%s",
			     error.text);
	if (guest->memory)
		cr_assert_eq(uhyve_config_set_memory(config, guest->memory, &error), 0, "%s",
			     error.text);
	if (guest->spin_ns)
		uhyve_config_set_spin(config,
				      guest->spin_ns == SPIN_NONE ? 0 : (uint64_t)guest->spin_ns);
	if (guest->backend)
		cr_assert_eq(uhyve_config_set_backend(config, guest->backend, &error), 0, "%s",
			     error.text);
	if (guest->turn_ns)
		uhyve_config_set_turn(config,
				      guest->turn_ns == TURN_NONE ? 0 : (uint64_t)guest->turn_ns);
	if (guest->dispatch)
		cr_assert_eq(uhyve_config_set_dispatch(config, guest->dispatch, &error), 0, "%s",
			     error.text);
	if (guest->trace)
		cr_assert_eq(uhyve_config_set_trace(config, guest->trace, &error), 0, "%s",
			     error.text);
	for (at = guest->env; at && *at; at++)
		cr_assert_eq(uhyve_config_add_env(config, *at, &error), 0, "%s", error.text);
	for (at = guest->maps; at && *at; at++)
		cr_assert_eq(uhyve_config_add_map(config, *at, &error), 0, "%s", error.text);
	uhyve_config_set_console(config, in, out, err);
	return config;
}

struct running *guest_start(const struct guest *guest)
{
	struct running *running = calloc(1, sizeof(*running));
	struct uhyve_error error = { 0 };
	char *argv[32];
	size_t argc = 0;

	cr_assert(running);
	running->limit = after(guest->ms ? guest->ms : LIMIT_MS);
	running->expected = guest->expected;
	pthread_mutex_init(&running->lock, NULL);
	cond_init(&running->changed);
	running->in = guest->in ? guest->in : open("/dev/null", O_RDONLY | O_CLOEXEC);
	reader_start(&running->reader, running->ends);

	/* Not changed by anybody: the array is of `char *` for the sake of execv's callers. */
	argv[argc++] = (char *)guest->image;
	for (size_t i = 0; guest->args && guest->args[i]; i++)
		argv[argc++] = (char *)guest->args[i];
	argv[argc] = NULL;
	cr_assert_lt(argc, sizeof(argv) / sizeof(argv[0]));

	uhyve_config *config = configure(
		guest, running->in, guest->out ? guest->out : running->ends[0], running->ends[1]);
	running->vm = uhyve_vm_new(guest_path(guest->image), argv, config, &error);
	uhyve_config_free(config);
	cr_assert(running->vm, "%s", error.text);
	cr_assert_eq(pthread_create(&running->thread, NULL, run, running), 0);
	if (guest->in)
		running->in = -1; /* the caller's */
	return running;
}

bool guest_wait_output(struct running *running, const char *text, unsigned ms)
{
	struct reader *reader = &running->reader;
	struct timespec limit = after(ms);
	bool found;
	int code = 0;

	pthread_mutex_lock(&reader->lock);
	do {
		const struct capture *out = &reader->captures[0];

		found = memmem(out->text, out->size, text, strlen(text));
		if (!found)
			code = pthread_cond_timedwait(&reader->grown, &reader->lock, &limit);
	} while (!found && !code && !reader->over);
	pthread_mutex_unlock(&reader->lock);
	return found;
}

void guest_stop(struct running *running)
{
	running->expected = true;
	uhyve_vm_stop(running->vm);
}

/* Keep the first events. */
struct kept {
	struct outcome *outcome;
	size_t count;
};

static int keep(void *context, const struct uhyve_trace_event *event)
{
	struct kept *kept = context;

	if (kept->count < TRACED)
		kept->outcome->events[kept->count++] = *event;
	return 0;
}

void guest_finish(struct running *running, struct outcome *outcome)
{
	int code = 0;

	pthread_mutex_lock(&running->lock);
	while (!running->over && !code)
		code = pthread_cond_timedwait(&running->changed, &running->lock, &running->limit);
	if (!running->over)
		uhyve_vm_stop(running->vm);
	pthread_mutex_unlock(&running->lock);
	pthread_join(running->thread, NULL);

	uhyve_vm_stats(running->vm, &outcome->stats);
	outcome->stats.backend =
		strcmp(outcome->stats.backend, "threads") == 0 ? "threads" : "io_uring";
	outcome->result = running->result;
	outcome->trace = (struct uhyve_trace_summary){ 0 };
	(void)uhyve_vm_trace(running->vm, keep, &(struct kept){ outcome, 0 }, &outcome->trace);
	snprintf(outcome->report, sizeof(outcome->report), "%s",
		 running->result.report ? running->result.report : "");
	outcome->result.report = outcome->report;
	uhyve_vm_free(running->vm);

	close(running->ends[0]);
	close(running->ends[1]);
	if (running->in >= 0)
		close(running->in);
	reader_end(&running->reader);
	outcome->out = running->reader.captures[0];
	outcome->err = running->reader.captures[1];

	struct uhyve_error error = running->error;
	bool stopped = outcome->result.end == UHYVE_STOPPED && !running->expected;
	code = running->code;
	pthread_mutex_destroy(&running->lock);
	pthread_cond_destroy(&running->changed);
	free(running);
	cr_assert_eq(code, 0, "%s", error.text);
	cr_assert(!stopped, "it did not end in time; its output: %.1000s%.1000s", outcome->out.text,
		  outcome->err.text);
}

void guest_run(const struct guest *guest, struct outcome *outcome)
{
	guest_finish(guest_start(guest), outcome);
}

void outcome_free(struct outcome *outcome)
{
	free(outcome->out.text);
	free(outcome->err.text);
}

void ended(const struct outcome *outcome, int status)
{
	cr_assert_eq(outcome->result.end, UHYVE_EXITED,
		     "end %d, status %d, output: %.2000s%.1000s%s", outcome->result.end,
		     outcome->result.status, outcome->out.text, outcome->err.text, outcome->report);
	cr_assert_eq(outcome->result.status, status, "status %d instead of %d: %.2000s%.1000s",
		     outcome->result.status, status, outcome->out.text, outcome->err.text);
	cr_assert_str_empty(outcome->report);
}

void faulted(const struct outcome *outcome, int signal)
{
	cr_assert_eq(outcome->result.end, UHYVE_FAULTED,
		     "end %d, status %d, output: %.2000s%.1000s%s", outcome->result.end,
		     outcome->result.status, outcome->out.text, outcome->err.text, outcome->report);
	cr_assert_eq(outcome->result.signal, signal, "%s", outcome->report);
	cr_assert_eq(outcome->result.status, 128 + signal);
}

/* ---- the command line ---- */

static bool has_output(struct reader *reader)
{
	pthread_mutex_lock(&reader->lock);
	bool has = reader->captures[0].size;
	pthread_mutex_unlock(&reader->lock);
	return has;
}

static int wait_for(pid_t pid, struct reader *reader, int signal)
{
	struct timespec limit = after(COMMAND_MS), now;
	int status;

	do {
		const struct timespec pause = { .tv_nsec = 1000000 };

		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		if (signal && has_output(reader)) {
			kill(pid, signal);
			signal = 0;
		}
		nanosleep(&pause, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec <= limit.tv_sec);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	cr_assert_fail("uhyve-c did not end in time");
	return -1;
}

void command_run(struct command *command)
{
	char *argv[32] = { (char *)"uhyve-c" };
	struct reader reader;
	int ends[2];

	for (size_t i = 0; command->args && command->args[i]; i++)
		argv[i + 1] = (char *)command->args[i];
	/* What it leaves behind becomes our child. */
	cr_assert_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	reader_start(&reader, ends);
	pid_t pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		int in = open("/dev/null", O_RDONLY);

		dup2(in, 0);
		dup2(ends[0], 1);
		dup2(ends[1], 2);
		if (command->prepare && !command->prepare())
			_exit(SKIPPED);
		execv(UHYVE_C, argv);
		_exit(99);
	}
	close(ends[0]);
	close(ends[1]);
	command->status = wait_for(pid, &reader, command->signal);
	command->orphans = waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD;
	/* Not to the end if something is left behind: that would keep the pipes open. */
	if (!command->orphans)
		reader_end(&reader);
	command->out = reader.captures[0];
	command->err = reader.captures[1];
	if (command->prepare && command->status == SKIPPED)
		skip_test(command->why_not);
	cr_assert_neq(command->status, 99, "%s cannot be executed", UHYVE_C);
}

void command_free(struct command *command)
{
	free(command->out.text);
	free(command->err.text);
}

/* ---- files ---- */

static char scratch_path[64];

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_scratch(void)
{
	(void)nftw(scratch_path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *scratch(void)
{
	if (!*scratch_path) {
		strcpy(scratch_path, "/tmp/pagurus-guest-XXXXXX");
		cr_assert(mkdtemp(scratch_path));
		atexit(remove_scratch);
	}
	return scratch_path;
}

const char *scratch_file(const char *name, const void *data, size_t size)
{
	char *path;

	cr_assert_gt(asprintf(&path, "%s/%s", scratch(), name), 0);
	if (data) {
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

		cr_assert_geq(fd, 0);
		cr_assert_eq(write(fd, data, size), (ssize_t)size);
		close(fd);
	}
	return path;
}

bool emulated(void)
{
	return getenv("PAGURUS_NESTED");
}

void skip_test(const char *why)
{
	/* One write: other tests run beside this one. */
	dprintf(STDOUT_FILENO, "SKIPPED: %s/%s: %s\n", criterion_current_suite->name,
		criterion_current_test->name, why);
	cr_skip("%s", why);
	abort();
}

unsigned open_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	cr_assert(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}
