// A quantized file as C source: an array for programs that have no file system.
#pragma once

#include <filesystem>
#include <string>

namespace bitlog2::cli {

/// The files of a C array.
struct CArray {
  std::filesystem::path source;  ///< "model.c", which ends in .c
  std::string name;              ///< of the array; empty: the source's without its ending

  /// "model.h", beside the source.
  std::filesystem::path header() const;
};

/// Throws Error unless the source ends in .c and the name is an identifier of C.
void check_c_array(const CArray& array);

/// Writes the quantized file `quantized` as a constant array, aligned as bitlog2_open wants it, and
/// a header that declares it, with its size, the image's side, the number of logits, and the size
/// of the arena for one thread. Returns the file's size in bytes. Throws Error if the file is no
/// quantized file, or one cannot be written.
std::size_t write_c_array(const std::filesystem::path& quantized, const CArray& array);

}  // namespace bitlog2::cli
