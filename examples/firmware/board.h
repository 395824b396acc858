/* What the programs here want of a board. Every function works on the real processor and in qemu;
 * texts and files go through semihosting, to the debugger or to qemu: a product has a serial port
 * and a camera in their place. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

/* Writes to the host's standard output. */
void board_print(const char* text);
void board_print_number(int32_t value);

/* The words of the command line behind the program's name, at most `capacity`, as qemu's
 * -semihosting-config arg=... gives them. Returns how many. */
size_t board_arguments(const char** words, size_t capacity);

/* Reads a file of the host, `size` bytes from `offset` on, to `target`. Returns how many were
 * there; 0 also if there is no such file. */
size_t board_read_file(const char* path, size_t offset, void* target, size_t size);

/* Ends the program; 0 is success. */
_Noreturn void board_exit(int code);

/* Counts up since the start: the processor's clock on Arm, instructions on RISC-V. */
uint64_t board_ticks(void);

/* The most bytes of stack that were used since the start. */
size_t board_stack_used(void);

/* Memory that no program section has. */
void* board_free_memory(size_t* size);

#endif
