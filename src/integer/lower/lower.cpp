// Lowering, once, in floating point: from a calibrated model to the content of a quantized file.
#include "bitlog2/error.h"
#include "bitlog2/integer.h"
#include "integer/file.h"
#include "integer/lower/ops.h"
#include "integer/program_builder.h"
#include "model/forward.h"
#include "quant/attention/scheme.h"

namespace bitlog2 {
namespace {

runtime::Header make_header(const QuantizedModel& quantized) {
  const ModelConfig& config = quantized.model.config;
  const QuantizationSettings& settings = quantized.settings;
  const IntegerAttention attention =
      settings.scheme.method->in_integers(settings.a_bits, settings.attention_options());
  runtime::Header header = {};
  header.magic = runtime::kMagic;
  header.version = runtime::kVersion;
  header.image_size = static_cast<std::uint32_t>(config.img_size);
  header.patch_size = static_cast<std::uint32_t>(config.patch_size);
  header.num_classes = static_cast<std::uint32_t>(output_size(config));
  header.attention_kind = static_cast<std::uint32_t>(attention.kind);
  header.attention_multiplier = attention.multiplier;
  header.attention_qmax = attention.qmax;
  header.attention_fraction_bits = attention.fraction_bits;
  header.attention_nearest = attention.nearest ? 1 : 0;
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
