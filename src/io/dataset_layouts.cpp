// Opens a dataset in one of the layouts that dataset.h lists: finds the images, and what labels
// them. A label is never guessed.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include "bitlog2/dataset.h"
#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "io/dataset_calibration.h"
#include "io/dataset_classes.h"
#include "io/dataset_labels.h"
#include "io/dataset_listing.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kValidationPrefix = "ILSVRC2012_val_";
constexpr std::string_view kGroundTruth = "ILSVRC2012_validation_ground_truth.txt";
constexpr std::array<std::string_view, 3> kGroundTruthFolders = {"", "ILSVRC2012_devkit_t12/data",
                                                                 "devkit/data"};
constexpr std::array<std::string_view, 2> kLabelLists = {"val.txt", "val_list.txt"};
constexpr std::size_t kMaxClassMapBytes = std::size_t{16} << 20;  // of a pipe
constexpr std::string_view kExpected =
    "give the folder that holds val/ and perhaps train/, or a .safetensors file; "
    "docs/datasets-and-configs.md has the layouts";

// ---- Names -----------------------------------------------------------------------------

/// The k of ILSVRC2012_val_0000000k.JPEG, or -1.
int validation_number(std::string_view name) {
  if (!name.starts_with(kValidationPrefix)) {
    return -1;
  }
  name.remove_prefix(kValidationPrefix.size());
  return parse_index(name.substr(0, name.find_first_not_of("0123456789")));
}

/// The class of the wnid that ends or begins a name: ILSVRC2012_val_00000293_n01440764.JPEG,
/// n01440764_10026.JPEG. -1 if there is none.
int class_in_name(std::string_view name) {
  const std::string_view stem = name.substr(0, name.rfind('.'));
  const int last = imagenet_class_index(stem.substr(stem.rfind('_') + 1));
  return last >= 0 ? last : imagenet_class_index(stem.substr(0, stem.find('_')));
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// ---- What is there ---------------------------------------------------------------------

/// The folder of the validation images, and its content.
struct ValidationFolder {
  fs::path path;                     // PATH/val, or PATH
  std::string description;           // the same for people
  std::vector<fs::path> bases;       // folders of label files, from which their paths count
  std::vector<std::string> folders;  // sorted
  std::vector<std::string> images;   // directly in it, sorted
};

/// A dataset while it is opened.
struct Opening {
  const DatasetRequest& request;
  ValidationFolder folder;
  PassedOver passed_over;
  std::vector<std::string> notes;
};

void find_validation(fs::path root, Opening& opening) {
  if (!root.has_filename()) {
    root = root.parent_path();  // a '/' at the end
  }
  ValidationFolder& found = opening.folder;
  const std::vector<std::string> splits = folders_called(kValidationFolders, root);
  if (splits.empty()) {
    found.path = root;
    found.description = root.string() + " (it has no val/)";
  } else {
    found.path = root / splits.front();
    found.description = found.path.string();
  }
  if (splits.size() > 1) {
    opening.notes.push_back(fmt::format("{}: of {}/ the images of {}/ are taken", root.string(),
                                        fmt::join(splits, "/, "), splits.front()));
  }
  found.bases = {found.path};
  if (std::ranges::find(kValidationFolders, found.path.filename().string()) !=
      kValidationFolders.end()) {
    found.bases.push_back(found.path.parent_path());
  }
  for (std::string& name : list_folder(found.path, FolderLinks::follow, opening.passed_over)) {
    if (name.ends_with('/')) {
      name.pop_back();
      found.folders.push_back(std::move(name));
    } else {
      found.images.push_back(std::move(name));
    }
  }
  std::ranges::sort(found.folders);  // the '/' had its place in the order
}

std::optional<fs::path> find_label_list(const ValidationFolder& folder) {
  for (const fs::path& base : folder.bases) {
    for (const std::string_view name : kLabelLists) {
      if (is_file(base / name)) {
        return base / name;
      }
    }
  }
  return std::nullopt;
}

std::optional<fs::path> find_ground_truth(const ValidationFolder& folder) {
  for (const fs::path& base : folder.bases) {
    for (const std::string_view below : kGroundTruthFolders) {
      if (is_file(base / below / kGroundTruth)) {
        return base / below / kGroundTruth;
      }
    }
  }
  return std::nullopt;
}

// ---- Labels of flat images -------------------------------------------------------------

std::optional<fs::path> locate(std::string_view listed, const ValidationFolder& folder) {
  const fs::path name = fs::path(listed).lexically_normal();  // "./a.jpg"
  if (std::ranges::binary_search(folder.images, name.native())) {
    return folder.path / name;
  }
  for (const fs::path& base : folder.bases) {
    if (is_file(base / name)) {  // base / an absolute path is the latter
      return base / name;
    }
  }
  return std::nullopt;
}

std::vector<Dataset::File> label_by_list(const fs::path& list, const ValidationFolder& folder,
                                         int num_classes) {
  const MappedFile text(list);
  std::vector<Dataset::File> files;
  for (const ListedImage& listed :
       parse_label_list(text_of(text.bytes()), num_classes, list.string())) {
    const std::optional<fs::path> path = locate(listed.path, folder);
    if (!path) {
      throw Error(fmt::format("{} line {}: there is no file '{}'; paths count from {}{}",
                              list.string(), listed.line, shown(listed.path), folder.path.string(),
                              folder.bases.size() > 1 ? " or the folder above it" : ""));
    }
    files.push_back({*path, listed.label});
  }
  const auto path_of = [](const Dataset::File& file) -> const std::string& {
    return file.path.native();
  };
  std::ranges::sort(files, {}, path_of);
  const auto twice = std::ranges::adjacent_find(files, {}, path_of);
  if (twice != files.end()) {
    throw Error(fmt::format("{}: {} is listed twice; list each image once", list.string(),
                            twice->path.string()));
  }
  return files;
}

std::vector<Dataset::File> label_by_ground_truth(const fs::path& ground_truth,
                                                 const ValidationFolder& folder, int num_classes) {
  if (num_classes != kImageNetClasses) {
    throw Error(fmt::format("{} labels {} classes, this model has {}; list the labels in val.txt",
                            ground_truth.string(), kImageNetClasses, num_classes));
  }
  const MappedFile text(ground_truth);
  const std::vector<int> classes = parse_ground_truth(text_of(text.bytes()), ground_truth.string());
  std::vector<Dataset::File> files;
  for (const std::string& name : folder.images) {
    const int number = validation_number(name);
    const auto line = static_cast<std::size_t>(std::max(number, 0));
    if (line < 1 || line > classes.size()) {
      throw Error(
          fmt::format("{}: not named {}00000001 to {}{:08}, so {} does not label it; "
                      "rename or remove it",
                      (folder.path / name).string(), kValidationPrefix, kValidationPrefix,
                      classes.size(), ground_truth.string()));
    }
    files.push_back({folder.path / name, classes[line - 1]});
  }
  return files;
}

bool are_labelled_by_name(const std::vector<std::string>& images, int num_classes) {
  return num_classes == kImageNetClasses &&
         std::ranges::all_of(images, [](const auto& name) { return class_in_name(name) >= 0; });
}

std::vector<Dataset::File> label_by_name(const ValidationFolder& folder, int num_classes) {
  if (!are_labelled_by_name(folder.images, num_classes)) {
    throw Error(
        fmt::format("{}: {} images and no labels; put a val.txt of `path label` lines or "
                    "the devkit's {} beside them, or sort them into class folders",
                    folder.description, folder.images.size(), kGroundTruth));
  }
  std::vector<Dataset::File> files;
  for (const std::string& name : folder.images) {
    files.push_back({folder.path / name, class_in_name(name)});
  }
  return files;
}

// ---- Class folders ---------------------------------------------------------------------

ModelClasses classes_of_model(const DatasetRequest& request) {
  ModelClasses model = {
      .count = request.num_classes, .names = request.class_names, .folders = request.class_folders};
  if (!request.class_map.empty()) {
    const FileBytes text(request.class_map, kMaxClassMapBytes);
    model.map_path = request.class_map.string();
    model.map = parse_class_map(text_of(text.bytes()), request.num_classes, model.map_path);
  }
  return model;
}

std::vector<Dataset::File> label_by_folder(Opening& opening) {
  const ValidationFolder& folder = opening.folder;
  const ModelClasses model = classes_of_model(opening.request);
  std::vector<ClassFolder> class_folders;
  std::vector<std::vector<std::string>> images;
  bool has_images = false;
  for (const std::string& name : folder.folders) {
    images.push_back(images_below(folder.path / name, FolderLinks::ignore, opening.passed_over));
    class_folders.push_back({name, !images.back().empty()});
    has_images |= class_folders.back().has_images;
  }
  const std::string where =
      folder.images.empty()
          ? folder.description
          : fmt::format("{} (beside {} images)", folder.description, folder.images.size());
  const ClassNumbers numbers = number_class_folders(class_folders, model, where);
  if (!has_images) {
    throw Error(fmt::format("{}: {} class folders without an image; {}", folder.description,
                            class_folders.size(), kExpected));
  }
  opening.notes.insert(opening.notes.end(), numbers.notes.begin(), numbers.notes.end());
  if (!folder.images.empty()) {
    opening.notes.push_back(fmt::format(
        "{}: {} beside the class folders passed over: {}", folder.description,
        folder.images.size() == 1 ? "1 image" : fmt::format("{} images", folder.images.size()),
        some_names(folder.images)));
  }
  std::vector<Dataset::File> files;
  for (std::size_t i = 0; i < class_folders.size(); ++i) {
    const fs::path class_folder = folder.path / class_folders[i].name;
    for (const std::string& name : images[i]) {
      files.push_back({class_folder / name, numbers.classes[i]});
    }
  }
  return files;
}

/// Whether the folders give the labels, whatever else is there.
bool has_named_classes(const Opening& opening) {
  return opening.request.num_classes == kImageNetClasses &&
         std::ranges::any_of(opening.folder.folders, [](const std::string& name) {
           return imagenet_class_index(name) >= 0;
         });
}

/// All images that are there.
std::vector<Dataset::File> images_without_labels(Opening& opening) {
  const fs::path& folder = opening.folder.path;
  std::vector<Dataset::File> files;
  for (const std::string& name : images_below(folder, FolderLinks::follow, opening.passed_over)) {
    files.push_back({folder / name, -1});
  }
  if (files.empty()) {
    throw Error(fmt::format("{}: no images (.jpg, .png and the like) in this folder",
                            opening.folder.description));
  }
  return files;
}

std::vector<Dataset::File> label_images(Opening& opening) {
  if (!opening.request.labelled) {
    return images_without_labels(opening);
  }
  const ValidationFolder& folder = opening.folder;
  const int num_classes = opening.request.num_classes;
  if (!opening.request.class_map.empty()) {
    if (folder.folders.empty()) {
      throw Error(
          fmt::format("{}: there are no class folders for {} to number; leave out "
                      "--class-map",
                      folder.description, opening.request.class_map.string()));
    }
    return label_by_folder(opening);
  }
  if (has_named_classes(opening)) {
    return label_by_folder(opening);
  }
  if (const auto list = find_label_list(folder)) {
    std::vector<Dataset::File> files = label_by_list(*list, folder, num_classes);
    if (!folder.folders.empty() || files.size() < folder.images.size()) {
      opening.notes.push_back(fmt::format(
          "{}: labels come from {}, which names {} images; others, and class folders, do not count",
          folder.description, list->string(), files.size()));
    }
    return files;
  }
  if (folder.images.empty() && folder.folders.empty()) {
    throw Error(fmt::format("{}: no images (.jpg, .png and the like) and no class folders; {}",
                            folder.description, kExpected));
  }
  if (!folder.images.empty()) {
    if (const auto ground_truth = find_ground_truth(folder)) {
      return label_by_ground_truth(*ground_truth, folder, num_classes);
    }
    if (folder.folders.empty() || are_labelled_by_name(folder.images, num_classes)) {
      return label_by_name(folder, num_classes);
    }
  }
  return label_by_folder(opening);
}

// ---- Layouts ---------------------------------------------------------------------------

void find_calibration(Opening& opening, DatasetSplits& splits) {
  const DatasetRequest& request = opening.request;
  const std::vector<std::string> trains = folders_called(kTrainingFolders, request.path);
  for (const std::string& name : trains) {
    const fs::path train = request.path / name;
    const std::vector<std::string> images =
        images_below(train, FolderLinks::follow, opening.passed_over);
    if (!images.empty()) {
      calibrate_with_files(train, images, request, splits);
      return;
    }
  }
  calibrate_with(splits.validation, request, opening.folder.path.string(), splits);
  splits.calibration_source +=
      trains.empty() ? " (there is no train/)" : fmt::format(" ({}/ holds no images)", trains[0]);
}

DatasetSplits open_folder(const DatasetRequest& request) {
  Opening opening = {.request = request, .folder = {}, .passed_over = {}, .notes = {}};
  find_validation(request.path, opening);
  DatasetSplits splits;
  splits.validation = Dataset(label_images(opening));
  if (request.calibration_images > 0) {
    find_calibration(opening, splits);
  }
  splits.notes = opening.passed_over.notes(request.path.string());
  splits.notes.insert(splits.notes.begin(), opening.notes.begin(), opening.notes.end());
  return splits;
}

void check_labels(const Dataset& images, int num_classes, const std::string& labels) {
  for (std::size_t i = 0; i < images.size(); ++i) {
    if (images.label(i) < 0) {
      throw Error(
          fmt::format("{}: there are no labels; the file must have this tensor; "
                      "docs/datasets-and-configs.md has the tensors",
                      labels));
    }
    if (images.label(i) >= num_classes) {
      throw Error(fmt::format("{}: label {} is {}, this model has classes 0 to {}", labels, i,
                              images.label(i), num_classes - 1));
    }
  }
}

DatasetSplits open_tensors(const DatasetRequest& request) {
  const Safetensors file = Safetensors::open(request.path);
  if (!request.class_map.empty()) {
    throw Error(fmt::format("{}: the file has labels and no class folders; leave out --class-map",
                            file.name()));
  }
  DatasetSplits splits;
  splits.validation = Dataset::from_tensors(file, "val");
  if (request.labelled) {
    check_labels(splits.validation, request.num_classes, file.name() + ": val.labels");
  }
  if (request.calibration_images == 0) {
    return splits;
  }
  if (file.find("train.images") != nullptr) {
    calibrate_with(Dataset::from_tensors(file, "train"), request, file.name() + ": train.images",
                   splits);
  } else {
    calibrate_with(splits.validation, request, file.name() + ": val.images", splits);
    splits.calibration_source += " (there are no train.images)";
  }
  return splits;
}

}  // namespace

DatasetSplits open_dataset(const DatasetRequest& request) {
  if (!request.labelled && !request.class_map.empty()) {
    throw Error(
        fmt::format("no classes are asked for, which {} could number; leave out --class-map",
                    request.class_map.string()));
  }
  std::error_code unreadable;
  const fs::file_status status = fs::status(request.path, unreadable);
  if (!fs::exists(status)) {
    const bool absent = status.type() == fs::file_type::not_found;
    throw Error(fmt::format("{}: {}; {}", request.path.string(),
                            absent ? "there is no such file or folder" : unreadable.message(),
                            kExpected));
  }
  if (fs::is_directory(status)) {
    return open_folder(request);
  }
  if (request.path.extension() != ".safetensors") {
    throw Error(fmt::format("{}: neither a folder nor a .safetensors file; {}",
                            request.path.string(), kExpected));
  }
  return open_tensors(request);
}

}  // namespace bitlog2
