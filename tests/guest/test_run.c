/* Images run: output, arguments, environment, exit status; several VMs in one process. */
#include <stdlib.h>
#include <string.h>

#include "harness.h"

static void says_hello(const char *image)
{
	struct outcome o;

	guest_run(&(struct guest){ .image = image }, &o);
	ended(&o, 0);
	cr_assert_str_eq(o.out.text, "hello\n");
	cr_assert_str_empty(o.err.text);
	outcome_free(&o);
}

Test(run, hello)
{
	says_hello("hello");
}

Test(run, static_pie)
{
	says_hello("hello-pie");
}

Test(run, arguments_and_environment)
{
	struct outcome o;

	guest_run(&(struct guest){ .image = "arguments",
				   .args = LIST("3", "two words", "", "ü"),
				   .env = LIST("A=1", "EMPTY=", "A=2=3") },
		  &o);
	ended(&o, 3);
	cr_assert_str_eq(o.out.text, "argv[0]=arguments\nargv[1]=3\nargv[2]=two words\nargv[3]=\n"
				     "argv[4]=ü\nenv A=2=3\nenv EMPTY=\n");
	outcome_free(&o);
}

Test(run, no_environment_by_default)
{
	struct outcome o;

	guest_run(&(struct guest){ .image = "arguments" }, &o);
	ended(&o, 0);
	cr_assert_str_eq(o.out.text, "argv[0]=arguments\n");
	outcome_free(&o);
}

Test(run, many_arguments)
{
	/* Several pages of boot information: almost all of the 1 MiB there is. */
	size_t size = 900 << 10;
	char *large = malloc(size + 1);
	struct outcome o;

	memset(large, 'x', size);
	large[size] = '\0';
	guest_run(&(struct guest){ .image = "arguments", .args = LIST("7", large) }, &o);
	ended(&o, 7);
	const char *shown = strstr(o.out.text, "argv[2]=");
	cr_assert(shown);
	cr_assert_eq(strspn(shown + strlen("argv[2]="), "x"), size);
	outcome_free(&o);

	/* More than fits is refused, in a sentence. */
	struct uhyve_error error = { 0 };
	char *argv[] = { (char *)"arguments", large, large, NULL };
	cr_assert_null(uhyve_vm_new(guest_path("arguments"), argv, NULL, &error));
	cr_assert_neq(error.code, 0);
	cr_assert_not(error.image);
	cr_assert(strstr(error.text, "arguments"), "%s", error.text);
	free(large);
}

Test(run, exit_status)
{
	const struct {
		const char *wanted;
		int status;
	} cases[] = { { "0", 0 }, { "3", 3 }, { "255", 255 }, { "256", 0 }, { "-1", 255 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct outcome o;

		guest_run(&(struct guest){ .image = "arguments", .args = LIST(cases[i].wanted) },
			  &o);
		ended(&o, cases[i].status);
		outcome_free(&o);
	}
}

Test(run, one_after_the_other)
{
	says_hello("hello");
	unsigned before = open_descriptors();

	for (int i = 0; i < 10; i++)
		says_hello("hello");
	cr_assert_eq(open_descriptors(), before);
}

Test(run, four_at_once)
{
	struct running *running[4];
	unsigned before = open_descriptors();

	for (int i = 0; i < 4; i++) {
		static const char *const numbers[] = { "10", "11", "12", "13" };

		running[i] = guest_start(&(struct guest){
			.image = "arguments", .args = LIST(numbers[i]), .vcpus = 1 + i % 2 });
	}
	for (int i = 0; i < 4; i++) {
		struct outcome o;

		guest_finish(running[i], &o);
		ended(&o, 10 + i);
		outcome_free(&o);
	}
	cr_assert_eq(open_descriptors(), before);
}

Test(run, least_memory)
{
	struct outcome o;

	guest_run(&(struct guest){ .image = "hello", .memory = UHYVE_MEMORY_MIN }, &o);
	ended(&o, 0);
	outcome_free(&o);
}

Test(run, once_only)
{
	struct uhyve_error error = { 0 };
	struct uhyve_result result;
	char *argv[] = { (char *)"arguments", (char *)"5", NULL };
	uhyve_vm *vm = uhyve_vm_new(guest_path("arguments"), argv, NULL, &error);

	cr_assert(vm, "%s", error.text);
	cr_assert_eq(uhyve_vm_run(vm, &result, &error), 0, "%s", error.text);
	cr_assert_eq(result.status, 5);
	cr_assert_lt(uhyve_vm_run(vm, &result, &error), 0);
	uhyve_vm_free(vm);
}

Test(run, made_but_never_run)
{
	unsigned before = open_descriptors();
	char *argv[] = { (char *)"hello", NULL };
	uhyve_vm *vm = uhyve_vm_new(guest_path("hello"), argv, NULL, NULL);

	cr_assert(vm);
	uhyve_vm_free(vm);
	cr_assert_eq(open_descriptors(), before);
}

Test(run, stopped_before_it_runs)
{
	struct uhyve_result result;
	char *argv[] = { (char *)"hello", NULL };
	uhyve_vm *vm = uhyve_vm_new(guest_path("hello"), argv, NULL, NULL);

	cr_assert(vm);
	uhyve_vm_stop(vm);
	cr_assert_eq(uhyve_vm_run(vm, &result, NULL), 0);
	cr_assert_eq(result.end, UHYVE_STOPPED);
	cr_assert_eq(result.status, 143);
	uhyve_vm_free(vm);
}
