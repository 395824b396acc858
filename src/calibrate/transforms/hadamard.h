// Orthogonal matrices that spread the values of one channel over all channels.
#pragma once

#include "calibrate/matrix.h"

namespace bitlog2::calibration {

/// A symmetric orthogonal matrix with a constant first column: Hadamard's for powers of two, whose
/// entries have one magnitude, else Hartley's.
Matrix hadamard(Eigen::Index size);

/// A randomized Hadamard (or Hartley) rotation: a symmetric orthogonal [n, n] matrix Q with
/// Q 1 = 1 whose other entries look random. It is the same in every run.
Matrix random_hadamard(std::size_t size);

}  // namespace bitlog2::calibration
