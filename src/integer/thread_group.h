// One image on all threads of a pool: each thread runs the same program on its share of the
// rows, and they wait for each other where one reads what another has written.
#pragma once

#include <cstddef>
#include <functional>

#include "bitlog2/parallel.h"
#include "integer/runtime/network.h"

namespace bitlog2::integer {

/// Calls `run(group, rank)` once on each thread of the pool, all at the same time, `rank` from
/// 0 to group.size - 1. Returns when all calls have returned.
void run_in_group(
    ThreadPool& pool,
    const std::function<void(const runtime::ThreadGroup& group, std::size_t rank)>& run);

}  // namespace bitlog2::integer
