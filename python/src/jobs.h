// What takes long: calibration, evaluation, comparison.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bitlog2/probe.h"
#include "bitlog2/quantized_model.h"
#include "images.h"
#include "network.h"

namespace bitlog2::python {

/// How calibration is asked for; names as the command line has them.
struct Scheme {
  std::string scheme;
  int w_bits = 4;
  int a_bits = 4;
  std::string recipe;
  std::map<std::string, std::string> parts;
};

/// A sample of a dataset's images.
struct DatasetSample {
  std::filesystem::path path;
  std::size_t count = 32;
  std::uint64_t seed = 0;
};

/// What a calibration takes and leaves.
struct CalibrationLimits {
  std::optional<std::size_t> memory_bytes;  ///< of what is kept of images; a file has the rest
  bool keep_simulation = false;             ///< for compare_networks
};

/// The quantized network. `images` are crops (Network::read) and go; `notes` are lines for people
/// that go with the network; `progress(done, total)` is told of layers. Throws Error for settings
/// that there are not.
std::unique_ptr<Network> quantize(Network& model, Images& images, const Scheme& scheme,
                                  const std::vector<std::string>& notes,
                                  const CalibrationLimits& limits,
                                  const nanobind::object& progress);

/// The same from a dataset, whose damaged images are replaced, as `bitlog2 quantize` does it.
std::unique_ptr<Network> quantize_with_dataset(Network& model, const DatasetSample& sample,
                                               const Scheme& scheme,
                                               const CalibrationLimits& limits,
                                               const nanobind::object& progress);

/// Which images of a dataset accuracy is measured on.
struct EvaluationRequest {
  std::filesystem::path dataset;
  std::filesystem::path class_map;
  std::size_t limit = 0;   ///< the first so many; 0: all
  std::size_t sample = 0;  ///< so many, spread over the classes; 0: all
  std::uint64_t seed = 0;
  bool strict = false;
};

/// Accuracy as a dict. `progress(done, total)` is told of images.
nanobind::dict evaluate_network(Network& network, const EvaluationRequest& request,
                                const nanobind::object& progress);

/// Accuracy of an encoder by probes that learn from the dataset's training images, a dict for each.
nanobind::list evaluate_probes(Network& encoder, const EvaluationRequest& request,
                               const ProbeRequest& probes, const nanobind::object& progress);

/// The quantized network beside the float one, and its simulation where it was kept, layer by
/// layer, as a list of dicts.
nanobind::list compare_networks(Network& model, Network& quantized, const Images& images,
                                const nanobind::object& progress);

}  // namespace bitlog2::python
