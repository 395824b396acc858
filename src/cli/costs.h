// The costs of a network's operations.
#pragma once

#include <atomic>
#include <vector>

#include "bitlog2/integer.h"

namespace bitlog2::cli {

/// The operations of a network with their best times over several runs that take `seconds`, at
/// least one run.
std::vector<OperationCost> best_costs(const IntegerEngine& engine, const RgbImage& crop,
                                      double seconds, const std::atomic<bool>& stop);

/// The same operation of all blocks added up: "mlp.fc1", in the order in which they first run.
std::vector<OperationCost> costs_by_role(const std::vector<OperationCost>& costs);

}  // namespace bitlog2::cli
