/*
 * User code runs, and something waits for its vCPU: it must be told to make room. The kernel's
 * half is the executor's, the loader's half is uhyve-c/src/looking.c; both are the real ones.
 * User code is a poll that spins until it is pre-empted.
 */
#include <sys/types.h>

#include "engine.h"
#include "looking.h"
#include "model.h"
#include "scenarios.h"

#define TURN 500

static struct uhyve_engine_config config;
static struct uhyve_engine_stats stats;
static struct uhyve_looking looking;
static struct uhyve_watch watch;
static uint32_t cq_tail;
static struct pg_task program, other;
static struct model_future code, futures;
static _Atomic uint32_t preempted, ran;

ssize_t interleave_write(int fd, const void *from, size_t size);

/* looking.c kicks a parked vCPU by a write to its eventfd. */
ssize_t interleave_write(int fd, const void *from, size_t size)
{
	pg_port_kick(&model_vcpus[0].executor);
	return (ssize_t)size;
}

static void preempt(void *context, unsigned index)
{
	atomic_store(&preempted, 1);
}

/* A program that never gives way by itself, as long as the other task has not run. */
static bool run_user_code(struct model_future *self, struct pg_task *waker)
{
	if (atomic_load(&ran))
		return true;
	while (!atomic_load(&preempted))
		pg_port_relax();
	atomic_store(&preempted, 0);
	pg_task_wake(waker);
	return false;
}

static bool run_once(struct model_future *self, struct pg_task *waker)
{
	atomic_store(&ran, 1);
	return true;
}

static void stop(struct pg_task *done)
{
	model_stop(1);
}

static void setup(void)
{
	struct pg_executor *executor = &model_vcpus[0].executor;

	model_reset(1, false, true);
	executor->turn_ns = TURN;
	config = (struct uhyve_engine_config){ .turn_ns = TURN,
					       .preempt = preempt,
					       .stats = &stats };
	looking = (struct uhyve_looking){
		.config = &config, .turn_ns = TURN, .count = 1, .watches = &watch
	};
	cq_tail = 0;
	watch = (struct uhyve_watch){ .ring = &model_vcpus[0].ring,
				      .cq_tail = &cq_tail,
				      .look = PG_LOOK_NEVER,
				      .confirm = PG_LOOK_NEVER };
	atomic_store(&preempted, 0);
	atomic_store(&ran, 0);
	INTERLEAVE_NAME(program);
	INTERLEAVE_NAME(other);
	INTERLEAVE_NAME(preempted);
	model_future_init(&code, run_user_code);
	model_future_init(&futures, run_once);
	pg_task_spawn_user(executor, &program, &code.future, stop);
}

static void post(void *argument)
{
	pg_task_spawn(&model_vcpus[0].executor, &other, &futures.future, NULL);
}

/* The engine, as far as looking goes. Time passes when it sleeps until a look. */
static void run_engine(void *argument)
{
	static const struct interleave_site site = { __FILE__, __LINE__, "run_engine",
						     "sleep until the doorbell" };
	struct pg_ring *ring = &model_vcpus[0].ring;
	uint64_t now = pg_port_now(), next;

	for (;;) {
		uhyve_looking_look(&looking, now);
		next = uhyve_looking_next(&looking);
		pg_ring_server_sleep(ring, next);
		if (!uhyve_looking_missed(&looking, next)) {
			/* The next turn is not over before the vCPU has heard of the last one. */
			while (atomic_load(&preempted))
				pg_port_relax();
			if (next == PG_LOOK_NEVER)
				interleave_take((volatile uint32_t *)&model_loader.doorbell, &site);
			else
				now = next;
		}
		pg_ring_server_wake(ring);
	}
}

const struct interleave_scenario look_post = {
	.name = "look: user code, post",
	.setup = setup,
	.threads = { { "executor", model_run_vcpu, &model_vcpus[0] },
		     { "poster", post },
		     { "engine", run_engine, NULL, true } },
};
