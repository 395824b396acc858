// Parts of what `bitlog2 report` shows, as JSON for the page's script.
#pragma once

#include <nlohmann/json.hpp>
#include <span>

#include "bitlog2/image.h"
#include "bitlog2/integer.h"
#include "bitlog2/quantized_model.h"

namespace bitlog2::cli {

/// A small copy of a square crop: {"side", "rgb"}, the bytes in base64.
nlohmann::ordered_json thumbnail(const RgbImage& crop);

/// One row of an attention map of `crop`, and its values under every attention scheme: the class
/// token's row of one block; of Swin the row of the patch in the middle, in the first block of the
/// last stage. Null if that block has several windows.
nlohmann::ordered_json attention_of(const QuantizedModel& quantized, const IntegerEngine& engine,
                                    const RgbImage& crop, ThreadPool& pool);

/// The parameters of every quantizer by published_name, and under "values" the histogram of the
/// values that it quantizes: a layer's weights, or the activations of `crops` in the simulated
/// network. Quantizers of attention maps have no histogram.
nlohmann::ordered_json quantizers_of(const QuantizedModel& quantized,
                                     std::span<const RgbImage> crops, ThreadPool& pool);

}  // namespace bitlog2::cli
