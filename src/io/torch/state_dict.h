// Where in a checkpoint the model's weights are.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "io/torch/pickle.h"

namespace bitlog2::torch {

/// The dict of tensors that is taken for the model's.
struct StateDict {
  std::map<std::string, ValueId> tensors;
  std::vector<std::string> notes;  ///< which it is, what others there are, what was refused
};

/// Finds it: under the keys that training scripts use (`model`, `state_dict`, ...), in any nesting;
/// else the dict itself; else the one dict of tensors in it. Throws Error beginning with `name` if
/// there is none, or several that could be meant.
StateDict find_state_dict(const PickleGraph& graph, const std::string& name);

}  // namespace bitlog2::torch
