#include "code_runs.h"

namespace bitlog2::runtime {

bool make_code_runs(const std::uint8_t* entries, std::size_t size, CodeRuns& runs) {
  constexpr unsigned kLargestShift = 7;
  constexpr std::uint8_t kNowhere = 255;
  runs.shift = 0;
  while (runs.shift <= kLargestShift && size > CodeRuns::kMost << runs.shift) {
    ++runs.shift;
  }
  if (runs.shift > kLargestShift) {
    return false;
  }
  const std::size_t length = std::size_t{1} << runs.shift;
  for (std::size_t run = 0; run < CodeRuns::kMost; ++run) {
    const std::size_t begin = run * length < size ? run * length : size - 1;
    runs.first[run] = runs.second[run] = entries[begin];
    runs.change[run] = kNowhere;
    for (std::size_t i = 1; i < length && begin + i < size; ++i) {
      const std::uint8_t code = entries[begin + i];
      if (code != runs.second[run]) {
        if (runs.change[run] != kNowhere) {
          return false;
        }
        runs.second[run] = code;
        runs.change[run] = static_cast<std::uint8_t>(i);
      }
    }
  }
  return true;
}

}  // namespace bitlog2::runtime
