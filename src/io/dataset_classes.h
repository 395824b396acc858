// Finds the class of a model for each class folder.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bitlog2 {

struct ClassFolder {
  std::string name;
  bool has_images = true;
};

/// What is known of a model's classes.
struct ModelClasses {
  int count = 0;
  std::vector<std::string> names = {};    ///< by class, from the checkpoint; may be empty
  std::vector<std::string> map = {};      ///< by class, from a class map; may be empty
  std::string map_path = {};              ///< for messages
  std::vector<std::string> folders = {};  ///< by class, the only allowed ones; may be empty
};

struct ClassNumbers {
  std::vector<int> classes;        ///< of each folder
  std::vector<std::string> notes;  ///< lines for people
};

/// Numbers folders, which are sorted bytewise, by the first of these rules that applies: the
/// allowed folders; the class map; for 1000 classes ImageNet's wnids; the names of the classes; the
/// byte order. `where` names the folder above them. Throws Error if the rule does not number all
/// folders.
ClassNumbers number_class_folders(const std::vector<ClassFolder>& folders,
                                  const ModelClasses& model, const std::string& where);

/// timm's order of class folders: runs of digits compare as numbers, upper case as lower case.
bool naturally_before(std::string_view a, std::string_view b);

}  // namespace bitlog2
