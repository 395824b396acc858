// The state of a pickle machine: values, a stack of them with marks, and a memo.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "io/torch/pickle.h"
#include "io/torch/pickle_bytes.h"

namespace bitlog2::torch {

/// Its size is bounded. Throws Error if an operation asks for a value that is not there.
class PickleStack {
 protected:
  PickleStack(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes, name) {
    none_ = add({.kind = ValueKind::none});
    false_ = add({.kind = ValueKind::boolean, .number = 0});
    true_ = add({.kind = ValueKind::boolean, .number = 1});
    other_ = add({.kind = ValueKind::other});
    empty_tuple_ = add({.kind = ValueKind::tuple});
  }

  ValueId add(const Value& value) {
    if (graph_.values_.size() >= kMost) {
      bytes_.fail(fmt::format("holds more than {} values", kMost));
    }
    graph_.values_.push_back(value);
    return static_cast<ValueId>(graph_.values_.size() - 1);
  }

  ValueId integer(std::int64_t number) {
    return add({.kind = ValueKind::integer, .number = number});
  }
  ValueId text(std::string_view text) { return add({.kind = ValueKind::text, .text = text}); }

  void push(ValueId id) {
    if (stack_.size() >= kMost) {
      bytes_.fail(fmt::format("holds more than {} values", kMost));
    }
    stack_.push_back(id);
  }

  /// What stands above the last mark only.
  ValueId pop() {
    const ValueId id = top();
    stack_.pop_back();
    return id;
  }

  ValueId top() const {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) {
      bytes_.fail("takes a value where there is none");
    }
    return stack_.back();
  }

  /// Pops all values above the last mark, and the mark.
  std::vector<ValueId> pop_to_mark() {
    if (marks_.empty()) {
      bytes_.fail("lacks a mark");
    }
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<ValueId> result(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return result;
  }

  /// Adds items to a list, a dict or an object; other values ignore them.
  void put_into(ValueId id, std::span<const ValueId> items) {
    const ValueKind kind = graph_.values_[id].kind;
    if (kind == ValueKind::list || kind == ValueKind::dict || kind == ValueKind::call) {
      append_items(id, items);
    }
  }

  void append_items(ValueId id, std::span<const ValueId> items) {
    if (items.empty()) {
      return;
    }
    Value& value = graph_.values_[id];
    if (value.items == 0) {
      value.items = static_cast<std::uint32_t>(graph_.item_lists_.size());
      graph_.item_lists_.emplace_back();
    }
    auto& list = graph_.item_lists_[value.items];
    list.insert(list.end(), items.begin(), items.end());
  }

  ValueId container(ValueKind kind, std::span<const ValueId> items) {
    const ValueId id = add({.kind = kind});
    append_items(id, items);
    return id;
  }

  ValueId call(ValueId what, ValueId arguments) {
    return add({.kind = ValueKind::call, .first = what, .second = arguments});
  }

  void remember(std::uint64_t place) {
    if (memo_.size() >= kMost) {
      bytes_.fail(fmt::format("holds more than {} values", kMost));
    }
    memo_[place] = top();
  }

  /// Remembers at the next place of the memo.
  void remember() { remember(memo_.size()); }

  ValueId recall(std::uint64_t place) const {
    const auto found = memo_.find(place);
    if (found == memo_.end()) {
      bytes_.fail("asks for a value that it has not stored");
    }
    return found->second;
  }

  void push_mark() {
    if (marks_.size() >= kMost) {
      bytes_.fail(fmt::format("holds more than {} values", kMost));
    }
    marks_.push_back(stack_.size());
  }

  /// Removes the last value, or the last mark if that came later.
  void drop() {
    if (!marks_.empty() && stack_.size() == marks_.back()) {
      marks_.pop_back();
    } else {
      pop();
    }
  }

  /// The graph, whose root is the last value.
  PickleGraph finish() {
    graph_.root_ = pop();
    graph_.bytes_read_ = bytes_.taken();
    return std::move(graph_);
  }

  PickleBytes bytes_;
  // Values that everything may share.
  ValueId none_ = 0;
  ValueId false_ = 0;
  ValueId true_ = 0;
  ValueId other_ = 0;
  ValueId empty_tuple_ = 0;

 private:
  static constexpr std::size_t kMost =
      4'000'000;  // values, and places on the stack and in the memo

  PickleGraph graph_;
  std::vector<ValueId> stack_;
  std::vector<std::size_t> marks_;  ///< sizes of the stack when they were set
  std::unordered_map<std::uint64_t, ValueId> memo_;
};

}  // namespace bitlog2::torch
