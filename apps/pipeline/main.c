/*
 * pipeline: a ring of many tasks that pass tokens on. What a task costs in memory, what a hop
 * from one to the next costs in time; then timeouts and cancellation, on as many.
 *
 *	pipeline [-n TASKS] [-t TOKENS] [-l LAPS] [-s]
 *
 * Each task owns the channel it receives from, with room for one token, and sends to the
 * channel of the next task. Nothing here is a thread but main().
 */
#include <pagurus/pagurus.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_TASKS 1000000
#define HOUR_NS   3600000000000ull

/* A token goes round; only the stage that holds it touches it. */
struct token {
	uint64_t hops; /* still to go */
};

/* All that belongs to a task is in one struct: nothing is allocated while it runs. */
struct stage {
	struct pg_app_task task;
	struct pg_async async;
	struct pg_channel inbox;
	void *slot;           /* the inbox's memory */
	struct stage *next;   /* in the ring        */
	struct pg_sleep idle; /* second part        */
	/* One or the other is awaited, never both. */
	union {
		struct pg_receive receive;
		struct pg_send send;
	};
};

struct ring {
	struct stage *stages;
	size_t count;
	_Atomic size_t tokens; /* that have not ended yet */
};

static struct ring ring;

static size_t tasks = 10000, tokens = 100, laps = 1;
static bool spread;

/* ---- the ring ---- */

/*
 * A task, written from top to bottom. Each PG_AWAIT may return to the executor, and is where the
 * next poll goes on; `self` is set anew by each poll, other locals would be lost.
 */
PG_ASYNC static enum pg_poll stage_poll(struct pg_future *future, struct pg_task *waker)
{
	struct stage *self = pg_container_of(future, struct stage, async.future);
	struct token *token;

	PG_BEGIN(&self->async);
	for (;;) {
		pg_receive_init(&self->receive, &self->inbox);
		PG_AWAIT(&self->async, &self->receive.future, waker);
		if (self->receive.result) /* closed: nothing will come any more */
			break;
		token = self->receive.item;
		if (--token->hops == 0) {
			/* The last token to end closes the ring here; the end then travels round. */
			if (atomic_fetch_sub(&ring.tokens, 1) == 1)
				break;
			continue;
		}
		pg_send_init(&self->send, &self->next->inbox, token);
		PG_AWAIT(&self->async, &self->send.future, waker);
	}
	pg_channel_close(&self->next->inbox);
	PG_END(&self->async);
}

static const struct pg_future_ops stage_ops = { stage_poll, pg_async_drop };

/* In the thread: wait for the end of all. One after the other: most are over by then. */
static void join_all(void)
{
	for (size_t i = 0; i < ring.count; i++) {
		struct pg_join join;

		pg_join_init(&join, &ring.stages[i].task.task);
		(void)pg_block_on(&join.future);
	}
}

static void spawn(size_t i, struct pg_future *future)
{
	/* Neighbours on one vCPU: a hop is cheap there. -s: on different ones. */
	unsigned cpu = spread ? (unsigned)(i % pg_cpus())
			      : (unsigned)((uint64_t)i * pg_cpus() / ring.count);

	pg_spawn_on(cpu, &ring.stages[i].task, future, NULL);
}

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static int run_ring(struct token *all)
{
	uint64_t hops = (uint64_t)tasks * laps, start = pg_now(), spawned, end;

	for (size_t i = 0; i < ring.count; i++) {
		struct stage *stage = &ring.stages[i];

		stage->next = &ring.stages[(i + 1) % ring.count];
		pg_channel_init(&stage->inbox, &stage->slot, 1);
		pg_async_init(&stage->async, &stage_ops);
	}
	atomic_store(&ring.tokens, tokens);
	for (size_t i = 0; i < ring.count; i++)
		spawn(i, &ring.stages[i].async.future);
	spawned = pg_now();
	/* Evenly round the ring. The inboxes are empty, and fewer tokens than tasks fit. */
	for (size_t i = 0; i < tokens; i++) {
		all[i].hops = hops;
		while (pg_channel_try_send(&ring.stages[i * ring.count / tokens].inbox, &all[i]))
			usleep(100);
	}
	join_all();
	end = pg_now();
	for (size_t i = 0; i < tokens; i++) {
		if (all[i].hops) {
			fprintf(stderr, "pipeline: a token was lost\n");
			return 1;
		}
	}
	printf("%zu tasks of %zu bytes on %u vCPU(s), spawned in %.1f ms\n", ring.count,
	       sizeof(struct stage), pg_cpus(), ms(spawned - start));
	printf("%zu token(s), %zu lap(s): %llu hops in %.1f ms, %.0f ns per hop\n", tokens, laps,
	       (unsigned long long)(hops * tokens), ms(end - spawned),
	       (double)(end - spawned) / (double)(hops * tokens));
	return 0;
}

/* ---- timeouts and cancellation ---- */

static int run_timeout(void)
{
	struct pg_channel silent;
	struct pg_receive receive;
	struct pg_timeout timeout;
	void *slot;
	uint64_t start = pg_now();

	/* A future within a future: whichever is READY first ends the wait. */
	pg_channel_init(&silent, &slot, 1);
	pg_receive_init(&receive, &silent);
	pg_timeout_init(&timeout, &receive.future, pg_after(5000000));
	(void)pg_block_on(&timeout.future);
	printf("a receive from a silent channel timed out after %.1f ms\n", ms(pg_now() - start));
	return timeout.timed_out ? 0 : 1;
}

static int run_cancel(void)
{
	uint64_t start;
	size_t cancelled = 0;

	/* Any future is a task's future: here a mere sleep, for an hour. */
	for (size_t i = 0; i < ring.count; i++) {
		pg_sleep_for_init(&ring.stages[i].idle, HOUR_NS);
		spawn(i, &ring.stages[i].idle.future);
	}
	start = pg_now();
	for (size_t i = 0; i < ring.count; i++)
		pg_task_cancel(&ring.stages[i].task.task);
	/* Cancelling only asks. A task is over, and its memory ours, once it was joined. */
	join_all();
	for (size_t i = 0; i < ring.count; i++)
		cancelled += pg_task_cancelled(&ring.stages[i].task.task);
	printf("%zu sleeping tasks cancelled in %.1f ms\n", cancelled, ms(pg_now() - start));
	return cancelled == ring.count ? 0 : 1;
}

/* ---- the command line ---- */

static void usage(FILE *to)
{
	fprintf(to,
		"Usage: pipeline [-n TASKS] [-t TOKENS] [-l LAPS] [-s]\n"
		"Pass tokens round a ring of tasks, and tell how long it takes.\n\n"
		"  -n TASKS   tasks in the ring, 2 to %d (default %zu)\n"
		"  -t TOKENS  tokens, fewer than tasks (default %zu, or half the tasks)\n"
		"  -l LAPS    how often each token goes round (default %zu)\n"
		"  -s         neighbours on different vCPUs\n"
		"  --help     this text\n\n"
		"A task takes %zu bytes: give a million of them memory, uhyve-c --memory 1G.\n",
		MAX_TASKS, tasks, tokens, laps, sizeof(struct stage));
}

static size_t number(char option, const char *text, size_t min, size_t max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || end == text || value < min || value > max) {
		fprintf(stderr, "pipeline: -%c wants a number from %zu to %zu, not '%s'\n", option,
			min, max, text);
		exit(2);
	}
	return value;
}

static void parse(int argc, char **argv)
{
	bool chosen = false;
	int option;

	if (argc > 1 && !strcmp(argv[1], "--help")) {
		usage(stdout);
		exit(0);
	}
	while ((option = getopt(argc, argv, "n:t:l:s")) != -1) {
		switch (option) {
		case 'n':
			tasks = number('n', optarg, 2, MAX_TASKS);
			break;
		case 't':
			tokens = number('t', optarg, 1, MAX_TASKS - 1);
			chosen = true;
			break;
		case 'l':
			laps = number('l', optarg, 1, 1000000);
			break;
		case 's':
			spread = true;
			break;
		default:
			usage(stderr);
			exit(2);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "pipeline: no arguments, but '%s'\n", argv[optind]);
		exit(2);
	}
	if (!chosen && tokens > tasks / 2)
		tokens = tasks / 2;
	/* One empty inbox at least, or nobody could move. */
	if (tokens >= tasks) {
		fprintf(stderr, "pipeline: fewer tokens than tasks, please\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct token *all;
	int status;

	parse(argc, argv);
	/* main() is a thread: the C library's memory is fine here. A task is aligned to 64. */
	ring.count = tasks;
	ring.stages = aligned_alloc(_Alignof(struct stage), tasks * sizeof(struct stage));
	all = calloc(tokens, sizeof(*all));
	if (!ring.stages || !all) {
		fprintf(stderr, "pipeline: not enough memory for %zu tasks of %zu bytes\n", tasks,
			sizeof(struct stage));
		return 1;
	}
	status = run_ring(all);
	status |= run_timeout();
	status |= run_cancel();
	free(all);
	free(ring.stages);
	return status;
}
