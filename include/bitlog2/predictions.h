// From logits to the names and probabilities of classes.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#pragma GCC visibility push(default)
namespace bitlog2 {

/// A class and its probability.
struct Prediction {
  std::size_t index = 0;   ///< of the class
  std::string name;        ///< empty where class names are not known
  double probability = 0;  ///< softmax of the logits
};

/// The `count` most probable classes of an image, or all if there are fewer, the most probable
/// first; of equal ones the lower index comes first. `logits` has one value per class, at least
/// one; `names` has one name per class, or is empty.
std::vector<Prediction> best_classes(std::span<const float> logits,
                                     const std::vector<std::string>& names, std::size_t count);

}  // namespace bitlog2
#pragma GCC visibility pop
