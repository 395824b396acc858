#include "integer/profile.h"

#include <algorithm>
#include <span>

#include "base/stopwatch.h"
#include "integer/isa.h"

namespace bitlog2 {
namespace integer {
namespace {

const char* kind_name(const runtime::Op& op) {
  switch (static_cast<runtime::OpKind>(op.kind)) {
    case runtime::OpKind::embed:
      return "embed";
    case runtime::OpKind::layer_norm:
      return "layer_norm";
    case runtime::OpKind::linear:
      return "linear";
    case runtime::OpKind::attention:
      return "attention";
    case runtime::OpKind::mean:
      return "mean";
    case runtime::OpKind::gated_linear:
      return "gated_linear";
    case runtime::OpKind::rotary_linear:
      return "rotary_linear";
  }
  return "";
}

std::uint64_t multiply_adds(const runtime::Op& op) {
  const std::uint64_t outputs = std::uint64_t{op.rows} * op.out_features;
  switch (static_cast<runtime::OpKind>(op.kind)) {
    case runtime::OpKind::embed:
      return (outputs - std::uint64_t{op.prefix_tokens} * op.out_features) * op.in_features;
    case runtime::OpKind::linear:
    case runtime::OpKind::rotary_linear:
      return outputs * op.in_features;
    case runtime::OpKind::gated_linear:
      return 2 * outputs * op.in_features;
    case runtime::OpKind::attention:  // queries times keys, and the attention map times V
      return 2 * outputs * runtime::group_tokens(op);
    default:
      return 0;
  }
}

}  // namespace

runtime::Observer Profiler::observer() {
  return {[](void* context, std::size_t index, const runtime::Op& op, std::span<const std::uint8_t>,
             std::span<const std::int32_t>) { static_cast<Profiler*>(context)->after(index, op); },
          this};
}

void Profiler::after(std::size_t index, const runtime::Op& op) {
  const double seconds = seconds_since(last_);
  costs_.push_back({layers_[index], kind_name(op), multiply_adds(op), seconds});
  last_ = Clock::now();
}

}  // namespace integer

double peak_multiply_adds_per_second(const std::string& isa) {
  using Clock = std::chrono::steady_clock;
  constexpr int kTries = 20;
  constexpr std::uint64_t kRounds = 200000;
  const auto multiply = integer::choose_kernels(isa).multiply_in_registers;
  double best = 0;
  for (int i = 0; i < kTries; ++i) {
    const Clock::time_point start = Clock::now();
    const auto products = static_cast<double>(multiply(kRounds));
    best = std::max(best, products / seconds_since(start));
  }
  return best;
}

}  // namespace bitlog2
