#include "bitlog2/recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bitlog2/error.h"

namespace bitlog2 {

Recipe find_recipe(std::string_view name) {
  Recipe recipe;
  if (name == "best") {
    recipe.gelu_scheme = Recipe::GeluScheme::code_book;
    for (const RecipePart& part : kRecipeParts) {
      recipe.*part.member = part.in_best;
    }
  } else if (name != "repq") {
    throw Error(fmt::format("unknown recipe '{}'; choose one of repq, best", name));
  }
  return recipe;
}

void set_recipe_part(Recipe& recipe, std::string_view part, std::string_view value) {
  if (part == kGeluSchemePart) {
    const auto* const scheme = std::ranges::find(kGeluSchemes, value);
    if (scheme == kGeluSchemes.end()) {
      throw Error(fmt::format("unknown {} '{}'; choose one of {}", part, value,
                              fmt::join(kGeluSchemes, ", ")));
    }
    recipe.gelu_scheme = static_cast<Recipe::GeluScheme>(scheme - kGeluSchemes.begin());
    return;
  }
  const auto* const found = std::ranges::find(kRecipeParts, part, &RecipePart::name);
  if (found == kRecipeParts.end()) {
    throw Error(fmt::format("unknown part '{}' of a recipe", part));
  }
  if (value != found->off && value != found->on) {
    throw Error(
        fmt::format("unknown {} '{}'; choose one of {}, {}", part, value, found->off, found->on));
  }
  recipe.*found->member = value == found->on;
}

std::string recipe_to_json(const Recipe& recipe) {
  nlohmann::ordered_json object;
  object[std::string(kGeluSchemePart)] = kGeluSchemes[static_cast<std::size_t>(recipe.gelu_scheme)];
  for (const RecipePart& part : kRecipeParts) {
    object[std::string(part.name)] = recipe.*part.member ? part.on : part.off;
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
