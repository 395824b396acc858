// FirstLanes through memory, for instruction sets without masks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitlog2::runtime {
namespace {

/// The first `count` lanes of a register, fewer than all. Memory of the others is not accessed.
class FirstLanes {
 public:
  explicit FirstLanes(std::size_t count) : count_(count) {}

  /// 0 in the others.
  I32 load_from(const std::int32_t* at) const {
    std::int32_t lanes[kValues] = {};
    __builtin_memcpy(lanes, at, count_ * sizeof(*at));
    return I32::load(lanes);
  }
  void store_to(std::int32_t* at, I32 a) const {
    std::int32_t lanes[kValues];
    a.store(lanes);
    __builtin_memcpy(at, lanes, count_ * sizeof(*at));
  }
  /// 0 in the others.
  I32 keep(I32 a) const { return choose(I32::all(0), a); }
  /// `others` in the others.
  I32 choose(I32 others, I32 a) const {
    std::int32_t lanes[kValues];
    others.store(lanes);
    store_to(lanes, a);
    return I32::load(lanes);
  }

 private:
  std::size_t count_;
};

}  // namespace
}  // namespace bitlog2::runtime
