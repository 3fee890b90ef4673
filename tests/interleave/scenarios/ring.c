/* The loader's half of the ring: it sleeps, and must not miss what the guest leaves. */
#include "model.h"
#include "scenarios.h"

#define ENTRIES 3
#define TURN    500

static struct pg_ring *const ring = &model_vcpus[0].ring;

static void setup(void)
{
	model_reset(1, false, false);
}

/* Publish, then look at who sleeps: as hypercall.c does, without its saving of doorbells. */
static void submit(void *argument)
{
	struct model_vcpu *vcpu = &model_vcpus[0];
	const struct pg_sqe entry = { .op = PG_OP_NOP };

	model_enter(vcpu);
	for (unsigned i = 0; i < ENTRIES; i++)
		if (pg_sq_push(ring, vcpu->sq, &entry))
			pg_port_doorbell(&vcpu->executor);
}

static void check_served(void)
{
	interleave_assert(model_loader.served == ENTRIES);
	interleave_assert(atomic_load(&ring->cq_tail) == ENTRIES);
}

const struct interleave_scenario ring_submit = {
	.name = "ring: submit, loader sleeps",
	.setup = setup,
	.check = check_served,
	.threads = { { "guest", submit }, { "loader", model_run_loader, NULL, true } },
};

static void contend(void *argument)
{
	uint64_t look_at = pg_ring_contend(ring);

	if (look_at > TURN)
		pg_port_doorbell(&model_vcpus[0].executor);
}

static void check_contended(void)
{
	interleave_assert(model_loader.contended >= 1);
	interleave_assert(!atomic_load(&ring->contended));
}

/* Two vCPUs say so: the loader looks at least once, and after the last of them. */
const struct interleave_scenario ring_contend = {
	.name = "ring: contend, loader sleeps",
	.setup = setup,
	.check = check_contended,
	.threads = { { "vcpu 1", contend },
		     { "vcpu 2", contend },
		     { "loader", model_run_loader, NULL, true } },
};

static void set_deadlines(void *argument)
{
	for (uint64_t deadline = 300; deadline >= 100; deadline -= 100)
		if (pg_ring_set_deadline(ring, deadline))
			pg_port_doorbell(&model_vcpus[0].executor);
}

static void check_deadline(void)
{
	interleave_assert(model_loader.deadline == 100);
}

const struct interleave_scenario ring_deadline = {
	.name = "ring: deadline, loader sleeps",
	.setup = setup,
	.check = check_deadline,
	.threads = { { "guest", set_deadlines }, { "loader", model_run_loader, NULL, true } },
};
