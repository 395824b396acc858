// Feeds arbitrary text to the parsers of files that label images; the first byte chooses the
// parser. Two of the choices number class folders: by a class map, or by class names. For any text,
// nothing but Error may be thrown. Seeds: fuzz/corpus/dataset_list.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "bitlog2/error.h"
#include "io/dataset_classes.h"
#include "io/dataset_labels.h"

namespace {

/// Stops the fuzzer if a parser does not keep a promise.
void require(bool promise) {
  if (!promise) {
    std::abort();
  }
}

void read_list(std::string_view text, int num_classes) {
  for (const bitlog2::ListedImage& image : bitlog2::parse_label_list(text, num_classes, "fuzz")) {
    require(image.label >= 0 && image.label < num_classes && image.line > 0);
    require(image.path.empty() ||
            (image.path.data() >= text.data() &&
             image.path.data() + image.path.size() <= text.data() + text.size()));
  }
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// Reads a class map, and finds the classes of folders that have the lines' names.
void read_class_map(std::string_view text) {
  std::vector<std::string> lines = lines_of(text);
  bitlog2::ModelClasses model;
  model.count = static_cast<int>(lines.size());
  model.map_path = "fuzz";
  model.map = bitlog2::parse_class_map(text, model.count, model.map_path);
  std::ranges::sort(lines);
  std::vector<bitlog2::ClassFolder> folders;
  for (const std::string& line : lines) {
    folders.push_back({line});
  }
  bitlog2::number_class_folders(folders, model, "fuzz");
}

/// Class names stand before an empty line, sorted folders after it.
void match_names(std::string_view text) {
  const std::size_t middle = std::min(text.find("\n\n"), text.size());
  bitlog2::ModelClasses model;
  model.names = lines_of(text.substr(0, middle));
  std::vector<std::string> names = lines_of(text.substr(std::min(middle + 2, text.size())));
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  model.count = static_cast<int>(model.names.empty() ? names.size() : model.names.size());
  std::vector<bitlog2::ClassFolder> folders;
  for (const std::string& name : names) {
    folders.push_back({name, name.size() % 5 != 0});
  }
  const bitlog2::ClassNumbers numbers = bitlog2::number_class_folders(folders, model, "fuzz");
  require(numbers.classes.size() == folders.size());
  for (const int index : numbers.classes) {
    require(index >= 0 && index < model.count);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) {
    return 0;
  }
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0]) {
      case 'l':
        read_list(text, 10);
        break;
      case 'w':
        read_list(text, bitlog2::kImageNetClasses);
        break;
      case 'm':
        read_class_map(text);
        break;
      case 'n':
        match_names(text);
        break;
      default:
        bitlog2::parse_ground_truth(text, "fuzz");
    }
  } catch (const bitlog2::Error&) {
  }
  return 0;
}
