// `bitlog2 export`: a quantized file as firmware and browsers take it.
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
#include "cli/web_page.h"

namespace bitlog2::cli {
namespace {

struct ExportOptions {
  std::string quantized;
  bool c_array = false;
  std::string name;
  Output output;
  std::string web;  // a folder; empty: not asked for
};

int export_c_array(const ExportOptions& options) {
  if (!options.output.wanted()) {
    throw Error("--c-array needs -o, the source to write, such as model.c");
  }
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

int export_web_page(const ExportOptions& options) {
  if (options.output.wanted() || !options.name.empty()) {
    throw Error("-o and --name are for --c-array; --web names the page's folder");
  }
  const std::size_t size = write_web_page(options.quantized, options.web);
  print(fmt::format("{}: a page of {} bytes, which a browser opens as it is\n",
                    printable(web_page_files(options.web).front().string()), size));
  return 0;
}

}  // namespace

void add_export(CLI::App& app, std::function<int()>& run) {
  const auto options = std::make_shared<ExportOptions>();
  CLI::App* command =
      app.add_subcommand("export", "Write a quantized file as firmware or a browser takes it");
  command->add_option("--quantized", options->quantized, "A file made by bitlog2 quantize")
      ->required();
  auto* form = command->add_option_group("form");
  form->require_option(1);
  form->add_flag("--c-array", options->c_array, "As C source, and a header beside it");
  form->add_option("--web", options->web, "As a page, in this folder, that classifies photographs");
  command->add_option("--name", options->name,
                      "The array's name (default: the file's without its ending)");
  add_output_option(*command, "-o,--output", options->output,
                    "The source to write, such as model.c");
  command->callback([options, &run] {
    run = [options] {
      return options->c_array ? export_c_array(*options) : export_web_page(*options);
    };
  });
}

}  // namespace bitlog2::cli
