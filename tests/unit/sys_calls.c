#include "sys_calls.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/container.h"
#include "gate.h"
#include "mm/heap.h"
#include "sys/fd.h"
#include "sys/pipe.h"
#include "sys/process.h"
#include "sys/user.h"

struct host_vcpu sys_vcpu;
const struct pg_boot *pg_boot;
_Atomic long sys_allocated, sys_fail_after = -1;

_Atomic unsigned sys_broken_pipes;

/* ---- what needs threads ---- */

void pg_pipe_broken(struct pg_task *task)
{
	assert(task);
	sys_broken_pipes++;
}

/* There is one, which nobody looks at. */
__attribute__((weak)) bool pg_thread_visit(uint32_t tid,
					   void (*visit)(struct pg_thread *thread, void *argument),
					   void *argument)
{
	return tid == PG_PID;
}

enum pg_poll pg_sys_open(struct pg_future *future, struct pg_task *waker);

/* ---- the heap ---- */

void *pg_alloc(size_t size)
{
	void *memory;

	if (sys_fail_after == 0)
		return NULL;
	if (sys_fail_after > 0)
		sys_fail_after--;
	/* As the kernel's: what is made of cache lines begins with one. */
	memory = size && size % 64 == 0 ? aligned_alloc(64, size) : malloc(size);
	assert(memory);
	memset(memory, 0xa5, size);
	sys_allocated++;
	return memory;
}

void *pg_alloc_zero(size_t size)
{
	void *memory = pg_alloc(size);

	if (memory)
		memset(memory, 0, size);
	return memory;
}

void pg_free(void *p)
{
	if (p)
		sys_allocated--;
	free(p);
}

/* ---- the program's memory ---- */

static bool faults(uint64_t address, size_t length)
{
	if (length == 0)
		return false;
	return address < 4096 ||
	       (address < SYS_HOLE + SYS_HOLE_SIZE && address + length > SYS_HOLE);
}

int pg_user_read(void *to, uint64_t from, size_t length)
{
	if (faults(from, length))
		return -EFAULT;
	memcpy(to, (const void *)from, length);
	return 0;
}

int pg_user_write(uint64_t to, const void *from, size_t length)
{
	if (faults(to, length))
		return -EFAULT;
	memcpy((void *)to, from, length);
	return 0;
}

int64_t pg_user_string(char *to, uint64_t from, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (pg_user_read(to + i, from + i, 1))
			return -EFAULT;
		if (!to[i])
			return (int64_t)i;
	}
	return -ENAMETOOLONG;
}

/* ---- signals: unless the test brings them, a mask is looked at, and that is all ---- */

__attribute__((weak)) int pg_signal_mask_during(struct pg_syscall *call, uint64_t address,
						uint64_t size)
{
	uint64_t mask;

	return size != sizeof(mask) ? -EINVAL : pg_user_read(&mask, address, sizeof(mask));
}

__attribute__((weak)) bool pg_signal_interrupts(struct pg_syscall *call)
{
	return false;
}

/* ---- calls ---- */

static enum pg_poll call_poll(struct pg_future *future, struct pg_task *waker)
{
	struct sys_call *self = pg_container_of(future, struct sys_call, call.async.future);
	struct pg_syscall *call = &self->call;

	if (!self->dropped) {
		if (call->entry->poll(future, waker) == PG_READY)
			return PG_READY;
		if (!self->signalled || !call->interrupt)
			return PG_PENDING;
		pg_async_drop(future);
		self->dropped = true;
	}
	if (pg_task_pins(&self->task))
		return PG_PENDING;
	call->result = call->interrupt(call);
	return PG_READY;
}

static void call_drop(struct pg_future *future)
{
	struct sys_call *self = pg_container_of(future, struct sys_call, call.async.future);

	if (!self->dropped)
		pg_async_drop(future);
}

static const struct pg_future_ops call_ops = { call_poll, call_drop };

static void call_done(struct pg_task *task)
{
	struct sys_call *call = pg_container_of(task, struct sys_call, task);

	pg_syscall_cleanup(&call->call);
	/* Whoever still uses the frame now finds rubbish. */
	memset(call->call.frame, 0xa5, sizeof(call->call.frame));
	call->done = true;
}

void sys_prepare(struct sys_call *call, sys_handler handler, const uint64_t arg[6])
{
	memset(call, 0, sizeof(*call));
	call->entry.poll = handler;
	call->call.entry = &call->entry;
	memcpy(call->call.arg, arg, sizeof(call->call.arg));
	pg_async_init(&call->call.async, &call_ops);
	pg_task_spawn(&sys_vcpu.executor, &call->task, &call->call.async.future, call_done);
}

void sys_start_args(struct sys_call *call, sys_handler handler, const uint64_t arg[6])
{
	sys_prepare(call, handler, arg);
	host_settle(&sys_vcpu);
}

int64_t sys_now_args(sys_handler handler, const uint64_t arg[6])
{
	struct sys_call call;

	sys_start_args(&call, handler, arg);
	assert(call.done);
	return call.call.result;
}

struct pg_sqe sys_take(enum pg_op op)
{
	struct pg_sqe entry;

	bool taken = host_take(&sys_vcpu, &entry);

	assert(taken);
	assert(entry.op == op);
	assert(entry.flags == 0);
	return entry;
}

void sys_expect_none(void)
{
	struct pg_sqe entry;

	assert(!host_take(&sys_vcpu, &entry));
}

void sys_answer(const struct pg_sqe *entry, int64_t result)
{
	host_complete(&sys_vcpu, entry->user_data, result);
	host_settle(&sys_vcpu);
}

void sys_serve(enum pg_op op, int64_t result)
{
	struct pg_sqe entry = sys_take(op);

	sys_answer(&entry, result);
}

void sys_cancel(struct sys_call *call)
{
	pg_task_cancel(&call->task);
	host_settle(&sys_vcpu);
	sys_serve(PG_OP_CANCEL, 0);
}

void sys_interrupt(struct sys_call *call)
{
	call->signalled = true;
	pg_task_wake(&call->task);
	host_settle(&sys_vcpu);
}

bool sys_path_is(uint64_t address, uint64_t length, const char *text)
{
	return strlen(text) == length && memcmp((const void *)address, text, length) == 0;
}

int sys_open(int32_t handle, uint64_t flags)
{
	struct sys_call call;

	sys_start(&call, pg_sys_open, (uintptr_t) "/x", flags);
	sys_serve(PG_OP_OPENAT, handle);
	assert(call.done);
	assert(call.call.result >= 0);
	return (int)call.call.result;
}

void sys_setup(const char *cwd)
{
	static struct {
		struct pg_boot boot;
		char cwd[64];
	} block;
	int code;

	block.boot.cwd = sizeof(block.boot);
	for (unsigned i = 0; i < sizeof(block.boot.random); i++)
		block.boot.random[i] = (uint8_t)(i * 7);
	strcpy(block.cwd, cwd);
	pg_boot = &block.boot;
	host_vcpu_init(&sys_vcpu, 0);
	sys_vcpu.manual = true;
	host_enter(&sys_vcpu);
	code = pg_files_init();
	assert(code == 0);
	sys_allocated = 0;
}
