#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace bitlog2::cli {

/// RFC 4648's base64, padded.
std::string base64(std::span<const std::byte> bytes);

}  // namespace bitlog2::cli
