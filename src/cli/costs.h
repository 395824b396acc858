// What the operations of a network cost.
#pragma once

#include <atomic>
#include <vector>

#include "bitlog2/integer.h"

namespace bitlog2::cli {

/// The operations of a network, the best time of each over the runs of `seconds`, one at least.
std::vector<OperationCost> best_costs(const IntegerEngine& engine, const RgbImage& crop,
                                      double seconds, const std::atomic<bool>& stop);

/// The same operation of all blocks added up: "mlp.fc1", in the order in which they first run.
std::vector<OperationCost> costs_by_role(const std::vector<OperationCost>& costs);

}  // namespace bitlog2::cli
