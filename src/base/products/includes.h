// The headers that a file of product kernels includes before its target region, so that their
// functions are not compiled within it.
#pragma once

// IWYU pragma: begin_exports
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include "base/products/kernels.h"
#include "integer/runtime/kernels/target_pragmas.h"
// IWYU pragma: end_exports
