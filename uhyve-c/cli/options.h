/* The command line of uhyve-c. */
#ifndef UHYVE_CLI_OPTIONS_H
#define UHYVE_CLI_OPTIONS_H

#include <stdbool.h>
#include <uhyve-c/uhyve.h>

/* uhyve-c's own exit statuses, as env(1) and nohup(1) have them. */
#define EXIT_LOADER    125 /* arguments, KVM, memory; the VM broke */
#define EXIT_REFUSED   126 /* the image is there but can't be run */
#define EXIT_NOT_FOUND 127

enum stats_format {
	STATS_NONE,
	STATS_TABLE,
	STATS_JSON,
};

struct options {
	uhyve_config *config; /* owned by the caller of options_parse() */
	const char *image;    /* NULL with host_info only */
	char **argv;          /* the guest's, NULL-terminated; argv[0] is the image */
	enum stats_format stats;
	const char *stats_file; /* NULL: standard error */
	const char *trace_file; /* NULL: no trace */
	unsigned trace_events;  /* of each vCPU */
	bool verbose, quiet;    /* not both */
	bool host_info;
};

/*
 * Read the arguments into `options`. --help and --version are answered, and a wrong
 * argument is reported in a sentence; then the process exits (0, EXIT_LOADER).
 */
void options_parse(struct options *options, int argc, char **argv);

#endif
