// Opens training and validation images that both have labels. The training images' folders say
// which classes there are.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "bitlog2/dataset.h"
#include "bitlog2/error.h"
#include "io/dataset_labels.h"
#include "io/dataset_listing.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNeeded =
    "k-nearest neighbours and linear probes learn from train/ and are tested on val/, each with a "
    "folder for each class, or from a .safetensors file with train.labels and val.labels";

/// A training folder's classes.
struct TrainingFolder {
  std::vector<std::string> classes;  // folders, in byte order
  std::vector<Dataset::File> files;  // labelled by place in it
};

TrainingFolder list_training(const fs::path& folder, PassedOver& passed_over) {
  TrainingFolder training;
  for (std::string& name : list_folder(folder, FolderLinks::follow, passed_over)) {
    if (name.ends_with('/')) {
      name.pop_back();
      training.classes.push_back(std::move(name));
    }
  }
  std::ranges::sort(training.classes);  // the '/' had its place in the order
  for (std::size_t i = 0; i < training.classes.size(); ++i) {
    const fs::path class_folder = folder / training.classes[i];
    for (const std::string& name : images_below(class_folder, FolderLinks::ignore, passed_over)) {
      training.files.push_back({class_folder / name, static_cast<int>(i)});
    }
  }
  return training;
}

/// Numbers by ImageNet if all folders are called so.
bool renumber_by_wnids(TrainingFolder& training) {
  std::vector<int> numbers;
  for (const std::string& name : training.classes) {
    numbers.push_back(imagenet_class_index(name));
  }
  if (std::ranges::any_of(numbers, [](int number) { return number < 0; })) {
    return false;
  }
  for (Dataset::File& file : training.files) {
    file.label = numbers[static_cast<std::size_t>(file.label)];
  }
  return true;
}

LabelledSplits open_folders(const fs::path& path) {
  const std::vector<std::string> trains = folders_called(kTrainingFolders, path);
  if (trains.empty() || folders_called(kValidationFolders, path).empty()) {
    throw Error(fmt::format("{}: there is no {}; {}", path.string(),
                            trains.empty() ? "train/" : "val/", kNeeded));
  }
  PassedOver passed_over;
  TrainingFolder training;
  for (const std::string& name : trains) {  // an empty one is passed over, as for calibration
    if (training.files.empty()) {
      training = list_training(path / name, passed_over);
    }
  }
  if (training.files.empty()) {
    throw Error(fmt::format("{}: no class folders with images; {}",
                            (path / trains.front()).string(), kNeeded));
  }
  DatasetRequest request = {.path = path, .calibration_images = 0};
  if (renumber_by_wnids(training)) {
    request.num_classes = kImageNetClasses;
  } else {
    request.num_classes = static_cast<int>(training.classes.size());
    request.class_folders = training.classes;
  }
  DatasetSplits others = open_dataset(request);
  LabelledSplits splits = {.training = Dataset(std::move(training.files)),
                           .validation = std::move(others.validation),
                           .notes = std::move(others.notes)};
  const std::vector<std::string> notes = passed_over.notes(path.string());
  splits.notes.insert(splits.notes.end(), notes.begin(), notes.end());
  return splits;
}

LabelledSplits open_tensor_splits(const fs::path& path) {
  const Safetensors file = Safetensors::open(path);
  for (const char* name : {"train.images", "train.labels", "val.images", "val.labels"}) {
    if (file.find(name) == nullptr) {
      throw Error(fmt::format("{}: there is no tensor {}; {}", file.name(), name, kNeeded));
    }
  }
  return {.training = Dataset::from_tensors(file, "train"),
          .validation = Dataset::from_tensors(file, "val"),
          .notes = {}};
}

/// Counts the classes. Validation images of a class without training images would lower the
/// accuracy for no fault of the encoder.
void check_classes(LabelledSplits& splits) {
  std::set<int> known;
  for (std::size_t i = 0; i < splits.training.size(); ++i) {
    known.insert(splits.training.label(i));
  }
  for (std::size_t i = 0; i < splits.validation.size(); ++i) {
    if (!known.contains(splits.validation.label(i))) {
      throw Error(fmt::format(
          "{}: its class is {}, of which there is no training image; add some, or remove it",
          splits.validation.name(i), splits.validation.label(i)));
    }
  }
  splits.classes = static_cast<std::size_t>(*known.rbegin()) + 1;
}

}  // namespace

LabelledSplits open_labelled_splits(const fs::path& path) {
  LabelledSplits splits = is_folder(path) ? open_folders(path) : open_tensor_splits(path);
  check_classes(splits);
  return splits;
}

}  // namespace bitlog2
