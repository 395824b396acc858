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
  double low = 0;       ///< the first entry's argument; smaller arguments have its code
  double interval = 1;  ///< between two entries' arguments; larger ones than the last have its code
  std::vector<std::uint8_t> codes;
};

/// The table contains every code of `output` that the function can give.
ActivationTable activation_table(Activation function, const ActivationCodes& output);

/// The codes of evenly spaced values, where `output` has levels that are not.
ActivationTable step_table(const ActivationCodes& output);

/// The function's name in messages, "GELU".
std::string_view display_name(Activation function);

/// The end of the name of the table's tensor, behind the layer's name: ".gelu_table".
std::string_view table_suffix(Activation function);

}  // namespace bitlog2::integer
