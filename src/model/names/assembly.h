// How a model's parameters are put together from a checkpoint's tensors: libraries keep q, k and v
// apart or together, scale a branch beside its last layer, or leave out biases.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bitlog2/model.h"
#include "model/names/checkpoint_names.h"
#include "model/names/position_resize.h"

namespace bitlog2 {

/// A tensor of which a parameter is made.
struct Piece {
  std::string name;                       ///< as CheckpointNames has it
  std::vector<std::uint64_t> shape = {};  ///< dimensions of 1 do not count; empty: any
  bool optional = false;
};

/// A parameter's pieces, and the function that makes its values from theirs, in the same order;
/// missing pieces are empty.
struct Assembly {
  std::vector<Piece> pieces;
  std::function<std::vector<float>(std::vector<std::vector<float>>)> combine;
};

/// Positions are resized by the given rule; without one they must be for the config's image size.
Assembly assembly_of(const Parameter& parameter, const ModelConfig& config,
                     const CheckpointNames& names, std::optional<PositionResize> position_resize);

/// The side of the square of patches that `tokens` rows of a position embedding are for, and how
/// many rows stand before it; 0 where they are none.
struct PositionGrid {
  std::size_t side = 0;
  std::size_t prefix = 0;
};

/// `prefix` is how many tokens precede the patches, `registers` how many of them are registers.
PositionGrid grid_of_positions(std::size_t tokens, std::size_t prefix, std::size_t registers);

}  // namespace bitlog2
