/* Functions that are the same on every board. */
#include "board.h"

#include "start.h"

size_t board_stack_used(void) {
  const uint32_t* at = stack_begin;
  while (at < stack_end && *at == STACK_PAINT) {
    ++at;
  }
  return (size_t)(stack_end - at) * sizeof(*at);
}

void* board_free_memory(size_t* size) {
  *size = (size_t)(free_end - free_begin) * sizeof(*free_begin);
  return free_begin;
}
