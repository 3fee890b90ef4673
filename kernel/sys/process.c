#include "process.h"

#include <stdarg.h>

#include "arch/x86_64/cpu.h"
#include "lib/format.h"
#include "lib/panic.h"
#include "syscall.h"
#include "user.h"

const struct pg_boot *pg_boot;

_Noreturn void pg_process_exit(int status)
{
	struct pg_vcpu *shared = pg_cpu_self()->shared;

	shared->exit_status = status & 0xff;
	shared->tsc_exit = pg_arch_tsc();
	pg_arch_control(PG_CTL_EXIT);
}

_Noreturn void pg_process_kill(int signal, struct pg_thread *thread)
{
	struct pg_cpu *cpu = pg_cpu_self();
	struct pg_vcpu *shared = cpu->shared;

	shared->fault = (struct pg_fault){
		.signal = (uint32_t)signal,
		.vector = (uint32_t)thread->vector,
		.error = thread->error,
		.address = thread->address,
		.thread = thread->tid,
		.fs_base = cpu->loaded == thread ? pg_arch_fs_base() : thread->fs_base,
		.regs = thread->regs,
	};
	shared->tsc_exit = pg_arch_tsc();
	pg_arch_control(PG_CTL_FAULT);
}

_Noreturn void pg_process_kill_task(struct pg_thread *thread)
{
	thread->vector = UINT32_MAX; /* no exception */
	thread->tid = 0;             /* it is no thread's fault, only saved there */
	pg_process_kill(PG_SIGSYS, thread);
}

_Noreturn void pg_panic(const char *format, ...)
{
	struct pg_vcpu *shared = pg_cpu_self()->shared;
	va_list args;

	va_start(args, format);
	(void)pg_format(shared->message, sizeof(shared->message), format, args);
	va_end(args);
	pg_arch_control(PG_CTL_PANIC);
}

/* ---- exit ---- */

PG_CALL(exit_group)
{
	pg_process_exit((int)arg[0]);
}

/* The thread ends; the last one ends the process with its status. */
PG_CALL(exit)
{
	if (pg_thread_count() == 1)
		pg_process_exit((int)arg[0]);
	pg_signal_thread_exit(thread);
	thread->exited = true;
	return 0;
}

/* ---- threads ---- */

#define CLONE_VM             0x100
#define CLONE_FS             0x200
#define CLONE_FILES          0x400
#define CLONE_SIGHAND        0x800
#define CLONE_THREAD         0x10000
#define CLONE_SYSVSEM        0x40000
#define CLONE_SETTLS         0x80000
#define CLONE_PARENT_SETTID  0x100000
#define CLONE_CHILD_CLEARTID 0x200000
#define CLONE_DETACHED       0x400000
#define CLONE_CHILD_SETTID   0x1000000

/* What makes it a thread of this process; anything else would be a new one. */
#define CLONE_REQUIRED (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define CLONE_KNOWN                                                                                \
	(CLONE_REQUIRED | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |                     \
	 CLONE_CHILD_CLEARTID | CLONE_DETACHED | CLONE_CHILD_SETTID | 0xff)

/* clone(flags, stack, parent_tid, child_tid, tls) */
PG_CALL(clone)
{
	uint64_t flags = arg[0], tls = flags & CLONE_SETTLS ? arg[4] : pg_arch_fs_base();
	struct pg_regs regs = thread->regs;

	if ((flags & CLONE_REQUIRED) != CLONE_REQUIRED)
		return -ENOSYS;
	if (flags & ~(uint64_t)CLONE_KNOWN || !arg[1])
		return -EINVAL;
	if (tls >> 47)
		return -EPERM;
	regs.rax = 0;
	regs.rsp = arg[1];
	/* As after `syscall`: iretq would keep what the program can't expect to keep. */
	regs.rcx = regs.rip;
	regs.r11 = regs.rflags;

	struct pg_thread *child = pg_thread_new(&regs, tls, thread);
	if (!child)
		return -EAGAIN;
	uint32_t tid = child->tid;
	if (flags & CLONE_CHILD_CLEARTID)
		child->clear_child_tid = arg[3];
	/* A bad address is the program's own trouble, as on Linux. */
	if (flags & CLONE_PARENT_SETTID)
		(void)pg_user_write(arg[2], &tid, sizeof(tid));
	if (flags & CLONE_CHILD_SETTID)
		(void)pg_user_write(arg[3], &tid, sizeof(tid));
	pg_thread_start(child);
	return tid;
}

PG_CALL(set_tid_address)
{
	thread->clear_child_tid = arg[0];
	return thread->tid;
}

#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003

PG_CALL(arch_prctl)
{
	uint64_t base;

	switch (arg[0]) {
	case ARCH_SET_FS:
		if (arg[1] >> 47)
			return -EPERM;
		pg_arch_set_fs_base(arg[1]);
		return 0;
	case ARCH_GET_FS:
		base = pg_arch_fs_base();
		return pg_user_write(arg[1], &base, sizeof(base));
	default:
		return -EINVAL;
	}
}
