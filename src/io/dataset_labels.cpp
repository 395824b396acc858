// Texts of lines: label lists, class maps and the devkit's ground truth. Windows' line ends and
// UTF-8's byte order mark are taken; a text in another encoding is refused.
#include "io/dataset_labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <unordered_map>

#include "bitlog2/dataset.h"
#include "bitlog2/error.h"
#include "io/dataset_listing.h"
#include "io/imagenet_devkit.h"

namespace bitlog2 {
namespace {

constexpr std::size_t kImageNetValidationImages = 50'000;
constexpr std::string_view kBlanks = " \t\r";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

std::string_view without_blanks_around(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) {
    return {};
  }
  return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

/// The text behind its byte order mark.
std::string_view as_utf8(std::string_view text, const std::string& where) {
  const bool utf16 = text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF");
  if (utf16 || text.find('\0') != std::string_view::npos) {
    throw Error(fmt::format("{}: {}; save it as UTF-8 text", where,
                            utf16 ? "the text is UTF-16" : "this is no text, it holds zero bytes"));
  }
  if (text.starts_with(kByteOrderMark)) {
    text.remove_prefix(kByteOrderMark.size());
  }
  return text;
}

/// Calls `take(line, number)` for every line, without the blanks around it; numbers count from 1.
template <class Take>
void for_each_line(std::string_view text, const std::string& where, Take take) {
  text = as_utf8(text, where);
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    take(without_blanks_around(text.substr(0, end)), number);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

std::string at_line(const std::string& where, std::size_t number) {
  return fmt::format("{} line {}", where, number);
}

int parse_label(std::string_view text, int num_classes, const std::string& where,
                std::size_t number) {
  if (num_classes == kImageNetClasses) {
    if (const int index = imagenet_class_index(text); index >= 0) {
      return index;
    }
  }
  const int label = parse_index(text);
  if (label < 0 || label >= num_classes) {
    throw Error(fmt::format("{}: label '{}' is no class of this model; labels are 0 to {}{}",
                            at_line(where, number), shown(text), num_classes - 1,
                            num_classes == kImageNetClasses ? ", or wnids" : ""));
  }
  return label;
}

}  // namespace

std::string shown(std::string_view text) {
  return std::string(text.substr(0, 80));
}

int parse_index(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && number >= 0 ? number : -1;
}

std::vector<ListedImage> parse_label_list(std::string_view text, int num_classes,
                                          const std::string& where) {
  std::vector<ListedImage> images;
  for_each_line(text, where, [&](std::string_view line, std::size_t number) {
    if (line.empty()) {
      return;
    }
    const std::size_t blank = line.find_last_of(kBlanks);
    if (blank == std::string_view::npos) {
      throw Error(
          fmt::format("{}: '{}' is not a path and a label", at_line(where, number), shown(line)));
    }
    images.push_back({without_blanks_around(line.substr(0, blank)),
                      parse_label(line.substr(blank + 1), num_classes, where, number), number});
  });
  if (images.empty()) {
    throw Error(fmt::format("{}: the list is empty; its lines are a path and a label", where));
  }
  return images;
}

std::vector<std::string> parse_class_map(std::string_view text, int num_classes,
                                         const std::string& where) {
  std::vector<std::string> names;
  std::unordered_map<std::string_view, std::size_t> lines;
  std::size_t blank = 0;  // line number of the first that is blank, 0: none
  for_each_line(text, where, [&](std::string_view line, std::size_t number) {
    if (line.empty()) {
      blank = blank == 0 ? number : blank;
      return;
    }
    if (blank != 0) {
      throw Error(
          fmt::format("{}: the line is blank; line k must name class k", at_line(where, blank)));
    }
    const auto [first, is_new] = lines.emplace(line, number);
    if (!is_new) {
      throw Error(fmt::format("{}: '{}' stands in line {}, too; name each class once",
                              at_line(where, number), shown(line), first->second));
    }
    names.emplace_back(line);
  });
  if (names.size() != static_cast<std::size_t>(num_classes)) {
    throw Error(fmt::format("{}: {} names, this model has {} classes; give one name a line", where,
                            names.size(), num_classes));
  }
  return names;
}

std::vector<int> parse_ground_truth(std::string_view text, const std::string& where) {
  std::vector<int> classes;
  for_each_line(text, where, [&](std::string_view line, std::size_t number) {
    if (line.empty()) {
      return;
    }
    const int index = class_of_devkit_id(parse_index(line));
    if (index < 0) {
      throw Error(
          fmt::format("{}: '{}' is no ILSVRC2012_ID, 1 to 1000; take the file of ILSVRC2012's "
                      "devkit",
                      at_line(where, number), shown(line)));
    }
    classes.push_back(index);
  });
  if (classes.size() != kImageNetValidationImages) {
    throw Error(fmt::format("{}: {} lines, expected {}; take the file of ILSVRC2012's devkit",
                            where, classes.size(), kImageNetValidationImages));
  }
  return classes;
}

}  // namespace bitlog2
