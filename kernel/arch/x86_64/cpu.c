#include "cpu.h"

#include "abi/boot.h"
#include "abi/layout.h"
#include "abi/trace.h"
#include "arch/x86_64/sigframe.h"
#include "arch/x86_64/xstate.h"
#include "core/port.h"
#include "lib/panic.h"
#include "sys/process.h"
#include "fault.h"

void pg_arch_upcall(void);
void pg_arch_preempted(void);
void pg_arch_syscall(void);
void pg_arch_syscall0(void);
void pg_arch_syscall_return(void);
void pg_arch_syscall_return0(void);
void pg_arch_syscall_stack(void);
void pg_arch_syscall_stack0(void);

enum pg_trap pg_arch_run_full(struct pg_thread *thread);
enum pg_trap pg_arch_run_syscall(struct pg_thread *thread);
enum pg_trap pg_arch_run_context(struct pg_thread *thread);

/* Called by entry.S. */
void pg_arch_exception(struct pg_thread *thread);
_Noreturn void pg_arch_kernel_exception(const struct pg_regs *regs);

unsigned pg_cpu_count;
static struct pg_cpu cpus[PG_MAX_VCPUS];

struct pg_cpu *pg_cpu(unsigned index)
{
	return &cpus[index];
}

struct pg_cpu *pg_cpu_self(void)
{
	return &cpus[pg_arch_shared()->index];
}

/* Linker script in link-object.sh. */
extern const char pg_text_start[], pg_text_end[];

void pg_arch_init_vcpu(struct pg_vcpu *shared, const struct pg_boot *boot)
{
	static void (*const entries[])(void) = {
		[PG_DISPATCH_UNION] = pg_arch_syscall,
		[PG_DISPATCH_RETURN] = pg_arch_syscall_return,
		[PG_DISPATCH_STACK] = pg_arch_syscall_stack,
	};
	static void (*const entries0[])(void) = {
		[PG_DISPATCH_UNION] = pg_arch_syscall0,
		[PG_DISPATCH_RETURN] = pg_arch_syscall_return0,
		[PG_DISPATCH_STACK] = pg_arch_syscall_stack0,
	};

	shared->upcall = (uint64_t)pg_arch_upcall;
	shared->syscall = (uint64_t)entries[boot->dispatch];
	shared->syscall0 = (uint64_t)entries0[boot->dispatch];
	shared->text_start = (uint64_t)pg_text_start;
	shared->text_end = (uint64_t)pg_text_end;
	shared->preempted = (uint64_t)pg_arch_preempted;
}

static void init_trace(struct pg_cpu *cpu, uint32_t events)
{
	if (!events)
		return;
	cpu->executor.trace = (struct pg_trace){
		.events = (struct pg_trace_event *)(PG_VA_TRACE +
						    (uint64_t)cpu->index * PG_TRACE_STRIDE),
		.mask = events - 1,
		.head = &cpu->shared->trace_head,
	};
}

void pg_arch_init(const struct pg_boot *boot)
{
	static struct pg_executor *executors[PG_MAX_VCPUS];

	for (unsigned i = 0; i < boot->vcpus; i++) {
		char *block = (char *)PG_VA_VCPU + (uint64_t)i * PG_VCPU_STRIDE;
		struct pg_vcpu *shared = (struct pg_vcpu *)(block + PG_VCPU_CTL);

		cpus[i].index = i;
		cpus[i].app_fs_base = PG_NO_APP;
		cpus[i].shared = shared;
		pg_executor_init(&cpus[i].executor, &shared->ring,
				 (struct pg_sqe *)(block + PG_VCPU_SQ),
				 (const struct pg_cqe *)(block + PG_VCPU_CQ), &shared->counters,
				 boot->spin_ns);
		cpus[i].executor.turn_ns = boot->turn_ns;
		init_trace(&cpus[i], boot->trace_events);
		executors[i] = &cpus[i].executor;
	}
	pg_executor_group(executors, boot->vcpus);
	pg_cpu_count = boot->vcpus;
}

uint64_t pg_cpu_mask(void)
{
	return UINT64_MAX >> (64 - pg_cpu_count);
}

/* ---- the device page ---- */

static void device_write(uint64_t offset, uint32_t value)
{
	*(volatile uint32_t *)(PG_VA_DEVICE + offset) = value;
}

_Noreturn void pg_arch_control(uint32_t code)
{
	/* What the loader is to read is in memory by now: callers in this file are no exception. */
	__asm__ volatile("" : : : "memory");
	for (;;)
		device_write(PG_DEV_CONTROL, code);
}

void pg_port_kick(struct pg_executor *target)
{
	struct pg_cpu *cpu = pg_container_of(target, struct pg_cpu, executor);

	device_write(PG_DEV_KICK + 8ull * cpu->index, 1);
}

void pg_port_doorbell(struct pg_executor *executor)
{
	device_write(PG_DEV_DOORBELL, 1);
}

/* ---- the rest of the port ---- */

struct pg_executor *pg_port_executor(void)
{
	return &pg_cpu_self()->executor;
}

void pg_port_relax(void)
{
	__asm__ volatile("pause");
}

uint64_t pg_port_ticks(void)
{
	return pg_arch_tsc();
}

uint64_t pg_port_now(void)
{
	const struct pg_clock *clock = &pg_boot->clock;
	uint64_t base_tsc, base_ns, mult, tsc;
	uint32_t sequence;

	do {
		sequence = atomic_load_explicit(&clock->sequence, memory_order_acquire);
		base_tsc = atomic_load_explicit(&clock->base_tsc, memory_order_relaxed);
		base_ns = atomic_load_explicit(&clock->base_ns, memory_order_relaxed);
		mult = atomic_load_explicit(&clock->mult, memory_order_relaxed);
		tsc = pg_arch_tsc();
		atomic_thread_fence(memory_order_acquire);
	} while (sequence & 1 ||
		 atomic_load_explicit(&clock->sequence, memory_order_relaxed) != sequence);

	/* A TSC read a little before the base was taken counts as the base. */
	if ((int64_t)(tsc - base_tsc) < 0)
		return base_ns;
	return base_ns + (uint64_t)((unsigned __int128)(tsc - base_tsc) * mult >> 32);
}

/*
 * The kernel's only halt. `idle` tells the nub that this int3 asks for it; the nub looks
 * at `pending` with interrupts off. `pending` is cleared afterwards: whoever sent the
 * interrupt has published its work before, and the executor looks for work again before it
 * parks again. What arrives later than that makes the next halt return at once.
 */
void pg_port_park(struct pg_executor *executor)
{
	struct pg_vcpu *shared = pg_container_of(executor, struct pg_cpu, executor)->shared;

	shared->idle = 1;
	__asm__ volatile("int3" : : : "memory");
	shared->idle = 0;
	shared->pending = 0;
}

/* ---- running threads ---- */

void pg_arch_unload(struct pg_cpu *cpu)
{
	struct pg_thread *thread = cpu->loaded;

	if (!thread)
		return;
	pg_xstate_save(cpu, thread);
	thread->fs_base = pg_arch_fs_base();
	cpu->loaded = NULL;
	pg_task_unpin(&thread->task);
}

void pg_arch_reset_vectors(void)
{
	pg_xstate_reset(pg_cpu_self());
}

/* Vector registers and FS base change hands only when another thread is to run. */
static void load(struct pg_cpu *cpu, struct pg_thread *thread)
{
	pg_arch_unload(cpu);
	pg_xstate_load(cpu, thread);
	pg_arch_set_fs_base(thread->fs_base);
	cpu->loaded = thread;
	cpu->app_fs_base = PG_NO_APP;
	pg_task_pin(&thread->task);
	cpu->shared->counters.switches++;
}

bool pg_arch_has_registers(const struct pg_thread *thread)
{
	return pg_cpu_self()->loaded == thread;
}

void pg_arch_load(struct pg_thread *thread)
{
	struct pg_cpu *cpu = pg_cpu_self();

	if (cpu->loaded != thread)
		load(cpu, thread);
}

/*
 * Where a fault on the kernel's stack is dealt with, for good: that stack may be full, and
 * what lies on it is wanted for the backtrace. Used by entry.S.
 */
char pg_arch_fault_stacks[PG_MAX_VCPUS][PG_FAULT_STACK] __attribute__((aligned(16)));

/* Where a system call of a task leaves its registers, for the report. It is the end: one will do. */
static struct pg_thread app_thread;

/* Returned to where every call goes to the executor (PG_DISPATCH_RETURN). */
static _Noreturn void app_syscall(void)
{
	pg_process_kill_task(&app_thread);
}

/* A task makes no system calls. If it does, there may never have been a thread on this vCPU. */
static void expect_no_syscall(struct pg_cpu *cpu)
{
	char *end = pg_arch_fault_stacks[cpu->index] + PG_FAULT_STACK;
	uint64_t *frame = (uint64_t *)end - 10; /* as ENTER_USER leaves one; aligned */

	frame[7] = (uint64_t)app_syscall;
	cpu->shared->kstack = (uint64_t)frame;
	cpu->shared->thread = (uint64_t)&app_thread;
}

/* Code of a task finds the registers as a function does: no contents, but a known mode. */
void pg_arch_app_load(struct pg_cpu *cpu, uint64_t fs_base)
{
	if (cpu->app_fs_base == PG_NO_APP) {
		pg_arch_unload(cpu);
		pg_xstate_reset(cpu);
		expect_no_syscall(cpu);
	}
	pg_arch_set_fs_base(fs_base);
	cpu->app_fs_base = fs_base;
}

/* What user code came out with. */
static enum pg_trap left(struct pg_thread *thread, enum pg_trap trap)
{
	if (trap == PG_TRAP_INTERRUPT) {
		thread->full = true;
		pg_arch_shared()->counters.preemptions++;
	}
	return trap;
}

enum pg_trap pg_arch_execute(struct pg_thread *thread)
{
	pg_arch_load(thread);
	if (!thread->full)
		return left(thread, pg_arch_run_syscall(thread));
	thread->full = false;
	return left(thread, pg_arch_run_full(thread));
}

enum pg_trap pg_arch_continue(struct pg_thread *thread)
{
	pg_arch_load(thread);
	return left(thread, pg_arch_run_context(thread));
}

void pg_arch_forget(struct pg_thread *thread)
{
	struct pg_cpu *cpu = pg_cpu_self();

	if (cpu->loaded != thread)
		return;
	cpu->loaded = NULL;
	cpu->only_legacy = false;
	pg_task_unpin(&thread->task);
}

struct pg_executor *pg_port_yield(struct pg_executor *here, struct pg_task *task)
{
	struct pg_thread *thread = pg_container_of(task, struct pg_thread, task);
	struct pg_cpu *cpu = pg_container_of(here, struct pg_cpu, executor);
	uint64_t affinity = atomic_load_explicit(&thread->affinity, memory_order_relaxed);
	bool stays = affinity >> cpu->index & 1;

	/* Saved now, it can be taken over while it waits for the others. */
	if (cpu->loaded == thread && (!stays || !pg_runq_empty(&here->runq)))
		pg_arch_unload(cpu);
	pg_task_fix(task, affinity != pg_cpu_mask());
	/* Its call may have registered something here: then it can go only afterwards. */
	if (stays || pg_task_pins(task))
		return here;
	return pg_thread_place(affinity);
}

struct pg_thread *pg_thread_current(void)
{
	return (struct pg_thread *)pg_arch_shared()->thread;
}

/* ---- exceptions ---- */

_Static_assert(offsetof(struct pg_vcpu, index) == PG_VCPU_INDEX, "entry.S");
_Static_assert(sizeof(struct pg_regs) == PG_REGS_SIZE, "entry.S");

static const struct pg_frame *frame_of(struct pg_vcpu *shared)
{
	return (const struct pg_frame *)((char *)shared + PG_VCPU_FRAME + PG_PAGE_SIZE -
					 PG_FRAME_SIZE);
}

/* In user code: registers are in the thread already. */
void pg_arch_exception(struct pg_thread *thread)
{
	struct pg_vcpu *shared = pg_arch_shared();
	const struct pg_frame *frame = frame_of(shared);

	thread->vector = frame->vector;
	thread->error = frame->error;
	thread->address = frame->cr2;
	thread->full = true;
	shared->counters.exceptions++;
}

/*
 * On the kernel's stack. While a task's code runs there, also where it has called into the
 * kernel, it is the program's fault: a bad pointer, a stack that was too small.
 */
_Noreturn void pg_arch_kernel_exception(const struct pg_regs *regs)
{
	struct pg_vcpu *shared = pg_arch_shared();
	const struct pg_frame *frame = frame_of(shared);

	if (pg_cpu_self()->in_app) {
		shared->fault = (struct pg_fault){
			.signal = (uint32_t)pg_arch_signal_of(frame->vector),
			.vector = (uint32_t)frame->vector,
			.error = frame->error,
			.address = frame->cr2,
			.thread = 0, /* none: a task */
			.fs_base = pg_arch_fs_base(),
			.regs = *regs,
		};
		shared->counters.exceptions++;
		shared->tsc_exit = pg_arch_tsc();
		pg_arch_control(PG_CTL_FAULT);
	}
	pg_panic("exception %lu in the kernel at 0x%lx (address 0x%lx, error 0x%lx, called from "
		 "0x%lx)",
		 frame->vector, frame->rip, frame->cr2, frame->error,
		 regs->rbp ? ((uint64_t *)regs->rbp)[1] : 0);
}
