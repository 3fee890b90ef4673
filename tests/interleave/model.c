#include "model.h"

#include <string.h>

#include "core/container.h"
#include "core/port.h"

struct model_vcpu model_vcpus[MODEL_VCPUS];
struct model_loader model_loader;

static struct pg_executor *group[MODEL_VCPUS];
static struct model_vcpu *current[INTERLEAVE_THREADS + 1]; /* by thread, and the host */

static void name_vcpu(unsigned i)
{
	static const char *const names[MODEL_VCPUS] = { "vcpu0", "vcpu1", "vcpu2" };

	interleave_name(&model_vcpus[i], sizeof(model_vcpus[i]), names[i]);
}

void model_reset(unsigned count, bool grouped, bool loader_sleeps)
{
	memset(current, 0, sizeof(current));
	for (unsigned i = 0; i < count; i++) {
		struct model_vcpu *vcpu = &model_vcpus[i];

		memset(&vcpu->ring, 0, sizeof(vcpu->ring));
		memset(&vcpu->counters, 0, sizeof(vcpu->counters));
		pg_executor_init(&vcpu->executor, &vcpu->ring, vcpu->sq, vcpu->cq, &vcpu->counters,
				 0);
		atomic_store(&vcpu->ring.deadline, PG_NEVER);
		atomic_store(&vcpu->kicked, 0);
		group[i] = &vcpu->executor;
		name_vcpu(i);
		if (loader_sleeps)
			pg_ring_server_sleep(&vcpu->ring, PG_LOOK_NEVER);
	}
	if (grouped)
		pg_executor_group(group, count);
	memset(&model_loader, 0, sizeof(model_loader));
	model_loader.deadline = PG_NEVER;
	interleave_name(&model_loader, sizeof(model_loader), "loader");
}

void model_enter(struct model_vcpu *vcpu)
{
	current[interleave_self() + 1] = vcpu;
}

void model_settle(struct model_vcpu *vcpu)
{
	model_enter(vcpu);
	while (pg_executor_step(&vcpu->executor))
		;
	model_enter(NULL);
}

void model_run_vcpu(void *argument)
{
	struct model_vcpu *vcpu = argument;

	model_enter(vcpu);
	pg_executor_run(&vcpu->executor);
}

void model_stop(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		pg_executor_stop(&model_vcpus[i].executor);
}

/* ---- the port ---- */

uint64_t pg_port_now(void)
{
	return 1000;
}

uint64_t pg_port_ticks(void)
{
	return 0;
}

struct pg_executor *pg_port_executor(void)
{
	struct model_vcpu *vcpu = current[interleave_self() + 1];

	return vcpu ? &vcpu->executor : NULL;
}

void pg_port_park(struct pg_executor *executor)
{
	static const struct interleave_site site = { __FILE__, __LINE__, "pg_port_park",
						     "halt until kicked" };
	struct model_vcpu *vcpu = pg_container_of(executor, struct model_vcpu, executor);

	interleave_take((volatile uint32_t *)&vcpu->kicked, &site);
}

void pg_port_kick(struct pg_executor *target)
{
	struct model_vcpu *vcpu = pg_container_of(target, struct model_vcpu, executor);

	atomic_exchange(&vcpu->kicked, 1);
}

void pg_port_doorbell(struct pg_executor *executor)
{
	atomic_exchange(&model_loader.doorbell, 1);
}

struct pg_executor *pg_port_yield(struct pg_executor *here, struct pg_task *task)
{
	return here;
}

void pg_port_relax(void)
{
	interleave_relax();
}

/* ---- the loader ---- */

static bool serve(void)
{
	struct model_vcpu *vcpu = &model_vcpus[0];
	bool did = false;

	while (pg_sq_tail(&vcpu->ring) != model_loader.sq_head) {
		struct pg_sqe entry;

		pg_sq_copy(vcpu->sq, model_loader.sq_head++, &entry);
		pg_sq_release(&vcpu->ring, model_loader.sq_head);
		pg_cq_push(&vcpu->ring, vcpu->cq, model_loader.cq_tail++, entry.user_data,
			   entry.op == PG_OP_CANCEL ? -2 : 0);
		if (pg_ring_claim_wake(&vcpu->ring))
			pg_port_kick(&vcpu->executor);
		model_loader.served++;
		did = true;
	}
	if (pg_ring_take_contended(&vcpu->ring)) {
		model_loader.contended++;
		did = true;
	}
	model_loader.deadline = pg_ring_deadline(&vcpu->ring);
	return did;
}

void model_run_loader(void *unused)
{
	static const struct interleave_site site = { __FILE__, __LINE__, "model_run_loader",
						     "sleep until the doorbell" };
	struct pg_ring *ring = &model_vcpus[0].ring;

	for (;;) {
		while (serve())
			;
		pg_ring_server_sleep(ring, PG_LOOK_NEVER);
		if (!serve())
			interleave_take((volatile uint32_t *)&model_loader.doorbell, &site);
		pg_ring_server_wake(ring);
	}
}

/* ---- futures ---- */

static enum pg_poll model_poll(struct pg_future *future, struct pg_task *waker)
{
	struct model_future *self = pg_container_of(future, struct model_future, future);
	bool ready;

	interleave_assert(!self->polled && !self->over);
	self->polled = true;
	self->polls++;
	ready = self->ready(self, waker);
	self->polled = false;
	self->over = ready;
	return ready ? PG_READY : PG_PENDING;
}

static void model_drop(struct pg_future *future)
{
	struct model_future *self = pg_container_of(future, struct model_future, future);

	interleave_assert(!self->polled && !self->over);
	self->over = true;
	if (self->dropped)
		self->dropped(self);
}

static const struct pg_future_ops model_ops = { model_poll, model_drop };

void model_future_init(struct model_future *future,
		       bool (*ready)(struct model_future *self, struct pg_task *waker))
{
	*future = (struct model_future){ .future.ops = &model_ops, .ready = ready };
}

static bool wrap_ready(struct model_future *self, struct pg_task *waker)
{
	struct model_wrap *wrap = pg_container_of(self, struct model_wrap, model);

	return pg_future_poll(wrap->inner, waker) == PG_READY;
}

static void wrap_dropped(struct model_future *self)
{
	struct model_wrap *wrap = pg_container_of(self, struct model_wrap, model);

	pg_future_drop(wrap->inner);
}

void model_wrap_init(struct model_wrap *wrap, struct pg_future *inner)
{
	model_future_init(&wrap->model, wrap_ready);
	wrap->model.dropped = wrap_dropped;
	wrap->inner = inner;
}
