// Numbers class folders. A wrong number would silently give a wrong accuracy, so every folder gets
// its class by a documented rule, and doubts are told in a note.
#include "io/dataset_classes.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <unordered_map>

#include "bitlog2/dataset.h"
#include "bitlog2/error.h"
#include "io/dataset_labels.h"
#include "io/dataset_listing.h"

namespace bitlog2 {
namespace {

using Folders = std::vector<ClassFolder>;

constexpr std::string_view kRules = "docs/datasets-and-configs.md has the rules";

char lower(char letter) {
  return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

bool is_digit(char letter) {
  return letter >= '0' && letter <= '9';
}

/// Removes and returns the digits, or the other characters, at the start of `text`.
std::string_view take_run(std::string_view& text, bool digits) {
  std::size_t length = 0;
  while (length < text.size() && is_digit(text[length]) == digits) {
    ++length;
  }
  const std::string_view run = text.substr(0, length);
  text.remove_prefix(run.size());
  return run;
}

/// Less than, equal to or greater than 0, if `a` is before, equal to or behind `b`.
int compare_numbers(std::string_view a, std::string_view b) {
  a.remove_prefix(std::min(a.find_first_not_of('0'), a.size()));
  b.remove_prefix(std::min(b.find_first_not_of('0'), b.size()));
  if (a.size() != b.size()) {
    return a.size() < b.size() ? -1 : 1;
  }
  return a.compare(b);
}

int compare_text(std::string_view a, std::string_view b) {
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const auto left = static_cast<unsigned char>(lower(a[i]));
    const auto right = static_cast<unsigned char>(lower(b[i]));
    if (left != right) {
      return left < right ? -1 : 1;
    }
  }
  return a.size() == b.size() ? 0 : (a.size() < b.size() ? -1 : 1);
}

/// A name in the form in which names are compared: differences that file systems and people make
/// are removed.
std::string folded(std::string_view name) {
  std::string result(name);
  std::ranges::transform(result, result.begin(), [](char letter) {
    return letter == '_' || letter == '-' || letter == '/' ? ' ' : lower(letter);
  });
  return result;
}

std::vector<std::string> folders_without_images(const Folders& folders) {
  std::vector<std::string> names;
  for (const ClassFolder& folder : folders) {
    if (!folder.has_images) {
      names.push_back(folder.name);
    }
  }
  return names;
}

/// "; folders without images: ...", or nothing.
std::string empty_folders_phrase(const Folders& folders) {
  const std::vector<std::string> names = folders_without_images(folders);
  return names.empty() ? "" : "; folders without images: " + some_names(names);
}

// ---- By a class map --------------------------------------------------------------------

ClassNumbers number_by_map(const Folders& folders, const ModelClasses& model,
                           const std::string& where) {
  std::unordered_map<std::string_view, int> classes;
  for (const std::string& name : model.map) {
    classes.emplace(name, static_cast<int>(classes.size()));
  }
  ClassNumbers result;
  for (const ClassFolder& folder : folders) {
    const auto found = classes.find(folder.name);
    if (found == classes.end()) {
      throw Error(fmt::format("{}: {} does not name the folder '{}'; add it or remove the folder",
                              where, model.map_path, shown(folder.name)));
    }
    result.classes.push_back(found->second);
  }
  if (folders.size() < model.map.size()) {
    std::vector<std::string> missing;
    for (const std::string& name : model.map) {
      if (std::ranges::find(folders, name, &ClassFolder::name) == folders.end()) {
        missing.push_back(name);
      }
    }
    throw Error(
        fmt::format("{}: {} names folders that are not there: {}; make an empty folder for "
                    "a class without images",
                    where, model.map_path, some_names(missing)));
  }
  return result;
}

// ---- By the folders of other images -----------------------------------------------------

ClassNumbers number_by_folders(const Folders& folders, const ModelClasses& model,
                               const std::string& where) {
  ClassNumbers result;
  for (const ClassFolder& folder : folders) {
    const auto found = std::ranges::find(model.folders, folder.name);
    if (found == model.folders.end()) {
      throw Error(
          fmt::format("{}: no class folder of the training images is called '{}'; remove "
                      "it, or add such images",
                      where, shown(folder.name)));
    }
    result.classes.push_back(static_cast<int>(found - model.folders.begin()));
  }
  return result;
}

// ---- By wnids --------------------------------------------------------------------------

bool is_wnid(const ClassFolder& folder) {
  return imagenet_class_index(folder.name) >= 0;
}

[[noreturn]] void refuse_as_wnid(const Folders& folders, const std::string& where) {
  const auto other = std::ranges::find_if_not(folders, is_wnid);
  throw Error(
      fmt::format("{}: folder '{}' is not the wnid of one of ImageNet's 1000 classes; "
                  "name class folders like n01440764, or give --class-map; {}",
                  where, shown(other->name), kRules));
}

ClassNumbers number_by_wnid(const Folders& folders) {
  ClassNumbers result;
  for (const ClassFolder& folder : folders) {
    result.classes.push_back(imagenet_class_index(folder.name));
  }
  return result;
}

// ---- By the names of the classes -------------------------------------------------------

constexpr int kUnknown = -1;
constexpr int kAmbiguous = -2;

/// Finds classes by their exact names, then by their folded ones.
class ClassFinder {
 public:
  explicit ClassFinder(const std::vector<std::string>& names) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      add(exact_, names[i], static_cast<int>(i));
      add(folded_, folded(names[i]), static_cast<int>(i));
    }
  }

  int find(const std::string& name) const {
    const auto exact = exact_.find(name);
    if (exact != exact_.end()) {
      return exact->second;
    }
    const auto found = folded_.find(folded(name));
    return found != folded_.end() ? found->second : kUnknown;
  }

 private:
  using Classes = std::unordered_map<std::string, int>;

  static void add(Classes& classes, std::string name, int index) {
    const auto [entry, is_new] = classes.emplace(std::move(name), index);
    if (!is_new) {
      entry->second = kAmbiguous;
    }
  }

  Classes exact_;
  Classes folded_;
};

/// Nothing if no folder is called like a class.
std::optional<ClassNumbers> number_by_names(const Folders& folders, const ModelClasses& model,
                                            const std::string& where) {
  const ClassFinder finder(model.names);
  ClassNumbers result;
  std::vector<std::string> unknown;
  std::unordered_map<int, std::string> folder_of;
  for (const ClassFolder& folder : folders) {
    const int index = finder.find(folder.name);
    result.classes.push_back(index);
    if (index == kUnknown) {
      unknown.push_back(folder.name);
    } else if (index == kAmbiguous) {
      throw Error(
          fmt::format("{}: several classes of the checkpoint are called like the folder '{}'; "
                      "give --class-map",
                      where, shown(folder.name)));
    } else if (const auto [other, is_new] = folder_of.emplace(index, folder.name); !is_new) {
      throw Error(
          fmt::format("{}: folders '{}' and '{}' are both called like the checkpoint's "
                      "class '{}'; rename one, or give --class-map",
                      where, shown(other->second), shown(folder.name),
                      shown(model.names[static_cast<std::size_t>(index)])));
    }
  }
  if (folder_of.empty()) {
    return std::nullopt;
  }
  if (!unknown.empty()) {
    throw Error(
        fmt::format("{}: no class of the checkpoint is called like the folder{} {}; rename or "
                    "remove {}, or give --class-map; {}",
                    where, unknown.size() == 1 ? "" : "s", some_names(unknown),
                    unknown.size() == 1 ? "it" : "them", kRules));
  }
  if (folders.size() < model.names.size()) {
    result.notes.push_back(
        fmt::format("{}: class folders for {} of the model's {} classes, "
                    "matched by name",
                    where, folders.size(), model.names.size()));
  }
  return result;
}

// ---- By their order --------------------------------------------------------------------

[[noreturn]] void refuse_number(const Folders& folders, int num_classes, const std::string& where) {
  const bool imagenet = num_classes == kImageNetClasses;
  throw Error(
      fmt::format("{}: {} class folders, this model has {} classes; there must be one "
                  "folder for each{}{}; {}",
                  where, folders.size(), num_classes,
                  imagenet ? fmt::format(", and folder '{}' is not the wnid of one of ImageNet's",
                                         shown(folders.front().name))
                           : "",
                  empty_folders_phrase(folders), kRules));
}

/// The line that tells of timm's numbering, where that differs.
std::optional<std::string> other_convention(const Folders& folders, const std::string& where) {
  std::vector<std::string_view> natural;
  for (const ClassFolder& folder : folders) {
    if (folder.has_images) {
      natural.push_back(folder.name);
    }
  }
  std::ranges::stable_sort(natural, naturally_before);
  for (std::size_t i = 0; i < natural.size(); ++i) {
    if (natural[i] == folders[i].name) {
      continue;
    }
    const std::vector<std::string> empty = folders_without_images(folders);
    return fmt::format(
        "{}: class folders are numbered in byte order, as torchvision does, so that '{}' is class "
        "{}; timm sorts naturally{}, so that '{}' is; give --class-map if the model was trained "
        "so",
        where, shown(folders[i].name), i,
        empty.empty() ? "" : " and leaves out folders without images (" + some_names(empty) + ")",
        shown(natural[i]));
  }
  return std::nullopt;
}

ClassNumbers number_by_order(const Folders& folders, int num_classes, const std::string& where) {
  if (folders.size() != static_cast<std::size_t>(num_classes)) {
    refuse_number(folders, num_classes, where);
  }
  ClassNumbers result;
  result.classes.resize(folders.size());
  std::iota(result.classes.begin(), result.classes.end(), 0);
  if (auto line = other_convention(folders, where)) {
    result.notes.push_back(std::move(*line));
  }
  return result;
}

}  // namespace

bool naturally_before(std::string_view a, std::string_view b) {
  // Text and numbers take turns, and text, perhaps none, comes first.
  for (bool digits = false; !a.empty() && !b.empty(); digits = !digits) {
    const std::string_view left = take_run(a, digits);
    const std::string_view right = take_run(b, digits);
    const int order = digits ? compare_numbers(left, right) : compare_text(left, right);
    if (order != 0) {
      return order < 0;
    }
  }
  return a.empty() && !b.empty();
}

ClassNumbers number_class_folders(const Folders& folders, const ModelClasses& model,
                                  const std::string& where) {
  if (!model.folders.empty()) {
    return number_by_folders(folders, model, where);
  }
  if (!model.map_path.empty()) {
    return number_by_map(folders, model, where);
  }
  const bool imagenet = model.count == kImageNetClasses;
  // Names that are wnids are in the model's order, which need not be ImageNet's.
  const bool has_wnids = !model.names.empty() && imagenet_class_index(model.names.front()) >= 0;
  if (imagenet && !has_wnids && std::ranges::all_of(folders, is_wnid)) {
    return number_by_wnid(folders);
  }
  if (!model.names.empty()) {
    if (auto numbers = number_by_names(folders, model, where)) {
      return *numbers;
    }
  }
  if (imagenet && std::ranges::any_of(folders, is_wnid)) {
    refuse_as_wnid(folders, where);
  }
  ClassNumbers numbers = number_by_order(folders, model.count, where);
  if (!model.names.empty()) {
    numbers.notes.insert(
        numbers.notes.begin(),
        fmt::format("{}: no folder is called like a class of the checkpoint, such as '{}'; they "
                    "are numbered in byte order",
                    where, shown(model.names.front())));
  }
  return numbers;
}

}  // namespace bitlog2
