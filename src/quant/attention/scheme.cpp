// The list of schemes.
#include "quant/attention/scheme.h"

#include <fmt/format.h>

#include <array>

#include "bitlog2/error.h"
#include "quant/attention/bitlog2.h"
#include "quant/attention/sqrt2.h"
#include "quant/attention/uniform.h"

namespace bitlog2 {
namespace {

constexpr quant::Sqrt2 kSqrt2Of16(16);
constexpr quant::Sqrt2 kSqrt2Of17(17);
// Single: a level for each bit of m, and zero. Half: two for each bit but the lowest, and zero; its
// 17th level is the first of the next bit's two.
constexpr quant::BitLog2 kSingleOf16(1 << 15, 0);
constexpr quant::BitLog2 kSingleOf17(1 << 16, 0);
constexpr quant::BitLog2 kHalfOf16(256, 1);
constexpr quant::BitLog2 kHalfOf17(384, 1);
constexpr quant::Uniform kUniform;

constexpr std::array kSchemes = {
    AttentionScheme{"Sqrt2_16", &kSqrt2Of16},
    AttentionScheme{"Sqrt2_17", &kSqrt2Of17},
    AttentionScheme{"BitLog2_Single_16", &kSingleOf16},
    AttentionScheme{"BitLog2_Single_17", &kSingleOf17},
    AttentionScheme{"BitLog2_Half_16", &kHalfOf16},
    AttentionScheme{"BitLog2_Half_17", &kHalfOf17},
    AttentionScheme{"Uniform", &kUniform, false},
};

}  // namespace

constinit const std::span<const AttentionScheme> kAttentionSchemes = kSchemes;

std::string attention_scheme_names() {
  std::string names;
  for (const AttentionScheme& scheme : kAttentionSchemes) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", scheme.name);
  }
  return names;
}

const AttentionScheme& find_attention_scheme(std::string_view name) {
  for (const AttentionScheme& scheme : kAttentionSchemes) {
    if (scheme.name == name) {
      return scheme;
    }
  }
  throw Error(fmt::format("unknown attention scheme '{}'; choose one of {}", name,
                          attention_scheme_names()));
}

AttentionQuantizer calibrate_attention(const AttentionScheme& scheme, int bits,
                                       std::span<const float> probabilities, ThreadPool& pool,
                                       const AttentionOptions& options) {
  AttentionQuantizer quantizer = {scheme, bits, 1.0F, options};
  if (!scheme.method->has_delta(bits, options)) {
    return quantizer;
  }
  const auto search = scheme.method->search(quantizer, probabilities.size());
  do {
    search->add(probabilities, pool);
  } while (search->next_pass());
  quantizer.delta = search->delta();
  return quantizer;
}

void fake_quantize(const AttentionQuantizer& quantizer, std::span<float> probabilities) {
  quantizer.scheme.method->fake_quantize(quantizer, probabilities);
}

}  // namespace bitlog2
