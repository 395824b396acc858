#include "cli/eval_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "bitlog2/error.h"

namespace bitlog2::cli {

void add_eval_options(CLI::App& command, EvalOptions& options) {
  add_model_options(command, options.model);
  command.add_option("--quantized", options.quantized,
                     "A file made by bitlog2 quantize, run by the integer engine");
  add_calibration_options(command, options.calibration);
  command.add_option("--w-bits", options.w_bits, "Bits of weights; several: 4,6")
      ->delimiter(',')
      ->check(whole_number(kMinBits, kMaxBits))
      ->capture_default_str();
  command.add_option("--a-bits", options.a_bits, "Bits of activations; several: 4,6")
      ->delimiter(',')
      ->check(whole_number(kMinBits, kMaxBits))
      ->capture_default_str();
  command
      .add_option("--log-quant-scheme", options.schemes,
                  "Attention-map quantizers, several, or 'all' that are published: " +
                      attention_scheme_names())
      ->delimiter(',')
      ->capture_default_str();
  add_recipe_options(command, options.recipe);
  command.add_option("--engine", options.engines, "One or several of fp32, simulate, integer")
      ->delimiter(',')
      ->check(CLI::IsMember({"fp32", "simulate", "integer"}))
      ->capture_default_str();
  command.add_option("--val-batchsize", options.val_batchsize, "Images between progress reports")
      ->check(whole_number(1, 65536))
      ->capture_default_str();
  add_subset_options(command, options.subset);
  add_pool_option(command, options.pool);
  command
      .add_option("--knn", options.neighbours,
                  "Of an encoder: accuracy by K nearest neighbours among train/")
      ->type_name("K")
      ->check(whole_number(1, 1 << 20));
  command.add_flag("--linear-probe", options.linear_probe,
                   "Of an encoder: accuracy of a linear layer that is fitted to train/");
  add_json_option(command, options.json, "Write the table");
  add_output_option(command, "--dump-quantizers", options.dump_quantizers,
                    "Write every scale and zero point as JSON ('-': to stdout, without the table)");
}

void check_eval_options(const CLI::App& command, const EvalOptions& options) {
  if (!options.quantized.empty()) {
    refuse_what_the_file_decides(command, options.quantized);
  }
  refuse_what_no_engine_heeds(command);
  if (!options.pool.empty() && !options.probes()) {
    throw Error(
        "--pool makes an encoder of the model; add --knn K or --linear-probe, or leave it out");
  }
  if (options.probes() && !options.calibration.class_map.empty()) {
    throw Error(
        "--class-map numbers the classes of a model; --knn and --linear-probe take those of "
        "train/; leave it out");
  }
}

/// Every quantized case that the options ask for: bit widths, then schemes.
std::vector<QuantizationSettings> quantized_cases(const EvalOptions& options) {
  std::vector<AttentionScheme> schemes;
  for (const std::string& name : options.schemes) {
    if (name == "all") {
      std::ranges::copy_if(kAttentionSchemes, std::back_inserter(schemes),
                           &AttentionScheme::published);
    } else {
      schemes.push_back(find_attention_scheme(name));
    }
  }
  const std::size_t widths = std::max(options.w_bits.size(), options.a_bits.size());
  const auto pick = [&](const std::vector<int>& bits, const char* option, std::size_t i) {
    if (bits.size() != 1 && bits.size() != widths) {
      throw Error(fmt::format("{} has {} entries, the other width has {}; give as many, or one",
                              option, bits.size(), widths));
    }
    return bits.size() == 1 ? bits[0] : bits[i];
  };
  std::vector<QuantizationSettings> cases;
  for (std::size_t i = 0; i < widths; ++i) {
    const int w_bits = pick(options.w_bits, "--w-bits", i);
    const int a_bits = pick(options.a_bits, "--a-bits", i);
    for (const AttentionScheme& scheme : schemes) {
      cases.push_back({w_bits, a_bits, scheme, options.recipe.recipe()});
    }
  }
  return cases;
}

}  // namespace bitlog2::cli
