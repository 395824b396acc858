// The listing of folders. A folder may hold a million images: so a file whose name says what it is
// is not opened, and except for links its type is taken from the listing.
#include "io/dataset_listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <system_error>
#include <utility>

#include "bitlog2/dataset.h"
#include "bitlog2/error.h"
#include "io/image_formats.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 11> kImageExtensions = {
    ".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"};

/// Made by macOS's archiver, by Synology's file station and by ext's fsck.
constexpr std::array<std::string_view, 3> kForeignFolders = {"__MACOSX", "@eaDir", "lost+found"};

/// Files beside images that mean nothing, and those that label them.
constexpr std::array<std::string_view, 5> kExpectedFiles = {
    "Thumbs.db", "desktop.ini", "val.txt", "val_list.txt",
    "ILSVRC2012_validation_ground_truth.txt"};

constexpr std::size_t kNamesShown = 4;
constexpr std::size_t kExtensionsCounted = 256;
constexpr std::size_t kLongestExtension = 12;

/// ".jpg" of "A.JPG"; empty where there is none.
std::string extension_of(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos || dot == 0 || dot + 1 == name.size()) {
    return "";
  }
  std::string extension(name.substr(dot));
  std::ranges::transform(extension, extension.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  });
  return extension;
}

template <class Names>
bool is_one_of(std::string_view name, const Names& names) {
  return std::ranges::find(names, name) != names.end();
}

enum class Kind { image, folder, other };

/// The type of a link's target, which is looked up once; the types of other entries are in the
/// listing. A link that leads nowhere counts as a file, and reading it gives the error.
fs::file_type type_of(const fs::directory_entry& entry) {
  if (entry.is_symlink()) {
    std::error_code dangling;
    const fs::file_type type = entry.status(dangling).type();
    return type == fs::file_type::not_found ? fs::file_type::regular : type;
  }
  if (entry.is_directory()) {
    return fs::file_type::directory;
  }
  return entry.is_regular_file() ? fs::file_type::regular : fs::file_type::unknown;
}

Kind kind_of(const fs::directory_entry& entry, const std::string& name, FolderLinks links,
             PassedOver& passed_over) {
  const fs::file_type type = type_of(entry);
  if (type == fs::file_type::directory) {
    if (is_one_of(name, kForeignFolders)) {
      passed_over.add_foreign_folder(entry.path());
      return Kind::other;
    }
    return links == FolderLinks::ignore && entry.is_symlink() ? Kind::other : Kind::folder;
  }
  if (type != fs::file_type::regular) {
    passed_over.add_special_file(entry.path());
    return Kind::other;
  }
  const bool may_be_image = is_image_name(name) || !is_one_of(name, kExpectedFiles);
  if (!may_be_image || (!is_image_name(name) && !is_image_file(entry.path()))) {
    passed_over.add_other_file(name);
    return Kind::other;
  }
  return Kind::image;
}

/// The folder itself, whatever links lead to it.
fs::path folder_itself(const fs::path& folder) {
  std::error_code unreadable;
  fs::path itself = fs::canonical(folder, unreadable);
  return unreadable ? folder : itself;
}

bool is_link(const fs::path& folder, std::string name) {
  name.pop_back();  // behind the '/' is what a link leads to
  std::error_code ignored;
  return fs::is_symlink(folder / name, ignored);
}

/// Lists the images below a folder. Every folder is entered once.
class Walk {
 public:
  Walk(fs::path root, PassedOver& passed_over)
      : root_(std::move(root)), passed_over_(passed_over) {}

  std::vector<std::string> images(FolderLinks follow) {
    std::vector<std::string> folders;
    std::vector<std::string> links;
    for (std::string& name : list_folder(root_, follow, passed_over_)) {
      if (!name.ends_with('/')) {
        images_.push_back(std::move(name));
      } else {
        const bool link = follow == FolderLinks::follow && is_link(root_, name);
        (link ? links : folders).push_back(std::move(name));
      }
    }
    has_links_ = !links.empty();
    is_new(root_);
    // Links come last, since their targets may be here, too, under their own names.
    folders.insert(folders.end(), links.begin(), links.end());
    for (const std::string& name : folders) {
      append(name);
    }
    std::ranges::sort(images_);
    return std::move(images_);
  }

 private:
  bool is_new(const fs::path& folder) {
    return !has_links_ || entered_.insert(folder_itself(folder)).second;
  }

  void append(const std::string& prefix) {
    const fs::path folder = root_ / prefix;
    if (!is_new(folder)) {
      return;
    }
    for (const std::string& name : list_folder(folder, FolderLinks::ignore, passed_over_)) {
      if (name.ends_with('/')) {
        append(prefix + name);
      } else {
        images_.push_back(prefix + name);
      }
    }
  }

  fs::path root_;
  PassedOver& passed_over_;
  bool has_links_ = false;
  std::set<fs::path> entered_;
  std::vector<std::string> images_;  // strings, for a million fs::path take a gigabyte
};

}  // namespace

bool is_image_name(std::string_view name) {
  return is_one_of(extension_of(name), kImageExtensions);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::vector<std::string> folders_called(std::span<const std::string_view> names,
                                        const fs::path& root) {
  std::vector<std::string> found;
  for (const std::string_view name : names) {
    if (is_folder(root / name)) {
      found.emplace_back(name);
    }
  }
  return found;
}

std::string some_names(const std::vector<std::string>& names) {
  std::string text;
  const std::size_t shown = std::min(names.size(), kNamesShown);
  for (std::size_t i = 0; i < shown; ++i) {
    text += (i > 0 ? ", " : "") + names[i];
  }
  return names.size() > shown ? fmt::format("{} and {} more", text, names.size() - shown) : text;
}

void PassedOver::add_other_file(std::string_view name) {
  if (is_one_of(name, kExpectedFiles)) {
    return;
  }
  const std::string extension = extension_of(name);
  const bool counted = extension.size() <= kLongestExtension &&
                       (extensions_.contains(extension) || extensions_.size() < kExtensionsCounted);
  ++extensions_[counted ? extension : ""];
}

void PassedOver::add_special_file(const fs::path& path) {
  if (special_.count++ == 0) {
    special_.example = path.string();
  }
}

void PassedOver::add_foreign_folder(const fs::path& path) {
  if (foreign_.count++ == 0) {
    foreign_.example = path.string();
  }
}

std::vector<std::string> PassedOver::notes(const std::string& where) const {
  std::vector<std::string> lines;
  if (special_.count > 0) {
    lines.push_back(fmt::format(
        "{}: {} passed over that {} no regular file{} (a FIFO, socket or device), such as {}",
        where, special_.count, special_.count == 1 ? "is" : "are", special_.count == 1 ? "" : "s",
        special_.example));
  }
  if (foreign_.count > 0) {
    lines.push_back(fmt::format("{}: {} folder{} left out that {} no images of the dataset: {}{}",
                                where, foreign_.count, foreign_.count == 1 ? "" : "s",
                                foreign_.count == 1 ? "holds" : "hold",
                                foreign_.count == 1 ? "" : "such as ", foreign_.example));
  }
  std::vector<std::pair<std::string, std::size_t>> kinds(extensions_.begin(), extensions_.end());
  std::ranges::stable_sort(kinds, std::ranges::greater(),
                           &std::pair<std::string, std::size_t>::second);
  std::vector<std::string> counts;
  counts.reserve(kinds.size());
  for (const auto& [extension, count] : kinds) {
    counts.push_back(fmt::format("{} {}", count, extension.empty() ? "of other names" : extension));
  }
  if (!counts.empty()) {
    lines.push_back(fmt::format("{}: files that are no images were passed over: {}", where,
                                some_names(counts)));
  }
  return lines;
}

std::vector<std::string> list_folder(const fs::path& folder, FolderLinks links,
                                     PassedOver& passed_over) {
  std::vector<std::string> names;
  try {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      std::string name = entry.path().filename().string();
      if (name.starts_with('.')) {
        continue;
      }
      const Kind kind = kind_of(entry, name, links, passed_over);
      if (kind == Kind::image) {
        names.push_back(std::move(name));
      } else if (kind == Kind::folder) {
        names.push_back(std::move(name) + '/');
      }
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(fmt::format("{}: the folder cannot be listed ({})", folder.string(),
                            error.code().message()));
  }
  std::ranges::sort(names);
  return names;
}

std::vector<std::string> images_below(const fs::path& folder, FolderLinks links,
                                      PassedOver& passed_over) {
  return Walk(folder, passed_over).images(links);
}

std::vector<fs::path> list_images(const fs::path& folder, std::vector<std::string>* notes) {
  PassedOver passed_over;
  std::vector<fs::path> paths;
  for (const std::string& name : images_below(folder, FolderLinks::follow, passed_over)) {
    paths.push_back(folder / name);
  }
  if (paths.empty()) {
    throw Error(
        fmt::format("{}: no images (.jpg, .png and the like) in this folder", folder.string()));
  }
  if (notes != nullptr) {
    *notes = passed_over.notes(folder.string());
  }
  return paths;
}

}  // namespace bitlog2
