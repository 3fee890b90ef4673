/* Turn, dispatch and traces, from the configuration to the guest and back; and as files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

Test(traces, what_the_guest_is_told)
{
	struct outcome o;

	guest_run(&(struct guest){ .image = "preempt",
				   .args = LIST("settings"),
				   .turn_ns = 5000000,
				   .dispatch = "stack",
				   .trace = 100 },
		  &o);
	ended(&o, 0);
	outcome_free(&o);
	guest_run(&(struct guest){ .image = "preempt", .args = LIST("defaults") }, &o);
	ended(&o, 114);
	cr_assert_eq(o.trace.events, 0);
	outcome_free(&o);
}

Test(traces, wrong_settings)
{
	struct uhyve_error error = { 0 };
	uhyve_config *config = uhyve_config_new();

	cr_assert_eq(uhyve_config_set_dispatch(config, "both", &error), -22);
	cr_assert(strstr(error.text, "both"), "%s", error.text);
	cr_assert_eq(uhyve_config_set_trace(config, UHYVE_TRACE_MAX + 1, &error), -22);
	error = (struct uhyve_error){ 0 };
	cr_assert_eq(uhyve_config_set_trace(config, UHYVE_TRACE_MAX, &error), 0);
	cr_assert_eq(uhyve_config_set_memory(config, UHYVE_MEMORY_MIN, &error), 0);

	/* More than there is memory. */
	char *argv[] = { (char *)"preempt", NULL };
	cr_assert_null(uhyve_vm_new(guest_path("preempt"), argv, config, &error));
	cr_assert(strstr(error.text, "traces"), "%s", error.text);
	uhyve_config_free(config);
}

static int never_called(void *context, const struct uhyve_trace_event *event)
{
	(void)context;
	(void)event;
	abort();
}

Test(traces, only_when_it_has_run)
{
	struct uhyve_error error = { 0 };
	char *argv[] = { (char *)"hello", NULL };
	uhyve_vm *vm = uhyve_vm_new(guest_path("hello"), argv, NULL, &error);

	cr_assert(vm, "%s", error.text);
	cr_assert_eq(uhyve_vm_trace(vm, never_called, NULL, NULL), -22);
	uhyve_vm_free(vm);
}

Test(traces, from_the_guest)
{
	static const enum uhyve_trace_kind kinds[] = { UHYVE_TRACE_NAME, UHYVE_TRACE_RUN,
						       UHYVE_TRACE_SYSCALL, UHYVE_TRACE_PENDING,
						       UHYVE_TRACE_SPIN };
	struct outcome o;

	guest_run(&(struct guest){ .image = "preempt", .args = LIST("traces"), .trace = 128 }, &o);
	ended(&o, 0);
	cr_assert_eq(o.trace.events, 5);
	cr_assert_eq(o.trace.dropped, 1);
	cr_assert_eq(o.trace.overwritten, 0);
	for (unsigned i = 0; i < 5; i++)
		cr_assert_eq(o.events[i].kind, kinds[i]);
	cr_assert_eq(o.events[2].arg, 231);
	/* Times are the host's. */
	cr_assert_geq(o.events[0].time, o.stats.started);
	cr_assert_geq(o.events[2].time - o.events[1].time, 1000000);
	cr_assert_eq(o.events[4].time, o.events[3].time);
	cr_assert_leq(o.events[4].time, o.stats.finished);
	outcome_free(&o);
}

Test(traces, of_a_hostile_guest)
{
	struct outcome o;

	guest_run(&(struct guest){ .image = "preempt",
				   .args = LIST("hostile_traces"),
				   .vcpus = 3,
				   .trace = UHYVE_TRACE_MAX / 8 },
		  &o);
	ended(&o, 0);
	cr_assert_eq(o.trace.events + o.trace.dropped, UHYVE_TRACE_MAX / 8);
	outcome_free(&o);
}

static void cannot(const char *says, const char *const *args)
{
	struct command command = { .args = args };

	command_run(&command);
	cr_expect_eq(command.status, 125);
	cr_expect(strstr(command.err.text, says), "%s", command.err.text);
	command_free(&command);
}

Test(traces, command_line)
{
	static char image[4096];
	char *option, *text;

	strcpy(image, guest_path("preempt"));
	cannot("sched", LIST("--trace=all", image));
	cannot("sched", LIST("--trace=sched:", image));
	cannot("--trace", LIST("--trace-events=5", image));
	cannot("events", LIST("--trace=sched", "--trace-events=x", image));
	cannot("at most", LIST("--trace=sched", "--trace-events=999999999", image));
	cannot("/nowhere/trace", LIST("--trace=sched:/nowhere/trace", image));
	cannot("microseconds", LIST("--turn=1h", image));
	cannot("dispatch", LIST("--dispatch=all", image));

	const char *path = scratch_file("trace.json", NULL, 0);
	cr_assert_gt(asprintf(&option, "--trace=sched:%s", path), 0);
	struct command command = { .args = LIST(option, "--trace-events=100", "--turn=5000",
						"--dispatch=stack", image, "settings") };
	command_run(&command);
	cr_assert_eq(command.status, 0, "%s", command.err.text);
	command_free(&command);

	command = (struct command){ .args = LIST(option, image, "traces") };
	command_run(&command);
	cr_assert_eq(command.status, 0, "%s", command.err.text);
	command_free(&command);
	FILE *file = fopen(path, "re");
	cr_assert(file);
	text = calloc(1, 65536);
	cr_assert_gt(fread(text, 1, 65535, file), 0);
	cr_assert_eq(fclose(file), 0);
	cr_assert(strstr(text, "\"ended\":\"waits\",\"syscall\":\"exit_group\""), "%s", text);
	cr_assert(strstr(text, "\"events\":5,\"overwritten\":0,\"dropped\":1"), "%s", text);
	free(text);
	free(option);
}
