// A quantized file as a whole (docs/format.md): writes and reads its metadata, which no other code
// does, and checks that metadata and program agree.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "bitlog2/integer.h"
#include "integer/runtime/network.h"

namespace bitlog2::integer {

/// The metadata of a file: `info`, and one name for each operation of its program.
std::map<std::string, std::string> file_metadata(const QuantizedFileInfo& info,
                                                 const std::vector<std::string>& layers);

/// An opened file. `network` points into its bytes.
struct QuantizedFile {
  runtime::Network network;
  QuantizedFileInfo info;
  std::vector<std::string> layers;  ///< one name for each operation
};

/// Opens a file that lies in memory. `name` is for messages. Throws Error if it is damaged, of
/// another version, no quantized file, or if its metadata contradicts its program.
QuantizedFile open_quantized_file(std::span<const std::byte> bytes, const std::string& name);

}  // namespace bitlog2::integer
