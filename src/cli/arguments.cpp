#include "cli/arguments.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <filesystem>
#include <system_error>

#include "cli/output.h"
#include "io/nearest_word.h"

namespace bitlog2::cli {
namespace {

bool is_long_option(std::string_view word) {
  return word.starts_with("--") && word.size() > 2;
}

/// The name in "--name=value".
std::string_view option_name(std::string_view word) {
  return word.substr(0, word.find('='));
}

bool has_option(const CLI::App& command, std::string_view name) {
  return command.get_option_no_throw(std::string(name)) != nullptr;
}

/// The word with underscores for hyphens, or the reverse, if `command` has this option and not the
/// word's own.
std::string known_spelling(const CLI::App& command, std::string word) {
  const std::string name(option_name(word));
  if (!is_long_option(word) || has_option(command, name)) {
    return word;
  }
  for (const auto& [from, to] : {std::pair('_', '-'), std::pair('-', '_')}) {
    std::string other = name;
    std::replace(other.begin() + 2, other.end(), from, to);
    if (has_option(command, other)) {
      return other + word.substr(name.size());
    }
  }
  return word;
}

const CLI::App* find_subcommand(const CLI::App& app, const std::string& name) {
  const auto named = app.get_subcommands(
      [&](const CLI::App* subcommand) { return subcommand->get_name() == name; });
  return named.empty() ? nullptr : named.front();
}

/// True if `command` takes words that are no options.
bool takes_positionals(const CLI::App& command) {
  return std::ranges::any_of(command.get_options(),
                             [](const CLI::Option* option) { return option->get_positional(); });
}

bool is_json_target(const CLI::App& command, std::string_view word) {
  return word == "-" || word.ends_with(".json") || word.ends_with(".JSON") ||
         (!takes_positionals(command) && !word.starts_with('-'));
}

/// Throws CLI::ValidationError for a word behind --json that `command` would take for an input, but
/// that is none.
void check_is_input(std::string_view word) {
  std::error_code unreadable;
  if (word.starts_with('-') || std::filesystem::exists(word, unreadable) || unreadable) {
    return;
  }
  throw CLI::ValidationError(
      "--json", fmt::format("'{}' is no file that is there; to write to it, give --json={} or a "
                            "name that ends in .json",
                            word, word));
}

std::vector<std::string> long_options(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      names.push_back("--" + name);
    }
  }
  return names;
}

std::vector<std::string> subcommand_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

std::string suggestion(std::string_view word, const std::vector<std::string>& candidates) {
  const std::vector<std::string_view> known(candidates.begin(), candidates.end());
  const std::string_view nearest = nearest_word(word, known);
  return nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest);
}

std::string explain_unknown(const CLI::App& app, const std::vector<std::string>& words) {
  const auto chosen = app.get_subcommands();
  const CLI::App& command = chosen.empty() ? app : *chosen.front();
  const std::string& first = words.front();
  const std::string where = chosen.empty() ? "" : fmt::format(" to {}", command.get_name());
  if (option_name(first) == "--device") {
    return fmt::format("there is no --device{}: everything runs on the CPU; leave it out", where);
  }
  if (first.starts_with('-') && has_option(command, option_name(first))) {
    return fmt::format("option {} stands behind --, where no options are", option_name(first));
  }
  if (first.starts_with('-')) {
    return fmt::format("option {} is unknown{}{}", option_name(first), where,
                       suggestion(option_name(first), long_options(command)));
  }
  if (chosen.empty() && !subcommand_names(app).empty()) {
    const std::string meant = suggestion(first, subcommand_names(app));
    return fmt::format("'{}' is no subcommand{}", first,
                       meant.empty()
                           ? fmt::format("; there are {}", fmt::join(subcommand_names(app), ", "))
                           : meant);
  }
  return fmt::format("{} {} not expected{}", fmt::join(words, " "),
                     words.size() == 1 ? "was" : "were", where);
}

}  // namespace

std::vector<std::string> parser_order(int argc, const char* const* argv, const CLI::App& app) {
  const std::vector<std::string> given(argv + 1, argv + argc);
  std::vector<std::string> words;
  const CLI::App* command = &app;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const CLI::App* subcommand = find_subcommand(app, given[i]);
    if (command == &app && subcommand != nullptr) {
      command = subcommand;
      words.push_back(given[i]);
    } else if (given[i] == "--") {
      words.insert(words.end(), given.begin() + static_cast<std::ptrdiff_t>(i), given.end());
      break;
    } else if (given[i] == "--json" && has_option(*command, "--json")) {
      const bool named = i + 1 < given.size() && is_json_target(*command, given[i + 1]);
      if (!named && i + 1 < given.size()) {
        check_is_input(given[i + 1]);
      }
      const std::string target = named ? given[++i] : kStandardOutput;
      words.emplace_back("--json");
      words.push_back(target);
    } else {
      words.push_back(known_spelling(*command, given[i]));
    }
  }
  std::ranges::reverse(words);
  return words;
}

std::string explain(const CLI::App& app, const CLI::ParseError& error) {
  const auto is = [&](CLI::ExitCodes code) {
    return error.get_exit_code() == static_cast<int>(code);
  };
  const std::vector<std::string> unknown = app.remaining(true);
  // An unknown word may have been meant for the required one.
  if ((is(CLI::ExitCodes::ExtrasError) || is(CLI::ExitCodes::RequiredError)) && !unknown.empty()) {
    return explain_unknown(app, unknown);
  }
  return error.what();
}

}  // namespace bitlog2::cli
