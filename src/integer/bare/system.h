// System calls of Linux for the bare program, without a C library. Only for riscv64 and x86-64.
// Must never use a floating-point type or a library function.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitlog2::bare {

#if defined(__riscv) && __riscv_xlen == 64
inline constexpr long kOpenAt = 56;
inline constexpr long kSeek = 62;
inline constexpr long kWrite = 64;
inline constexpr long kExit = 93;
inline constexpr long kMap = 222;
#elif defined(__x86_64__)
inline constexpr long kWrite = 1;
inline constexpr long kSeek = 8;
inline constexpr long kMap = 9;
inline constexpr long kExit = 60;
inline constexpr long kOpenAt = 257;
#else
#error "the bare program knows Linux on riscv64 and x86-64 only"
#endif

/// The kernel's answer: negative for an error.
inline long call_kernel(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                        long f = 0) {
#if defined(__riscv)
  register long a0 asm("a0") = a;
  register long a1 asm("a1") = b;
  register long a2 asm("a2") = c;
  register long a3 asm("a3") = d;
  register long a4 asm("a4") = e;
  register long a5 asm("a5") = f;
  register long a7 asm("a7") = number;
  asm volatile("ecall"
               : "+r"(a0)
               : "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5), "r"(a7)
               : "memory");
  return a0;
#else
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  long result = number;
  asm volatile("syscall"
               : "+a"(result)
               : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
#endif
}

inline long address_of(const void* pointer) {
  return static_cast<long>(reinterpret_cast<std::uintptr_t>(pointer));
}

/// Memory from the kernel, of a file or (descriptor -1) of zeros; nullptr if there is none.
inline void* map_memory(std::size_t bytes, long descriptor) {
  constexpr long kRead = 1;
  constexpr long kReadWrite = 3;
  constexpr long kPrivate = 2;
  constexpr long kAnonymous = 0x20;
  const long protection = descriptor < 0 ? kReadWrite : kRead;
  const long flags = descriptor < 0 ? kPrivate | kAnonymous : kPrivate;
  const long result =
      call_kernel(kMap, 0, static_cast<long>(bytes), protection, flags, descriptor, 0);
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel answers with a number
  return result < 0 && result > -4096 ? nullptr : reinterpret_cast<void*>(result);
}

/// A whole file, mapped; `data` is nullptr if it cannot be.
struct MappedFile {
  const std::uint8_t* data;
  std::size_t size;
};

inline MappedFile map_file(const char* path) {
  constexpr long kCurrentFolder = -100;
  constexpr long kSeekEnd = 2;
  const long descriptor = call_kernel(kOpenAt, kCurrentFolder, address_of(path));
  const long size = descriptor < 0 ? -1 : call_kernel(kSeek, descriptor, 0, kSeekEnd);
  if (size <= 0) {
    return {nullptr, 0};
  }
  const auto bytes = static_cast<std::size_t>(size);
  return {static_cast<const std::uint8_t*>(map_memory(bytes, descriptor)), bytes};
}

inline void write_bytes(long descriptor, const char* text, std::size_t size) {
  while (size > 0) {
    const long written = call_kernel(kWrite, descriptor, address_of(text), static_cast<long>(size));
    if (written <= 0) {
      return;
    }
    text += written;
    size -= static_cast<std::size_t>(written);
  }
}

[[noreturn]] inline void exit_program(int code) {
  for (;;) {
    call_kernel(kExit, code);
  }
}

}  // namespace bitlog2::bare
