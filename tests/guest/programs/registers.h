/* What registers_round() loads and stores: struct registers in C, offsets in assembly. */
#ifndef REGISTERS_H
#define REGISTERS_H

#define GENERAL_IN  0
#define GENERAL_OUT 128
#define FLAGS_IN    256
#define FLAGS_OUT   264
#define FS_IN       272
#define FS_OUT      280
#define SPINS       288
#define SAVED_RCX   296
#define SAVED_FS    304
#define SAVED_RSP   312
#define MASK_IN     320
#define MASK_OUT    384
#define LEVEL       448
#define FX_IN       512
#define FX_OUT      1024
#define VECTOR_IN   1536
#define VECTOR_OUT  3584
#define STACK       5632
#define STACK_TOP   7168

#ifndef __ASSEMBLER__
#include <stddef.h>
#include <stdint.h>

struct registers {
	uint64_t general_in[16], general_out[16]; /* rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8.. */
	uint64_t flags_in, flags_out;
	uint64_t fs_in, fs_out;
	uint64_t spins; /* iterations: counted down                        */
	uint64_t saved_rcx, saved_fs, saved_rsp;
	uint64_t mask_in[8], mask_out[8];
	uint32_t level; /* vectors: 0 XMM, 1 YMM, 2 ZMM and masks           */
	uint32_t unused[15];
	_Alignas(64) uint8_t fx_in[512], fx_out[512];
	_Alignas(64) uint8_t vector_in[32][64], vector_out[32][64];
	_Alignas(64) uint8_t stack[STACK_TOP - STACK];
	uint8_t above[64];
};

_Static_assert(offsetof(struct registers, flags_out) == FLAGS_OUT, "asm");
_Static_assert(offsetof(struct registers, spins) == SPINS, "asm");
_Static_assert(offsetof(struct registers, saved_rsp) == SAVED_RSP, "asm");
_Static_assert(offsetof(struct registers, mask_out) == MASK_OUT, "asm");
_Static_assert(offsetof(struct registers, level) == LEVEL, "asm");
_Static_assert(offsetof(struct registers, fx_out) == FX_OUT, "asm");
_Static_assert(offsetof(struct registers, vector_out) == VECTOR_OUT, "asm");
_Static_assert(offsetof(struct registers, stack) == STACK, "asm");
_Static_assert(offsetof(struct registers, above) == STACK_TOP, "asm");

void registers_round(struct registers *registers);
#endif

#endif
