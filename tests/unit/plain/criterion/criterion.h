/*
 * The part of Criterion's interface our tests use, without Criterion: for ThreadSanitizer,
 * whose address space layout Criterion's sandbox can't live with. Put this folder first
 * on the include path, and don't link Criterion. Each test is a process of its own; a
 * test fails by aborting, by a sanitizer's report, or by its time limit.
 *
 * One translation unit of a program may include it: it holds main().
 */
#ifndef PLAIN_CRITERION_H
#define PLAIN_CRITERION_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct criterion_test_params {
	size_t size;
	char *data;
	size_t length;
};

struct plain_test {
	const char *suite;
	const char *name; /* NULL: this is the suite                      */
	void (*init)(void);
	void (*fini)(void);
	unsigned timeout; /* seconds; 0: the suite's                      */
	void (*run)(void *parameter);
	struct criterion_test_params (*parameters)(void);
	struct plain_test *next;
};

static struct plain_test *plain_tests;

static void plain_add(struct plain_test *test)
{
	test->next = plain_tests;
	plain_tests = test;
}

#define PLAIN_ADD(test)                                                                            \
	__attribute__((constructor)) static void test##_add(void)                                  \
	{                                                                                          \
		plain_add(&test);                                                                  \
	}

#define TestSuite(suite_, ...)                                                                     \
	static struct plain_test suite_##_suite = { .suite = #suite_, __VA_ARGS__ };               \
	PLAIN_ADD(suite_##_suite)

#define Test(suite_, name_, ...)                                                                   \
	static void suite_##_##name_(void);                                                        \
	static void suite_##_##name_##_run(void *parameter)                                        \
	{                                                                                          \
		suite_##_##name_();                                                                \
	}                                                                                          \
	static struct plain_test suite_##_##name_##_test = {                                       \
		.suite = #suite_, .name = #name_, .run = suite_##_##name_##_run, __VA_ARGS__       \
	};                                                                                         \
	PLAIN_ADD(suite_##_##name_##_test)                                                         \
	static void suite_##_##name_(void)

#define ParameterizedTestParameters(suite_, name_)                                                 \
	static struct criterion_test_params suite_##_##name_##_parameters(void)

#define cr_make_param_array(type, array, count)                                                    \
	((struct criterion_test_params){ sizeof(type), (char *)(array), (count) })

#define ParameterizedTest(parameter_, suite_, name_, ...)                                          \
	static void suite_##_##name_(parameter_);                                                  \
	static void suite_##_##name_##_run(void *parameter)                                        \
	{                                                                                          \
		suite_##_##name_(parameter);                                                       \
	}                                                                                          \
	static struct plain_test suite_##_##name_##_test = {                                       \
		.suite = #suite_,                                                                  \
		.name = #name_,                                                                    \
		.run = suite_##_##name_##_run,                                                     \
		.parameters = suite_##_##name_##_parameters,                                       \
		__VA_ARGS__                                                                        \
	};                                                                                         \
	PLAIN_ADD(suite_##_##name_##_test)                                                         \
	static void suite_##_##name_(parameter_)

#define cr_assert(condition, ...)                                                                  \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)
#define cr_assert_not(condition, ...)       cr_assert(!(condition))
#define cr_assert_null(pointer, ...)        cr_assert((pointer) == NULL)
#define cr_assert_not_null(pointer, ...)    cr_assert((pointer) != NULL)
#define cr_assert_eq(actual, expected, ...) cr_assert((actual) == (expected))
#define cr_assert_neq(actual, other, ...)   cr_assert((actual) != (other))
#define cr_assert_lt(actual, bound, ...)    cr_assert((actual) < (bound))
#define cr_assert_leq(actual, bound, ...)   cr_assert((actual) <= (bound))
#define cr_assert_gt(actual, bound, ...)    cr_assert((actual) > (bound))
#define cr_assert_geq(actual, bound, ...)   cr_assert((actual) >= (bound))
#define cr_assert_str_eq(text, other, ...)  cr_assert(strcmp(text, other) == 0)

static const struct plain_test *plain_suite_of(const struct plain_test *test)
{
	const struct plain_test *suite = plain_tests;

	while (suite && (suite->name || strcmp(suite->suite, test->suite)))
		suite = suite->next;
	return suite;
}

/* 0 if it passed. */
static int plain_run(const struct plain_test *test, void *parameter)
{
	const struct plain_test *suite = plain_suite_of(test);
	unsigned timeout = test->timeout ? test->timeout : suite ? suite->timeout : 0;
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		alarm(timeout);
		if (suite && suite->init)
			suite->init();
		test->run(parameter);
		if (suite && suite->fini)
			suite->fini();
		exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
		printf("FAIL %s::%s (status %#x)\n", test->suite, test->name, status);
		return 1;
	}
	return 0;
}

int main(void)
{
	int run = 0, failed = 0;

	for (struct plain_test *test = plain_tests; test; test = test->next) {
		struct criterion_test_params parameters = { .length = 1 };

		if (!test->name)
			continue;
		if (test->parameters)
			parameters = test->parameters();
		for (size_t i = 0; i < parameters.length; i++) {
			fflush(stdout);
			failed += plain_run(test, parameters.data
							  ? parameters.data + i * parameters.size
							  : NULL);
			run++;
		}
	}
	printf("%d tests, %d failed\n", run, failed);
	return failed || !run;
}

#endif
