#include "bitlog2/predictions.h"

#include <algorithm>
#include <numeric>

#include "base/elementary.h"

namespace bitlog2 {

std::vector<Prediction> best_classes(std::span<const float> logits,
                                     const std::vector<std::string>& names, std::size_t count) {
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
  double sum = 0;
  for (const float logit : logits) {
    sum += elementary::exp(static_cast<double>(logit - logits[order[0]]));
  }
  std::vector<Prediction> predictions;
  for (std::size_t i = 0; i < std::min(count, order.size()); ++i) {
    const std::size_t index = order[i];
    predictions.push_back(
        {index, index < names.size() ? names[index] : "",
         elementary::exp(static_cast<double>(logits[index] - logits[order[0]])) / sum});
  }
  return predictions;
}

}  // namespace bitlog2
