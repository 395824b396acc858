// Reconstruction, the last part of calibration, which takes minutes: the quantized network learns
// by gradients, without labels, to compute what the float network computes. All layers learn at
// once. The loss is the error of the logits and that of the residual stream behind each block.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "bitlog2/image.h"
#include "bitlog2/parallel.h"
#include "bitlog2/quantized_model.h"

namespace bitlog2::calibration {

/// Called several times per step with the number of steps done.
using ReconstructionProgress = std::function<void(std::size_t done)>;

/// Brings the logits and the residual stream of `quantized` closer to those of `exact`, which is in
/// the same coordinates, in `steps` steps on `crops`, at least one, and their mirror images. If
/// there are 64 or more crops, some are held out, and the result is the state with the lowest loss
/// on them, which may be `quantized` itself. Learner lists the parameters that are learned. Results
/// depend neither on the number of threads nor on the machine.
void reconstruct(QuantizedModel& quantized, const Model& exact, std::span<const RgbImage> crops,
                 std::size_t steps, ThreadPool& pool, const ReconstructionProgress& progress);

}  // namespace bitlog2::calibration
