// The cases of the goldens, which the published implementation computed.
#pragma once

#include <algorithm>
#include <cmath>
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

/// The deltas of a golden's entry: one, or one per channel.
inline std::vector<double> golden_deltas(const nlohmann::json& entry) {
  const nlohmann::json& delta = entry.at("delta");
  return delta.is_array() ? delta.get<std::vector<double>>()
                          : std::vector<double>{delta.get<double>()};
}

/// A quantizer with the parameters of a golden's entry.
inline Quantizer golden_quantizer(const nlohmann::json& entry) {
  if (entry.contains("scheme")) {
    return AttentionQuantizers{{find_attention_scheme(entry.at("scheme").get<std::string>()),
                                entry.at("n_bits").get<int>(), entry.at("delta").get<float>()}};
  }
  const auto floats = [&](const char* field) {
    const nlohmann::json& values = entry.at(field);
    return values.is_array() ? values.get<std::vector<float>>()
                             : std::vector<float>{values.get<float>()};
  };
  return Affine{entry.at("n_bits").get<int>(), floats("delta"), floats("zero_point")};
}

/// Every delta of a quantizer.
inline std::vector<double> deltas_of(const Quantizer& quantizer) {
  std::vector<double> deltas;
  if (const auto* maps = std::get_if<AttentionQuantizers>(&quantizer)) {
    for (const AttentionQuantizer& map : *maps) {
      deltas.push_back(map.delta);
    }
  } else {
    const Affine& affine = std::get<Affine>(quantizer);
    deltas.assign(affine.scale.begin(), affine.scale.end());
  }
  return deltas;
}

/// The largest relative difference of any delta of `found` from a golden's entry.
inline double delta_difference(const Quantizer& found, const nlohmann::json& golden) {
  const std::vector<double> deltas = deltas_of(found);
  const std::vector<double> expected = golden_deltas(golden);
  if (deltas.size() != expected.size()) {
    throw std::runtime_error("another number of channels");
  }
  double worst = 0;
  for (std::size_t i = 0; i < deltas.size(); ++i) {
    worst = std::max(worst, std::abs(deltas[i] / expected[i] - 1));
  }
  return worst;
}

/// The difference for every quantizer, by its published name.
inline std::map<std::string, double> delta_differences(const Quantizers& ours,
                                                       const nlohmann::json& golden) {
  std::map<std::string, double> differences;
  for (const auto& [key, quantizer] : ours) {
    const std::string name = published_name(key);
    differences[name] = delta_difference(quantizer, golden.at(name));
  }
  if (differences.size() != golden.size()) {
    throw std::runtime_error("another number of quantizers");
  }
  return differences;
}

}  // namespace bitlog2::testing
