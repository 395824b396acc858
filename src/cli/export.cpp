// `bitlog2 export`: a quantized file in a form for machines without a file system.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <memory>

#include "bitlog2/error.h"
#include "cli/c_array.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/options.h"

namespace bitlog2::cli {
namespace {

struct ExportOptions {
  std::string quantized;
  bool c_array = false;
  std::string name;
  Output output;
};

int export_c_array(const ExportOptions& options) {
  if (options.output.to_stdout()) {
    throw Error("-o -: a C array and its header cannot go to stdout; give a file's name");
  }
  const CArray array = {options.output.path, options.name};
  check_c_array(array);
  const std::string header = array.header().string();
  check_outputs({options.output, {"the header of -o", header}}, {options.quantized});
  const std::size_t size = write_c_array(options.quantized, array);
  print(fmt::format("{}, {}: an array of {} bytes\n", printable(options.output.path),
                    printable(header), size));
  return 0;
}

}  // namespace

void add_export(CLI::App& app, std::function<int()>& run) {
  const auto options = std::make_shared<ExportOptions>();
  CLI::App* command =
      app.add_subcommand("export", "Write a quantized file as firmware takes it, as a C array");
  command->add_option("--quantized", options->quantized, "A file made by bitlog2 quantize")
      ->required();
  command->add_flag("--c-array", options->c_array, "As C source, and a header beside it")
      ->required();
  command->add_option("--name", options->name,
                      "The array's name (default: the file's without its ending)");
  add_output_option(*command, "-o,--output", options->output,
                    "The source to write, such as model.c")
      ->required();
  command->callback([options, &run] { run = [options] { return export_c_array(*options); }; });
}

}  // namespace bitlog2::cli
