// The smallest program around the runtime, for scripts/prove_integer_only: it uses no C library and
// no heap, only system calls. `program NETWORK CROPS` runs every crop ([S, S, 3] bytes each) of
// CROPS through NETWORK and prints the logits, one a line. It stands for firmware: it must never
// use a floating-point type, and must call the runtime through its C interface only.
#include "bitlog2_runtime.h"
#include "system.h"

namespace bitlog2::bare {
namespace {

constexpr long kStandardOutput = 1;
constexpr long kStandardError = 2;

void write_text(long descriptor, const char* text) {
  std::size_t size = 0;
  while (text[size] != '\0') {
    ++size;
  }
  write_bytes(descriptor, text, size);
}

[[noreturn]] void fail(const char* what, const char* why) {
  write_text(kStandardError, "bare: ");
  write_text(kStandardError, what);
  write_text(kStandardError, ": ");
  write_text(kStandardError, why);
  write_text(kStandardError, "\n");
  exit_program(1);
}

void require(bitlog2_status status, const char* what) {
  if (status != BITLOG2_OK) {
    fail(what, bitlog2_status_text(status));
  }
}

void print_line(std::int32_t value) {
  char text[12];
  char* first = text + sizeof(text);
  *--first = '\n';
  std::uint32_t magnitude = static_cast<std::uint32_t>(value);
  magnitude = value < 0 ? 0U - magnitude : magnitude;
  do {
    *--first = static_cast<char>('0' + magnitude % 10);
    magnitude /= 10;
  } while (magnitude != 0);
  if (value < 0) {
    *--first = '-';
  }
  write_bytes(kStandardOutput, first, static_cast<std::size_t>(text + sizeof(text) - first));
}

MappedFile map_or_fail(const char* path) {
  const MappedFile file = map_file(path);
  if (file.data == nullptr) {
    fail(path, "cannot be read, or is empty");
  }
  return file;
}

void* allocate(std::size_t bytes) {
  void* memory = map_memory(bytes, -1);
  if (memory == nullptr) {
    fail("memory", "the kernel gives none");
  }
  return memory;
}

void run_crops(const char* network_path, const char* crops_path) {
  const MappedFile file = map_or_fail(network_path);
  const MappedFile crops = map_or_fail(crops_path);
  bitlog2_network network;
  require(bitlog2_open(&network, file.data, file.size), network_path);
  const std::size_t side = bitlog2_image_size(&network);
  const std::size_t crop_bytes = 3 * side * side;
  if (crops.size % crop_bytes != 0) {
    fail(crops_path, "is not a whole number of crops of the network's size");
  }
  const std::size_t classes = bitlog2_num_classes(&network);
  auto* logits = static_cast<std::int32_t*>(allocate(classes * sizeof(std::int32_t)));
  const std::size_t arena_size = bitlog2_arena_size(&network, 1);
  void* arena = allocate(arena_size);
  for (std::size_t at = 0; at < crops.size; at += crop_bytes) {
    require(bitlog2_run(&network, crops.data + at, arena, arena_size, logits), crops_path);
    for (std::size_t i = 0; i < classes; ++i) {
      print_line(logits[i]);
    }
  }
}

}  // namespace
}  // namespace bitlog2::bare

/// Called by _start with the stack as the kernel leaves it: argc, then argv.
extern "C" [[noreturn]] void bare_start(const std::uintptr_t* stack);

extern "C" [[noreturn]] void bare_start(const std::uintptr_t* stack) {
  const std::uintptr_t count = stack[0];
  const auto* arguments = reinterpret_cast<const char* const*>(stack + 1);
  if (count != 3) {
    bitlog2::bare::fail("usage", "bare NETWORK CROPS");
  }
  bitlog2::bare::run_crops(arguments[1], arguments[2]);
  bitlog2::bare::exit_program(0);
}

#if defined(__riscv)
asm(".globl _start\n"
    "_start:\n"
    ".option push\n"
    ".option norelax\n"
    "  la gp, __global_pointer$\n"
    ".option pop\n"
    "  mv a0, sp\n"
    "  andi sp, sp, -16\n"
    "  call bare_start\n");
#else
asm(".globl _start\n"
    "_start:\n"
    "  xor %ebp, %ebp\n"
    "  mov %rsp, %rdi\n"
    "  and $-16, %rsp\n"
    "  call bare_start\n");
#endif
