// Lists the image files of folders.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bitlog2 {

/// The names of splits; the first one that exists is taken.
inline constexpr std::array<std::string_view, 4> kValidationFolders = {"val", "validation", "valid",
                                                                       "test"};
inline constexpr std::array<std::string_view, 2> kTrainingFolders = {"train", "training"};

/// The names among `names` that are folders in `root`.
std::vector<std::string> folders_called(std::span<const std::string_view> names,
                                        const std::filesystem::path& root);

bool is_folder(const std::filesystem::path& path);
bool is_file(const std::filesystem::path& path);

/// A few names as a message may show them: "a, b, c and 4 more".
std::string some_names(const std::vector<std::string>& names);

/// Counts what a listing passed over, and makes notes of it.
class PassedOver {
 public:
  void add_other_file(std::string_view name);
  void add_special_file(const std::filesystem::path& path);
  void add_foreign_folder(const std::filesystem::path& path);

  /// At most one line of each kind.
  std::vector<std::string> notes(const std::string& where) const;

 private:
  struct Group {
    std::size_t count = 0;
    std::string example;
  };
  std::map<std::string, std::size_t> extensions_;
  Group special_;
  Group foreign_;
};

enum class FolderLinks { follow, ignore };

/// The images and, with a '/' at the end, the folders in `folder`, in byte order. Images are
/// regular files, or links to such, that have an image's extension or begin with an image's first
/// bytes. Hidden entries do not count. Folders that file managers and file systems make for
/// themselves are passed over.
std::vector<std::string> list_folder(const std::filesystem::path& folder, FolderLinks links,
                                     PassedOver& passed_over);

/// The images below `folder` in byte order, as paths relative to it. Links to folders are followed,
/// if at all, only directly in `folder`. No folder is entered twice, whatever links lead to it.
std::vector<std::string> images_below(const std::filesystem::path& folder, FolderLinks links,
                                      PassedOver& passed_over);

}  // namespace bitlog2
