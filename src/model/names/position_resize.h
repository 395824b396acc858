// Position embeddings and biases for another image size, computed as by the model's library.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "bitlog2/model.h"

namespace bitlog2 {

/// positions [from * from, channels], rows of a square, to [to * to, channels].
std::vector<float> resize_positions(std::span<const float> positions, std::size_t from,
                                    std::size_t to, PositionResize rule);

/// The side of the square of tokens for which a table of relative position biases with a class
/// token has so many rows, (2 side - 1)^2 + 3; 0 if there is none.
std::size_t side_of_relative_positions(std::size_t rows);

/// A table of relative position biases [(2 from - 1)^2 + 3, heads], to [(2 to - 1)^2 + 3, heads].
/// The last three rows, those of the class token, stay as they are. timm (`antialias`) spreads the
/// learned offsets over the new ones in a geometric progression, transformers evenly; both are
/// linear between them.
std::vector<float> resize_relative_positions(std::span<const float> table, std::size_t heads,
                                             std::size_t from, std::size_t to, PositionResize rule);

}  // namespace bitlog2
