// The words of a command line: spellings that people use are taken, and a word that is not known is
// answered with the one that may be meant.
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
/// means stdout. Throws CLI::ValidationError if the next word then is nothing that is there.
std::vector<std::string> parser_order(int argc, const char* const* argv, const CLI::App& app);

/// What is wrong with the arguments, as one phrase: unknown words in the order in which they were
/// given, with the known one that is nearest.
std::string explain(const CLI::App& app, const CLI::ParseError& error);

}  // namespace bitlog2::cli
