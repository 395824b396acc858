// Feeds arbitrary bytes to the readers of torch.save's two formats and reads every tensor that they
// list. For any bytes, nothing but Error may be thrown. Seeds: fuzz/corpus/torch, which
// tools/make_torch_files.py writes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "bitlog2/error.h"
#include "bitlog2/tensors.h"
#include "io/torch/checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto memory = std::make_unique<std::byte[]>(size);  // exactly the file's size
  const std::span<std::byte> bytes(memory.get(), size);
  std::copy_n(reinterpret_cast<const std::byte*>(data), size, bytes.data());
  const bool is_zip = size > 0 && data[0] == 'P';
  try {
    const bitlog2::TensorFile file(is_zip ? bitlog2::torch::read_zip(bytes, "fuzz")
                                          : bitlog2::torch::read_legacy(bytes, "fuzz"));
    for (const auto& [name, tensor] : file.tensors()) {
      try {
        file.read_floats(name);
      } catch (const bitlog2::Error&) {
      }
    }
  } catch (const bitlog2::Error&) {
  }
  return 0;
}
