/* A semihosting call: an instruction of the processor by which a program calls the debugger or
 * qemu. */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdint.h>

/* `argument` is a number or the address of several numbers. */
uintptr_t semihosting_call(uintptr_t operation, uintptr_t argument);

#endif
