/* What the kernel's assembly files share. */
#ifndef PG_ARCH_ASM_H
#define PG_ARCH_ASM_H

/* A function of the kernel's own: its name ends where the kernel's object does. */
.macro FUNCTION name.globl \name.hidden \name.type \name, @function.balign 16
\name :.endm

#endif
