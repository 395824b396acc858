// The functions that a compiler may call by itself, for a program without a C library and libgcc:
// block copies, and counting zeros on a CPU without an instruction for it. Plain loops on bytes;
// must never use a floating-point type, and this list must never grow by a routine of soft floating
// point.
#include <cstddef>
#include <cstdint>

extern "C" {

void* memcpy(void* __restrict target, const void* __restrict source, std::size_t size);
void* memmove(void* target, const void* source, std::size_t size);
void* memset(void* target, int value, std::size_t size);
int memcmp(const void* left, const void* right, std::size_t size);
int __clzdi2(std::uint64_t value);  // NOLINT: the compiler's name

void* memcpy(void* __restrict target, const void* __restrict source, std::size_t size) {
  return memmove(target, source, size);
}

void* memmove(void* target, const void* source, std::size_t size) {
  auto* to = static_cast<volatile unsigned char*>(target);  // volatile: not a call to itself
  const auto* from = static_cast<const unsigned char*>(source);
  if (reinterpret_cast<std::uintptr_t>(target) <= reinterpret_cast<std::uintptr_t>(source)) {
    for (std::size_t i = 0; i < size; ++i) {
      to[i] = from[i];
    }
  } else {
    for (std::size_t i = size; i-- > 0;) {
      to[i] = from[i];
    }
  }
  return target;
}

void* memset(void* target, int value, std::size_t size) {
  auto* to = static_cast<volatile unsigned char*>(target);
  for (std::size_t i = 0; i < size; ++i) {
    to[i] = static_cast<unsigned char>(value);
  }
  return target;
}

int memcmp(const void* left, const void* right, std::size_t size) {
  const auto* a = static_cast<const unsigned char*>(left);
  const auto* b = static_cast<const unsigned char*>(right);
  for (std::size_t i = 0; i < size; ++i) {
    if (a[i] != b[i]) {
      return a[i] < b[i] ? -1 : 1;
    }
  }
  return 0;
}

int __clzdi2(std::uint64_t value) {
  int zeros = 0;
  for (int step = 32; step > 0; step /= 2) {
    if (value >> (64 - step) == 0) {
      zeros += step;
      value <<= step;
    }
  }
  return value >> 63 == 0 ? zeros + 1 : zeros;
}

}  // extern "C"
