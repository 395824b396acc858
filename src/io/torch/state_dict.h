// Finds the model's weights in a checkpoint.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "io/torch/pickle.h"

namespace bitlog2::torch {

/// The dict of tensors that is taken as the model's weights.
struct StateDict {
  std::map<std::string, ValueId> tensors;
  std::vector<std::string>
      notes;  ///< which dict it is, which others there are, which calls were refused
};

/// Finds it: under the keys that training scripts use (`model`, `state_dict`, ...), in any nesting;
/// else the dict itself; else the one dict of tensors in it. Throws Error beginning with `name` if
/// there is none, or several that could be meant.
StateDict find_state_dict(const PickleGraph& graph, const std::string& name);

}  // namespace bitlog2::torch
