#include "sigframe.h"

#include "abi/layout.h"
#include "arch/x86_64/vectors.h"
#include "lib/errno.h"
#include "sys/user.h"
#include "thread/thread.h"

#define RED_ZONE 128

/* ucontext.flags: vector registers are there, and ss is to be trusted. */
#define UC_FLAGS 7

#define MAGIC1 0x46505853u
#define MAGIC2 0x46505845u

/* Linux's sigcontext. */
struct context {
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
	uint16_t cs, gs, fs, ss;
	uint64_t error, vector, old_mask, address;
	uint64_t vectors; /* address; 0: initial state */
	uint64_t reserved[8];
};

_Static_assert(sizeof(struct context) == 256, "as Linux's");

struct ucontext {
	uint64_t flags, link;
	struct pg_sigstack stack;
	struct context context;
	uint64_t mask;
};

_Static_assert(sizeof(struct ucontext) == 304, "as Linux's");

struct frame {
	uint64_t restorer;
	struct ucontext ucontext;
	uint8_t siginfo[PG_SIGINFO_SIZE];
};

_Static_assert(sizeof(struct frame) == 440, "as Linux's rt_sigframe");

/* Linux's _fpx_sw_bytes: in the bytes of the legacy area that XSAVE doesn't use. */
#define SOFTWARE_OFFSET 464

struct software {
	uint32_t magic1, extended_size;
	uint64_t features;
	uint32_t size;
	uint32_t padding[7];
};

_Static_assert(sizeof(struct software) == 48, "to the end of the legacy area");

/* What the program may set of rflags, as on Linux. */
#define FLAGS_CHANGED                                                                              \
	(1u | 1u << 2 | 1u << 4 | 1u << 6 | 1u << 7 | 1u << 10 | 1u << 11 | 1u << 16 | 1u << 18)
#define FLAG_TF     (1u << 8)
#define FLAG_DF     (1u << 10)
#define FLAG_RF     (1u << 16)
#define FLAGS_FIXED 0x202u /* interrupts, and the bit that is always 1 */

/* An address code can be at. The upper half is nobody's, and iretq must not meet it. */
static bool is_code(uint64_t address)
{
	return address < PG_VA_USER_END;
}

/* ---- the way in ---- */

static int write_vectors(struct pg_thread *thread, uint64_t at, uint32_t size)
{
	const struct software software = {
		.magic1 = MAGIC1,
		.extended_size = size + (uint32_t)sizeof(uint32_t),
		.features = pg_vectors_features(),
		.size = size,
	};
	const uint32_t magic2 = MAGIC2;

	if (pg_vectors_to_user(thread, at) ||
	    pg_user_write(at + SOFTWARE_OFFSET, &software, sizeof(software)) ||
	    pg_user_write(at + size, &magic2, sizeof(magic2)))
		return -EFAULT;
	return 0;
}

static void fill_context(struct context *context, const struct pg_thread *thread)
{
	const struct pg_regs *regs = &thread->regs;

	*context = (struct context){
		.r8 = regs->r8,
		.r9 = regs->r9,
		.r10 = regs->r10,
		.r11 = regs->r11,
		.r12 = regs->r12,
		.r13 = regs->r13,
		.r14 = regs->r14,
		.r15 = regs->r15,
		.rdi = regs->rdi,
		.rsi = regs->rsi,
		.rbp = regs->rbp,
		.rbx = regs->rbx,
		.rdx = regs->rdx,
		.rax = regs->rax,
		.rcx = regs->rcx,
		.rsp = regs->rsp,
		.rip = regs->rip,
		.rflags = regs->rflags,
		.cs = PG_SEL_UCODE,
		.ss = PG_SEL_UDATA,
		.error = thread->error,
		.vector = thread->vector,
		.address = thread->address,
	};
}

/* Where the frame and the vector registers go; false: not on the stack they are to be on. */
static bool place(const struct pg_thread *thread, const struct pg_sigaction *action, uint32_t size,
		  uint64_t *frame, uint64_t *vectors)
{
	const struct pg_sigstack *stack = &thread->signals.stack;
	uint64_t top = thread->regs.rsp - RED_ZONE;
	bool on = pg_sigstack_active(stack, thread->regs.rsp), enter;

	enter = (action->flags & PG_SA_ONSTACK) && stack->size && !on;
	if (enter)
		top = stack->base + stack->size;
	*vectors = (top - size - sizeof(uint32_t)) & ~63ull;
	*frame = ((*vectors - sizeof(struct frame)) & ~15ull) - 8;
	if ((on || enter) && (*frame <= stack->base || *frame - stack->base > stack->size))
		return false;
	/* The program could write there itself, but to what is the kernel's it doesn't mean to. */
	return *frame < top && *frame >= PG_VA_MIN && top <= PG_VA_USER_END;
}

int pg_arch_signal_frame(struct pg_thread *thread, const struct pg_siginfo *info,
			 const struct pg_sigaction *action, uint64_t mask)
{
	uint32_t size = pg_vectors_size();
	struct pg_sigstack *stack = &thread->signals.stack;
	struct pg_regs *regs = &thread->regs;
	struct frame frame = { 0 };
	uint64_t at, vectors;

	if (!(action->flags & PG_SA_RESTORER) || !is_code(action->handler))
		return -EFAULT;
	if (!place(thread, action, size, &at, &vectors))
		return -EFAULT;
	if (write_vectors(thread, vectors, size))
		return -EFAULT;
	frame.restorer = action->restorer;
	frame.ucontext.flags = UC_FLAGS;
	frame.ucontext.stack = *stack;
	frame.ucontext.mask = mask;
	fill_context(&frame.ucontext.context, thread);
	frame.ucontext.context.old_mask = mask;
	frame.ucontext.context.vectors = vectors;
	__builtin_memcpy(frame.siginfo, info, sizeof(*info));
	if (pg_user_write(at, &frame, sizeof(frame)))
		return -EFAULT;

	if (stack->flags & PG_SS_AUTODISARM)
		*stack = (struct pg_sigstack){ .flags = PG_SS_DISABLE };
	pg_vectors_reset(thread);
	regs->rdi = (uint64_t)info->signal;
	regs->rsi = at + offsetof(struct frame, siginfo);
	regs->rdx = at + offsetof(struct frame, ucontext);
	regs->rax = 0;
	regs->rsp = at;
	regs->rip = action->handler;
	regs->rflags &= ~(uint64_t)(FLAG_DF | FLAG_RF | FLAG_TF);
	thread->full = true;
	return 0;
}

uint32_t pg_arch_signal_frame_max(void)
{
	return pg_vectors_size() + (uint32_t)sizeof(uint32_t) + 63 +
	       (uint32_t)sizeof(struct frame) + 24 + RED_ZONE;
}

/* ---- the way back ---- */

static int read_vectors(struct pg_thread *thread, uint64_t at)
{
	struct software software;
	uint32_t magic2;

	pg_vectors_reset(thread);
	if (!at)
		return 0;
	/* Not all processors refuse this where FXSAVE's format is. */
	if (at & 15)
		return -EFAULT;
	if (pg_user_read(&software, at + SOFTWARE_OFFSET, sizeof(software)))
		return -EFAULT;
	/* Without the magic words only what FXSAVE knows is there. */
	if (software.magic1 != MAGIC1 || software.size < PG_VECTORS_MIN ||
	    software.size > pg_vectors_size() || software.size > software.extended_size)
		return pg_vectors_from_user(thread, at, 0);
	if (pg_user_read(&magic2, at + software.size, sizeof(magic2)))
		return -EFAULT;
	return pg_vectors_from_user(thread, at, magic2 == MAGIC2 ? software.features : 0);
}

int pg_arch_signal_return(struct pg_thread *thread, uint64_t *mask)
{
	struct pg_regs *regs = &thread->regs;
	struct ucontext ucontext;
	const struct context *context = &ucontext.context;

	/* `ret` in the handler has taken the restorer's address. */
	if (pg_user_read(&ucontext, regs->rsp, sizeof(ucontext)))
		return -EFAULT;
	if (!is_code(context->rip) || read_vectors(thread, context->vectors))
		return -EFAULT;

	*regs = (struct pg_regs){
		.rax = context->rax,
		.rbx = context->rbx,
		.rcx = context->rcx,
		.rdx = context->rdx,
		.rsi = context->rsi,
		.rdi = context->rdi,
		.rbp = context->rbp,
		.rsp = context->rsp,
		.r8 = context->r8,
		.r9 = context->r9,
		.r10 = context->r10,
		.r11 = context->r11,
		.r12 = context->r12,
		.r13 = context->r13,
		.r14 = context->r14,
		.r15 = context->r15,
		.rip = context->rip,
		.rflags = (context->rflags & FLAGS_CHANGED) | FLAGS_FIXED,
	};
	thread->full = true;
	*mask = ucontext.mask;
	/* What it refuses is ignored, as on Linux. */
	(void)pg_sigstack_set(&thread->signals.stack, &ucontext.stack, regs->rsp);
	return 0;
}
