#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdbool.h>
#include <stdlib.h>

#include "names.h"

/* The two processes of the file, and where their tracks' numbers begin. */
#define VCPUS 1
#define TASKS 2
#define TRACK 1

#define NO_SYSCALL UINT32_MAX

enum state {
	STATE_UNKNOWN,
	STATE_RUNNABLE,
	STATE_RUNS,
	STATE_WAITS,
	STATE_DONE,
};

/* A task by its number in the trace; another one may have the same number after it. */
struct task {
	uint64_t id;
	struct task *older; /* of all tasks there have been                 */
	bool gone;          /* another one has its number now               */
	unsigned track;
	bool named;
	uint32_t thread; /* 0: the kernel's, if named                       */
	enum state state;
	uint64_t since;   /* of the state                                   */
	uint32_t syscall; /* it waits in, or NO_SYSCALL                     */
	uint64_t flow;    /* the arrow that ends where it runs next, or 0   */
};

/* What a vCPU does: one slice of its track. */
enum activity {
	NOTHING, /* that we know of */
	RUNS,
	SPINS,
	PARKED,
};

struct vcpu {
	enum activity activity;
	uint64_t since;
	struct task *task; /* that runs */
};

struct trace_writer {
	FILE *stream;
	bool any;       /* an event has been written: a comma comes before the next */
	uint64_t first; /* time                                             */
	uint64_t last;
	bool begun;
	uint64_t flows;
	unsigned tracks;
	void *tasks; /* by id, as tsearch(3) has it: no guest can make it slow */
	struct task *newest;
	unsigned vcpu_count;
	struct vcpu vcpus[];
};

/* ---- JSON ---- */

/* No text here comes from the guest, so none needs escaping. */
static void begin_event(struct trace_writer *writer, char phase, unsigned process, unsigned track,
			uint64_t time)
{
	uint64_t ns = time - writer->first;

	fprintf(writer->stream, "%s\n{\"ph\":\"%c\",\"pid\":%u,\"tid\":%u,\"ts\":%" PRIu64 ".%03u",
		writer->any ? "," : "", phase, process, track, ns / 1000, (unsigned)(ns % 1000));
	writer->any = true;
}

static void end_event(struct trace_writer *writer)
{
	fputc('}', writer->stream);
}

static void put_duration(struct trace_writer *writer, uint64_t from, uint64_t to)
{
	uint64_t ns = to - from;

	fprintf(writer->stream, ",\"dur\":%" PRIu64 ".%03u", ns / 1000, (unsigned)(ns % 1000));
}

/* The member's value, with quotes. */
static void put_task_name(struct trace_writer *writer, const struct task *task)
{
	if (!task->named)
		fprintf(writer->stream, "\"task 0x%" PRIx64 "\"", task->id);
	else if (task->thread)
		fprintf(writer->stream, "\"thread %" PRIu32 "\"", task->thread);
	else
		fputs("\"kernel task\"", writer->stream);
}

/* Without quotes. */
static void put_syscall(struct trace_writer *writer, uint32_t number)
{
	const char *name = syscall_name(number);

	if (name)
		fputs(name, writer->stream);
	else
		fprintf(writer->stream, "system call %" PRIu32, number);
}

static void put_metadata(struct trace_writer *writer, const char *what, unsigned process,
			 unsigned track)
{
	begin_event(writer, 'M', process, track, writer->first);
	fprintf(writer->stream, ",\"name\":\"%s\",\"args\":{\"name\":", what);
}

static void put_instant(struct trace_writer *writer, const struct uhyve_trace_event *event,
			const char *name, const struct task *task)
{
	begin_event(writer, 'i', VCPUS, TRACK + event->vcpu, event->time);
	fprintf(writer->stream, ",\"s\":\"t\",\"name\":\"%s\",\"args\":{\"task\":", name);
	put_task_name(writer, task);
	if (event->kind == UHYVE_TRACE_STEAL)
		fprintf(writer->stream, ",\"from\":\"vCPU %" PRIu32 "\"", event->arg);
	fputc('}', writer->stream);
	end_event(writer);
}

/* One end of an arrow: 's' begins it, 'f' ends it at the slice that begins there. */
static void put_flow(struct trace_writer *writer, char phase, unsigned vcpu, uint64_t time,
		     uint64_t flow)
{
	begin_event(writer, phase, VCPUS, TRACK + vcpu, time);
	fprintf(writer->stream, ",\"cat\":\"wake\",\"name\":\"wake\",\"id\":%" PRIu64 "%s", flow,
		phase == 'f' ? ",\"bp\":\"e\"" : "");
	end_event(writer);
}

/* ---- tasks ---- */

static int compare(const void *a, const void *b)
{
	const struct task *one = a, *other = b;

	return one->id < other->id ? -1 : one->id > other->id;
}

/* The task with that number, a new one if there is none. NULL: no memory. */
static struct task *task_of(struct trace_writer *writer, uint64_t id)
{
	const struct task key = { .id = id };
	struct task *const *found = tfind(&key, &writer->tasks, compare);

	if (found)
		return *found;

	struct task *task = malloc(sizeof(*task));
	if (!task)
		return NULL;
	*task = (struct task){
		.id = id,
		.track = TRACK + writer->tracks,
		.syscall = NO_SYSCALL,
		.older = writer->newest,
	};
	if (!tsearch(task, &writer->tasks, compare)) {
		free(task);
		return NULL;
	}
	writer->tracks++;
	writer->newest = task;
	return task;
}

/* Its number may be another task's now. */
static void task_gone(struct trace_writer *writer, struct task *task)
{
	(void)tdelete(task, &writer->tasks, compare);
	task->gone = true;
}

/* What the task did until now, on its track; running is shown on the vCPU's. */
static void end_state(struct trace_writer *writer, const struct task *task, uint64_t time)
{
	if (task->state != STATE_RUNNABLE && task->state != STATE_WAITS)
		return;
	begin_event(writer, 'X', TASKS, task->track, task->since);
	put_duration(writer, task->since, time);
	if (task->state == STATE_RUNNABLE) {
		fputs(",\"name\":\"runnable\"", writer->stream);
	} else if (task->syscall == NO_SYSCALL) {
		fputs(",\"name\":\"waits\"", writer->stream);
	} else {
		fputs(",\"name\":\"waits: ", writer->stream);
		put_syscall(writer, task->syscall);
		fputc('"', writer->stream);
	}
	end_event(writer);
}

static void set_state(struct trace_writer *writer, struct task *task, enum state state,
		      uint64_t time)
{
	end_state(writer, task, time);
	task->state = state;
	task->since = time;
}

/* ---- vCPUs ---- */

/* What the vCPU did ends; `how` a poll ended, or NULL where that is not known. */
static void end_activity(struct trace_writer *writer, unsigned index, uint64_t time,
			 const char *how)
{
	struct vcpu *vcpu = &writer->vcpus[index];

	if (vcpu->activity == NOTHING)
		return;
	begin_event(writer, 'X', VCPUS, TRACK + index, vcpu->since);
	put_duration(writer, vcpu->since, time);
	fputs(",\"name\":", writer->stream);
	if (vcpu->activity == RUNS) {
		put_task_name(writer, vcpu->task);
		fprintf(writer->stream, ",\"args\":{\"ended\":\"%s\"", how ? how : "not known");
		if (vcpu->task->syscall != NO_SYSCALL) {
			fputs(",\"syscall\":\"", writer->stream);
			put_syscall(writer, vcpu->task->syscall);
			fputc('"', writer->stream);
		}
		fputc('}', writer->stream);
	} else {
		fputs(vcpu->activity == SPINS ? "\"spins\"" : "\"parked\"", writer->stream);
	}
	end_event(writer);
	vcpu->activity = NOTHING;
	vcpu->task = NULL;
}

static void begin_activity(struct trace_writer *writer, unsigned index, uint64_t time,
			   enum activity activity, struct task *task)
{
	end_activity(writer, index, time, NULL);
	writer->vcpus[index] = (struct vcpu){ activity, time, task };
}

/* ---- events ---- */

static void on_run(struct trace_writer *writer, const struct uhyve_trace_event *event,
		   struct task *task)
{
	task->syscall = NO_SYSCALL;
	begin_activity(writer, event->vcpu, event->time, RUNS, task);
	if (task->flow)
		put_flow(writer, 'f', event->vcpu, event->time, task->flow);
	task->flow = 0;
}

static void on_poll_ended(struct trace_writer *writer, const struct uhyve_trace_event *event,
			  const struct task *task, const char *how)
{
	const struct vcpu *vcpu = &writer->vcpus[event->vcpu];

	/* Of another task: then what we knew of this vCPU was wrong. */
	end_activity(writer, event->vcpu, event->time, vcpu->task == task ? how : NULL);
}

/* An arrow needs a slice to begin in: a task that is woken by none has none. */
static void on_wake(struct trace_writer *writer, const struct uhyve_trace_event *event,
		    struct task *task)
{
	if (!event->more || writer->vcpus[event->vcpu].activity != RUNS || task->flow)
		return;
	task->flow = ++writer->flows;
	put_flow(writer, 's', event->vcpu, event->time, task->flow);
}

static void about_vcpu(struct trace_writer *writer, const struct uhyve_trace_event *event)
{
	if (event->kind == UHYVE_TRACE_SPIN)
		begin_activity(writer, event->vcpu, event->time, SPINS, NULL);
	else if (event->kind == UHYVE_TRACE_PARK)
		begin_activity(writer, event->vcpu, event->time, PARKED, NULL);
	else
		end_activity(writer, event->vcpu, event->time, NULL);
}

static void about_task(struct trace_writer *writer, const struct uhyve_trace_event *event,
		       struct task *task)
{
	/* States come before slices: their names need what the task waits in, or did. */
	switch (event->kind) {
	case UHYVE_TRACE_NAME:
		task->named = true;
		task->thread = event->arg;
		break;
	case UHYVE_TRACE_SPAWN:
		set_state(writer, task, STATE_RUNNABLE, event->time);
		on_wake(writer, event, task);
		break;
	case UHYVE_TRACE_RUN:
		set_state(writer, task, STATE_RUNS, event->time);
		on_run(writer, event, task);
		break;
	case UHYVE_TRACE_PENDING:
		/* Woken already, while it ran: the WAKE has said so. */
		if (task->state != STATE_RUNNABLE)
			set_state(writer, task, STATE_WAITS, event->time);
		on_poll_ended(writer, event, task, "waits");
		break;
	case UHYVE_TRACE_YIELD:
		set_state(writer, task, STATE_RUNNABLE, event->time);
		on_poll_ended(writer, event, task, "yields");
		break;
	case UHYVE_TRACE_DONE:
		set_state(writer, task, STATE_DONE, event->time);
		on_poll_ended(writer, event, task, "done");
		break;
	case UHYVE_TRACE_SYSCALL:
		task->syscall = event->arg;
		break;
	case UHYVE_TRACE_PREEMPT:
		put_instant(writer, event, "pre-empted", task);
		break;
	case UHYVE_TRACE_WAKE:
		set_state(writer, task, STATE_RUNNABLE, event->time);
		on_wake(writer, event, task);
		break;
	case UHYVE_TRACE_STEAL:
		put_instant(writer, event, "steals", task);
		break;
	default:
		break;
	}
}

int trace_event(void *context, const struct uhyve_trace_event *event)
{
	struct trace_writer *writer = context;
	struct task *task;

	if (!writer->begun)
		writer->first = event->time;
	writer->begun = true;
	writer->last = event->time;
	if (event->vcpu >= writer->vcpu_count)
		return 0;
	switch (event->kind) {
	case UHYVE_TRACE_SPIN:
	case UHYVE_TRACE_PARK:
	case UHYVE_TRACE_UNPARK:
	case UHYVE_TRACE_WORK:
		about_vcpu(writer, event);
		return 0;
	default:
		break;
	}
	task = task_of(writer, event->task);
	/* A new task where one was done, or the end of which was overwritten. */
	if (task && task->state != STATE_UNKNOWN &&
	    (event->kind == UHYVE_TRACE_SPAWN || task->state == STATE_DONE)) {
		end_state(writer, task, event->time);
		task_gone(writer, task);
		task = task_of(writer, event->task);
	}
	if (!task)
		return -ENOMEM;
	about_task(writer, event, task);
	return 0;
}

/* ---- the file ---- */

struct trace_writer *trace_begin(FILE *stream, unsigned vcpus)
{
	struct trace_writer *writer = calloc(1, sizeof(*writer) + vcpus * sizeof(writer->vcpus[0]));

	if (!writer)
		return NULL;
	writer->stream = stream;
	writer->vcpu_count = vcpus;
	fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[", stream);
	return writer;
}

static void end_task(struct trace_writer *writer, const struct task *task)
{
	if (!task->gone)
		end_state(writer, task, writer->last);
	put_metadata(writer, "thread_name", TASKS, task->track);
	put_task_name(writer, task);
	fputc('}', writer->stream);
	end_event(writer);
}

static void nothing(void *task)
{
	(void)task;
}

static void free_writer(struct trace_writer *writer)
{
	struct task *task = writer->newest;

	tdestroy(writer->tasks, nothing);
	while (task) {
		struct task *older = task->older;

		free(task);
		task = older;
	}
	free(writer);
}

int trace_end(struct trace_writer *writer, const struct uhyve_trace_summary *summary)
{
	FILE *stream = writer->stream;

	put_metadata(writer, "process_name", VCPUS, 0);
	fputs("\"vCPUs\"}}", stream);
	put_metadata(writer, "process_name", TASKS, 0);
	fputs("\"tasks\"}}", stream);
	for (unsigned i = 0; i < writer->vcpu_count; i++) {
		end_activity(writer, i, writer->last, "the VM ended");
		put_metadata(writer, "thread_name", VCPUS, TRACK + i);
		fprintf(stream, "\"vCPU %u\"}}", i);
	}
	for (const struct task *task = writer->newest; task; task = task->older)
		end_task(writer, task);
	fprintf(stream,
		"\n],\"otherData\":{\"events\":%" PRIu64 ",\"overwritten\":%" PRIu64
		",\"dropped\":%" PRIu64 "}}\n",
		summary->events, summary->overwritten, summary->dropped);

	free_writer(writer);
	return fflush(stream) || ferror(stream) ? -1 : 0;
}
