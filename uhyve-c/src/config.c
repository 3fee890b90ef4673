#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "abi/trace.h"

_Static_assert(UHYVE_TRACE_MAX == PG_TRACE_MAX, "what the contract has room for");

uhyve_config *uhyve_config_new(void)
{
	struct uhyve_config *config = calloc(1, sizeof(*config));

	if (!config)
		return NULL;
	config->references = 1;
	config->memory = UHYVE_MEMORY_DEFAULT;
	config->vcpus = 1;
	config->console[1] = 1;
	config->console[2] = 2;
	config->spin_ns = UHYVE_SPIN_DEFAULT;
	config->turn_ns = UHYVE_TURN_DEFAULT;
	config->mounts = uhyve_mounts_new();
	if (!config->mounts) {
		free(config);
		return NULL;
	}
	return config;
}

void uhyve_config_free(uhyve_config *config)
{
	/* Acquire-release: the last one to let go sees what the others did. */
	if (!config || atomic_fetch_sub(&config->references, 1) != 1)
		return;
	uhyve_mounts_free(config->mounts);
	for (size_t i = 0; i < config->env_count; i++)
		free(config->env[i]);
	free(config->env);
	free(config);
}

int uhyve_config_set_memory(uhyve_config *config, uint64_t bytes, struct uhyve_error *error)
{
	if (bytes < UHYVE_MEMORY_MIN || bytes > UHYVE_MEMORY_MAX)
		return uhyve_fail(error, -EINVAL,
				  "guest memory must be between 8 MiB and 1 TiB, not %llu bytes",
				  (unsigned long long)bytes);
	config->memory = bytes;
	return 0;
}

int uhyve_config_set_vcpus(uhyve_config *config, unsigned count, struct uhyve_error *error)
{
	if (count < 1 || count > UHYVE_VCPUS_MAX)
		return uhyve_fail(error, -EINVAL, "a VM has 1 to %d vCPUs, not %u", UHYVE_VCPUS_MAX,
				  count);
	config->vcpus = count;
	return 0;
}

int uhyve_config_add_map(uhyve_config *config, const char *specification, struct uhyve_error *error)
{
	return uhyve_mounts_add(config->mounts, specification, error);
}

int uhyve_config_add_env(uhyve_config *config, const char *assignment, struct uhyve_error *error)
{
	const char *equals = strchr(assignment, '=');

	if (!equals || equals == assignment)
		return uhyve_fail(error, -EINVAL, "'%s' is not of the form NAME=value", assignment);

	char *copy = strdup(assignment);
	if (!copy)
		return uhyve_fail(error, -ENOMEM, "not enough memory for the environment");
	size_t name = (size_t)(equals - assignment) + 1;
	for (size_t i = 0; i < config->env_count; i++) {
		if (strncmp(config->env[i], assignment, name) == 0) {
			free(config->env[i]);
			config->env[i] = copy;
			return 0;
		}
	}
	char **grown = realloc(config->env, (config->env_count + 1) * sizeof(*grown));
	if (!grown) {
		free(copy);
		return uhyve_fail(error, -ENOMEM, "not enough memory for the environment");
	}
	config->env = grown;
	config->env[config->env_count++] = copy;
	return 0;
}

void uhyve_config_set_console(uhyve_config *config, int in, int out, int err)
{
	config->console[0] = in;
	config->console[1] = out;
	config->console[2] = err;
}

void uhyve_config_set_spin(uhyve_config *config, uint64_t nanoseconds)
{
	config->spin_ns = nanoseconds;
}

void uhyve_config_set_turn(uhyve_config *config, uint64_t nanoseconds)
{
	if (nanoseconds && nanoseconds < UHYVE_TURN_MIN)
		nanoseconds = UHYVE_TURN_MIN;
	config->turn_ns = nanoseconds;
}

int uhyve_config_set_dispatch(uhyve_config *config, const char *name, struct uhyve_error *error)
{
	static const char *const names[] = {
		[PG_DISPATCH_UNION] = "union",
		[PG_DISPATCH_RETURN] = "return",
		[PG_DISPATCH_STACK] = "stack",
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(name, names[i]) == 0) {
			config->dispatch = (enum pg_dispatch)i;
			return 0;
		}
	}
	return uhyve_fail(error, -EINVAL, "unknown dispatch '%s': union, return or stack", name);
}

int uhyve_config_set_trace(uhyve_config *config, unsigned events, struct uhyve_error *error)
{
	uint32_t rounded = 1;

	if (events > UHYVE_TRACE_MAX)
		return uhyve_fail(error, -EINVAL, "a trace has at most %u events, not %u",
				  UHYVE_TRACE_MAX, events);
	while (rounded < events)
		rounded *= 2;
	config->trace_events = events ? rounded : 0;
	return 0;
}

int uhyve_config_set_backend(uhyve_config *config, const char *name, struct uhyve_error *error)
{
	static const struct {
		const char *name;
		enum uhyve_backend backend;
	} backends[] = {
		{ "auto", UHYVE_BACKEND_AUTO },
		{ "io_uring", UHYVE_BACKEND_URING },
		{ "threads", UHYVE_BACKEND_THREADS },
	};

	for (unsigned i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		if (strcmp(name, backends[i].name) == 0) {
			config->backend = backends[i].backend;
			return 0;
		}
	}
	return uhyve_fail(error, -EINVAL, "unknown backend '%s': auto, io_uring or threads", name);
}
