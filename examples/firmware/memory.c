/* Functions of the C library that a C compiler may call by itself: no C library is linked. */
#include <stddef.h>
#include <stdint.h>

void* memcpy(void* restrict target, const void* restrict source, size_t size);
void* memset(void* target, int value, size_t size);

/* Copies whole words if both addresses are aligned. */
void* memcpy(void* restrict target, const void* restrict source, size_t size) {
  typedef uint32_t __attribute__((may_alias)) word;
  uint8_t* to = target;
  const uint8_t* from = source;
  if ((((uintptr_t)to | (uintptr_t)from) & 3) == 0) {
    for (; size >= 4; size -= 4, to += 4, from += 4) {
      *(word*)(void*)to = *(const word*)(const void*)from;
    }
  }
  for (; size > 0; --size) {
    *to++ = *from++;
  }
  return target;
}

void* memset(void* target, int value, size_t size) {
  typedef uint32_t __attribute__((may_alias)) word;
  uint8_t* to = target;
  for (; size > 0 && ((uintptr_t)to & 3) != 0; --size) {
    *to++ = (uint8_t)value;
  }
  for (; size >= 4; size -= 4, to += 4) {
    *(word*)(void*)to = (uint8_t)value * 0x01010101U;
  }
  for (; size > 0; --size) {
    *to++ = (uint8_t)value;
  }
  return target;
}
