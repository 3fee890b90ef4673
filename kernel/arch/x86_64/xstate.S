/*
 * The SSE registers alone, to and from where XSAVE has them (SDM vol. 1, 13.4.1): MXCSR at 24,
 * registers from 160 on.
 */
#include "arch/x86_64/function.inc"

	.text
/* void pg_sse_save(void *area) */
FUNCTION pg_sse_save
	stmxcsr 24(%rdi)
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movaps %xmm\n, 160 + 16 * \n(%rdi)
	.endr
	ret

/* void pg_sse_load(const void *area) */
FUNCTION pg_sse_load
	ldmxcsr 24(%rdi)
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movaps 160 + 16 * \n(%rdi), %xmm\n
	.endr
	ret

	.section .note.GNU-stack, "", @progbits
