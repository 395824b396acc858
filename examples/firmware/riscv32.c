/* Reset, the count of instructions and semihosting on 32-bit RISC-V. */
#include "board.h"
#include "semihosting.h"
#include "start.h"

void on_reset(void);
void on_trap(void);

/* Since 2019 the instructions of control registers are an extension with its own name, zicsr; the
 * assembler must be told. The three instructions of semihosting_call are a call only in this order,
 * uncompressed and within one page. */
__asm__(
    ".option arch, +zicsr\n"
    ".section .vectors, \"ax\"\n"
    ".option push\n"
    ".option norvc\n"
    "reset_entry:\n"
    "  la sp, stack_end\n"
    "  la t0, trap_entry\n"
    "  csrw mtvec, t0\n"
    "  j on_reset\n"
    "trap_entry:\n"
    "  j on_trap\n"
    ".globl semihosting_call\n"
    "semihosting_call:\n"
    "  slli zero, zero, 0x1f\n"
    "  ebreak\n"
    "  srai zero, zero, 7\n"
    "  ret\n"
    ".option pop\n"
    ".text\n");

void on_reset(void) {
  uint32_t* stack;
  __asm__ volatile("mv %0, sp" : "=r"(stack));
  fill_memory(stack);
  board_exit(main());
}

void on_trap(void) {
  board_print("fault\n");
  board_exit(1);
}

uint64_t board_ticks(void) {
  uint32_t high;
  uint32_t low;
  uint32_t high_again;
  do { /* until the lower half has not overflowed between the reads */
    __asm__ volatile("csrr %0, minstreth" : "=r"(high));
    __asm__ volatile("csrr %0, minstret" : "=r"(low));
    __asm__ volatile("csrr %0, minstreth" : "=r"(high_again));
  } while (high != high_again);
  return (uint64_t)high << 32 | low;
}
