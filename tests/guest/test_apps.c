/* The applications that are written as tasks: their results, next to those of native tools. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

#define SIZE 300000

/* What a command of the host's prints; not freed. */
static char *output_of(const char *command)
{
	char *text = calloc(1, 4 * SIZE);
	FILE *from = popen(command, "r");

	cr_assert(text && from);
	cr_assert_lt(fread(text, 1, 4 * SIZE - 1, from), 4 * SIZE - 1);
	cr_assert_eq(pclose(from), 0);
	return text;
}

/* Words of all lengths, so that blocks end within words; always the same. */
static void write_files(unsigned count)
{
	static char text[SIZE];
	uint32_t seed = 1;

	for (unsigned file = 0; file < count; file++) {
		/* One is empty, one is a multiple of a block, the others are as they are. */
		size_t size = file == 0 ? 0 : file == 1 ? 128 * 1024 : SIZE / file - file;
		char name[16];

		for (size_t i = 0; i < size; i++) {
			seed = seed * 1103515245 + 12345;
			/* Few letters, so that words repeat. */
			text[i] = "abAB c\n.a-9c\xc3tc "[seed >> 16 & 15];
		}
		/* No word goes on in the next file: `cat` would join them. */
		if (size)
			text[size - 1] = '\n';
		snprintf(name, sizeof(name), "file%u", file);
		(void)scratch_file(name, text, size);
	}
}

Test(apps, index_counts_as_the_native_tools_do, .timeout = 60)
{
	const char *const files[] = { "-n",    "0",     "-r",    "3",     "file0", "file1",
				      "file2", "file3", "file4", "file5", "file6", NULL };
	char command[600];
	const char *expected;

	write_files(7);
	snprintf(command, sizeof(command),
		 "cd %s && export LC_ALL=C && cat file? | tr -cs A-Za-z '\\n' | tr A-Z a-z | "
		 "grep . | sort | uniq -c | sort -k1,1nr -k2,2",
		 scratch());
	expected = output_of(command);
	cr_assert(strchr(expected, '\n'));
	for (unsigned vcpus = 1; vcpus <= 4; vcpus *= 2) {
		struct outcome o;

		guest_run(&(struct guest){ .image = APPS "/index",
					   .args = files,
					   .maps = LIST(scratch()),
					   .vcpus = vcpus },
			  &o);
		ended(&o, 0);
		cr_assert_str_eq(o.out.text, expected);
		outcome_free(&o);
	}
}

Test(apps, index_tells_what_it_could_not_read)
{
	struct command command = { .args = LIST("--map", scratch(), APPS "/index", "nothing",
						"file") };

	(void)scratch_file("file", "One two TWO", 11);
	command_run(&command);
	cr_assert_eq(command.status, 1);
	cr_assert_str_eq(command.out.text, "      2 two\n      1 one\n");
	cr_assert(strstr(command.err.text, "index: nothing: No such file"), "%s", command.err.text);
	cr_assert(strstr(command.err.text, "11 bytes, 3 words, 2 different"), "%s",
		  command.err.text);
	command_free(&command);
}

/* Every token comes through, whatever the number of vCPUs; the program checks that itself. */
Test(apps, pipeline, .timeout = 60)
{
	for (unsigned vcpus = 1; vcpus <= 4; vcpus *= 2) {
		for (int spread = 0; spread < 2; spread++) {
			struct outcome o;

			guest_run(&(struct guest){ .image = APPS "/pipeline",
						   .args = spread ? LIST("-n", "500", "-t", "499",
									 "-l", "2", "-s")
								  : LIST("-n", "2000"),
						   .vcpus = vcpus },
				  &o);
			ended(&o, 0);
			cr_assert(strstr(o.out.text, spread ? " 499000 hops " : " 200000 hops "),
				  "%s", o.out.text);
			cr_assert(strstr(o.out.text, spread ? "500 sleeping tasks cancelled"
							    : "2000 sleeping tasks cancelled"),
				  "%s", o.out.text);
			cr_assert(strstr(o.out.text, "timed out"));
			outcome_free(&o);
		}
	}
}

static void refused(const char *app, const char *option, const char *value, const char *says)
{
	char image[600];
	struct command command = { .args = LIST(image, option, value) };

	snprintf(image, sizeof(image), "%s/%s", APPS, app);
	command_run(&command);
	cr_assert_eq(command.status, 2);
	cr_assert(strstr(command.err.text, says), "%s", command.err.text);
	command_free(&command);
}

Test(apps, wrong_options)
{
	refused("pipeline", "-n", "1", "pipeline: -n wants a number from 2 to 1000000, not '1'");
	refused("pipeline", "-t", "10000", "fewer tokens than tasks");
	refused("index", "-r", "x", "index: -r wants a number from 1 to 15, not 'x'");
	refused("index", "-n", "3", "index: no files");
}
