/* What happens between reset and main, on any processor. */
#ifndef START_H
#define START_H

#include <stddef.h>
#include <stdint.h>

/* Of the linker script. */
extern uint32_t data_begin[], data_end[], data_in_flash[], bss_begin[], bss_end[];
extern uint32_t stack_begin[], stack_end[], free_begin[], free_end[];

int main(void);

/* Fills variables and the stack's unused part, up to `stack`. */
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
