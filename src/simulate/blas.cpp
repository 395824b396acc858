#include "simulate/blas.h"

#include <cblas.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "bitlog2/engine.h"
#include "bitlog2/error.h"

namespace bitlog2::simulate {
namespace {

constexpr const char* kLibrary = "libopenblas.so.0";

/// Address space, bytes, that OpenBLAS reserves for each thread that multiplies; most of it is
/// never touched.
constexpr std::size_t kBufferBytes = std::size_t{128} << 20;

/// The library's own, when it is loaded.
constexpr std::size_t kLibraryBytes = std::size_t{64} << 20;

/// Throws std::bad_alloc unless `bytes` of address space are left. OpenBLAS itself tries again and
/// again without end where there are not.
void require_address_space(std::size_t bytes) {
  void* address =
      ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    throw std::bad_alloc();
  }
  ::munmap(address, bytes);
}

/// The loaded library and the buffers that it has. It is never unloaded.
class Library {
 public:
  Library() {
    require_address_space(kLibraryBytes + kBufferBytes);
    // Read by the library as it is loaded: it starts no threads then.
    ::setenv("OPENBLAS_NUM_THREADS", "1", 1);
    handle_ = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) {
      throw Error(fmt::format("OpenBLAS cannot be loaded ({}); install libopenblas0", ::dlerror()));
    }
    allocate_ = reinterpret_cast<void* (*)(int)>(find("blas_memory_alloc"));
    free_ = reinterpret_cast<void (*)(void*)>(find("blas_memory_free"));
  }

  void* find(const char* name) const {
    void* function = ::dlsym(handle_, name);
    if (function == nullptr) {
      throw Error(fmt::format("{} has no {}; install libopenblas0", kLibrary, name));
    }
    return function;
  }

  /// Makes the library keep a buffer more if it has fewer than there are threads.
  void add_thread() {
    const std::lock_guard lock(mutex_);
    std::vector<void*> held;
    // What is free now is handed out first, so that a new one comes in the end.
    while (buffers_.size() < threads_ + 1) {
      try {
        require_address_space(kBufferBytes);
      } catch (...) {
        std::ranges::for_each(held, free_);
        throw;
      }
      held.push_back(allocate_(0));
      if (std::ranges::find(buffers_, held.back()) == buffers_.end()) {
        buffers_.push_back(held.back());
      }
    }
    std::ranges::for_each(held, free_);
    ++threads_;
  }

  void remove_thread() {
    const std::lock_guard lock(mutex_);
    --threads_;
  }

 private:
  void* handle_ = nullptr;
  void* (*allocate_)(int) = nullptr;
  void (*free_)(void*) = nullptr;
  std::mutex mutex_;
  std::size_t threads_ = 0;     // that have multiplied and still run
  std::vector<void*> buffers_;  // that the library has set aside so far
};

Library& library() {
  static Library loaded;
  return loaded;
}

/// Counts a thread that multiplies, from its first product to its end.
struct ThreadBuffer {
  ThreadBuffer() { library().add_thread(); }
  ~ThreadBuffer() { library().remove_thread(); }
  ThreadBuffer(const ThreadBuffer&) = delete;
  ThreadBuffer& operator=(const ThreadBuffer&) = delete;
};

}  // namespace

void reserve_blas_buffer() {
  thread_local const ThreadBuffer buffer;
}

void* find_blas_function(const char* name) {
  return library().find(name);
}

}  // namespace bitlog2::simulate

namespace bitlog2 {

std::string blas_kernels() {
  return simulate::call_blas<&openblas_get_corename>("openblas_get_corename");
}

}  // namespace bitlog2
