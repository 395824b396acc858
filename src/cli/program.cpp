#include "cli/program.h"

#include <fmt/format.h>
#include <malloc.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <csignal>
#include <exception>
#include <new>
#include <sstream>

#include "bitlog2/error.h"
#include "cli/arguments.h"
#include "cli/console.h"
#include "cli/interrupt.h"
#include "cli/job.h"
#include "cli/options.h"

namespace bitlog2::cli {
namespace {

/// Tensors come and go with every layer. glibc would give their memory back each time and have
/// it zeroed, page by page, when it takes it again: a sixth of the time of inference.
void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // as large as it may be
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
#endif
}

/// The subcommand that was chosen, else the program itself.
const CLI::App& chosen_command(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app : *chosen.front();
}

/// Whether a smaller value of this option of `command`, if it has it, makes it need less memory.
bool may_be_smaller(const CLI::App& command, const std::string& name) {
  const CLI::Option* option = command.get_option_no_throw(name);
  if (option == nullptr) {
    return false;
  }
  const std::vector<std::string>& values = option->results();
  const auto is = [](const char* number) {
    return [number](const std::string& value) { return value == number; };
  };
  if (!values.empty() && std::ranges::all_of(values, is("1"))) {
    return false;
  }
  if (name == "--threads") {
    const bool all = values.empty() || std::ranges::all_of(values, is("0"));
    return !all || thread_count(0) > 1;
  }
  return calibrates(command);
}

/// Which options of `command` make it need less memory.
std::string memory_advice(const CLI::App& command) {
  std::string advice;
  for (const char* option : {"--calibration-images", "--threads"}) {
    if (may_be_smaller(command, option)) {
      advice += fmt::format("{}{}", advice.empty() ? "; a smaller " : " or ", option);
    }
  }
  return advice.empty() ? "" : advice + " needs less";
}

/// Throws CLI::ValidationError for an option whose value is empty, as an unset variable of a shell
/// leaves it: it is not the same as no option.
void refuse_empty_values(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) {
    const std::vector<std::string>& values = option->results();
    if (option->count() > 0 && std::ranges::find(values, "") != values.end()) {
      throw CLI::ValidationError(option->get_name(), "a value is needed, not ''");
    }
  }
}

/// What `app` says when it was asked for help or its version, or given wrong arguments.
int finish_parsing(CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() != 0) {
    tell(fmt::format("{}: error: {}; see --help", app.get_name(), explain(app, error)));
    return 2;
  }
  hide_kept_options(app);
  std::ostringstream out;
  app.exit(error, out, out);
  print(out.str());
  flush_output();
  return 0;
}

}  // namespace

int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body) {
  occupy_standard_streams();
  keep_freed_memory();
  // Writing beyond a file size limit is then an ordinary write error.
  std::signal(SIGXFSZ, SIG_IGN);
  // If the reader of stderr has gone, the program goes on; print() handles the reader of results.
  std::signal(SIGPIPE, SIG_IGN);
  const std::string program = app.get_name();
  try {
    try {
      app.parse(parser_order(argc, argv, app));
      refuse_empty_values(chosen_command(app));
    } catch (const CLI::ParseError& error) {
      return finish_parsing(app, error);
    }
    const int exit_code = body();
    flush_output();
    return exit_code;
  } catch (const Interrupted&) {
    tell(program + ": interrupted");
    return interrupted_exit();
  } catch (const std::bad_alloc&) {
    tell(fmt::format("{}: error: out of memory{}", program, memory_advice(chosen_command(app))));
  } catch (const std::exception& error) {
    tell(fmt::format("{}: error: {}", program, error.what()));
  }
  return 1;
}

}  // namespace bitlog2::cli
