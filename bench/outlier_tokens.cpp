// bench_outlier_tokens MODEL SIDE IMAGES CALIBRATION [N]: which tokens of the residual stream are
// far larger than the others (attention sinks), and how quantization changes them.
//
// A token is far if its norm is more than kFar times the median norm of its image's tokens. After
// each block, over N images (32) of the folder IMAGES: the mean of the median norms, the largest
// norm as a multiple of the median, how often the first token is far, and how many other tokens of
// an image are. Then, for the far tokens and for the others, the signal-to-noise ratio of the
// stream in the simulated network (`best`, calibrated on 32 images of the folder CALIBRATION).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bitlog2/calibrate.h"
#include "bitlog2/dataset.h"
#include "bitlog2/engine.h"
#include "bitlog2/error.h"
#include "bitlog2/load.h"

namespace {

using namespace bitlog2;

constexpr double kFar = 3;  // times the median norm of an image's tokens
constexpr std::size_t kCalibrationImages = 32;

struct Setting {
  const char* name;
  int w_bits;
  int a_bits;
};
constexpr Setting kSettings[] = {{"W8A8", 8, 8}, {"W4A8", 4, 8}, {"W4A4", 4, 4}};

/// Squared errors and squared norms of some tokens.
struct Error2 {
  double error = 0;
  double size = 0;

  std::string decibels() const {
    return size > 0 ? fmt::format("{:.1f}", 10 * std::log10(size / std::max(error, 1e-30))) : "-";
  }
};

/// Sums over all images after one block.
struct BlockTokens {
  std::size_t images = 0;
  std::size_t first_is_far = 0;
  std::size_t far = 0;  // number of other far tokens
  double median = 0;    // sum of the images' median norms
  double largest = 0;   // largest norm, as a multiple of its image's median
  std::vector<std::pair<Error2, Error2>> errors{std::size(kSettings)};  // far tokens, others
};

std::vector<double> norms_of(std::span<const float> stream, std::size_t channels) {
  std::vector<double> norms;
  for (std::size_t start = 0; start < stream.size(); start += channels) {
    double square = 0;
    for (const float value : stream.subspan(start, channels)) {
      square += static_cast<double>(value) * value;
    }
    norms.push_back(std::sqrt(square));
  }
  return norms;
}

double median_of(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

using Streams = std::map<std::string, std::vector<float>>;

LayerObserver keep_streams(Streams& streams) {
  return [&streams](const std::string& layer, std::span<const float> values) {
    if (layer.ends_with("fc2")) {
      streams[layer].assign(values.begin(), values.end());
    }
  };
}

/// Adds one image's stream after a block, in float and with each setting.
void add(BlockTokens& block, std::span<const float> exact,
         const std::vector<std::span<const float>>& quantized, std::size_t channels) {
  const std::vector<double> norms = norms_of(exact, channels);
  const double median = median_of(norms);
  ++block.images;
  block.median += median;
  for (std::size_t token = 0; token < norms.size(); ++token) {
    const bool is_far = norms[token] > kFar * median;
    block.largest = std::max(block.largest, norms[token] / median);
    (token == 0 ? block.first_is_far : block.far) += is_far ? 1 : 0;
    for (std::size_t i = 0; i < quantized.size(); ++i) {
      Error2& sum = is_far ? block.errors[i].first : block.errors[i].second;
      for (std::size_t c = token * channels; c < (token + 1) * channels; ++c) {
        const double difference = static_cast<double>(quantized[i][c]) - exact[c];
        sum.error += difference * difference;
        sum.size += static_cast<double>(exact[c]) * exact[c];
      }
    }
  }
}

std::vector<RgbImage> crops_of(const std::string& folder, const Preprocessing& preprocessing,
                               std::size_t count, ThreadPool& pool) {
  DatasetSplits splits;
  calibrate_on_folder(folder, {.path = folder, .calibration_images = count}, splits);
  return read_calibration(splits, preprocessing, pool, false).crops;
}

void measure(const ModelSource& source, const std::string& images, const std::string& calibration,
             std::size_t count) {
  ThreadPool pool(2);
  const Model model = load_model(source).model;
  const auto calibration_crops =
      crops_of(calibration, model.config.preprocessing, kCalibrationImages, pool);
  const auto crops = crops_of(images, model.config.preprocessing, count, pool);
  const Recipe best = find_recipe("best");
  const Model exact = in_recipe_coordinates(model, best, pool);
  std::vector<QuantizedModel> quantized;
  std::vector<Model> rounded;
  for (const Setting& setting : kSettings) {
    quantized.push_back(
        calibrate(model,
                  {setting.w_bits, setting.a_bits, find_attention_scheme("BitLog2_Half_16"), best},
                  calibration_crops, pool)
            .quantized);
    rounded.push_back(with_quantized_weights(quantized.back()));
  }
  std::map<std::string, BlockTokens> blocks;
  std::vector<std::string> order;
  for (const Stage& stage : exact.stages) {
    for (const Block& block : stage.blocks) {
      order.push_back(block.fc2.name);
    }
  }
  for (const RgbImage& crop : crops) {
    const auto image = normalised_batch(std::span(&crop, 1), exact.config.preprocessing);
    Streams of_float;
    run_fp32(exact, image, pool, keep_streams(of_float));
    std::vector<Streams> of_quantized(quantized.size());
    for (std::size_t i = 0; i < quantized.size(); ++i) {
      run_simulated(rounded[i], quantized[i].quantizers, image, pool,
                    keep_streams(of_quantized[i]));
    }
    for (const auto& [layer, stream] : of_float) {
      std::vector<std::span<const float>> others;
      for (const Streams& streams : of_quantized) {
        others.emplace_back(streams.at(layer));
      }
      add(blocks[layer], stream, others, exact.config.embed_dim);
    }
  }
  fmt::print(
      "| behind | median norm | largest, in medians | first token far | other tokens far, an "
      "image |");
  for (const Setting& setting : kSettings) {
    fmt::print(" {0}: far, dB | {0}: others, dB |", setting.name);
  }
  fmt::print("\n|---|---|---|---|---|---|---|---|---|---|---|\n");
  for (const std::string& layer : order) {
    const BlockTokens& block = blocks.at(layer);
    const auto images_seen = static_cast<double>(block.images);
    fmt::print("| {} | {:.1f} | {:.1f} | {:.0f}% | {:.2f} |", layer.substr(0, layer.find(".mlp")),
               block.median / images_seen, block.largest,
               100 * static_cast<double>(block.first_is_far) / images_seen,
               static_cast<double>(block.far) / images_seen);
    for (const auto& [far, others] : block.errors) {
      fmt::print(" {} | {} |", far.decibels(), others.decibels());
    }
    fmt::print("\n");
  }
}

std::optional<std::size_t> whole_number(std::string_view text) {
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(number)
                                                                  : std::nullopt;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto side = argc > 2 ? whole_number(argv[2]) : std::nullopt;
    const auto count = argc == 6 ? whole_number(argv[5]) : std::optional<std::size_t>(32);
    if ((argc != 5 && argc != 6) || !side || count.value_or(0) == 0) {
      fmt::print(stderr, "usage: bench_outlier_tokens MODEL SIDE IMAGES CALIBRATION [N]\n");
      return 2;
    }
    measure({.model = argv[1], .image_size = *side}, argv[3], argv[4], *count);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_outlier_tokens: error: {}\n", error.what());
    return 1;
  }
}
