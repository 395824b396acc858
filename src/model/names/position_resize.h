// Position embeddings for another image size, computed as by the model's library.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "bitlog2/model.h"

namespace bitlog2 {

/// positions [from * from, channels], rows of a square, to [to * to, channels].
std::vector<float> resize_positions(std::span<const float> positions, std::size_t from,
                                    std::size_t to, PositionResize rule);

}  // namespace bitlog2
