/*
 * Deadlines, and who runs. First the states by themselves, where the test says what time it
 * is; then with the engine, its clock and its sleep.
 */
#include <pthread.h>

#include "engine_rig.h"
#include "looking.h"

#define TURN  1000000u
#define PORTS 3

/* ---- the states ---- */

static struct {
	struct uhyve_engine_config config;
	struct uhyve_engine_stats stats;
	struct uhyve_looking looking;
	struct pg_ring rings[PORTS];
	uint32_t cq_tail[PORTS];
	unsigned preempted[PORTS];
	uint64_t now;
} bench;

static void bench_preempt(void *context, unsigned port)
{
	(void)context;
	bench.preempted[port]++;
}

static void begin(uint64_t turn_ns)
{
	bench.config = (struct uhyve_engine_config){
		.port_count = PORTS,
		.turn_ns = turn_ns,
		.preempt = bench_preempt,
		.stats = &bench.stats,
	};
	bench.now = 1000000000;
	cr_assert_eq(uhyve_looking_init(&bench.looking, &bench.config), 0);
	for (unsigned i = 0; i < PORTS; i++) {
		bench.looking.watches[i].ring = &bench.rings[i];
		bench.looking.watches[i].cq_tail = &bench.cq_tail[i];
		bench.looking.watches[i].kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
}

static void init(void)
{
	begin(TURN);
}

static void fini(void)
{
	for (unsigned i = 0; i < PORTS; i++)
		close(bench.looking.watches[i].kick_fd);
	uhyve_looking_free(&bench.looking);
}

/* Let time pass, and look. */
static void after(uint64_t ns)
{
	bench.now += ns;
	uhyve_looking_look(&bench.looking, bench.now);
}

/* Wake interrupts since the last call. */
static uint64_t woken(unsigned port)
{
	uint64_t value = 0;

	if (read(bench.looking.watches[port].kick_fd, &value, sizeof(value)) < 0)
		return 0;
	return value;
}

static uint64_t next(void)
{
	return uhyve_looking_next(&bench.looking);
}

TestSuite(looking, .init = init, .fini = fini, .timeout = 60);

Test(looking, nothing_to_do)
{
	for (int i = 0; i < 100; i++) {
		after(TURN / 3);
		pg_ring_next_turn(&bench.rings[0]);
		cr_assert_eq(next(), PG_LOOK_NEVER);
		cr_assert_not(uhyve_looking_missed(&bench.looking, PG_LOOK_NEVER));
	}
	cr_assert_eq(bench.stats.interrupts + bench.stats.preemptions, 0);
}

Test(looking, a_deadline_wakes_a_parked_vcpu_once)
{
	struct pg_ring *ring = &bench.rings[1];
	uint64_t deadline = bench.now + 500;

	pg_ring_park(ring);
	(void)pg_ring_set_deadline(ring, deadline);
	cr_assert_eq(next(), deadline);
	after(499);
	cr_assert_eq(woken(1), 0, "not before");
	after(1);
	cr_assert_eq(woken(1), 1);
	cr_assert_eq(atomic_load(&ring->parked), 0);
	cr_assert_eq(next(), PG_LOOK_NEVER);

	/* Parked again, with the deadline it has left there. */
	pg_ring_park(ring);
	after(TURN);
	after(10 * TURN);
	cr_assert_eq(woken(1), 0, "each value is served once");
	cr_assert_eq(next(), PG_LOOK_NEVER);

	/* A new one, even if it is past. */
	(void)pg_ring_set_deadline(ring, deadline + 1);
	after(0);
	cr_assert_eq(woken(1), 1);
	cr_assert_eq(bench.stats.preemptions, 0);
}

Test(looking, no_deadline)
{
	pg_ring_park(&bench.rings[0]);
	(void)pg_ring_set_deadline(&bench.rings[0], PG_LOOK_NEVER);
	after(TURN);
	cr_assert_eq(next(), PG_LOOK_NEVER);
	(void)pg_ring_set_deadline(&bench.rings[0], bench.now + 5 * TURN);
	cr_assert_eq(next(), bench.now + 5 * TURN);
	(void)pg_ring_set_deadline(&bench.rings[0], 0);
	after(9 * TURN);
	cr_assert_eq(next(), PG_LOOK_NEVER);
	cr_assert_eq(woken(0), 0);
}

Test(looking, a_deadline_preempts_a_vcpu_that_runs)
{
	(void)pg_ring_set_deadline(&bench.rings[2], bench.now + 500);
	after(499);
	cr_assert_eq(bench.preempted[2], 0);
	after(1);
	cr_assert_eq(bench.preempted[2], 1);
	after(TURN / 2);
	cr_assert_eq(bench.preempted[2], 1);

	/* Once more, in case it was about to park, or could not take it: until it has. */
	cr_assert_eq(next(), bench.now + TURN / 2);
	after(TURN / 2);
	cr_assert_eq(bench.preempted[2], 2);
	cr_assert_eq(next(), bench.now + TURN);
	after(TURN);
	cr_assert_eq(bench.preempted[2], 3);
	(void)pg_ring_set_deadline(&bench.rings[2], PG_LOOK_NEVER);
	after(TURN);
	cr_assert_eq(next(), PG_LOOK_NEVER);
	cr_assert_eq(bench.preempted[2], 3);
	cr_assert_eq(woken(2), 0);
}

/* It parked with a deadline that was served while it still ran. */
Test(looking, a_deadline_in_the_moment_of_parking)
{
	(void)pg_ring_set_deadline(&bench.rings[0], bench.now + 500);
	after(500);
	pg_ring_park(&bench.rings[0]);
	after(1000000);
	cr_assert_eq(woken(0), 1);
}

Test(looking, deadlines_preempt_every_20_us_at_most)
{
	struct pg_ring *ring = &bench.rings[0];

	for (int i = 0; i < 1000; i++) {
		(void)pg_ring_set_deadline(ring, bench.now - 5000 + (uint64_t)i);
		after(1000);
	}
	cr_assert_leq(bench.preempted[0], 1000 / 20 + 1);
	cr_assert_geq(bench.preempted[0], 1000 / 20 - 1);

	/* The last one is served when it may be, without another look at all in between. */
	unsigned before = bench.preempted[0];
	(void)pg_ring_set_deadline(ring, bench.now);
	uint64_t at = next();
	cr_assert_geq(at, bench.now);
	cr_assert_leq(at, bench.now + 20000);
	bench.now = at;
	after(0);
	cr_assert_eq(bench.preempted[0], before + 1);
}

/* Sleep was announced, and a deadline before its end comes up. */
Test(looking, a_deadline_before_the_announced_look)
{
	struct pg_ring *ring = &bench.rings[1];
	uint64_t look_at;

	(void)pg_ring_set_deadline(ring, bench.now + 5 * TURN);
	look_at = next();
	pg_ring_server_sleep(ring, look_at);
	cr_assert_not(uhyve_looking_missed(&bench.looking, look_at));
	cr_assert_not(pg_ring_set_deadline(ring, bench.now + 6 * TURN), "early enough");
	cr_assert_not(uhyve_looking_missed(&bench.looking, look_at));
	cr_assert(pg_ring_set_deadline(ring, bench.now + 4 * TURN), "ring the doorbell");
	cr_assert(uhyve_looking_missed(&bench.looking, look_at), "or the loader sees it itself");
	pg_ring_server_sleep(ring, PG_LOOK_NEVER);
	cr_assert(pg_ring_set_deadline(ring, bench.now + 9 * TURN));
}

/* ---- who runs ---- */

Test(looking, one_task_for_two_looks)
{
	cr_assert_eq(pg_ring_contend(&bench.rings[0]), 0, "awake");
	cr_assert(uhyve_looking_missed(&bench.looking, PG_LOOK_NEVER));
	after(10);
	cr_assert_eq(atomic_load(&bench.rings[0].contended), 0);
	cr_assert_eq(next(), bench.now + TURN);
	cr_assert_not(uhyve_looking_missed(&bench.looking, next()));
	after(TURN - 1);
	cr_assert_eq(bench.preempted[0], 0);
	after(1);
	cr_assert_eq(bench.preempted[0], 1);

	/* As long as it is the same turn. */
	cr_assert_eq(next(), bench.now + TURN);
	after(TURN / 2);
	cr_assert_eq(bench.preempted[0], 1);
	after(TURN / 2);
	cr_assert_eq(bench.preempted[0], 2);
	pg_ring_next_turn(&bench.rings[0]);
	cr_assert_eq(next(), PG_LOOK_NEVER, "over: nobody is woken for it");
	after(TURN);
	cr_assert_eq(bench.preempted[0], 2);
	cr_assert_eq(bench.stats.preemptions, 2);
}

Test(looking, a_new_turn_that_is_contended_again)
{
	(void)pg_ring_contend(&bench.rings[0]);
	after(10);
	pg_ring_next_turn(&bench.rings[0]);
	(void)pg_ring_contend(&bench.rings[0]);
	cr_assert_eq(next(), bench.now + TURN);
	cr_assert_not(uhyve_looking_missed(&bench.looking, next()));
	after(TURN);
	cr_assert_eq(bench.preempted[0], 0, "another turn");
	after(TURN);
	cr_assert_eq(bench.preempted[0], 1);
}

Test(looking, many_turns_are_left_alone)
{
	for (int i = 0; i < 100; i++) {
		(void)pg_ring_contend(&bench.rings[0]);
		after(TURN);
		pg_ring_next_turn(&bench.rings[0]);
	}
	cr_assert_eq(bench.preempted[0], 0);
}

/* A parked vCPU is woken first, once in a turn; then there is no other way. */
Test(looking, a_parked_vcpu_may_take_the_work)
{
	pg_ring_park(&bench.rings[2]);
	(void)pg_ring_contend(&bench.rings[0]);
	after(10);
	after(TURN);
	cr_assert_eq(woken(2), 1);
	cr_assert_eq(bench.stats.balanced, 1);
	cr_assert_eq(bench.preempted[0], 0);

	/* It took nothing, and is parked again. */
	pg_ring_park(&bench.rings[2]);
	after(TURN);
	cr_assert_eq(woken(2), 0);
	cr_assert_eq(bench.preempted[0], 1);
	after(TURN);
	cr_assert_eq(bench.preempted[0], 2);

	/* The next turn is another one. */
	pg_ring_next_turn(&bench.rings[0]);
	(void)pg_ring_contend(&bench.rings[0]);
	after(TURN);
	after(TURN);
	cr_assert_eq(woken(2), 1);
	cr_assert_eq(bench.stats.balanced, 2);
	cr_assert_eq(bench.preempted[0], 2);
}

Test(looking, a_vcpu_that_parks_is_not_watched)
{
	(void)pg_ring_contend(&bench.rings[0]);
	after(10);
	pg_ring_park(&bench.rings[0]);
	cr_assert_eq(next(), PG_LOOK_NEVER);
	(void)pg_ring_contend(&bench.rings[0]);
	after(TURN);
	cr_assert_eq(next(), PG_LOOK_NEVER);
	after(TURN);
	cr_assert_eq(bench.preempted[0], 0);
	cr_assert_eq(woken(0), 0);
}

Test(looking, completions_nobody_consumes)
{
	struct pg_ring *ring = &bench.rings[1];

	pg_ring_park(&bench.rings[0]);
	bench.cq_tail[1] = 5;
	after(10);
	cr_assert_eq(next(), bench.now + TURN);
	after(TURN);
	cr_assert_eq(bench.preempted[1], 1);
	cr_assert_eq(woken(0), 0, "nobody else could consume them");

	/* More of them make no difference, one that is consumed does. */
	bench.cq_tail[1] = 7;
	after(TURN);
	cr_assert_eq(bench.preempted[1], 2);
	atomic_store(&ring->cq_head, 1);
	after(TURN);
	cr_assert_eq(bench.preempted[1], 2);
	atomic_store(&ring->cq_head, 7);
	cr_assert_eq(next(), PG_LOOK_NEVER);
	after(TURN);
	cr_assert_eq(bench.preempted[1], 2);
}

/* Consumed before the loader sleeps: it need not wake up for that. */
Test(looking, completions_that_are_consumed_soon)
{
	for (uint32_t i = 1; i < 100; i++) {
		bench.cq_tail[0] = i;
		after(100);
		atomic_store(&bench.rings[0].cq_head, i);
		cr_assert_eq(next(), PG_LOOK_NEVER);
	}
	cr_assert_eq(bench.preempted[0], 0);
}

/* A deadline has interrupted it just now: the look adds nothing to that. */
Test(looking, a_look_right_after_a_deadline)
{
	(void)pg_ring_contend(&bench.rings[0]);
	after(10);
	(void)pg_ring_set_deadline(&bench.rings[0], bench.now + TURN - TURN / 8);
	after(TURN - TURN / 8);
	cr_assert_eq(bench.preempted[0], 1);
	after(TURN / 8);
	cr_assert_eq(bench.preempted[0], 1);
	cr_assert_eq(next(), bench.now + TURN / 8);
	after(TURN / 8);
	cr_assert_eq(bench.preempted[0], 2);
}

Test(looking, without_preemption)
{
	fini();
	begin(0);
	(void)pg_ring_contend(&bench.rings[0]);
	bench.cq_tail[0] = 5;
	(void)pg_ring_set_deadline(&bench.rings[0], bench.now + 500);
	pg_ring_park(&bench.rings[1]);
	(void)pg_ring_set_deadline(&bench.rings[1], bench.now + 500);
	for (int i = 0; i < 10; i++)
		after(TURN);
	cr_assert_eq(bench.stats.preemptions, 0);
	cr_assert_eq(bench.stats.balanced, 0);
	cr_assert_eq(woken(1), 1, "deadlines of parked vCPUs all the same");
	cr_assert_eq(next(), PG_LOOK_NEVER);
	cr_assert_not(uhyve_looking_missed(&bench.looking, PG_LOOK_NEVER));
}

Test(looking, indices_and_times_that_wrap_around)
{
	bench.now = UINT64_MAX - TURN / 2;
	atomic_store(&bench.rings[0].turn, UINT32_MAX);
	atomic_store(&bench.rings[1].cq_head, UINT32_MAX);
	(void)pg_ring_contend(&bench.rings[0]);
	(void)pg_ring_set_deadline(&bench.rings[2], UINT64_MAX - 1);
	after(0);
	pg_ring_next_turn(&bench.rings[0]);
	after(TURN / 4);
	cr_assert_geq(next(), bench.now);
	cr_assert_eq(bench.preempted[0], 0);
}

/* Whatever a guest writes: pre-emptions are bounded, and so is the next look. */
Test(looking, random_rings)
{
	uint64_t seed = 88172645463325252ull, start = bench.now;

	for (int i = 0; i < 200000; i++) {
		struct pg_ring *ring = &bench.rings[seed % PORTS];

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		switch (seed >> 32 & 7) {
		case 0:
			atomic_store(&ring->parked, (uint32_t)seed);
			break;
		case 1:
			atomic_store(&ring->turn, (uint32_t)seed & 3);
			break;
		case 2:
			atomic_store(&ring->contended, (uint32_t)seed);
			break;
		case 3:
			atomic_store(&ring->deadline, seed & 8 ? seed : bench.now + (seed & 65535));
			break;
		case 4:
			atomic_store(&ring->cq_head, (uint32_t)seed & 3);
			break;
		default:
			after(seed & 1023);
		}
		cr_assert_gt(next(), 0);
	}
	for (unsigned i = 0; i < PORTS; i++) {
		cr_assert_leq(bench.preempted[i], (bench.now - start) / 20000 + 1);
		(void)woken(i);
	}
}

/* ---- with the engine ---- */

#define MS 1000000ull

static struct rig *start(uint64_t turn_ns, uint64_t spin_ns)
{
	struct rig *rig = rig_prepare(UHYVE_BACKEND_THREADS);

	rig->config.turn_ns = turn_ns;
	rig->config.spin_ns = spin_ns;
	rig->config.preempt = on_preempt;
	rig_run(rig);
	return rig;
}

static void doorbell(struct rig *rig)
{
	uint64_t one = 1;

	cr_assert_eq(write(rig->config.doorbell_fd, &one, sizeof(one)), sizeof(one));
}

static void set_deadline(struct rig *rig, int port, uint64_t at)
{
	if (pg_ring_set_deadline(&rig->memory[port]->ring, at))
		doorbell(rig);
}

/* As a vCPU does: it parks, looks at the clock a last time, and halts. */
static void park_until(struct rig *rig, int port, uint64_t at)
{
	struct pg_ring *ring = &rig->memory[port]->ring;
	struct pollfd fd = { .fd = rig->ports[port].kick_fd, .events = POLLIN };
	uint64_t value;

	set_deadline(rig, port, at);
	while (clock_now() < at) {
		pg_ring_park(ring);
		if (clock_now() < at) {
			cr_assert_eq(poll(&fd, 1, WAIT_MS), 1, "the deadline was missed");
			cr_assert_eq(read(fd.fd, &value, sizeof(value)), sizeof(value));
		}
		pg_ring_unpark(ring);
	}
}

static void contend(struct rig *rig, int port)
{
	uint64_t look_at = pg_ring_contend(&rig->memory[port]->ring);

	if (look_at && (look_at == PG_LOOK_NEVER || look_at > clock_now() + rig->config.turn_ns))
		doorbell(rig);
}

/* Wait until `counter` has reached `value`. */
static void reaches(const _Atomic unsigned *counter, unsigned value)
{
	uint64_t limit = clock_now() + WAIT_MS * MS;

	while (atomic_load(counter) < value) {
		cr_assert_lt(clock_now(), limit, "it does not come");
		usleep(100);
	}
}

/* Sleeps of the engine while the test does nothing for `ms`. */
static uint64_t sleeps_in(struct rig *rig, unsigned ms)
{
	uint64_t before = atomic_load(&rig->stats.sleeps);

	usleep(ms * 1000);
	return atomic_load(&rig->stats.sleeps) - before;
}

static void settle(struct rig *rig)
{
	uint64_t limit = clock_now() + WAIT_MS * MS;

	while (atomic_load(&rig->memory[0]->ring.look_at) != PG_LOOK_NEVER) {
		cr_assert_lt(clock_now(), limit, "the engine does not come to rest");
		usleep(1000);
	}
	/* It has said that it sleeps; now it does. */
	usleep(10000);
}

Test(looking_engine, deadlines_of_parked_vcpus, .timeout = 60)
{
	static const uint64_t spins[] = { 0, SPIN_NS };

	for (int i = 0; i < 2; i++) {
		struct rig *rig = start(2 * MS, spins[i]);

		for (uint64_t ns = 1000; ns < 20 * MS; ns *= 3)
			park_until(rig, 0, clock_now() + ns);
		rig_end(rig);
	}
}

static void *park_often(void *argument)
{
	struct rig *rig = argument;
	uint64_t seed = 1;

	for (int i = 0; i < 1000; i++) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		park_until(rig, 1, clock_now() + (seed >> 33) % 60000);
	}
	return NULL;
}

/* Deadlines that are reached just when the vCPU parks, or the engine goes to sleep. */
Test(looking_engine, no_deadline_is_lost, .timeout = 60)
{
	static const uint64_t spins[] = { 0, SPIN_NS };

	for (int i = 0; i < 2; i++) {
		struct rig *rig = start(2 * MS, spins[i]);
		pthread_t thread;

		cr_assert_eq(pthread_create(&thread, NULL, park_often, rig), 0);
		for (int j = 0; j < 500; j++) {
			park_until(rig, 0, clock_now() + (uint64_t)j % 77 * 500);
			cr_assert_eq(CALL(rig, NOP, 0, 0), 0);
		}
		pthread_join(thread, NULL);
		rig_end(rig);
	}
}

Test(looking_engine, a_vcpu_that_runs_is_interrupted, .timeout = 60)
{
	struct rig *rig = start(2 * MS, 0);

	settle(rig);
	set_deadline(rig, 0, clock_now() + 2 * MS);
	reaches(&rig->preempted[0], 2);
	cr_assert_eq(atomic_load(&rig->preempted[1]), 0);
	set_deadline(rig, 0, PG_LOOK_NEVER);

	settle(rig);
	unsigned before = atomic_load(&rig->preempted[0]);
	contend(rig, 1);
	reaches(&rig->preempted[1], 3);
	pg_ring_next_turn(&rig->memory[1]->ring);
	settle(rig);
	cr_assert_eq(atomic_load(&rig->preempted[0]), before);
	cr_assert_geq(atomic_load(&rig->stats.looks), 3);
	cr_assert_eq(atomic_load(&rig->stats.preemptions),
		     before + atomic_load(&rig->preempted[1]));
	rig_end(rig);
}

Test(looking_engine, completions_that_are_left_interrupt, .timeout = 60)
{
	struct rig *rig = start(2 * MS, 0);

	(void)PUSH(rig, NOP, 0, 0);
	reaches(&rig->preempted[0], 2);
	cr_assert(pop_on(rig, 0));
	settle(rig);
	cr_assert_eq(atomic_load(&rig->preempted[1]), 0);
	rig_end(rig);
}

Test(looking_engine, a_parked_vcpu_is_woken_for_work, .timeout = 60)
{
	struct rig *rig = start(2 * MS, 0);

	contend(rig, 0);
	park_on(rig, 1);
	rig_stop(rig); /* it counts after it has woken */
	cr_assert_eq(atomic_load(&rig->stats.balanced), 1);
	rig_end(rig);
}

Test(looking_engine, at_rest_nothing_wakes_it, .timeout = 60)
{
	struct rig *rig = start(2 * MS, SPIN_NS);

	/* One computes, and nobody waits for it; the other one is parked. */
	cr_assert_eq(CALL(rig, NOP, 0, 0), 0);
	park_until(rig, 0, clock_now() + 1 * MS);
	pg_ring_park(&rig->memory[1]->ring);
	settle(rig);
	cr_assert_eq(sleeps_in(rig, 50), 0);

	/* Nor does a deadline that is far, or none. */
	set_deadline(rig, 1, clock_now() + 100000 * MS);
	set_deadline(rig, 0, PG_LOOK_NEVER);
	usleep(20000);
	cr_assert_eq(sleeps_in(rig, 50), 0);
	rig_end(rig);
}

static uint64_t an_hour_ahead(void *context)
{
	(void)context;
	return clock_now() + 3600000 * MS;
}

/* It is the guest's clock that counts. */
Test(looking_engine, the_guests_clock, .timeout = 60)
{
	struct rig *rig = rig_prepare(UHYVE_BACKEND_THREADS);
	struct pg_ring *ring = &rig->memory[0]->ring;

	rig->config.now = an_hour_ahead;
	rig_run(rig);
	pg_ring_park(ring);
	set_deadline(rig, 0, an_hour_ahead(NULL) + 5 * MS);
	struct pollfd fd = { .fd = rig->ports[0].kick_fd, .events = POLLIN };
	cr_assert_eq(poll(&fd, 1, WAIT_MS), 1);
	cr_assert_geq(an_hour_ahead(NULL), atomic_load(&ring->deadline), "never before");
	rig_end(rig);
}

struct storm {
	struct rig *rig;
	_Atomic bool stop;
};

static void *storm_main(void *argument)
{
	struct storm *storm = argument;
	struct pg_ring *ring = &storm->rig->memory[1]->ring;
	uint64_t seed = 88172645463325252ull;

	while (!atomic_load(&storm->stop)) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		atomic_store(&ring->deadline, seed & 1 ? clock_now() + seed % 10000 : seed);
		atomic_store(&ring->turn, (uint32_t)(seed >> 8));
		atomic_store(&ring->contended, (uint32_t)(seed >> 16) & 1);
		atomic_store(&ring->parked, (uint32_t)(seed >> 20) & 1);
		if (seed >> 24 & 1)
			doorbell(storm->rig);
	}
	return NULL;
}

/* One vCPU does its worst: the others are served, and what it gets is bounded. */
Test(looking_engine, a_storm_of_needs, .timeout = 60)
{
	struct storm storm = { .rig = start(2 * MS, SPIN_NS) };
	struct rig *rig = storm.rig;
	uint64_t from = clock_now();
	pthread_t thread;

	(void)fcntl(rig->config.doorbell_fd, F_SETFL, O_NONBLOCK);
	cr_assert_eq(pthread_create(&thread, NULL, storm_main, &storm), 0);
	for (int i = 0; i < 3000; i++)
		cr_assert_eq(CALL(rig, NOP, 0, 0), 0);
	atomic_store(&storm.stop, true);
	pthread_join(thread, NULL);
	cr_assert_leq(atomic_load(&rig->preempted[1]), (clock_now() - from) / 20000 + 2);
	cr_assert_not(atomic_load(&rig->violated));
	rig_end(rig);
}
