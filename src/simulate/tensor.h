// The float engines' activations.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>

namespace bitlog2::simulate {

/// [batch, tokens, channels] float32, row-major; move-only, uninitialised when made.
class Tensor {
 public:
  Tensor() = default;
  Tensor(std::size_t batch, std::size_t tokens, std::size_t channels)
      : batch_(batch),
        tokens_(tokens),
        channels_(channels),
        values_(std::make_unique_for_overwrite<float[]>(size())) {}

  std::size_t batch() const { return batch_; }
  std::size_t tokens() const { return tokens_; }
  std::size_t channels() const { return channels_; }
  std::size_t rows() const { return batch_ * tokens_; }
  std::size_t size() const { return batch_ * tokens_ * channels_; }

  std::span<float> values() { return {values_.get(), size()}; }
  std::span<const float> values() const { return {values_.get(), size()}; }
  std::span<float> row(std::size_t index) { return values().subspan(index * channels_, channels_); }
  std::span<const float> row(std::size_t index) const {
    return values().subspan(index * channels_, channels_);
  }

 private:
  std::size_t batch_ = 0;
  std::size_t tokens_ = 0;
  std::size_t channels_ = 0;
  std::unique_ptr<float[]> values_;
};

inline Tensor copy(const Tensor& x) {
  Tensor result(x.batch(), x.tokens(), x.channels());
  std::ranges::copy(x.values(), result.values().begin());
  return result;
}

}  // namespace bitlog2::simulate
