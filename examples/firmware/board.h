/* The functions of a board that the programs in this folder call. They work on the real processor
 * and in qemu. Texts and files go through semihosting, to the debugger or to qemu; a product would
 * use a serial port and a camera instead. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

/* Writes to the host's standard output. */
void board_print(const char* text);
void board_print_number(int32_t value);

/* The words of the command line after the program's name, at most `capacity`, as qemu's
 * -semihosting-config arg=... gives them. Returns their number. */
size_t board_arguments(const char** words, size_t capacity);

/* Reads `size` bytes of a file of the host, starting at `offset`, to `target`. Returns the number
 * of bytes that were read; 0 also if there is no such file. */
size_t board_read_file(const char* path, size_t offset, void* target, size_t size);

/* Ends the program; 0 is success. */
_Noreturn void board_exit(int code);

/* A count since the start: of the processor's clock ticks on Arm, of instructions on RISC-V. */
uint64_t board_ticks(void);

/* The largest number of bytes of stack that were in use since the start. */
size_t board_stack_used(void);

/* Memory that no section of the program uses. */
void* board_free_memory(size_t* size);

#endif
