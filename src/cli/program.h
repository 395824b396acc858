// The frame of both programs: reads the command line, turns errors into one line on stderr, and
// chooses the exit code.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace bitlog2::cli {

/// Parses the command line by `app`, calls `body` and writes out its results. Returns the exit
/// code: what `body` returns; 0 after --help; 2 after wrong arguments; 1 after an Error, when
/// memory runs out, or when results cannot be written to stdout; interrupted_exit() after
/// Interrupted.
int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body);

}  // namespace bitlog2::cli
