// OpenBLAS, loaded when the first float product is asked for. Programs that compute in integers
// only never load it. It must not start threads, and must not be called where its memory is short:
// it would wait for memory for ever.
#pragma once

#include <string>

namespace bitlog2::simulate {

/// Makes sure that OpenBLAS has a buffer for the calling thread, once for each thread. Throws
/// std::bad_alloc if there is no room for one.
void reserve_blas_buffer();

/// The address of OpenBLAS's function `name`. The first call loads the library. Throws Error if it
/// cannot be loaded, std::bad_alloc if there is no room for it.
void* find_blas_function(const char* name);

/// Calls the OpenBLAS function `name`, which has the type of `function`.
template <auto* function, class... Arguments>
auto call_blas(const char* name, Arguments... arguments) {
  static const auto found = reinterpret_cast<decltype(function)>(find_blas_function(name));
  reserve_blas_buffer();
  return found(arguments...);
}

}  // namespace bitlog2::simulate
