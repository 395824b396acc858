#include "bitlog2/recipe.h"

#include <fmt/format.h>

#include "bitlog2/error.h"

namespace bitlog2 {

Recipe find_recipe(std::string_view name) {
  if (name == "repq") {
    return {};
  }
  if (name == "best") {
    return {.gelu_grid = Recipe::GeluGrid::code_book,
            .gptq = true,
            .compensation = true,
            .head_quantizers = true,
            .head_transforms = true,
            .output_search = true,
            .nearest_attention = true,
            .fine_attention = true};
  }
  throw Error(fmt::format("unknown recipe '{}'; choose one of repq, best", name));
}

}  // namespace bitlog2
