// Finds the weights among what training scripts save beside them.
#include "io/torch/state_dict.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "bitlog2/error.h"
#include "io/torch/tensors.h"

namespace bitlog2::torch {
namespace {

constexpr std::size_t kMostItems = 4'000'000;  // of all dicts that are looked into
constexpr std::size_t kMostTensors = 100'000;
constexpr std::size_t kMostNamed = 16;  // in a message
constexpr int kDeepest = 4;             // of dicts in dicts

/// Under which weights are saved; the first that is there is taken. Averaged weights come first, as
/// in timm: they are what a training evaluates.
constexpr auto kKeys = std::to_array<std::string_view>(
    {"state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "params_ema", "model",
     "state_dict", "model_state_dict", "module", "net", "network", "weights", "params", "teacher",
     "student"});

constexpr auto kSaveStateDict = "save model.state_dict() in its place";

/// A dict's values by their keys; keys that are no texts are left out.
struct Dict {
  std::map<std::string_view, ValueId> values;
  bool has_tensors = false;
};

std::string list_of(const std::vector<std::string>& names) {
  const std::size_t named = std::min(names.size(), kMostNamed);
  std::string text = fmt::format(
      "{}", fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(named), ", "));
  return names.size() > named ? fmt::format("{} and {} more", text, names.size() - named) : text;
}

std::vector<std::string> quoted(const std::vector<std::string_view>& names) {
  std::vector<std::string> result;
  result.reserve(names.size());
  for (const std::string_view name : names) {
    result.push_back(fmt::format("'{}'", name));
  }
  return result;
}

/// What the pickle would call that is not allowed, each name once.
std::vector<std::string> refused_calls(const PickleGraph& graph) {
  std::vector<std::string> names;
  std::set<std::string> known;
  for (ValueId id = 0; id < graph.size(); ++id) {
    const auto name = refused_call(graph, id);
    if (name && known.insert(*name).second) {
      names.push_back(*name);
    }
  }
  return names;
}

/// Goes down from the pickle's value to the dict of weights. Each dict is read once, however often
/// the pickle shares it.
class Finder {
 public:
  Finder(const PickleGraph& graph, const std::string& name) : graph_(graph), name_(name) {}

  StateDict find() {
    StateDict result;
    const Dict* dict = dict_of(graph_.root());
    if (dict == nullptr) {
      fail_without_dict();
    }
    std::string path;
    std::set<std::string> others;
    for (int depth = 0;; ++depth) {
      const auto keys = weights_in(*dict, depth);
      if (keys.empty()) {
        break;
      }
      add_others(*dict, keys, path, others);
      path += fmt::format("{}{}", path.empty() ? "" : ".", keys.front());
      dict = dict_of(dict->values.at(keys.front()));
    }
    if (!path.empty()) {
      result.notes.push_back(
          fmt::format("its weights are taken from '{}'", path) +
          (others.empty() ? "" : "; it also has " + list_of({others.begin(), others.end()})));
    }
    take_tensors(*dict, result);
    return result;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("{}: {}", name_, what));
  }

  [[noreturn]] void fail_without_dict() const {
    const auto refused = refused_call(graph_, graph_.root());
    if (refused) {
      fail(fmt::format("refused: {}; the file holds only what this makes, no dict of tensors: {}",
                       *refused, kSaveStateDict));
    }
    fail(fmt::format("it holds no dict of tensors; {}", kSaveStateDict));
  }

  /// The dict that a value is, or nullptr.
  const Dict* dict_of(ValueId id) {
    const auto known = dicts_.find(id);
    if (known != dicts_.end()) {
      return known->second ? &*known->second : nullptr;
    }
    const auto items = dict_items(graph_, id);
    std::optional<Dict>& dict = dicts_[id];
    if (!items) {
      return nullptr;
    }
    items_ += items->size();
    if (items_ > kMostItems) {
      fail(fmt::format("its dicts hold more than {} values", kMostItems));
    }
    dict.emplace();
    for (std::size_t i = 0; i + 1 < items->size(); i += 2) {
      const ValueId key = (*items)[i];
      if (graph_[key].kind == ValueKind::text) {
        dict->values.insert_or_assign(graph_[key].text, (*items)[i + 1]);
        dict->has_tensors = dict->has_tensors || is_tensor(graph_, (*items)[i + 1]);
      }
    }
    return &*dict;
  }

  /// Whether there are tensors in this dict, or in one in it under a usual key.
  bool leads_to_tensors(ValueId id, int depth) {
    const Dict* dict = dict_of(id);
    if (dict == nullptr || dict->has_tensors || depth >= kDeepest) {
      return dict != nullptr && dict->has_tensors;
    }
    return std::ranges::any_of(kKeys, [&](std::string_view key) {
      const auto found = dict->values.find(key);
      return found != dict->values.end() && leads_to_tensors(found->second, depth + 1);
    });
  }

  /// The keys in `dict` under which weights are, the one to take first; none if they are in `dict`
  /// itself. Throws Error if that cannot be told.
  std::vector<std::string_view> weights_in(const Dict& dict, int depth) {
    std::vector<std::string_view> keys;
    for (const std::string_view key : kKeys) {
      const auto found = dict.values.find(key);
      if (found != dict.values.end() && depth < kDeepest &&
          leads_to_tensors(found->second, depth + 1)) {
        keys.push_back(key);
      }
    }
    if (!keys.empty() || dict.has_tensors) {
      return keys;
    }
    keys = dicts_of_tensors(dict);
    if (keys.size() > 1) {
      fail(fmt::format("it holds several dicts of tensors: {}; save the one of the model alone",
                       list_of(quoted(keys))));
    }
    if (keys.empty()) {
      const auto refused = refused_calls(graph_);
      fail(fmt::format("it holds no dict of tensors{}{}; {}",
                       refused.empty() ? "" : "; refused: ", list_of(refused), kSaveStateDict));
    }
    return keys;
  }

  std::vector<std::string_view> dicts_of_tensors(const Dict& dict) {
    std::vector<std::string_view> keys;
    for (const auto& [key, value] : dict.values) {
      const Dict* inner = dict_of(value);
      if (inner != nullptr && inner->has_tensors) {
        keys.push_back(key);
      }
    }
    return keys;
  }

  /// What could have been taken in place of the first of `keys`.
  void add_others(const Dict& dict, const std::vector<std::string_view>& keys,
                  const std::string& path, std::set<std::string>& others) {
    std::vector<std::string_view> all = dicts_of_tensors(dict);
    all.insert(all.end(), keys.begin() + 1, keys.end());
    for (const std::string_view key : all) {
      if (key != keys.front()) {
        others.insert(fmt::format("'{}{}{}'", path, path.empty() ? "" : ".", key));
      }
    }
  }

  void take_tensors(const Dict& dict, StateDict& result) const {
    std::vector<std::string> passed_over;
    for (const auto& [key, value] : dict.values) {
      if (is_tensor(graph_, value)) {
        result.tensors.emplace(key, value);
      } else if (refused_call(graph_, value)) {
        passed_over.push_back(fmt::format("'{}'", key));
      }
    }
    if (result.tensors.size() > kMostTensors) {
      fail(fmt::format("it holds more than {} tensors", kMostTensors));
    }
    if (!passed_over.empty()) {
      result.notes.push_back(
          fmt::format("passed over, as they are no plain tensors: {}", list_of(passed_over)));
    }
    const auto refused = refused_calls(graph_);
    if (!refused.empty()) {
      result.notes.push_back(
          fmt::format("refused: {} (no tensor needs them; nothing was called)", list_of(refused)));
    }
  }

  const PickleGraph& graph_;
  const std::string& name_;
  std::map<ValueId, std::optional<Dict>> dicts_;
  std::size_t items_ = 0;
};

}  // namespace

StateDict find_state_dict(const PickleGraph& graph, const std::string& name) {
  return Finder(graph, name).find();
}

}  // namespace bitlog2::torch
