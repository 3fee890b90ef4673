#include "report.h"

#include <inttypes.h>
#include <jansson.h>
#include <stddef.h>
#include <string.h>

/* One list for both forms: the key of the JSON member, and the words of the table. */
struct field {
	const char *key, *words;
	size_t offset; /* of a uint64_t in struct uhyve_stats */
};

#define FIELD(name, text)                                                                          \
	{                                                                                          \
#name, text, offsetof(struct uhyve_stats, name)                                    \
	}

static const struct field times[] = {
	FIELD(loaded, "image checked"),
	FIELD(mapped, "memory and page tables set up"),
	FIELD(ready, "vCPUs set up"),
	FIELD(started, "run"),
	FIELD(entered, "guest's first instruction"),
	FIELD(reached, "program's entry point"),
	FIELD(ended, "program's end"),
	FIELD(finished, "finished"),
};

static const struct field exits[] = {
	FIELD(exits_mmio, "for the device page"),
	FIELD(exits_signal, "for a signal"),
	FIELD(exits_other, "others"),
};

static const struct field engine[] = {
	FIELD(operations, "operations"),
	FIELD(answered_at_once, "answered at once"),
	FIELD(deferred, "deferred"),
	FIELD(completions, "completions"),
	FIELD(interrupts, "interrupts sent"),
	FIELD(doorbells, "doorbells received"),
	FIELD(sleeps, "sleeps"),
	FIELD(looks, "woken by the clock"),
	FIELD(preemptions_sent, "pre-emptions sent"),
	FIELD(balanced, "vCPUs woken to take work"),
};

static const struct field kernel[] = {
	FIELD(tasks, "tasks spawned"),
	FIELD(polls, "futures polled"),
	FIELD(switches, "thread switches"),
	FIELD(syscalls, "system calls"),
	FIELD(syscalls_pending, "not ready at once"),
	FIELD(syscalls_unknown, "unknown (ENOSYS)"),
	FIELD(hypercalls, "hypercalls"),
	FIELD(parks, "parks"),
	FIELD(spins, "waits ended spinning"),
	FIELD(kicks, "kicks between vCPUs"),
	FIELD(exceptions, "exceptions"),
	FIELD(steals, "tasks stolen"),
	FIELD(preemptions, "pre-emptions"),
};

static const struct field memory[] = {
	FIELD(memory, "guest memory"),
	FIELD(memory_touched, "backed by the host"),
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static uint64_t value_of(const struct uhyve_stats *stats, const struct field *field)
{
	uint64_t value;

	memcpy(&value, (const char *)stats + field->offset, sizeof(value));
	return value;
}

static void table_counters(FILE *stream, const struct uhyve_stats *stats, const char *title,
			   const struct field *fields, size_t count)
{
	fprintf(stream, "%s\n", title);
	for (size_t i = 0; i < count; i++)
		fprintf(stream, "  %-30s %14" PRIu64 "\n", fields[i].words,
			value_of(stats, &fields[i]));
}

int report_table(FILE *stream, const struct uhyve_stats *stats)
{
	uint64_t previous = stats->created;

	fprintf(stream, "%-32s %11s %11s\n", "time", "at (ms)", "took (ms)");
	for (size_t i = 0; i < COUNT(times); i++) {
		uint64_t at = value_of(stats, &times[i]);

		if (!at) {
			fprintf(stream, "  %-30s %11s %11s\n", times[i].words, "-", "-");
			continue;
		}
		/* The guest's readings are not trusted to be in order. */
		fprintf(stream, "  %-30s %11.3f %11.3f\n", times[i].words,
			(double)(int64_t)(at - stats->created) / 1e6,
			(double)(int64_t)(at - previous) / 1e6);
		previous = at;
	}
	fprintf(stream, "memory\n");
	for (size_t i = 0; i < COUNT(memory); i++)
		fprintf(stream, "  %-30s %10.1f MiB\n", memory[i].words,
			(double)value_of(stats, &memory[i]) / (1 << 20));
	table_counters(stream, stats, "exits to the loader", exits, COUNT(exits));
	fprintf(stream, "engine: %s\n", stats->backend);
	table_counters(stream, stats, "operations of the engine", engine, COUNT(engine));
	fprintf(stream, "kernel: %u vCPU%s\n", stats->vcpus, stats->vcpus == 1 ? "" : "s");
	table_counters(stream, stats, "counters of the kernel", kernel, COUNT(kernel));
	return fflush(stream) || ferror(stream) ? -1 : 0;
}

/* NULL when there is no memory: json_object_set_new() passes that on. */
static json_t *object_of(const struct uhyve_stats *stats, const struct field *fields, size_t count)
{
	json_t *object = json_object();

	for (size_t i = 0; object && i < count; i++) {
		json_t *value = json_integer((json_int_t)value_of(stats, &fields[i]));

		if (json_object_set_new(object, fields[i].key, value)) {
			json_decref(object);
			object = NULL;
		}
	}
	return object;
}

static json_t *times_of(const struct uhyve_stats *stats)
{
	json_t *object = json_object();

	for (size_t i = 0; object && i < COUNT(times); i++) {
		uint64_t at = value_of(stats, &times[i]);
		json_t *value = at ? json_integer((json_int_t)(at - stats->created)) : json_null();

		if (json_object_set_new(object, times[i].key, value)) {
			json_decref(object);
			object = NULL;
		}
	}
	return object;
}

int report_json(FILE *stream, const struct uhyve_stats *stats)
{
	json_t *root = json_object();
	int result = -1;

	if (root && !json_object_set_new(root, "version", json_string(uhyve_version())) &&
	    !json_object_set_new(root, "vcpus", json_integer(stats->vcpus)) &&
	    !json_object_set_new(root, "backend", json_string(stats->backend)) &&
	    !json_object_set_new(root, "times_ns", times_of(stats)) &&
	    !json_object_set_new(root, "memory_bytes", object_of(stats, memory, COUNT(memory))) &&
	    !json_object_set_new(root, "exits", object_of(stats, exits, COUNT(exits))) &&
	    !json_object_set_new(root, "engine", object_of(stats, engine, COUNT(engine))) &&
	    !json_object_set_new(root, "kernel", object_of(stats, kernel, COUNT(kernel))))
		result = json_dumpf(root, stream, JSON_INDENT(2));
	json_decref(root);
	fputc('\n', stream);
	return result || fflush(stream) || ferror(stream) ? -1 : 0;
}
