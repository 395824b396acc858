// A pickle's bytes, taken from the front.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "bitlog2/error.h"

namespace bitlog2::torch {

/// Never reads beyond the end: if bytes are missing, it throws Error, which begins with `name`.
class PickleBytes {
 public:
  PickleBytes(std::span<const std::byte> bytes, std::string name)
      : bytes_(reinterpret_cast<const char*>(bytes.data()), bytes.size()), name_(std::move(name)) {}

  std::size_t taken() const { return at_; }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("{}: the pickle {} at byte {}; the file is damaged", name_, what, at_));
  }

  std::string_view take(std::uint64_t count) {
    if (count > bytes_.size() - at_) {
      fail("ends early");
    }
    const std::string_view result = bytes_.substr(at_, static_cast<std::size_t>(count));
    at_ += result.size();
    return result;
  }

  std::uint64_t take_unsigned(std::size_t size) {
    const std::string_view bytes = take(size);
    std::uint64_t value = 0;
    for (std::size_t i = size; i > 0; --i) {
      value = value << 8 | static_cast<unsigned char>(bytes[i - 1]);
    }
    return value;
  }

  std::string_view take_sized(std::size_t length_size) { return take(take_unsigned(length_size)); }

  std::string_view take_line() {
    const std::size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) {
      fail("ends early");
    }
    std::string_view line = take(end - at_);
    take(1);
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    return line;
  }

 private:
  std::string_view bytes_;
  std::string name_;
  std::size_t at_ = 0;
};

}  // namespace bitlog2::torch
