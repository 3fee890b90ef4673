#include "host_port.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "core/container.h"
#include "core/port.h"

static _Thread_local struct host_vcpu *current;
static _Atomic uint64_t frozen;

void host_vcpu_init(struct host_vcpu *vcpu, uint64_t spin_ns)
{
	pthread_condattr_t attributes;

	memset(vcpu, 0, sizeof(*vcpu));
	pg_executor_init(&vcpu->executor, &vcpu->ring, vcpu->sq, vcpu->cq, &vcpu->counters,
			 spin_ns);
	atomic_store(&vcpu->ring.deadline, PG_NEVER);
	/* It always sleeps, so each submission is a doorbell. */
	pg_ring_server_sleep(&vcpu->ring, PG_LOOK_NEVER);
	pthread_mutex_init(&vcpu->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&vcpu->changed, &attributes);
	pthread_condattr_destroy(&attributes);
}

void host_enter(struct host_vcpu *vcpu)
{
	current = vcpu;
}

void host_set_clock(uint64_t now)
{
	atomic_store(&frozen, now);
}

void host_settle(struct host_vcpu *vcpu)
{
	while (pg_executor_step(&vcpu->executor))
		;
}

bool host_take(struct host_vcpu *vcpu, struct pg_sqe *entry)
{
	if (pg_sq_tail(&vcpu->ring) == vcpu->sq_head)
		return false;
	pg_sq_copy(vcpu->sq, vcpu->sq_head, entry);
	pg_sq_release(&vcpu->ring, ++vcpu->sq_head);
	return true;
}

void host_complete(struct host_vcpu *vcpu, uint64_t user_data, int64_t result)
{
	pg_cq_push(&vcpu->ring, vcpu->cq, vcpu->cq_tail++, user_data, result);
	if (pg_ring_claim_wake(&vcpu->ring))
		pg_port_kick(&vcpu->executor);
}

static void serve(struct host_vcpu *vcpu)
{
	struct pg_sqe entry;

	while (host_take(vcpu, &entry)) {
		switch (entry.op) {
		case PG_OP_NOP:
			host_complete(vcpu, entry.user_data, 0);
			break;
		case PG_OP_CANCEL:
			host_complete(vcpu, entry.user_data, -ENOENT);
			break;
		default:
			host_complete(vcpu, entry.user_data, -ENOSYS);
		}
	}
}

uint64_t pg_port_now(void)
{
	struct timespec now;
	uint64_t fixed = atomic_load(&frozen);

	if (fixed)
		return fixed;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

struct pg_executor *pg_port_executor(void)
{
	return current ? &current->executor : NULL;
}

uint64_t pg_port_ticks(void)
{
	return pg_port_now();
}

/* The loader's part as well: at the deadline the park ends. */
void pg_port_park(struct pg_executor *executor)
{
	struct host_vcpu *vcpu = pg_container_of(executor, struct host_vcpu, executor);
	uint64_t deadline = pg_ring_deadline(&vcpu->ring);
	const struct timespec until = { .tv_sec = deadline / 1000000000,
					.tv_nsec = deadline % 1000000000 };
	int error = 0;

	pthread_mutex_lock(&vcpu->lock);
	while (!vcpu->kicked && error != ETIMEDOUT) {
		if (deadline == PG_NEVER)
			pthread_cond_wait(&vcpu->changed, &vcpu->lock);
		else
			error = pthread_cond_timedwait(&vcpu->changed, &vcpu->lock, &until);
	}
	vcpu->kicked = false;
	pthread_mutex_unlock(&vcpu->lock);
}

/* Threads' tasks only, and there are none here. */
struct pg_executor *pg_port_yield(struct pg_executor *here, struct pg_task *task)
{
	(void)task;
	return here;
}

void pg_port_kick(struct pg_executor *target)
{
	struct host_vcpu *vcpu = pg_container_of(target, struct host_vcpu, executor);

	atomic_fetch_add(&vcpu->kicks, 1);
	pthread_mutex_lock(&vcpu->lock);
	vcpu->kicked = true;
	pthread_cond_signal(&vcpu->changed);
	pthread_mutex_unlock(&vcpu->lock);
}

void pg_port_doorbell(struct pg_executor *executor)
{
	struct host_vcpu *vcpu = pg_container_of(executor, struct host_vcpu, executor);

	vcpu->doorbells++;
	if (!vcpu->manual)
		serve(vcpu);
	else if (vcpu->on_doorbell)
		vcpu->on_doorbell(vcpu);
}

void pg_port_relax(void)
{
	/* Fewer processors than vCPUs: let the one we wait for run. */
	sched_yield();
}
