/*
 * mmap and its relatives.
 *
 * The kernel keeps the ranges, the loader keeps the pages. A range without access
 * (PROT_NONE) that was never used is `lazy`: it has no pages at all, so reserving costs
 * nothing; the first mprotect that allows something maps it. Order matters where two
 * sides must agree: addresses are reserved before pages are asked for, and given free
 * after the pages are gone, so no other thread can get them in between.
 */
#include "memory.h"

#include "abi/layout.h"
#include "abi/ops.h"
#include "core/spinlock.h"
#include "core/timer.h"
#include "lib/panic.h"
#include "mm/space.h"
#include "process.h"
#include "syscall.h"
#include "time.h"

#define PROT_KNOWN     (PG_PROT_READ | PG_PROT_WRITE | PG_PROT_EXEC)
#define PROT_GROWSDOWN 0x01000000

#define MAP_SHARED          1
#define MAP_PRIVATE         2
#define MAP_FIXED           0x10
#define MAP_ANONYMOUS       0x20
#define MAP_FIXED_NOREPLACE 0x100000

#define MADV_DONTNEED 4
#define MADV_FREE     8

/* pg_range.flags */
#define LAZY 1u

/*
 * The loader refuses to take memory away from under an operation that is using it (-EBUSY:
 * a read in flight on another thread). Then we wait this long and ask again.
 */
#define BUSY_NS 50000

/* Guards `space` and `brk_*`; held for tree operations only. */
static struct pg_spinlock lock;
static struct pg_space space;
static uint64_t brk_start, brk_end;

static uint64_t page_up(uint64_t value)
{
	return (value + PG_PAGE_SIZE - 1) & ~(uint64_t)(PG_PAGE_SIZE - 1);
}

void pg_memory_init(void)
{
	pg_spin_init(&lock);
	pg_space_init(&space, PG_VA_MIN, PG_VA_USER_END, PG_VA_MMAP);
	brk_start = brk_end = pg_boot->image_end;
	if (pg_space_claim(&space, pg_boot->image_start, pg_boot->image_end - pg_boot->image_start,
			   PROT_KNOWN, 0) ||
	    pg_space_claim(&space, pg_boot->stack, pg_boot->stack_size,
			   PG_PROT_READ | PG_PROT_WRITE, 0))
		pg_panic("the image and the stack are in each other's way");
}

/* A page-aligned range the program may name? */
static bool valid(uint64_t start, uint64_t length)
{
	return !(start & (PG_PAGE_SIZE - 1)) && length && start >= PG_VA_MIN &&
	       start < PG_VA_USER_END && length <= PG_VA_USER_END - start;
}

bool pg_memory_reserved(uint64_t address)
{
	pg_spin_lock(&lock);
	const struct pg_range *range = pg_space_find(&space, address);
	bool reserved = range && range->start <= address;
	pg_spin_unlock(&lock);
	return reserved;
}

struct memory_frame {
	struct pg_hypercall call;
	struct pg_sleep sleep;
	uint64_t start, length, at, piece;
	uint32_t prot;
	bool lazy;
	int result;
};

/* Ask the loader, again while it is busy. */
#define AWAIT_MEMORY_CALL(frame, op, ...)                                                          \
	do {                                                                                       \
		pg_hypercall_init(&(frame)->call, (op), 0, __VA_ARGS__);                           \
		PG_AWAIT(&call->async, &(frame)->call.future, waker);                              \
		if ((frame)->call.result != -EBUSY)                                                \
			break;                                                                     \
		pg_sleep_init(&(frame)->sleep, pg_time_after(BUSY_NS));                            \
		PG_AWAIT(&call->async, &(frame)->sleep.future, waker);                             \
	} while (true)

static void forget(uint64_t start, uint64_t length)
{
	pg_spin_lock(&lock);
	/* Can't fail: what was reserved as one range needs no new node to go as one. */
	(void)pg_space_remove(&space, start, length);
	pg_spin_unlock(&lock);
}

/* Reserve addresses for mmap. */
static int reserve(struct memory_frame *frame, uint64_t hint, uint64_t flags)
{
	uint32_t kind = frame->lazy ? LAZY : 0;
	int result;

	pg_spin_lock(&lock);
	if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		frame->start = hint;
		result = pg_space_claim(&space, hint, frame->length, frame->prot, kind);
	} else {
		if (hint < PG_VA_MMAP || hint >= PG_VA_MMAP_END)
			hint = 0;
		result = pg_space_reserve(&space, hint, frame->length, frame->prot, kind,
					  &frame->start);
	}
	pg_spin_unlock(&lock);
	return result;
}

/* mmap(address, length, prot, flags, fd, offset): anonymous memory. */
PG_WAITING_CALL(mmap, struct memory_frame)
{
	struct memory_frame *frame = PG_FRAME(call, struct memory_frame);
	const uint64_t *arg = call->arg;

	PG_BEGIN(&call->async);
	frame->length = page_up(arg[1]);
	frame->prot = (uint32_t)arg[2];
	if (!arg[1] || arg[2] & ~(uint64_t)PROT_KNOWN || (arg[3] & (MAP_SHARED | MAP_PRIVATE)) == 0)
		PG_FINISH(call, -EINVAL);
	if (frame->length < arg[1] || frame->length > PG_VA_USER_END)
		PG_FINISH(call, -ENOMEM);
	if (!(arg[3] & MAP_ANONYMOUS))
		PG_FINISH(call, -ENODEV);
	if ((frame->prot & PG_PROT_WRITE) && (frame->prot & PG_PROT_EXEC))
		PG_FINISH(call, -EACCES);
	frame->lazy = frame->prot == 0;

	if (arg[3] & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		if (!valid(arg[0], frame->length))
			PG_FINISH(call, arg[0] & (PG_PAGE_SIZE - 1) ? -EINVAL : -ENOMEM);
		if (arg[3] & MAP_FIXED) {
			AWAIT_MEMORY_CALL(frame, PG_OP_UNMAP, arg[0], frame->length);
			if (frame->call.result)
				PG_FINISH(call, frame->call.result);
			pg_spin_lock(&lock);
			frame->result = pg_space_remove(&space, arg[0], frame->length);
			pg_spin_unlock(&lock);
			if (frame->result)
				PG_FINISH(call, frame->result);
		}
	}
	frame->result = reserve(frame, arg[0], arg[3]);
	if (frame->result || frame->lazy)
		PG_FINISH(call, frame->result ? frame->result : (int64_t)frame->start);

	AWAIT_MEMORY_CALL(frame, PG_OP_MAP, frame->start, frame->length, frame->prot);
	if (frame->call.result) {
		forget(frame->start, frame->length);
		PG_FINISH(call, frame->call.result == -EEXIST ? -ENOMEM : frame->call.result);
	}
	PG_FINISH(call, frame->start);
	PG_END(&call->async);
}

PG_WAITING_CALL(munmap, struct memory_frame)
{
	struct memory_frame *frame = PG_FRAME(call, struct memory_frame);

	PG_BEGIN(&call->async);
	frame->length = page_up(call->arg[1]);
	if (frame->length < call->arg[1] || !valid(call->arg[0], frame->length))
		PG_FINISH(call, -EINVAL);
	AWAIT_MEMORY_CALL(frame, PG_OP_UNMAP, call->arg[0], frame->length);
	if (frame->call.result)
		PG_FINISH(call, frame->call.result);
	pg_spin_lock(&lock);
	frame->result = pg_space_remove(&space, call->arg[0], frame->length);
	pg_spin_unlock(&lock);
	PG_FINISH(call, frame->result);
	PG_END(&call->async);
}

/* The next piece of [at, start + length) of one kind. -ENOMEM: a hole. */
static int next_piece(struct memory_frame *frame)
{
	uint64_t end = frame->start + frame->length;
	int result = -ENOMEM;

	pg_spin_lock(&lock);
	const struct pg_range *range = pg_space_find(&space, frame->at);
	if (range && range->start <= frame->at) {
		frame->piece = (range->end < end ? range->end : end) - frame->at;
		frame->lazy = range->flags & LAZY;
		result = 0;
	}
	pg_spin_unlock(&lock);
	return result;
}

/* A lazy piece has got pages. */
static int settle(uint64_t start, uint64_t length, uint32_t prot)
{
	pg_spin_lock(&lock);
	int result = pg_space_remove(&space, start, length);
	if (!result)
		result = pg_space_claim(&space, start, length, prot, 0);
	pg_spin_unlock(&lock);
	return result;
}

PG_WAITING_CALL(mprotect, struct memory_frame)
{
	struct memory_frame *frame = PG_FRAME(call, struct memory_frame);

	PG_BEGIN(&call->async);
	frame->start = frame->at = call->arg[0];
	frame->length = page_up(call->arg[1]);
	frame->prot = (uint32_t)call->arg[2];
	if (frame->start & (PG_PAGE_SIZE - 1) || call->arg[2] & ~(uint64_t)PROT_KNOWN)
		PG_FINISH(call, -EINVAL);
	if (!call->arg[1])
		PG_FINISH(call, 0);
	if (frame->length < call->arg[1] || !valid(frame->start, frame->length))
		PG_FINISH(call, -ENOMEM);
	if ((frame->prot & PG_PROT_WRITE) && (frame->prot & PG_PROT_EXEC))
		PG_FINISH(call, -EACCES);

	for (; frame->at < frame->start + frame->length; frame->at += frame->piece) {
		frame->result = next_piece(frame);
		if (frame->result)
			PG_FINISH(call, frame->result);
		if (frame->lazy && !frame->prot)
			continue;
		/* First without permissions, then with: that is how stacks come, above a guard. */
		AWAIT_MEMORY_CALL(frame, frame->lazy ? PG_OP_MAP : PG_OP_PROTECT, frame->at,
				  frame->piece,
				  frame->lazy ? frame->prot | PG_PROT_GROWSDOWN : frame->prot);
		frame->result = (int)frame->call.result;
		if (frame->result)
			PG_FINISH(call, frame->result);
		if (frame->lazy) {
			frame->result = settle(frame->at, frame->piece, frame->prot);
		} else {
			pg_spin_lock(&lock);
			frame->result =
				pg_space_protect(&space, frame->at, frame->piece, frame->prot);
			pg_spin_unlock(&lock);
		}
		if (frame->result)
			PG_FINISH(call, frame->result);
	}
	PG_FINISH(call, 0);
	PG_END(&call->async);
}

PG_WAITING_CALL(madvise, struct memory_frame)
{
	struct memory_frame *frame = PG_FRAME(call, struct memory_frame);

	PG_BEGIN(&call->async);
	frame->length = page_up(call->arg[1]);
	if (call->arg[0] & (PG_PAGE_SIZE - 1) || frame->length < call->arg[1])
		PG_FINISH(call, -EINVAL);
	if (!frame->length)
		PG_FINISH(call, 0);
	if (!valid(call->arg[0], frame->length))
		PG_FINISH(call, -ENOMEM);
	/* The rest is advice that one may ignore. */
	if (call->arg[2] != MADV_DONTNEED && call->arg[2] != MADV_FREE)
		PG_FINISH(call, call->arg[2] < 26 ? 0 : -EINVAL);
	AWAIT_MEMORY_CALL(frame, PG_OP_DISCARD, call->arg[0], frame->length);
	PG_FINISH(call, frame->call.result);
	PG_END(&call->async);
}

/* brk(address): the new end, or the old one if it can't be moved. */
PG_WAITING_CALL(brk, struct memory_frame)
{
	struct memory_frame *frame = PG_FRAME(call, struct memory_frame);

	PG_BEGIN(&call->async);
	pg_spin_lock(&lock);
	frame->start = page_up(brk_end);
	frame->at = page_up(call->arg[0]);
	frame->result = call->arg[0] < brk_start || call->arg[0] >= PG_VA_MMAP ? -ENOMEM : 0;
	if (!frame->result && frame->at > frame->start) {
		/* The addresses are ours before the pages are. */
		frame->length = frame->at - frame->start;
		frame->result = pg_space_claim(&space, frame->start, frame->length,
					       PG_PROT_READ | PG_PROT_WRITE, 0);
		frame->prot = PG_OP_MAP;
	} else if (!frame->result && frame->at < frame->start) {
		frame->length = frame->start - frame->at;
		frame->start = frame->at;
		frame->prot = PG_OP_UNMAP;
	}
	pg_spin_unlock(&lock);

	if (!frame->result && frame->length) {
		AWAIT_MEMORY_CALL(frame, (enum pg_op)frame->prot, frame->start, frame->length,
				  PG_PROT_READ | PG_PROT_WRITE);
		frame->result = (int)frame->call.result;
		if ((frame->prot == PG_OP_MAP) == (frame->result != 0))
			forget(frame->start, frame->length);
	}
	pg_spin_lock(&lock);
	if (!frame->result)
		brk_end = call->arg[0];
	call->result = (int64_t)brk_end;
	pg_spin_unlock(&lock);
	PG_END(&call->async);
}
