#include "code_runs.h"

namespace bitlog2::runtime {
namespace {

/// More entries would share places.
constexpr std::size_t kMostEntries = std::size_t{CodeRuns::kMost} << 7;

/// Calls visit(run, place, code before, code) for every entry at which the code changes. Returns
/// whether all calls returned true.
template <class Visit>
bool for_each_change(const std::uint8_t* entries, std::size_t size, CodeRuns& runs, Visit visit) {
  __builtin_memset(runs.first, entries[size - 1], sizeof(runs.first));
  __builtin_memset(runs.change, CodeRuns::kNowhere, sizeof(runs.change));
  std::size_t run = 0;
  runs.first[0] = entries[0];
  for (std::size_t v = runs.base + std::size_t{1}; v < size; ++v) {
    const std::size_t at = (v - runs.base) * runs.multiplier;
    if (at >> 16 != run) {
      run = at >> 16;
      runs.first[run] = entries[v];
    } else if (entries[v] != entries[v - 1] &&
               !visit(run, static_cast<std::uint8_t>((at & 0xFFFF) >> 9), entries[v - 1],
                      entries[v])) {
      return false;
    }
  }
  return true;
}

bool change_once(const std::uint8_t* entries, std::size_t size, CodeRuns& runs) {
  runs.by_one = false;
  return for_each_change(
      entries, size, runs,
      [&](std::size_t run, std::uint8_t place, std::uint8_t /*before*/, std::uint8_t code) {
        const bool is_first = runs.change[run] == CodeRuns::kNowhere;
        runs.change[run] = place;
        runs.second[run] = code;
        return is_first;
      });
}

bool change_by_one(const std::uint8_t* entries, std::size_t size, CodeRuns& runs) {
  runs.by_one = true;
  runs.falling = 0;
  __builtin_memset(runs.second, CodeRuns::kNowhere, sizeof(runs.second));
  bool has_risen = false;
  return for_each_change(
      entries, size, runs,
      [&](std::size_t run, std::uint8_t place, std::uint8_t before, std::uint8_t code) {
        const bool falls = code + 1 == before;
        if ((!falls && code != before + 1) || runs.second[run] != CodeRuns::kNowhere) {
          return false;
        }
        if (falls) {
          runs.falling = static_cast<std::uint8_t>(run + 1);
        }
        has_risen = has_risen || !falls;
        (runs.change[run] == CodeRuns::kNowhere ? runs.change : runs.second)[run] = place;
        // A run that has both would not know in which direction it changes.
        return falls ? !has_risen : run >= runs.falling;
      });
}

}  // namespace

bool make_code_runs(const std::uint8_t* entries, std::size_t size, CodeRuns& runs) {
  constexpr std::size_t kLargestMultiplier = 32767;  // of products of signed 16-bit numbers
  if (size > kMostEntries) {
    return false;
  }
  std::size_t base = 0;
  while (base + 1 < size && entries[base + 1] == entries[0]) {
    ++base;
  }
  runs.base = static_cast<std::uint16_t>(base);
  const std::size_t multiplier = (std::size_t{CodeRuns::kMost} << 16) / (size - base);
  runs.multiplier =
      static_cast<std::uint16_t>(multiplier < kLargestMultiplier ? multiplier : kLargestMultiplier);
  return change_once(entries, size, runs) || change_by_one(entries, size, runs);
}

}  // namespace bitlog2::runtime
