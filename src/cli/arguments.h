// The arguments of a command line: other usual spellings are accepted, and for an unknown word the
// message suggests the nearest known one.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace bitlog2::cli {

/// The arguments as CLI::App::parse takes them, the last first. Options of `app` and its
/// subcommands may be written with underscores for hyphens. `--json` takes a file's name as its
/// next word if that is "-" or ends in ".json", or if the subcommand takes no other words; else it
/// means stdout. Throws CLI::ValidationError if the next word is then no existing input.
std::vector<std::string> parser_order(int argc, const char* const* argv, const CLI::App& app);

/// What is wrong with the arguments, as one phrase: unknown words in their order, each with the
/// nearest known one.
std::string explain(const CLI::App& app, const CLI::ParseError& error);

}  // namespace bitlog2::cli
