// The program `bitlog2`.
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <functional>

#include "cli/commands.h"
#include "cli/program.h"

int main(int argc, char** argv) {
  CLI::App app(
      "Quantize vision transformers to 4 bits, run them in integers, measure what that costs.",
      "bitlog2");
  app.require_subcommand(1);
  app.set_version_flag("--version", BITLOG2_VERSION);
  std::function<int()> run;
  bitlog2::cli::add_eval(app, run);
  bitlog2::cli::add_quantize(app, run);
  bitlog2::cli::add_predict(app, run);
  bitlog2::cli::add_embed(app, run);
  bitlog2::cli::add_compare(app, run);
  bitlog2::cli::add_bench(app, run);
  bitlog2::cli::add_inspect(app, run);
  bitlog2::cli::add_ablate(app, run);
  bitlog2::cli::add_report(app, run);
  bitlog2::cli::add_export(app, run);
  return bitlog2::cli::run_program(app, argc, argv, [&] { return run(); });
}
