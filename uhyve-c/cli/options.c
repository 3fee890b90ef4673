#include "options.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SPIN_MAX 1000000 /* microseconds */
#define TURN_MAX 1000000 /* microseconds */

#define TRACE_FILE   "pagurus-trace.json"
#define TRACE_EVENTS 65536

enum {
	KEY_MAP = 0x100,
	KEY_STATS,
	KEY_STATS_FILE,
	KEY_SPIN,
	KEY_TURN,
	KEY_DISPATCH,
	KEY_BACKEND,
	KEY_TRACE,
	KEY_TRACE_EVENTS,
	KEY_HOST_INFO,
};

static const struct argp_option table[] = {
	{ NULL, 0, NULL, 0, "What the guest gets:", 1 },
	{ "memory", 'm', "SIZE", 0, "Guest memory, with K, M, G or T (default 256M)", 1 },
	{ "cpus", 'c', "N", 0, "Number of vCPUs (default 1)", 1 },
	{ "map", KEY_MAP, "HOST[:GUEST[:ro|rw]]", 0,
	  "Let the guest see a directory or file; may be repeated", 1 },
	{ "env", 'e', "NAME[=VALUE]", 0,
	  "Set a variable of the guest's environment, or pass on the host's; may be repeated", 1 },
	{ NULL, 0, NULL, 0, "What is shown:", 2 },
	{ "verbose", 'v', NULL, 0, "Say what is done, and how long it took", 2 },
	{ "quiet", 'q', NULL, 0, "Nothing but errors: no fault reports", 2 },
	{ "stats", KEY_STATS, "table|json", OPTION_ARG_OPTIONAL,
	  "Afterwards, show times and counters on standard error", 2 },
	{ "stats-file", KEY_STATS_FILE, "FILE", 0, "Write them to FILE instead", 2 },
	{ "trace", KEY_TRACE, "sched[:FILE]", 0,
	  "Record what the vCPUs run, and write it to FILE (default " TRACE_FILE
	  ") for scripts/trace-view and ui.perfetto.dev",
	  2 },
	{ "trace-events", KEY_TRACE_EVENTS, "N", 0,
	  "Record the last N events of each vCPU (default 65536)", 2 },
	{ "host-info", KEY_HOST_INFO, NULL, 0, "Tell what this host's KVM offers, and exit", 2 },
	{ NULL, 0, NULL, 0, "Tuning:", 3 },
	{ "spin", KEY_SPIN, "USEC", 0,
	  "Look for work at most this long before sleeping (default 100; 0: sleep at once)", 3 },
	{ "turn", KEY_TURN, "USEC", 0,
	  "How long a thread keeps its vCPU while others wait (default 2000; 0: for ever)", 3 },
	{ "dispatch", KEY_DISPATCH, "NAME", 0,
	  "How the kernel gets from a system call to its future: union, return or stack", 3 },
	{ "backend", KEY_BACKEND, "NAME", 0,
	  "How slow operations are carried out: auto, io_uring or threads", 3 },
	{ NULL, 0, NULL, 0, "This help:", -1 },
	{ 0 },
};

static const char doc[] =
	"Run a Pagurus unikernel in a KVM virtual machine."
	"\vEverything after IMAGE belongs to the guest. The exit status is the guest's own, or "
	"128 + N when signal N ended it; 125: it could not be run, 126: the image was refused, "
	"127: there is no such image.";

static void print_version(FILE *stream, struct argp_state *state)
{
	(void)state;
	fprintf(stream, "uhyve-c %s\n", uhyve_version());
}

/* A whole non-negative number, nothing else; `*end` tells where it ends. */
static bool parse_number(const char *text, uint64_t *value, char **end)
{
	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*value = strtoull(text, end, 10);
	return errno == 0;
}

/* Bytes, with an optional binary suffix. */
static bool parse_size(const char *text, uint64_t *bytes)
{
	static const char suffixes[] = "KMGT";
	char *end;

	if (!parse_number(text, bytes, &end))
		return false;
	if (*end == '\0')
		return true;
	const char *suffix = strchr(suffixes, toupper((unsigned char)*end));
	if (!suffix || end[1] != '\0')
		return false;
	unsigned shift = 10 * ((unsigned)(suffix - suffixes) + 1);
	if (*bytes > UINT64_MAX >> shift)
		return false;
	*bytes <<= shift;
	return true;
}

static void set_memory(struct argp_state *state, struct options *options, const char *text)
{
	struct uhyve_error error = { 0 };
	uint64_t bytes;

	if (!parse_size(text, &bytes))
		argp_error(state, "'%s' is not a size of memory, such as 256M", text);
	else if (uhyve_config_set_memory(options->config, bytes, &error))
		argp_error(state, "%s", error.text);
}

static void set_cpus(struct argp_state *state, struct options *options, const char *text)
{
	struct uhyve_error error = { 0 };
	uint64_t count;
	char *end;

	if (!parse_number(text, &count, &end) || *end != '\0' || count > UINT32_MAX)
		argp_error(state, "'%s' is not a number of vCPUs", text);
	else if (uhyve_config_set_vcpus(options->config, (unsigned)count, &error))
		argp_error(state, "%s", error.text);
}

/* In nanoseconds; the process ends if it is not a number of microseconds up to `most`. */
static uint64_t microseconds(struct argp_state *state, const char *text, unsigned most)
{
	uint64_t value;
	char *end;

	if (!parse_number(text, &value, &end) || *end != '\0' || value > most)
		argp_error(state, "'%s' is not a number of microseconds from 0 to %u", text, most);
	return value * 1000;
}

/* "sched", or "sched:FILE". */
static void set_trace(struct argp_state *state, struct options *options, const char *text)
{
	if (strcmp(text, "sched") == 0)
		options->trace_file = TRACE_FILE;
	else if (strncmp(text, "sched:", 6) == 0 && text[6])
		options->trace_file = text + 6;
	else
		argp_error(state, "'%s' is not a trace: sched, or sched:FILE", text);
}

static void set_trace_events(struct argp_state *state, struct options *options, const char *text)
{
	struct uhyve_error error = { 0 };
	uint64_t count;
	char *end;

	if (!parse_number(text, &count, &end) || *end != '\0' || !count || count > UINT32_MAX)
		argp_error(state, "'%s' is not a number of events", text);
	else if (uhyve_config_set_trace(options->config, (unsigned)count, &error))
		argp_error(state, "%s", error.text);
	options->trace_events = (unsigned)count;
}

/* All options are known: traces are recorded only if somebody wants to see them. */
static void finish_trace(struct argp_state *state, const struct options *options)
{
	struct uhyve_error error = { 0 };
	unsigned events = options->trace_events ? options->trace_events : TRACE_EVENTS;

	if (options->trace_events && !options->trace_file)
		argp_error(state, "--trace-events is for --trace");
	else if (options->trace_file && uhyve_config_set_trace(options->config, events, &error))
		argp_error(state, "%s", error.text);
}

/* NAME=VALUE, or NAME alone: the host's value, nothing when it has none. */
static void add_env(struct argp_state *state, struct options *options, const char *text)
{
	struct uhyve_error error = { 0 };
	const char *value = strchr(text, '=') ? NULL : getenv(text);
	char *assignment = NULL;

	if (*text && !strchr(text, '=') && !value)
		return;
	if (value && asprintf(&assignment, "%s=%s", text, value) < 0)
		argp_failure(state, EXIT_LOADER, 0, "not enough memory for the environment");
	if (uhyve_config_add_env(options->config, assignment ? assignment : text, &error))
		argp_error(state, "%s", error.text);
	free(assignment);
}

static void set_stats(struct argp_state *state, struct options *options, const char *text)
{
	if (!text || strcmp(text, "table") == 0)
		options->stats = STATS_TABLE;
	else if (strcmp(text, "json") == 0)
		options->stats = STATS_JSON;
	else
		argp_error(state, "'%s' is not a form of statistics: table or json", text);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct options *options = state->input;
	struct uhyve_error error = { 0 };

	switch (key) {
	case 'm':
		set_memory(state, options, text);
		break;
	case 'c':
		set_cpus(state, options, text);
		break;
	case KEY_MAP:
		/* A matter of the host's files rather than of usage: no hint to --help. */
		if (uhyve_config_add_map(options->config, text, &error))
			argp_failure(state, EXIT_LOADER, 0, "%s", error.text);
		break;
	case 'e':
		add_env(state, options, text);
		break;
	case 'v':
		options->verbose = true;
		options->quiet = false;
		break;
	case 'q':
		options->quiet = true;
		options->verbose = false;
		break;
	case KEY_STATS:
		set_stats(state, options, text);
		break;
	case KEY_STATS_FILE:
		options->stats_file = text;
		break;
	case KEY_SPIN:
		uhyve_config_set_spin(options->config, microseconds(state, text, SPIN_MAX));
		break;
	case KEY_TURN:
		uhyve_config_set_turn(options->config, microseconds(state, text, TURN_MAX));
		break;
	case KEY_DISPATCH:
		if (uhyve_config_set_dispatch(options->config, text, &error))
			argp_error(state, "%s", error.text);
		break;
	case KEY_TRACE:
		set_trace(state, options, text);
		break;
	case KEY_TRACE_EVENTS:
		set_trace_events(state, options, text);
		break;
	case KEY_BACKEND:
		if (uhyve_config_set_backend(options->config, text, &error))
			argp_error(state, "%s", error.text);
		break;
	case KEY_HOST_INFO:
		options->host_info = true;
		break;
	case ARGP_KEY_ARG:
		/* The image; this and all that follows is the guest's. */
		options->image = text;
		options->argv = &state->argv[state->next - 1];
		state->next = state->argc;
		break;
	case ARGP_KEY_END:
		if (!options->image && !options->host_info)
			argp_error(state, "which image shall be run?");
		if (options->stats_file && options->stats == STATS_NONE)
			options->stats = STATS_TABLE;
		finish_trace(state, options);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

void options_parse(struct options *options, int argc, char **argv)
{
	static const struct argp argp = {
		.options = table,
		.parser = parse,
		.args_doc = "IMAGE [ARGUMENT...]",
		.doc = doc,
	};
	static char name[] = "uhyve-c";

	/* Messages begin with the name, however it was called. */
	if (argc > 0)
		argv[0] = name;
	argp_program_version_hook = print_version;
	argp_err_exit_status = EXIT_LOADER;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, options))
		exit(EXIT_LOADER);
}
