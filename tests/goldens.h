// The goldens' cases: what the published implementation computed.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "bitlog2/quantized_model.h"

namespace bitlog2::testing {

inline nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) {
    throw std::runtime_error("cannot open " + path.string());
  }
  return nlohmann::json::parse(file);
}

/// "BitLog2_Half_17.w4a4" as settings.
inline QuantizationSettings settings_of_case(const std::string& name) {
  const std::size_t dot = name.find('.');
  return {name.at(dot + 2) - '0', name.at(dot + 4) - '0',
          find_attention_scheme(name.substr(0, dot))};
}

/// ||a - b|| / ||b||.
inline double relative_l2(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) {
    throw std::runtime_error("tensors of different sizes");
  }
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    norm += static_cast<double>(b[i]) * b[i];
  }
  return std::sqrt(difference / norm);
}

/// delta of a golden's entry, one or one per channel.
inline std::vector<double> golden_deltas(const nlohmann::json& entry) {
  const nlohmann::json& delta = entry.at("delta");
  return delta.is_array() ? delta.get<std::vector<double>>()
                          : std::vector<double>{delta.get<double>()};
}

/// The largest relative difference of any delta, by module name.
inline std::map<std::string, double> delta_differences(const Quantizers& ours,
                                                       const nlohmann::json& golden) {
  std::map<std::string, double> differences;
  for (const auto& [name, entry] : golden.items()) {
    std::vector<double> deltas;
    if (const auto map = ours.attention_maps.find(name); map != ours.attention_maps.end()) {
      deltas = {map->second.front().delta};
    } else {
      const UniformQuantizer& quantizer = ours.uniform.at(name);
      deltas.assign(quantizer.scale.begin(), quantizer.scale.end());
    }
    const std::vector<double> expected = golden_deltas(entry);
    if (deltas.size() != expected.size()) {
      throw std::runtime_error(name + ": another number of channels");
    }
    double& worst = differences[name];
    for (std::size_t i = 0; i < deltas.size(); ++i) {
      worst = std::max(worst, std::abs(deltas[i] / expected[i] - 1));
    }
  }
  return differences;
}

}  // namespace bitlog2::testing
