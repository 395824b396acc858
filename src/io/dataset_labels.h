// Parsers of the text files that label images: lists, class maps, the devkit's ground truth.
// They take text, so that they can be tested and fuzzed without files.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace bitlog2 {

inline constexpr int kImageNetClasses = 1000;

/// Text of a file as a message may show it: short, and without control characters.
std::string shown(std::string_view text);

/// The whole of `text` as a decimal number; -1 if it is none or is negative.
int parse_index(std::string_view text);

/// One line of a label list; `path` points into the list's text.
struct ListedImage {
  std::string_view path;
  int label = 0;
  std::size_t line = 0;  ///< from 1
};

/// `path label` lines; the label is a class index below `num_classes` or, for 1000 classes, a
/// wnid. `where` names the file in messages. Throws Error for a line that is anything else, and
/// for a list without a line.
std::vector<ListedImage> parse_label_list(std::string_view text, int num_classes,
                                          const std::string& where);

/// Line k names class k; blank lines may follow the last. Throws Error unless there are
/// `num_classes` different names.
std::vector<std::string> parse_class_map(std::string_view text, int num_classes,
                                         const std::string& where);

/// Class index of ImageNet's validation image k at k - 1. Throws Error unless it is the text of
/// ILSVRC2012_validation_ground_truth.txt.
std::vector<int> parse_ground_truth(std::string_view text, const std::string& where);

}  // namespace bitlog2
