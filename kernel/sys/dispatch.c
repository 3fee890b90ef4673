/* From the system call entry to the handler, and the table itself. */
#include "arch/x86_64/cpu.h"
#include "core/container.h"
#include "lib/string.h"
#include "include/pagurus/pagurus.h"
#include "process.h"
#include "syscall.h"

#define PG_KIND_CALL(name) .call = pg_sys_##name
#define PG_KIND_WAIT(name) .poll = pg_sys_##name

#define PG_DECLARE_CALL(name) int64_t pg_sys_##name(struct pg_thread *, const uint64_t *);
#define PG_DECLARE_WAIT(name) enum pg_poll pg_sys_##name(struct pg_future *, struct pg_task *);

#define PG_SYSCALL(number, name, kind) PG_DECLARE_##kind(name)
#include "syscalls.def"
#undef PG_SYSCALL

const struct pg_syscall_entry pg_syscall_table[PG_SYSCALLS] = {
#define PG_SYSCALL(number, name_, kind) [number] = { .name = #name_, PG_KIND_##kind(name_) },
#include "syscalls.def"
#undef PG_SYSCALL
};

/*
 * Futures of system calls: one operations structure for all, since the table knows the
 * poll function.
 */
static enum pg_poll poll(struct pg_future *future, struct pg_task *waker)
{
	struct pg_syscall *call = pg_container_of(future, struct pg_syscall, async.future);

	return call->entry->poll(future, waker);
}

static const struct pg_future_ops syscall_ops = { poll, pg_async_drop };

void pg_syscall_end(struct pg_thread *thread)
{
	struct pg_syscall *call = &thread->syscall;

	pg_syscall_cleanup(call);
	thread->in_syscall = false;
	thread->regs.rax = (uint64_t)call->result;
}

/* Ours, with a number of its own (include/pagurus/pagurus.h). */
PG_DECLARE_WAIT(block_on)

static const struct pg_syscall_entry block_on = { .name = "block_on", PG_KIND_WAIT(block_on) };

bool pg_syscall_is_block_on(const struct pg_syscall *call)
{
	return call->entry == &block_on;
}

static const struct pg_syscall_entry *find(uint64_t number)
{
	if (number < PG_SYSCALLS)
		return pg_syscall_table[number].name ? &pg_syscall_table[number] : NULL;
	return number == PG_SYS_BLOCK_ON ? &block_on : NULL;
}

/* Whether user code goes on at once. Otherwise the thread's poll looks what there is to do. */
static bool go_on(const struct pg_thread *thread, const struct pg_vcpu *shared)
{
	return !(thread->exited | pg_thread_attention(thread) | shared->preempt);
}

bool pg_syscall_enter(struct pg_thread *thread)
{
	struct pg_vcpu *shared = pg_arch_shared();
	struct pg_counters *counters = &shared->counters;
	struct pg_syscall *call = &thread->syscall;
	struct pg_regs *regs = &thread->regs;
	uint64_t number = regs->rax;
	const uint64_t arg[6] = { regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8, regs->r9 };

	counters->syscalls++;
	if (pg_cpu_self()->in_app)
		pg_process_kill_task(thread);
	const struct pg_syscall_entry *entry = find(number);
	if (!entry) {
		counters->unknown++;
		regs->rax = (uint64_t)-ENOSYS;
		return go_on(thread, shared);
	}

	if (entry->call) {
		regs->rax = (uint64_t)entry->call(thread, arg);
		return go_on(thread, shared);
	}

	pg_async_init(&call->async, &syscall_ops);
	call->entry = entry;
	call->number = (uint32_t)number;
	call->cleanup = NULL;
	call->interrupt = NULL;
	memcpy(call->arg, arg, sizeof(arg));
	thread->in_syscall = true;
	if (entry->poll(&call->async.future, &thread->task) == PG_PENDING) {
		counters->pending++;
		return false;
	}
	pg_syscall_end(thread);
	return go_on(thread, shared);
}

/* The call's future is polled here each time: a wake is a change of contexts first. */
bool pg_syscall_enter_stack(struct pg_thread *thread)
{
	bool on = pg_syscall_enter(thread);

	/* The application's own futures are polled on the kernel's stack always. */
	if (thread->in_syscall && pg_syscall_is_block_on(&thread->syscall))
		return false;
	while (thread->in_syscall) {
		pg_arch_exchange(thread);
		if (pg_future_poll(&thread->syscall.async.future, &thread->task) == PG_PENDING)
			continue;
		pg_syscall_end(thread);
		thread->context = 0;
		on = go_on(thread, pg_arch_shared());
	}
	return on;
}
