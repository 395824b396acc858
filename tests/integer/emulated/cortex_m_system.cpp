// The functions of an operating system that newlib and googletest need, for the kernels' tests on a
// Cortex-M under qemu (scripts/test_kernels). examples/firmware has the code between reset and
// main.
#include <cerrno>
#include <cstddef>

extern "C" {

extern char free_begin[];  // from the linker script
extern char free_end[];
void initialise_monitor_handles();
void __libc_init_array();

int tests_main(int argc, char** argv) asm("main");
int firmware_main();

/// The `main` that the code of examples/firmware calls.
int firmware_main() {
  initialise_monitor_handles();
  __libc_init_array();
  char name[] = "tests";
  char brief[] = "--gtest_brief=1";
  char* words[] = {name, brief, nullptr};
  return tests_main(2, words);
}

void* _sbrk(std::ptrdiff_t size) {
  static char* end = free_begin;
  if (size > free_end - end) {
    errno = ENOMEM;
    return reinterpret_cast<void*>(-1);
  }
  end += size;
  return end - size;
}

int mkdir(const char*, unsigned) {
  return -1;
}

char* getcwd(char*, std::size_t) {
  return nullptr;
}

int getentropy(void*, std::size_t) {
  return -1;
}

void* __dso_handle = nullptr;
void _init() {}
void _fini() {}

}  // extern "C"
