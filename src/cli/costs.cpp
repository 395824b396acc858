#include "cli/costs.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "base/stopwatch.h"

namespace bitlog2::cli {
namespace {

/// "blocks.3.mlp.fc1" as "mlp.fc1": the same layer of all blocks.
std::string role(const OperationCost& cost) {
  std::string name;
  std::size_t begin = 0;
  while (begin <= cost.layer.size()) {
    const std::size_t end = std::min(cost.layer.find('.', begin), cost.layer.size());
    const std::string part = cost.layer.substr(begin, end - begin);
    const bool counts =
        part == "blocks" || part == "layers" ||
        (!part.empty() && part.find_first_not_of("0123456789") == std::string::npos);
    name += counts ? "" : (name.empty() ? "" : ".") + part;
    begin = end + 1;
  }
  return name;
}

}  // namespace

std::vector<OperationCost> best_costs(const IntegerEngine& engine, const RgbImage& crop,
                                      double seconds, const std::atomic<bool>& stop) {
  std::vector<OperationCost> best = engine.profile(crop);
  const auto start = std::chrono::steady_clock::now();
  while (!stop && seconds_since(start) < seconds) {
    const std::vector<OperationCost> costs = engine.profile(crop);
    for (std::size_t i = 0; i < costs.size(); ++i) {
      best[i].seconds = std::min(best[i].seconds, costs[i].seconds);
    }
  }
  return best;
}

std::vector<OperationCost> costs_by_role(const std::vector<OperationCost>& costs) {
  std::vector<OperationCost> roles;
  for (const OperationCost& cost : costs) {
    const std::string name = role(cost);
    auto found = std::ranges::find(roles, name, &OperationCost::layer);
    if (found == roles.end()) {
      found = roles.insert(roles.end(), {name, cost.kind, 0, 0});
    }
    found->multiply_adds += cost.multiply_adds;
    found->seconds += cost.seconds;
  }
  return roles;
}

}  // namespace bitlog2::cli
