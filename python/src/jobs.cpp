#include "jobs.h"

#include <fmt/format.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "bitlog2/calibrate.h"
#include "bitlog2/dataset.h"
#include "bitlog2/distance.h"
#include "bitlog2/encoder.h"
#include "bitlog2/error.h"
#include "bitlog2/evaluate.h"
#include "bitlog2/integer.h"
#include "bitlog2/probe.h"
#include "interrupts.h"

namespace bitlog2::python {
namespace {

namespace nb = nanobind;

QuantizationSettings settings_of(const Scheme& scheme) {
  const auto check_bits = [](const char* name, int bits) {
    if (bits < kMinBits || bits > kMaxBits) {
      throw Error(fmt::format("{} is {}; give {} to {}", name, bits, kMinBits, kMaxBits));
    }
  };
  check_bits("w_bits", scheme.w_bits);
  check_bits("a_bits", scheme.a_bits);
  Recipe recipe = find_recipe(scheme.recipe);
  for (const auto& [part, value] : scheme.parts) {
    set_recipe_part(recipe, part, value);
  }
  return {scheme.w_bits, scheme.a_bits, find_attention_scheme(scheme.scheme), recipe};
}

/// Lines about a dataset, for the user.
using Notes = std::vector<std::string>;

/// While it exists, the pool's loops end when the job must end.
class StoppingPool {
 public:
  StoppingPool(ThreadPool& pool, const Job& job) : pool_(pool) { pool_.stop_at(&job.stop); }
  ~StoppingPool() { pool_.stop_at(nullptr); }
  StoppingPool(const StoppingPool&) = delete;
  StoppingPool& operator=(const StoppingPool&) = delete;

 private:
  ThreadPool& pool_;
};

CalibrationImages crops_of(const DatasetSample& sample, const Network& model, ThreadPool& pool) {
  const ModelConfig& config = model.config();
  const DatasetSplits splits = open_dataset({.path = sample.path,
                                             .num_classes = static_cast<int>(config.num_classes),
                                             .calibration_images = sample.count,
                                             .seed = sample.seed,
                                             .class_names = model.class_names(),
                                             .labelled = false});
  return read_calibration(splits, config.preprocessing, pool, /*strict=*/false);
}

/// Calibrates and lowers; `read` returns the crops.
template <class Read>
std::unique_ptr<Network> calibrate_and_lower(Network& network, const Scheme& scheme,
                                             const CalibrationLimits& limits,
                                             const nb::object& progress, Read read) {
  const QuantizationSettings settings = settings_of(scheme);
  const Model& model = network.model();
  std::unique_ptr<Network> quantized;
  run_job(progress, [&](const Job& job) {
    network.workers().with_pool([&](ThreadPool& pool) {
      const StoppingPool stopping(pool, job);
      const CalibrationImages images = read(pool);
      const auto report = [&](std::size_t done, std::size_t total) {
        if (job.stop) {
          throw Stopped();
        }
        job.report(done, total);
      };
      CalibrationContext context = {.progress = report, .image_names = images.names};
      context.memory_bytes = limits.memory_bytes.value_or(context.memory_bytes);
      Calibration calibration = calibrate(model, settings, images.crops, pool, context);
      quantized = std::make_unique<Network>(
          IntegerEngine::from_bytes(lower(calibration.quantized, network.class_names()),
                                    model.config.name),
          network.workers().threads(), images.replaced);
      if (limits.keep_simulation) {
        quantized->keep_simulation(std::move(calibration.quantized));
      }
    });
  });
  return quantized;
}

Dataset subset_of(const Dataset& images, const EvaluationRequest& request) {
  if (request.sample > 0) {
    return images.sample_by_class(request.sample, request.seed);
  }
  if (request.limit == 0 || request.limit >= images.size()) {
    return images;
  }
  std::vector<std::size_t> first(request.limit);
  std::iota(first.begin(), first.end(), std::size_t{0});
  return images.subset(first);
}

/// A float, or None for NaN.
nb::object number(double value) {
  return std::isnan(value) ? nb::object(nb::none()) : nb::object(nb::float_(value));
}

nb::dict as_dict(const Evaluation& evaluation, const Notes& notes) {
  nb::dict result;
  result["images"] = evaluation.accuracy.images;
  result["top1"] = evaluation.accuracy.top1();
  result["top5"] = evaluation.accuracy.top5();
  result["loss"] = number(evaluation.accuracy.loss());
  result["seconds"] = evaluation.seconds;
  result["skipped"] = evaluation.skipped;
  result["notes"] = notes;
  return result;
}

nb::dict as_dict(const ProbeResult& probe, const ProbeResults& results, const Notes& notes) {
  const bool linear = probe.neighbours == 0;
  nb::dict result;
  result["probe"] = linear ? "linear" : "knn";
  result["neighbours"] = linear ? nb::object(nb::none()) : nb::object(nb::int_(probe.neighbours));
  result["penalty"] = linear ? nb::object(nb::float_(probe.penalty)) : nb::object(nb::none());
  result["training_images"] = results.training_images;
  result["training_skipped"] = results.skipped;
  result.update(as_dict(probe.evaluation, notes));
  return result;
}

/// Distances between two ways to run a network, with the names of `bitlog2 compare --json`.
using LayerDistances = std::map<std::string, Distance>;

/// Collects the distances of a quantized network's layers, in order of execution.
class LayerComparison {
 public:
  LayerComparison(const Model& model, const Network& quantized, ThreadPool& pool)
      : exact_(in_recipe_coordinates(model, quantized.integer().info().settings.recipe, pool)),
        engine_(quantized.integer()),
        simulation_(quantized.simulation()) {
    if (simulation_ != nullptr) {
      weights_quantized_ = with_quantized_weights(*simulation_);
    }
  }

  void add(const RgbImage& crop, ThreadPool& pool) {
    const std::vector<float> image =
        normalised_batch(std::span(&crop, 1), exact_.config.preprocessing);
    Outputs floats;
    run_fp32(exact_, image, pool, collect_into(floats));
    Outputs simulated;
    if (simulation_ != nullptr) {
      run_simulated(weights_quantized_, simulation_->quantizers, image, pool,
                    collect_into(simulated));
    }
    engine_.observe(crop, [&](const std::string& layer, std::span<const float> values) {
      if (!distances_.contains(layer)) {
        order_.push_back(layer);
      }
      LayerDistances& distances = distances_[layer];
      distances["integer_to_fp32"].add(floats.at(layer), values);
      if (simulation_ != nullptr) {
        distances["integer_to_simulated"].add(simulated.at(layer), values);
        distances["simulated_to_fp32"].add(floats.at(layer), simulated.at(layer));
      }
    });
  }

  nb::list rows() const {
    nb::list rows;
    for (const std::string& layer : order_) {
      nb::dict row;
      row["layer"] = layer;
      for (const auto& [name, distance] : distances_.at(layer)) {
        row[(name + "_db").c_str()] = distance.decibels();
        row[(name + "_cosine").c_str()] = distance.cosine();
      }
      rows.append(row);
    }
    return rows;
  }

 private:
  using Outputs = std::map<std::string, std::vector<float>>;

  static LayerObserver collect_into(Outputs& outputs) {
    return [&outputs](const std::string& layer, std::span<const float> values) {
      outputs[layer].assign(values.begin(), values.end());
    };
  }

  Model exact_;
  Model weights_quantized_;
  const IntegerEngine& engine_;
  const QuantizedModel* simulation_;
  std::vector<std::string> order_;
  std::map<std::string, LayerDistances> distances_;
};

/// Throws Error unless both configs are of the same network.
void check_same_network(const ModelConfig& model, const ModelConfig& quantized) {
  const auto shape = [](const ModelConfig& config) {
    return std::tuple(config.family, config.img_size, config.patch_size, config.embed_dim,
                      config.depths, config.num_heads, config.num_classes, config.pooling);
  };
  if (shape(model) != shape(quantized)) {
    throw Error(fmt::format(
        "{} and {} are different networks; compare a model with what was quantized of it",
        config_to_json(model), config_to_json(quantized)));
  }
}

}  // namespace

std::unique_ptr<Network> quantize(Network& model, Images& images, const Scheme& scheme,
                                  const std::vector<std::string>& notes,
                                  const CalibrationLimits& limits, const nb::object& progress) {
  return calibrate_and_lower(model, scheme, limits, progress, [&](ThreadPool&) {
    return CalibrationImages{images.take_crops(), {}, notes};
  });
}

std::unique_ptr<Network> quantize_with_dataset(Network& model, const DatasetSample& sample,
                                               const Scheme& scheme,
                                               const CalibrationLimits& limits,
                                               const nb::object& progress) {
  return calibrate_and_lower(model, scheme, limits, progress,
                             [&](ThreadPool& pool) { return crops_of(sample, model, pool); });
}

nb::dict evaluate_network(Network& network, const EvaluationRequest& request,
                          const nb::object& progress) {
  Evaluation evaluation;
  Notes notes;
  run_job(progress, [&](const Job& job) {
    const ModelConfig& config = network.config();
    const DatasetSplits splits = open_dataset({.path = request.dataset,
                                               .num_classes = static_cast<int>(config.num_classes),
                                               .calibration_images = 0,
                                               .class_names = network.class_names(),
                                               .class_map = request.class_map});
    notes = splits.notes;
    const Dataset images = subset_of(splits.validation, request);
    network.workers().with_pool([&](ThreadPool& pool) {
      evaluation = evaluate(network.engine(), images, pool,
                            {.strict = request.strict,
                             .stop = &job.stop,
                             .report = [&](const EvaluationProgress& reached) {
                               job.report(reached.total.images, images.size());
                             }});
    });
    if (evaluation.accuracy.images == 0 && !job.stop) {
      throw Error(fmt::format("none of the {} images could be read; nothing was evaluated",
                              evaluation.skipped.size()));
    }
  });
  return as_dict(evaluation, notes);
}

nb::list evaluate_probes(Network& encoder, const EvaluationRequest& request,
                         const ProbeRequest& probes, const nb::object& progress) {
  ProbeResults results;
  Notes notes;
  run_job(progress, [&](const Job& job) {
    LabelledSplits splits = open_labelled_splits(request.dataset);
    notes = splits.notes;
    splits.validation = subset_of(splits.validation, request);
    const std::size_t training = splits.training.size();
    const std::size_t total = training + splits.validation.size();
    encoder.workers().with_pool([&](ThreadPool& pool) {
      results =
          measure_probes(encoder.engine(), splits, probes, pool,
                         {.strict = request.strict,
                          .stop = &job.stop,
                          .report = [&](const ProbeProgress& reached) {
                            job.report(reached.done + (reached.training ? 0 : training), total);
                          }});
    });
  });
  nb::list rows;
  for (const ProbeResult& probe : results.probes) {
    Notes all = notes;
    if (!probe.converged) {
      all.emplace_back("the linear probe is near its best, not at it");
    }
    rows.append(as_dict(probe, results, all));
  }
  return rows;
}

nb::list compare_networks(Network& model, Network& quantized, const Images& images,
                          const nb::object& progress) {
  check_same_network(model.model().config, quantized.integer().config());
  std::optional<LayerComparison> comparison;
  run_job(progress, [&](const Job& job) {
    model.workers().with_pool([&](ThreadPool& pool) {
      const StoppingPool stopping(pool, job);
      comparison.emplace(model.model(), quantized, pool);
      for (std::size_t i = 0; i < images.size() && !job.stop; ++i) {
        RgbImage made;
        comparison->add(images.crop(i, made), pool);
        job.report(i + 1, images.size());
      }
    });
  });
  return comparison->rows();
}

}  // namespace bitlog2::python
