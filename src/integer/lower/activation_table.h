// An activation function and the quantizer behind it as one table: the code of the function's
// value for evenly spaced arguments.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "bitlog2/model.h"
#include "integer/lower/activation_codes.h"

namespace bitlog2::integer {

struct ActivationTable {
  double low = 0;       ///< the first entry's argument; below it the code stays
  double interval = 1;  ///< between two entries' arguments; beyond the last the code stays, too
  std::vector<std::uint8_t> codes;
};

/// The table reaches every code of `output` that the function reaches.
ActivationTable activation_table(Activation function, const ActivationCodes& output);

/// The function's name in messages, "GELU".
std::string_view display_name(Activation function);

/// What follows a layer's name in that of its table's tensor, ".gelu_table".
std::string_view table_suffix(Activation function);

}  // namespace bitlog2::integer
