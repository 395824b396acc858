// The work that takes long: calibration, evaluation, comparison.
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

/// The settings of calibration, with the names of the command line.
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

/// The memory of a calibration, and whether the simulation is kept.
struct CalibrationLimits {
  std::optional<std::size_t> memory_bytes;  ///< for activations; a file holds the rest
  bool keep_simulation = false;             ///< for compare_networks
};

/// The quantized network. `images` must be crops (Network::read) and are moved out; `notes` are
/// lines for the user, which the network keeps; `progress(done, total)` counts layers. Throws Error
/// for unknown settings.
std::unique_ptr<Network> quantize(Network& model, Images& images, const Scheme& scheme,
                                  const std::vector<std::string>& notes,
                                  const CalibrationLimits& limits,
                                  const nanobind::object& progress);

/// Quantizes with a dataset; damaged images are replaced as in `bitlog2 quantize`.
std::unique_ptr<Network> quantize_with_dataset(Network& model, const DatasetSample& sample,
                                               const Scheme& scheme,
                                               const CalibrationLimits& limits,
                                               const nanobind::object& progress);

/// The images of a dataset on which accuracy is measured.
struct EvaluationRequest {
  std::filesystem::path dataset;
  std::filesystem::path class_map;
  std::size_t limit = 0;   ///< number of first images; 0: all
  std::size_t sample = 0;  ///< number of images, spread over the classes; 0: all
  std::uint64_t seed = 0;
  bool strict = false;
};

/// Accuracy as a dict. `progress(done, total)` counts images.
nanobind::dict evaluate_network(Network& network, const EvaluationRequest& request,
                                const nanobind::object& progress);

/// Accuracy of an encoder by probes that learn from the dataset's training images; a dict for each.
nanobind::list evaluate_probes(Network& encoder, const EvaluationRequest& request,
                               const ProbeRequest& probes, const nanobind::object& progress);

/// Compares the quantized network with the float one and, if it was kept, with its simulation,
/// layer by layer, as a list of dicts.
nanobind::list compare_networks(Network& model, Network& quantized, const Images& images,
                                const nanobind::object& progress);

}  // namespace bitlog2::python
