// The subcommands of `bitlog2`: each declares its options and sets the function to run.
#pragma once

#include <CLI/App.hpp>
#include <functional>

namespace bitlog2::cli {

/// Each adds a subcommand to `app`. When the subcommand is chosen, it sets `run` to its work; `run`
/// returns the exit code.
void add_eval(CLI::App& app, std::function<int()>& run);
void add_quantize(CLI::App& app, std::function<int()>& run);
void add_predict(CLI::App& app, std::function<int()>& run);
void add_embed(CLI::App& app, std::function<int()>& run);
void add_compare(CLI::App& app, std::function<int()>& run);
void add_bench(CLI::App& app, std::function<int()>& run);
void add_inspect(CLI::App& app, std::function<int()>& run);
void add_ablate(CLI::App& app, std::function<int()>& run);
void add_report(CLI::App& app, std::function<int()>& run);
void add_export(CLI::App& app, std::function<int()>& run);

}  // namespace bitlog2::cli
