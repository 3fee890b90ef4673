#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "backend.h"
#include "looking.h"
#include "operation.h"
#include "thread.h"

#define BATCH        32 /* entries taken from one ring before the others have their turn */
#define CLOCK_PERIOD 64 /* entries served, or idle rounds, between two looks at the clock */
#define TICK_NS      1000000000u
#define NEVER        UINT64_MAX

/* A port as the engine sees it: its own copies of its indices, never the guest's. */
struct port {
	struct pg_ring *ring;
	struct pg_sqe *sq;
	struct pg_cqe *cq;
	int kick_fd;
	uint32_t sq_head, cq_tail;
	uint32_t in_flight; /* taken and not completed          */
	bool pushed;        /* completions since the last look at `parked` */

	/* PG_CQ_DEPTH requests: those used before (most recent first), then `fresh` ones. */
	struct uhyve_request *requests, *free;
	unsigned fresh;
};

struct uhyve_engine {
	struct uhyve_engine_config config;
	struct uhyve_guest guest;
	struct uhyve_inbox inbox;
	struct uhyve_workers *workers;
	struct uhyve_io *io;
	struct uhyve_looking looking;
	pthread_t thread;
	_Atomic bool stop; /* set by uhyve_engine_stop(), then the inbox's wake_fd */

	bool broken; /* the guest has broken the rules                        */
	struct uhyve_request *requests;
	uint64_t last_tick;
	unsigned served; /* entries since the last look at the clock          */

	/* Idleness: rounds without work, and since when (known after CLOCK_PERIOD rounds). */
	unsigned idle_rounds;
	uint64_t idle_since;
	uint64_t spin_budget; /* at most config.spin_ns                        */

	unsigned port_count;
	struct port ports[];
};

static uint64_t now_ns(const struct uhyve_engine *engine)
{
	struct timespec ts;

	if (engine->config.now)
		return engine->config.now(engine->config.context);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Only the engine thread writes: no locked instruction needed. */
static void count(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/* ---- requests and completions ---- */

static struct uhyve_request *request_new(struct port *port)
{
	struct uhyve_request *request = port->free;

	if (request) {
		port->free = request->next;
		return request;
	}
	/* Never more than PG_CQ_DEPTH: serve() has counted. */
	return &port->requests[port->fresh++];
}

static void request_free(struct port *port, struct uhyve_request *request)
{
	uhyve_operation_release(request);
	request->next = port->free;
	port->free = request;
}

static void complete(struct uhyve_engine *engine, struct port *port, uint64_t user_data,
		     int64_t result)
{
	pg_cq_push(port->ring, port->cq, port->cq_tail++, user_data, result);
	port->pushed = true;
	count(&engine->config.stats->completions);
	if (result == -ECANCELED)
		count(&engine->config.stats->cancelled);
}

/* After a batch of completions: one interrupt, if the vCPU is parked. */
static void interrupt(struct uhyve_engine *engine, struct port *port)
{
	uint64_t one = 1;

	if (!port->pushed)
		return;
	port->pushed = false;
	if (!pg_ring_claim_wake(port->ring))
		return;
	count(&engine->config.stats->interrupts);
	/* A full counter fails: then an interrupt is on its way already. */
	ssize_t ignored = write(port->kick_fd, &one, sizeof(one));
	(void)ignored;
}

static void link_deferred(struct uhyve_engine *engine, struct uhyve_request *request)
{
	request->newer = NULL;
	request->older = engine->guest.deferred;
	if (request->older)
		request->older->newer = request;
	engine->guest.deferred = request;
	engine->ports[request->port].in_flight++;
	count(&engine->config.stats->deferred);
}

static void unlink_deferred(struct uhyve_engine *engine, struct uhyve_request *request)
{
	*(request->newer ? &request->newer->older : &engine->guest.deferred) = request->older;
	if (request->older)
		request->older->newer = request->newer;
	engine->ports[request->port].in_flight--;
}

/* A deferred request is over. */
static void retire(struct uhyve_engine *engine, struct uhyve_request *request, int64_t result)
{
	struct port *port = &engine->ports[request->port];

	unlink_deferred(engine, request);
	complete(engine, port, request->user_data, result);
	request_free(port, request);
}

static void submit(struct uhyve_engine *engine, struct uhyve_request *request)
{
	if (request->step == UHYVE_STEP_WORKER)
		uhyve_workers_submit(engine->workers, request);
	else
		engine->io->ops->submit(engine->io, request);
}

/* ---- the clock ---- */

/* What is due: deadlines, looks at who runs, and the tick. */
static void look_at_clock(struct uhyve_engine *engine, uint64_t now)
{
	engine->served = 0;
	uhyve_looking_look(&engine->looking, now);
	if (now - engine->last_tick >= TICK_NS) {
		engine->last_tick = now;
		if (engine->config.tick)
			engine->config.tick(engine->config.context);
	}
}

/* ---- cancelling ---- */

static struct uhyve_request *find_deferred(struct uhyve_engine *engine, unsigned port,
					   uint64_t user_data)
{
	for (struct uhyve_request *at = engine->guest.deferred; at; at = at->older)
		if (at->port == port && at->user_data == user_data && at->op != PG_OP_CANCEL)
			return at;
	return NULL;
}

static int64_t start_cancel(struct uhyve_engine *engine, struct uhyve_request *request)
{
	struct uhyve_request *target = find_deferred(engine, request->port, request->offset);

	if (!target)
		return -ENOENT;
	target->cancelled = true;
	switch (target->step) {
	case UHYVE_STEP_WORKER:
		return uhyve_workers_cancel(engine->workers, target) ? 0 : -EALREADY;
	default:
		return engine->io->ops->cancel(engine->io, target, request);
	}
}

/* ---- rounds ---- */

static void dispatch(struct uhyve_engine *engine, struct port *port, const struct pg_sqe *entry)
{
	struct uhyve_engine_stats *stats = engine->config.stats;
	struct uhyve_request *request = request_new(port);
	int64_t result;

	count(&stats->operations);
	if (entry->op < sizeof(stats->by_op) / sizeof(stats->by_op[0]))
		count(&stats->by_op[entry->op]);

	request->port = (unsigned)(port - engine->ports);
	result = uhyve_operation_start(&engine->guest, request, entry);
	if (result == UHYVE_PENDING && request->step == UHYVE_STEP_ENGINE) {
		result = start_cancel(engine, request);
		if (result == UHYVE_PENDING)
			link_deferred(engine, request);
	} else if (result == UHYVE_PENDING) {
		link_deferred(engine, request);
		submit(engine, request);
	}
	if (result == UHYVE_PENDING)
		return;
	count(&stats->inline_done);
	complete(engine, port, entry->user_data, result);
	request_free(port, request);
}

static void violation(struct uhyve_engine *engine, const char *reason)
{
	engine->broken = true;
	if (engine->config.violation)
		engine->config.violation(engine->config.context, reason);
}

/* Take a batch of one ring's entries. True if there were any. */
static bool serve(struct uhyve_engine *engine, struct port *port)
{
	uint32_t submitted = pg_sq_tail(port->ring) - port->sq_head;
	struct pg_sqe entry;
	uint32_t unread;

	if (submitted == 0)
		return false;
	/*
	 * After sq_tail, so that completions consumed before an entry was submitted count
	 * as consumed. Acquire: their slots are written again only after they were read.
	 */
	unread = port->cq_tail - atomic_load_explicit(&port->ring->cq_head, memory_order_acquire);

	if (submitted > PG_SQ_DEPTH) {
		violation(engine, "the submission queue's tail is out of bounds");
		return false;
	}
	if (unread > PG_CQ_DEPTH) {
		violation(engine, "the completion queue's head is out of bounds");
		return false;
	}
	if (port->in_flight + unread + submitted > PG_CQ_DEPTH) {
		violation(engine, "more operations are outstanding than completions fit");
		return false;
	}

	if (submitted > BATCH)
		submitted = BATCH;
	for (uint32_t i = 0; i < submitted; i++) {
		pg_sq_copy(port->sq, port->sq_head, &entry);
		pg_sq_release(port->ring, ++port->sq_head);
		dispatch(engine, port, &entry);
	}
	engine->served += submitted;
	interrupt(engine, port);
	return true;
}

/* Requests whose step has ended, linked by next. */
static bool resume(struct uhyve_engine *engine, struct uhyve_request *request)
{
	bool any = request;

	while (request) {
		struct uhyve_request *next = request->next;
		int64_t result = uhyve_operation_resume(&engine->guest, request);

		if (result == UHYVE_PENDING)
			submit(engine, request);
		else
			retire(engine, request, result);
		engine->served++;
		request = next;
	}
	return any;
}

/* Serve everybody once. True if there was anything to do. */
static bool serve_round(struct uhyve_engine *engine)
{
	struct uhyve_io *io = engine->io;
	bool worked = false, ended;

	for (unsigned i = 0; i < engine->port_count && !engine->broken; i++)
		worked |= serve(engine, &engine->ports[i]);
	/* In this order: see uring_cancel(). */
	io->ops->flush(io);
	ended = resume(engine, io->ops->reap(io));
	ended |= resume(engine, uhyve_inbox_take(&engine->inbox));
	if (ended) {
		io->ops->flush(io);
		for (unsigned i = 0; i < engine->port_count; i++)
			interrupt(engine, &engine->ports[i]);
	}
	if (engine->served >= CLOCK_PERIOD)
		look_at_clock(engine, now_ns(engine));
	return worked || ended;
}

/* ---- idleness ---- */

/* After sleep was announced: has anything come that nobody will wake us for? */
static bool work_waiting(struct uhyve_engine *engine)
{
	for (unsigned i = 0; i < engine->port_count; i++)
		if (pg_sq_tail(engine->ports[i].ring) != engine->ports[i].sq_head)
			return true;
	return atomic_load(&engine->inbox.head) || atomic_load(&engine->stop);
}

static void drain(int fd)
{
	uint64_t ignored;
	ssize_t bytes = read(fd, &ignored, sizeof(ignored));

	(void)bytes;
}

/* Wait for a doorbell, the inbox, the backend, or until the next look. */
static void wait_for_events(struct uhyve_engine *engine, uint64_t now, uint64_t look_at)
{
	struct pollfd fds[] = {
		{ .fd = engine->config.doorbell_fd, .events = POLLIN },
		{ .fd = engine->inbox.wake_fd, .events = POLLIN },
		{ .fd = engine->io->fd, .events = POLLIN },
	};
	uint64_t left = look_at > now ? look_at - now : 0;
	struct timespec timeout = { .tv_sec = (time_t)(left / 1000000000),
				    .tv_nsec = (long)(left % 1000000000) };

	count(&engine->config.stats->sleeps);
	int ready = ppoll(fds, 3, look_at == NEVER ? NULL : &timeout, NULL);
	if (ready == 0)
		count(&engine->config.stats->looks);
	if (ready <= 0)
		return;
	if (fds[0].revents) {
		drain(fds[0].fd);
		count(&engine->config.stats->doorbells);
	}
	if (fds[1].revents)
		drain(fds[1].fd);
}

/*
 * How long to spin next time. An idle time that was slept through includes the wake-up, and
 * what the other side lost by parking meanwhile: several budgets long though the work
 * itself was near. So only clearly longer idleness counts as a reason to spin less, and
 * never not at all: two sides that both sleep at once would keep each other asleep.
 */
#define FAR   8 /* budgets                                                 */
#define LEAST 8 /* the smallest budget is this part of the largest          */

static void adapt(struct uhyve_engine *engine, uint64_t idle_ns)
{
	uint64_t most = engine->config.spin_ns;

	if (idle_ns <= FAR * most)
		engine->spin_budget = most;
	else if (engine->spin_budget > most / LEAST)
		engine->spin_budget /= 2;
}

static void go_to_sleep(struct uhyve_engine *engine, uint64_t now)
{
	uint64_t look_at = uhyve_looking_next(&engine->looking);

	for (unsigned i = 0; i < engine->port_count; i++)
		pg_ring_server_sleep(engine->ports[i].ring, look_at);
	atomic_store(&engine->inbox.asleep, true);

	/* A completion in the backend needs no last look: its descriptor stays readable. */
	if (!work_waiting(engine) && !uhyve_looking_missed(&engine->looking, look_at))
		wait_for_events(engine, now, look_at);

	atomic_store(&engine->inbox.asleep, false);
	for (unsigned i = 0; i < engine->port_count; i++)
		pg_ring_server_wake(engine->ports[i].ring);

	now = now_ns(engine);
	adapt(engine, now - engine->idle_since);
	engine->idle_rounds = 0;
	look_at_clock(engine, now);
}

/* One idle round: spin for a while, then sleep. */
static void idle(struct uhyve_engine *engine)
{
	uint64_t now, spin_end, deadline;

	if (engine->config.spin_ns && ++engine->idle_rounds % CLOCK_PERIOD) {
		__builtin_ia32_pause();
		return;
	}
	now = now_ns(engine);
	if (engine->idle_rounds <= CLOCK_PERIOD)
		engine->idle_since = now;
	look_at_clock(engine, now);
	spin_end = engine->idle_since + engine->spin_budget;
	/* Sleeping takes longer than a deadline that is near: meet it awake. */
	deadline = uhyve_looking_deadline(&engine->looking);
	if (deadline != NEVER && deadline < now + engine->spin_budget)
		spin_end = deadline;
	if (now >= spin_end)
		go_to_sleep(engine, now);
}

/* ---- the thread ---- */

static void wait_for_stop(struct uhyve_engine *engine)
{
	struct pollfd fd = { .fd = engine->inbox.wake_fd, .events = POLLIN };

	while (!atomic_load(&engine->stop)) {
		(void)poll(&fd, 1, -1);
		drain(fd.fd);
	}
}

/* Get every request back; their completions are not delivered. */
static void shut_down(struct uhyve_engine *engine)
{
	struct uhyve_request *request;

	engine->io->ops->stop(engine->io);
	uhyve_workers_stop(engine->workers);
	while ((request = uhyve_inbox_take(&engine->inbox))) {
		while (request) {
			struct uhyve_request *next = request->next;

			if (request->op == PG_OP_OPENAT && request->result >= 0)
				close((int)request->result);
			unlink_deferred(engine, request);
			uhyve_operation_release(request);
			request = next;
		}
	}
	uhyve_handles_free(&engine->guest.handles);
}

static void *engine_main(void *argument)
{
	struct uhyve_engine *engine = argument;

	/* Deadlines are met to the microsecond, not to the default slack of 50. */
	(void)prctl(PR_SET_TIMERSLACK, 1);
	engine->last_tick = now_ns(engine);
	while (!engine->broken && !atomic_load_explicit(&engine->stop, memory_order_relaxed)) {
		if (serve_round(engine))
			engine->idle_rounds = 0;
		else if (!engine->broken)
			idle(engine);
	}
	wait_for_stop(engine);
	shut_down(engine);
	return NULL;
}

/* ---- start and stop ---- */

static int start_backend(struct uhyve_engine *engine, struct uhyve_error *error)
{
	unsigned requests = engine->port_count * PG_CQ_DEPTH;
	enum uhyve_backend backend = engine->config.backend;

	if (backend != UHYVE_BACKEND_THREADS) {
		int code = uhyve_uring_start(&engine->io, &engine->inbox, requests,
					     backend == UHYVE_BACKEND_AUTO ? NULL : error);

		if (code == 0 || backend == UHYVE_BACKEND_URING)
			return code;
	}
	return uhyve_threads_start(&engine->io, &engine->inbox, engine->workers, requests, error);
}

static void init_ports(struct uhyve_engine *engine)
{
	for (unsigned i = 0; i < engine->port_count; i++) {
		const struct uhyve_port *from = &engine->config.ports[i];
		struct port *port = &engine->ports[i];

		port->ring = from->ring;
		port->sq = from->sq;
		port->cq = from->cq;
		port->kick_fd = from->kick_fd;
		port->sq_head = atomic_load(&from->ring->sq_head);
		port->cq_tail = atomic_load(&from->ring->cq_tail);
		port->requests = engine->requests + (size_t)i * PG_CQ_DEPTH;

		struct uhyve_watch *watch = &engine->looking.watches[i];
		watch->ring = from->ring;
		watch->cq_tail = &port->cq_tail;
		watch->kick_fd = from->kick_fd;
	}
}

static void engine_free(struct uhyve_engine *engine)
{
	if (engine->inbox.wake_fd >= 0)
		close(engine->inbox.wake_fd);
	uhyve_looking_free(&engine->looking);
	free(engine->requests);
	free(engine);
}

/* Everything but the thread and the backend; undone by engine_free() and the handles' free. */
static int engine_init(struct uhyve_engine *engine, const struct uhyve_engine_config *config,
		       struct uhyve_error *error)
{
	int code;

	engine->config = *config;
	engine->port_count = config->port_count;
	engine->spin_budget = config->spin_ns;
	engine->inbox.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (engine->inbox.wake_fd < 0)
		return uhyve_fail(error, -errno, "cannot make an eventfd: %s", strerror(errno));
	/* Large, and touched only as far as used: the pages come from the host on demand. */
	engine->requests =
		calloc((size_t)engine->port_count * PG_CQ_DEPTH, sizeof(*engine->requests));
	if (!engine->requests || uhyve_looking_init(&engine->looking, &engine->config))
		return uhyve_fail(error, -ENOMEM, "out of memory");
	init_ports(engine);
	engine->guest.mmu = config->mmu;
	engine->guest.mounts = config->mounts;
	code = uhyve_handles_init(&engine->guest.handles, config->console);
	if (code)
		return uhyve_fail(error, code, "cannot use the console's descriptors: %s",
				  strerror(-code));
	return 0;
}

int uhyve_engine_start(struct uhyve_engine **result, const struct uhyve_engine_config *config,
		       struct uhyve_error *error)
{
	struct uhyve_engine *engine =
		calloc(1, sizeof(*engine) + config->port_count * sizeof(engine->ports[0]));
	int code;

	if (!engine)
		return uhyve_fail(error, -ENOMEM, "out of memory");
	code = engine_init(engine, config, error);
	if (code)
		goto fail;
	engine->workers = uhyve_workers_new(&engine->inbox);
	if (!engine->workers) {
		code = uhyve_fail(error, -ENOMEM, "out of memory");
		goto fail_handles;
	}
	code = start_backend(engine, error);
	if (code)
		goto fail_workers;
	code = uhyve_thread_start(&engine->thread, "uhyve-engine", engine_main, engine);
	if (code) {
		uhyve_fail(error, code, "cannot start a thread: %s", strerror(-code));
		engine->io->ops->stop(engine->io);
		goto fail_workers;
	}
	*result = engine;
	return 0;

fail_workers:
	uhyve_workers_stop(engine->workers);
fail_handles:
	uhyve_handles_free(&engine->guest.handles);
fail:
	engine_free(engine);
	return code;
}

void uhyve_engine_stop(struct uhyve_engine *engine)
{
	if (!engine)
		return;
	atomic_store(&engine->stop, true);
	uhyve_inbox_wake(&engine->inbox);
	pthread_join(engine->thread, NULL);
	engine_free(engine);
}

const char *uhyve_engine_backend(const struct uhyve_engine *engine)
{
	return engine->io->ops->name;
}
