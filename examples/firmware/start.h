/* The work between reset and main that is the same on every processor. */
#ifndef START_H
#define START_H

#include <stddef.h>
#include <stdint.h>

/* Addresses from the linker script. */
extern uint32_t data_begin[], data_end[], data_in_flash[], bss_begin[], bss_end[];
extern uint32_t stack_begin[], stack_end[], free_begin[], free_end[];

int main(void);

/* Gives the variables their initial values, and fills the unused part of the stack, up to `stack`,
 * with a pattern. */
static inline void fill_memory(const uint32_t* stack);

enum { STACK_PAINT = 0x5AC3A53C };

static inline void fill_memory(const uint32_t* stack) {
  const uint32_t* from = data_in_flash;
  for (uint32_t* at = data_begin; at != data_end; ++at) {
    *at = *from++;
  }
  for (uint32_t* at = bss_begin; at != bss_end; ++at) {
    *at = 0;
  }
  for (uint32_t* at = stack_begin; at < stack; ++at) {
    *at = STACK_PAINT;
  }
}

#endif
