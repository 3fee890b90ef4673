/*
 * An engine with rings, memory and files, driven as a guest does. Everything is in this header:
 * test programs bring their own Criterion, or what stands in for it.
 */
#ifndef ENGINE_RIG_H
#define ENGINE_RIG_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "abi/ops.h"
#include "engine.h"
#include "fake_mmu.h"
#include "mounts.h"

/* Every test runs on both backends. */
#define ENGINE_TEST(name)                                                                          \
	static void name(enum uhyve_backend backend);                                              \
	Test(engine_uring, name, .timeout = 60)                                                    \
	{                                                                                          \
		name(UHYVE_BACKEND_URING);                                                         \
	}                                                                                          \
	Test(engine_threads, name, .timeout = 60)                                                  \
	{                                                                                          \
		name(UHYVE_BACKEND_THREADS);                                                       \
	}                                                                                          \
	static void name(enum uhyve_backend backend)

#define MAX_PORTS  2
#define MAX_TOKENS 32768
#define WAIT_MS    20000
#define SPIN_NS    20000

/* Places in guest memory. */
#define PATH_A (FAKE_VA + 0x1000)
#define PATH_B (FAKE_VA + 0x3000)
#define IOVECS (FAKE_VA + 0x5000)
#define BUFFER (FAKE_VA + 0x10000)
#define LARGE  (FAKE_VA + 0x100000)

struct port_memory {
	struct pg_ring ring;
	struct pg_sqe sq[PG_SQ_DEPTH];
	struct pg_cqe cq[PG_CQ_DEPTH];
};

/* One VM's worth: rings, memory, a console of three pipes, a directory mapped at "/". */
struct rig {
	struct uhyve_engine *engine;
	struct uhyve_engine_config config;
	struct uhyve_engine_stats stats;
	struct uhyve_port ports[MAX_PORTS];
	struct port_memory *memory[MAX_PORTS];
	struct uhyve_mounts *mounts;
	char dir[64];
	int console[3][2]; /* pipe ends: [0] read, [1] write                 */
	char reason[128];  /* of a violation                                 */
	_Atomic bool violated;
	_Atomic unsigned preempted[MAX_PORTS]; /* how often              */
	uint64_t token;
	int64_t result[MAX_TOKENS];
	unsigned times[MAX_TOKENS]; /* completions seen, by user_data        */
};

static inline void on_violation(void *context, const char *reason)
{
	struct rig *rig = context;

	(void)snprintf(rig->reason, sizeof(rig->reason), "%s", reason);
	atomic_store(&rig->violated, true);
}

/* For a test to put into the configuration: pre-emption is off otherwise. */
static inline void on_preempt(void *context, unsigned port)
{
	struct rig *rig = context;

	atomic_fetch_add(&rig->preempted[port], 1);
}

static inline unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static inline void host_command(const char *format, const char *dir)
{
	char text[256];

	(void)snprintf(text, sizeof(text), format, dir);
	cr_assert_eq(system(text), 0, "%s", text);
}

/* Everything but the engine, so that a test can change the configuration. */
static inline struct rig *rig_prepare(enum uhyve_backend backend)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct uhyve_error error = { 0 };

	fake_mmu_init();
	strcpy(rig->dir, "/var/tmp/engine-XXXXXX");
	cr_assert(mkdtemp(rig->dir));
	rig->mounts = uhyve_mounts_new();
	cr_assert_eq(uhyve_mounts_add(rig->mounts, rig->dir, &error), 0, "%s", error.text);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pipe2(rig->console[i], O_CLOEXEC), 0);
	for (int i = 0; i < MAX_PORTS; i++) {
		rig->memory[i] = aligned_alloc(4096, (sizeof(*rig->memory[i]) + 4095) & ~4095ul);
		memset(rig->memory[i], 0, sizeof(*rig->memory[i]));
		rig->ports[i] = (struct uhyve_port){ &rig->memory[i]->ring, rig->memory[i]->sq,
						     rig->memory[i]->cq, eventfd(0, EFD_CLOEXEC) };
	}
	rig->config = (struct uhyve_engine_config){
		.mounts = rig->mounts,
		.ports = rig->ports,
		.port_count = MAX_PORTS,
		.doorbell_fd = eventfd(0, EFD_CLOEXEC),
		.console = { rig->console[0][0], rig->console[1][1], rig->console[2][1] },
		.spin_ns = SPIN_NS,
		.backend = backend,
		.violation = on_violation,
		.context = rig,
		.stats = &rig->stats,
	};
	return rig;
}

static inline void rig_run(struct rig *rig)
{
	struct uhyve_error error = { 0 };

	cr_assert_eq(uhyve_engine_start(&rig->engine, &rig->config, &error), 0, "%s", error.text);
	cr_assert_str_eq(uhyve_engine_backend(rig->engine),
			 rig->config.backend == UHYVE_BACKEND_URING ? "io_uring" : "threads");
}

static inline struct rig *rig_start(enum uhyve_backend backend)
{
	struct rig *rig = rig_prepare(backend);

	rig_run(rig);
	return rig;
}

static inline void rig_stop(struct rig *rig)
{
	uhyve_engine_stop(rig->engine);
	rig->engine = NULL;
}

static inline void rig_end(struct rig *rig)
{
	rig_stop(rig);
	uhyve_mounts_free(rig->mounts);
	for (int i = 0; i < 3; i++) {
		close(rig->console[i][0]);
		close(rig->console[i][1]);
	}
	for (int i = 0; i < MAX_PORTS; i++) {
		close(rig->ports[i].kick_fd);
		free(rig->memory[i]);
	}
	close(rig->config.doorbell_fd);
	host_command("rm -rf %s", rig->dir);
	fake_mmu_free();
	free(rig);
}

/* ---- the guest's side ---- */

static inline void push_on(struct rig *rig, int port, struct pg_sqe entry)
{
	uint64_t one = 1;

	cr_assert_not(pg_sq_full(&rig->memory[port]->ring));
	if (pg_sq_push(&rig->memory[port]->ring, rig->memory[port]->sq, &entry))
		cr_assert_eq(write(rig->config.doorbell_fd, &one, sizeof(one)), sizeof(one));
}

/* Submit on port 0; returns the entry's user_data. */
static inline uint64_t push(struct rig *rig, struct pg_sqe entry)
{
	entry.user_data = ++rig->token;
	cr_assert_lt(entry.user_data, MAX_TOKENS);
	push_on(rig, 0, entry);
	return entry.user_data;
}

static inline bool pop_on(struct rig *rig, int port)
{
	struct pg_cqe done;

	if (!pg_cq_pop(&rig->memory[port]->ring, rig->memory[port]->cq, &done))
		return false;
	cr_assert_lt(done.user_data, MAX_TOKENS);
	rig->result[done.user_data] = done.result;
	rig->times[done.user_data]++;
	cr_assert_eq(rig->times[done.user_data], 1, "completed twice");
	return true;
}

/* Park until the engine interrupts. */
static inline void park_on(struct rig *rig, int port)
{
	struct pg_ring *ring = &rig->memory[port]->ring;
	struct pollfd fd = { .fd = rig->ports[port].kick_fd, .events = POLLIN };
	uint64_t value;

	pg_ring_park(ring);
	if (!pg_cq_ready(ring)) {
		cr_assert_eq(poll(&fd, 1, WAIT_MS), 1, "no interrupt");
		cr_assert_eq(read(fd.fd, &value, sizeof(value)), sizeof(value));
	}
	pg_ring_unpark(ring);
}

static inline int64_t wait_for(struct rig *rig, uint64_t token)
{
	while (!rig->times[token])
		if (!pop_on(rig, 0))
			park_on(rig, 0);
	return rig->result[token];
}

static inline int64_t call(struct rig *rig, struct pg_sqe entry)
{
	return wait_for(rig, push(rig, entry));
}

#define CALL(rig, name, h, ...)                                                                    \
	call(rig, (struct pg_sqe){ .op = PG_OP_##name, .handle = (h), .arg = { __VA_ARGS__ } })
#define PUSH(rig, name, h, ...)                                                                    \
	push(rig, (struct pg_sqe){ .op = PG_OP_##name, .handle = (h), .arg = { __VA_ARGS__ } })

/* True while an operation is not completed, after others have been served. */
static inline bool still_pending(struct rig *rig, uint64_t token)
{
	for (int i = 0; i < 3; i++)
		cr_assert_eq(CALL(rig, NOP, 0, 0), 0);
	return rig->times[token] == 0;
}

static inline uint64_t put(uint64_t at, const char *text)
{
	memcpy(fake_at(at), text, strlen(text));
	return strlen(text);
}

static inline uint64_t clock_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

#endif
