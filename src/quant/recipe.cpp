#include "bitlog2/recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "bitlog2/error.h"

namespace bitlog2 {
namespace {

/// Of the recipe `reconstruct`.
constexpr std::uint32_t kReconstructionSteps = 400;

std::uint32_t parse_steps(std::string_view text) {
  std::uint32_t steps = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), steps);
  if (error != std::errc() || end != text.data() + text.size() || steps > kMaxReconstructionSteps) {
    throw Error(fmt::format("{} is '{}'; give a number of steps, 0 to {}", kReconstructionPart,
                            text, kMaxReconstructionSteps));
  }
  return steps;
}

}  // namespace

Recipe find_recipe(std::string_view name) {
  Recipe recipe;
  if (name == "best" || name == "reconstruct") {
    recipe.gelu_quant_scheme = Recipe::GeluScheme::codebook;
    for (const RecipePart& part : kRecipeParts) {
      recipe.*part.member = part.in_best;
    }
    recipe.reconstruction_steps = name == "reconstruct" ? kReconstructionSteps : 0;
  } else if (name != "repq") {
    throw Error(
        fmt::format("unknown recipe '{}'; choose one of {}", name, fmt::join(kRecipeNames, ", ")));
  }
  return recipe;
}

void set_recipe_part(Recipe& recipe, std::string_view part, std::string_view value) {
  if (part == kGeluSchemePart) {
    for (std::size_t i = 0; i < kGeluSchemes.size(); ++i) {
      if (value == kGeluSchemes.at(i) || value == kGeluSchemesInFiles.at(i)) {
        recipe.gelu_quant_scheme = static_cast<Recipe::GeluScheme>(i);
        return;
      }
    }
    throw Error(fmt::format("unknown {} '{}'; choose one of {}", part, value,
                            fmt::join(kGeluSchemes, ", ")));
  }
  if (part == kReconstructionPart) {
    recipe.reconstruction_steps = parse_steps(value);
    return;
  }
  const auto* const found = std::ranges::find_if(kRecipeParts, [&](const RecipePart& candidate) {
    return part == candidate.name || part == candidate.names_in_files().name;
  });
  if (found == kRecipeParts.end()) {
    throw Error(fmt::format("unknown part '{}' of a recipe", part));
  }
  const RecipePartNames first = found->names_in_files();
  const bool is_on = value == found->on || value == first.on;
  if (!is_on && value != found->off && value != first.off) {
    throw Error(
        fmt::format("unknown {} '{}'; choose one of {}, {}", part, value, found->off, found->on));
  }
  recipe.*found->member = is_on;
}

std::string recipe_to_json(const Recipe& recipe) {
  nlohmann::ordered_json object;
  object[std::string(kGeluSchemePart)] =
      kGeluSchemesInFiles.at(static_cast<std::size_t>(recipe.gelu_quant_scheme));
  for (const RecipePart& part : kRecipeParts) {
    const RecipePartNames names = part.names_in_files();
    object[std::string(names.name)] = recipe.*part.member ? names.on : names.off;
  }
  if (recipe.reconstruction_steps > 0) {  // files without it have no such key
    object[std::string(kReconstructionPart)] = fmt::to_string(recipe.reconstruction_steps);
  }
  return object.dump();
}

Recipe parse_recipe(std::string_view json_text, const std::string& where) {
  const auto object = nlohmann::json::parse(json_text, nullptr, false);
  if (!object.is_object()) {
    throw Error(fmt::format("{}: its recipe is not a JSON object", where));
  }
  Recipe recipe;
  for (const auto& [part, value] : object.items()) {
    if (!value.is_string()) {
      throw Error(fmt::format("{}: its recipe's '{}' is not a string", where, part));
    }
    try {
      set_recipe_part(recipe, part, value.get<std::string>());
    } catch (const Error& error) {
      throw Error(fmt::format("{}: {}", where, error.what()));
    }
  }
  return recipe;
}

}  // namespace bitlog2
