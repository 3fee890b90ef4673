/* uhyve-c: run a Pagurus unikernel. A thin user of the library: words and exit statuses. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "report.h"
#include "trace.h"

/* Sent to the stopper's thread alone: the VM has ended by itself. */
#define SIGNAL_DONE (SIGRTMIN + 6)

/* Signals that stop the VM, taken by a thread of their own. */
struct stopper {
	sigset_t signals;
	uhyve_vm *vm;
	pthread_t thread;
	_Atomic int received; /* the first one, or 0 */
};

static void *wait_for_signal(void *context)
{
	struct stopper *stopper = context;
	sigset_t wanted = stopper->signals;
	int number;

	(void)sigaddset(&wanted, SIGNAL_DONE);
	if (sigwait(&wanted, &number) || number == SIGNAL_DONE)
		return NULL;
	/* Relaxed: read after this thread was joined. */
	atomic_store_explicit(&stopper->received, number, memory_order_relaxed);
	/* A second one ends the process at once, should stopping take too long. */
	(void)pthread_sigmask(SIG_UNBLOCK, &stopper->signals, NULL);
	uhyve_vm_stop(stopper->vm);
	return NULL;
}

/* Before any other thread exists, so that all have the signals blocked. */
static void stopper_block(struct stopper *stopper)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };

	(void)sigemptyset(&stopper->signals);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct sigaction action;

		/* What nohup(1) or a shell's `&` has switched off stays so. */
		if (!sigaction(numbers[i], NULL, &action) && action.sa_handler != SIG_IGN)
			(void)sigaddset(&stopper->signals, numbers[i]);
	}
	(void)pthread_sigmask(SIG_BLOCK, &stopper->signals, NULL);

	sigset_t done;
	(void)sigemptyset(&done);
	(void)sigaddset(&done, SIGNAL_DONE);
	(void)pthread_sigmask(SIG_BLOCK, &done, NULL);
}

static void complain(const char *text)
{
	fprintf(stderr, "uhyve-c: %s\n", text);
}

/* The first line of a report goes with the sentence, the rest below it. */
static void complain_report(const char *sentence, const char *report, bool quiet)
{
	size_t first = strcspn(report, "\n");

	fprintf(stderr, "uhyve-c: %s: %.*s\n", sentence, (int)first, report);
	if (!quiet && report[first] && report[first + 1])
		fprintf(stderr, "%s%s", report + first + 1,
			report[strlen(report) - 1] == '\n' ? "" : "\n");
}

/* Say how it ended; the exit status. */
static int conclude(const struct uhyve_result *result, const struct options *options, int received)
{
	const char *name;

	switch (result->end) {
	case UHYVE_FAULTED:
		name = sigabbrev_np(result->signal);
		if (name)
			fprintf(stderr, "uhyve-c: the program ended by SIG%s\n", name);
		else
			fprintf(stderr, "uhyve-c: the program ended by signal %d\n",
				result->signal);
		if (!options->quiet && *result->report)
			fprintf(stderr, "%s%s", result->report,
				result->report[strlen(result->report) - 1] == '\n' ? "" : "\n");
		return result->status;
	case UHYVE_FAILED:
		complain_report("the virtual machine broke", result->report, options->quiet);
		return EXIT_LOADER;
	case UHYVE_STOPPED:
		if (options->verbose)
			fprintf(stderr, "uhyve-c: stopped by SIG%s\n", sigabbrev_np(received));
		return 128 + received;
	case UHYVE_EXITED:
		break;
	}
	return result->status;
}

static double milliseconds(uint64_t from, uint64_t to)
{
	return (double)(int64_t)(to - from) / 1e6;
}

static void say_ready(const uhyve_vm *vm, const char *image)
{
	struct uhyve_stats stats;

	uhyve_vm_stats(vm, &stats);
	fprintf(stderr, "uhyve-c: %s: %llu MiB, %u vCPU%s, set up in %.3f ms\n", image,
		(unsigned long long)(stats.memory >> 20), stats.vcpus, stats.vcpus == 1 ? "" : "s",
		milliseconds(stats.created, stats.ready));
}

static void say_ended(const uhyve_vm *vm, const char *image, const struct uhyve_result *result)
{
	struct uhyve_stats stats;

	uhyve_vm_stats(vm, &stats);
	fprintf(stderr, "uhyve-c: %s: status %d after %.3f ms, backend %s\n", image, result->status,
		milliseconds(stats.started, stats.finished), stats.backend);
}

static void write_stats(const uhyve_vm *vm, const struct options *options, FILE *stream)
{
	struct uhyve_stats stats;

	uhyve_vm_stats(vm, &stats);
	if (options->stats == STATS_JSON ? report_json(stream, &stats)
					 : report_table(stream, &stats))
		complain("the statistics could not be written");
}

static void write_trace(const uhyve_vm *vm, FILE *stream)
{
	struct uhyve_trace_summary summary = { 0 };
	struct uhyve_stats stats;

	uhyve_vm_stats(vm, &stats);
	struct trace_writer *writer = trace_begin(stream, stats.vcpus);
	if (!writer) {
		complain("not enough memory for the trace");
		return;
	}
	/* What there is of it is written in any case. */
	int code = uhyve_vm_trace(vm, trace_event, writer, &summary);
	if (trace_end(writer, &summary) || code)
		complain("the trace could not be written");
}

/* Files that are written when the guest has run; NULL: not wanted. */
struct outputs {
	FILE *stats, *trace;
};

static int run(uhyve_vm *vm, const struct options *options, struct stopper *stopper,
	       const struct outputs *outputs)
{
	struct uhyve_error error = { 0 };
	struct uhyve_result result;

	if (options->verbose)
		say_ready(vm, options->image);
	stopper->vm = vm;
	int code = pthread_create(&stopper->thread, NULL, wait_for_signal, stopper);
	if (code) {
		fprintf(stderr, "uhyve-c: cannot start a thread: %s\n", strerror(code));
		return EXIT_LOADER;
	}
	code = uhyve_vm_run(vm, &result, &error);
	/* In sigwait(), or on its way out: it must not touch the VM any more. */
	(void)pthread_kill(stopper->thread, SIGNAL_DONE);
	(void)pthread_join(stopper->thread, NULL);
	if (code) {
		complain(error.text);
		return EXIT_LOADER;
	}

	int status = conclude(&result, options,
			      atomic_load_explicit(&stopper->received, memory_order_relaxed));
	if (options->verbose)
		say_ended(vm, options->image, &result);
	if (outputs->stats)
		write_stats(vm, options, outputs->stats);
	if (outputs->trace)
		write_trace(vm, outputs->trace);
	return status;
}

static int host_info(void)
{
	struct uhyve_error error = { 0 };
	char text[8192];

	int result = uhyve_host_info(text, sizeof(text), &error);
	fputs(text, stdout);
	if (fflush(stdout))
		return EXIT_LOADER;
	if (!result)
		return EXIT_SUCCESS;
	complain(error.text);
	return EXIT_LOADER;
}

/* Make the VM and run it. The image decides between the exit statuses. */
static int start(const struct options *options, struct stopper *stopper,
		 const struct outputs *outputs)
{
	struct uhyve_error error = { 0 };
	uhyve_vm *vm = uhyve_vm_new(options->image, options->argv, options->config, &error);

	if (!vm) {
		complain(error.text);
		if (!error.image)
			return EXIT_LOADER;
		return error.code == -ENOENT || error.code == -ENOTDIR ? EXIT_NOT_FOUND
								       : EXIT_REFUSED;
	}
	int status = run(vm, options, stopper, outputs);
	uhyve_vm_free(vm);
	return status;
}

/* Now rather than after the guest has run. False: it was told what is wrong. */
static bool open_output(const char *path, FILE **stream)
{
	*stream = fopen(path, "we");
	if (!*stream)
		fprintf(stderr, "uhyve-c: %s: cannot be written: %s\n", path, strerror(errno));
	return *stream;
}

static bool open_outputs(const struct options *options, struct outputs *outputs)
{
	if (options->stats != STATS_NONE && !options->stats_file)
		outputs->stats = stderr;
	return (!options->stats_file || open_output(options->stats_file, &outputs->stats)) &&
	       (!options->trace_file || open_output(options->trace_file, &outputs->trace));
}

static void close_outputs(const struct outputs *outputs)
{
	if (outputs->stats && outputs->stats != stderr)
		(void)fclose(outputs->stats);
	if (outputs->trace)
		(void)fclose(outputs->trace);
}

int main(int argc, char **argv)
{
	struct options options = { .config = uhyve_config_new() };
	struct stopper stopper = { .received = 0 };
	struct outputs outputs = { NULL, NULL };
	int status = EXIT_LOADER;

	if (!options.config) {
		complain("not enough memory");
		return EXIT_LOADER;
	}
	options_parse(&options, argc, argv);
	if (options.host_info) {
		uhyve_config_free(options.config);
		return host_info();
	}
	if (open_outputs(&options, &outputs)) {
		stopper_block(&stopper);
		status = start(&options, &stopper, &outputs);
	}
	close_outputs(&outputs);
	uhyve_config_free(options.config);
	return status;
}
