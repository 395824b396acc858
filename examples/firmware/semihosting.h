/* A call of the debugger or of qemu, by the processor's own way. */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdint.h>

/* `argument` is a number or the address of a block of them. */
uintptr_t semihosting_call(uintptr_t operation, uintptr_t argument);

#endif
