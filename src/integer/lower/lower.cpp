// Lowering, once, in floating point: from a calibrated model to the content of a quantized file.
#include "bitlog2/error.h"
#include "bitlog2/integer.h"
#include "integer/file.h"
#include "integer/lower/ops.h"
#include "integer/program_builder.h"
#include "model/forward.h"

namespace bitlog2 {
namespace {

runtime::Header make_header(const QuantizedModel& quantized) {
  const ModelConfig& config = quantized.model.config;
  const AttentionScheme& scheme = quantized.settings.scheme;
  runtime::Header header = {};
  header.magic = runtime::kMagic;
  header.version = runtime::kVersion;
  header.image_size = static_cast<std::uint32_t>(config.img_size);
  header.patch_size = static_cast<std::uint32_t>(config.patch_size);
  header.num_classes = static_cast<std::uint32_t>(config.num_classes);
  if (!scheme.is_bitlog2()) {
    header.attention_kind = static_cast<std::uint32_t>(runtime::AttentionKind::sqrt2);
    header.attention_multiplier = 1U << quantized.settings.a_bits;
    header.attention_qmax = header.attention_multiplier - (scheme.levels == 16 ? 2 : 1);
    return header;
  }
  const BitLog2Grid grid = quantized.settings.attention_grid().value_or(bitlog2_grid(scheme));
  header.attention_kind = static_cast<std::uint32_t>(runtime::AttentionKind::bitlog2);
  header.attention_multiplier = static_cast<std::uint32_t>(grid.multiplier);
  header.attention_fraction_bits = static_cast<std::uint32_t>(grid.fraction_bits);
  header.attention_nearest = grid.to_nearest ? 1 : 0;
  return header;
}

}  // namespace

std::vector<std::byte> lower(const QuantizedModel& quantized,
                             const std::vector<std::string>& class_names) {
  if (quantized.settings.skipped) {
    throw Error("a model that is quantized in part has no integer form");
  }
  integer::ProgramBuilder program;
  integer::LoweringOps ops(quantized, program);
  ops.finish(forward(quantized.model, ops));
  return program.finish(make_header(quantized),
                        {quantized.model.config, quantized.settings, class_names});
}

}  // namespace bitlog2
