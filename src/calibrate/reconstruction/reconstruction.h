// The end of calibration that takes minutes: the quantized network learns what the float one does,
// by gradients, without labels. All layers learn at once, each block's error in the residual stream
// counting as the error of the logits does; so no layer goes after what later ones cannot read.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "bitlog2/image.h"
#include "bitlog2/parallel.h"
#include "bitlog2/quantized_model.h"

namespace bitlog2::calibration {

/// Called several times a step: steps done.
using ReconstructionProgress = std::function<void(std::size_t done)>;

/// Brings the logits and the residual stream of `quantized` closer to those of `exact`, which is in
/// the same coordinates, in `steps` steps on `crops`, mirrored or not, at least one. Where there
/// are many, some are kept back, and the result is what was best on them, `quantized` itself if
/// nothing was better. What is learned: see Learner. Results depend neither on the number of
/// threads nor on the machine.
void reconstruct(QuantizedModel& quantized, const Model& exact, std::span<const RgbImage> crops,
                 std::size_t steps, ThreadPool& pool, const ReconstructionProgress& progress);

}  // namespace bitlog2::calibration
