// Python's pickles as a graph of values. Reading one executes nothing and imports nothing: where
// Python would call something, the graph has a node that says what and with which arguments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bitlog2::torch {

/// A value's place in its graph.
using ValueId = std::uint32_t;

enum class ValueKind : std::uint8_t {
  none,
  boolean,  ///< `number` is 0 or 1
  integer,  ///< `number`, which fits 64 bits
  text,     ///< `text`: str, bytes; escapes stay as they are written
  list,     ///< `items`
  tuple,    ///< `items`
  dict,     ///< `items`: key, value, key, ...; of equal keys the last counts
  global,   ///< a name of Python's: `first` is the module's text, `second` the name's
  call,  ///< `first` called with `second`, or an object of class `first`; `items` were put into it
  persistent,  ///< data outside the pickle; `first` says where
  other,       ///< a number or a set, whose value is not needed
};

struct Value {
  ValueKind kind = ValueKind::other;
  ValueId first = 0;
  ValueId second = 0;
  std::uint32_t items = 0;  ///< place of the items in the graph; 0: there are none
  std::int64_t number = 0;
  std::string_view text = {};
};

/// A pickle's values. Texts are views into its bytes. A graph may have cycles and may share values:
/// code that walks it must bound the depth.
class PickleGraph {
 public:
  const Value& operator[](ValueId id) const { return values_[id]; }
  std::span<const ValueId> items(ValueId id) const { return item_lists_[values_[id].items]; }
  std::size_t size() const { return values_.size(); }
  ValueId root() const { return root_; }
  std::size_t bytes_read() const { return bytes_read_; }

  /// The name of a global: "posix.system". Made printable, and cut if it is long. Empty for other
  /// values.
  std::string global_name(ValueId id) const;

 private:
  friend class PickleStack;
  std::deque<Value> values_;
  std::deque<std::vector<ValueId>> item_lists_ = {{}};
  ValueId root_ = 0;
  std::size_t bytes_read_ = 0;
};

/// Reads the pickle (protocols 0 to 5) at the start of `bytes`, which must outlive the graph.
/// Throws Error, which begins with `name`, for one that is damaged or holds more than 4 million
/// values. Time and memory are linear in the bytes read.
PickleGraph read_pickle(std::span<const std::byte> bytes, const std::string& name);

}  // namespace bitlog2::torch
