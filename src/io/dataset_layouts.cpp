// Finds the images and labels of a dataset in the layouts that dataset.h lists. Only names
// are read here: no image is opened, and no file of a folder is looked at where the folder's
// listing tells enough. A label is never guessed.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <numeric>
#include <optional>
#include <random>
#include <system_error>
#include <utility>

#include "bitlog2/dataset.h"
#include "bitlog2/error.h"
#include "bitlog2/files.h"
#include "io/imagenet_devkit.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;

constexpr int kImageNetClasses = 1000;
constexpr std::size_t kImageNetValidationImages = 50'000;
constexpr std::string_view kValidationPrefix = "ILSVRC2012_val_";
constexpr std::string_view kGroundTruth = "ILSVRC2012_validation_ground_truth.txt";
constexpr std::array<std::string_view, 3> kGroundTruthFolders = {"", "ILSVRC2012_devkit_t12/data",
                                                                 "devkit/data"};
constexpr std::array<std::string_view, 2> kLabelLists = {"val.txt", "val_list.txt"};
constexpr std::string_view kBlanks = " \t\r";
constexpr std::string_view kExpected =
    "give the folder that holds val/ and perhaps train/, or a .safetensors file";

// ---- Names -----------------------------------------------------------------------------

bool is_image_name(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) {
    return false;
  }
  std::string extension(name.substr(dot));
  std::ranges::transform(extension, extension.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  });
  return extension == ".jpeg" || extension == ".jpg" || extension == ".png";
}

std::optional<int> parse_number(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole ? std::optional(number) : std::nullopt;
}

/// The k of ILSVRC2012_val_0000000k.JPEG.
std::optional<int> validation_number(std::string_view name) {
  if (!name.starts_with(kValidationPrefix)) {
    return std::nullopt;
  }
  name.remove_prefix(kValidationPrefix.size());
  return parse_number(name.substr(0, name.find_first_not_of("0123456789")));
}

/// The class of the wnid that ends or begins a name: ILSVRC2012_val_00000293_n01440764.JPEG,
/// n01440764_10026.JPEG. -1 if there is none.
int class_in_name(std::string_view name) {
  const std::string_view stem = name.substr(0, name.rfind('.'));
  const int last = imagenet_class_index(stem.substr(stem.rfind('_') + 1));
  return last >= 0 ? last : imagenet_class_index(stem.substr(0, stem.find('_')));
}

// ---- Folders ---------------------------------------------------------------------------

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

enum class FolderLinks { follow, ignore };

/// The images and, with a '/' at the end, the folders in `folder`, hidden ones left out, in
/// byte order. Asks nothing of an entry but the type that the listing gives.
std::vector<std::string> list_folder(const fs::path& folder, FolderLinks links) {
  std::vector<std::string> names;
  try {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      std::string name = entry.path().filename().string();
      if (name.starts_with('.')) {
        continue;
      }
      const bool link = entry.is_symlink();
      if (is_image_name(name) && (link || !entry.is_directory())) {
        names.push_back(std::move(name));
      } else if ((!link || links == FolderLinks::follow) && entry.is_directory()) {
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

/// Appends the images below `folder`, as paths that begin with `prefix`, in byte order. Links
/// to folders are followed, if at all, in `folder` itself alone: none can lead round in a circle.
void append_images(const fs::path& folder, const std::string& prefix, FolderLinks links,
                   std::vector<std::string>& images) {
  for (const std::string& name : list_folder(folder, links)) {
    if (name.ends_with('/')) {
      append_images(folder / name, prefix + name, FolderLinks::ignore, images);
    } else {
      images.push_back(prefix + name);
    }
  }
}

/// Paths relative to `folder`; strings, for a million fs::path take a gigabyte.
std::vector<std::string> images_below(const fs::path& folder, FolderLinks links) {
  std::vector<std::string> images;
  append_images(folder, "", links, images);
  return images;
}

/// Where the validation images are, and what stands there.
struct ValidationFolder {
  fs::path path;                     // PATH/val, or PATH
  std::string description;           // the same for people
  std::vector<fs::path> bases;       // where label files stand and their paths begin
  std::vector<std::string> folders;  // sorted
  std::vector<std::string> images;   // directly in it, sorted
};

ValidationFolder find_validation(fs::path root) {
  if (!root.has_filename()) {
    root = root.parent_path();  // a '/' at the end
  }
  ValidationFolder found;
  found.path = root / "val";
  found.description = found.path.string();
  if (!is_folder(found.path)) {
    found.path = root;
    found.description = root.string() + " (it has no val/)";
  }
  found.bases = {found.path};
  if (found.path.filename() == "val") {
    found.bases.push_back(found.path.parent_path());
  }
  for (std::string& name : list_folder(found.path, FolderLinks::follow)) {
    if (name.ends_with('/')) {
      name.pop_back();
      found.folders.push_back(std::move(name));
    } else {
      found.images.push_back(std::move(name));
    }
  }
  std::ranges::sort(found.folders);  // the '/' had its place in the order
  return found;
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

// ---- Label files -----------------------------------------------------------------------

std::string_view without_blanks_around(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) {
    return {};
  }
  return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

/// Text of a file as a message may show it: short, and without control characters.
std::string shown(std::string_view text) {
  std::string result(text.substr(0, 80));
  std::ranges::replace_if(
      result, [](unsigned char byte) { return byte < 0x20 || byte == 0x7F; }, '?');
  return result;
}

/// Calls `take(line, number)` for the lines of a text file that are not blank; numbers count
/// from 1.
void for_each_line(const fs::path& path,
                   const std::function<void(std::string_view, std::size_t)>& take) {
  const MappedFile file(path);
  std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (const std::string_view line = without_blanks_around(text.substr(0, end)); !line.empty()) {
      take(line, number);
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

int parse_label(std::string_view text, int num_classes, const std::string& line_name) {
  if (num_classes == kImageNetClasses && imagenet_class_index(text) >= 0) {
    return imagenet_class_index(text);
  }
  const std::optional<int> number = parse_number(text);
  if (!number || *number < 0 || *number >= num_classes) {
    throw Error(fmt::format("{}: label '{}' is no class of this model; labels are 0 to {}{}",
                            line_name, shown(text), num_classes - 1,
                            num_classes == kImageNetClasses ? ", or wnids" : ""));
  }
  return *number;
}

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

Dataset::File parse_list_line(std::string_view line, const std::string& line_name,
                              const ValidationFolder& folder, int num_classes) {
  const std::size_t blank = line.find_last_of(kBlanks);
  if (blank == std::string_view::npos) {
    throw Error(fmt::format("{}: '{}' is not a path and a label", line_name, shown(line)));
  }
  const std::string_view name = without_blanks_around(line.substr(0, blank));
  const std::optional<fs::path> path = locate(name, folder);
  if (!path) {
    throw Error(fmt::format("{}: there is no file '{}'; paths count from {}{}", line_name,
                            shown(name), folder.path.string(),
                            folder.bases.size() > 1 ? " or the folder above it" : ""));
  }
  return {*path, parse_label(line.substr(blank + 1), num_classes, line_name)};
}

std::vector<Dataset::File> read_label_list(const fs::path& list, const ValidationFolder& folder,
                                           int num_classes) {
  std::vector<Dataset::File> files;
  for_each_line(list, [&](std::string_view line, std::size_t number) {
    const std::string line_name = fmt::format("{} line {}", list.string(), number);
    files.push_back(parse_list_line(line, line_name, folder, num_classes));
  });
  if (files.empty()) {
    throw Error(
        fmt::format("{}: the list is empty; its lines are a path and a label", list.string()));
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

/// Class index of validation image k at k - 1.
std::vector<int> read_ground_truth(const fs::path& path) {
  std::vector<int> classes;
  for_each_line(path, [&](std::string_view line, std::size_t number) {
    const int index = class_of_devkit_id(parse_number(line).value_or(0));
    if (index < 0) {
      throw Error(
          fmt::format("{} line {}: '{}' is no ILSVRC2012_ID, 1 to 1000; take the file of "
                      "ILSVRC2012's devkit",
                      path.string(), number, shown(line)));
    }
    classes.push_back(index);
  });
  if (classes.size() != kImageNetValidationImages) {
    throw Error(fmt::format("{}: {} lines, expected {}; take the file of ILSVRC2012's devkit",
                            path.string(), classes.size(), kImageNetValidationImages));
  }
  return classes;
}

// ---- Validation images -----------------------------------------------------------------

std::vector<Dataset::File> label_by_ground_truth(const fs::path& ground_truth,
                                                 const ValidationFolder& folder, int num_classes) {
  if (num_classes != kImageNetClasses) {
    throw Error(fmt::format("{} labels {} classes, this model has {}; list the labels in val.txt",
                            ground_truth.string(), kImageNetClasses, num_classes));
  }
  const std::vector<int> classes = read_ground_truth(ground_truth);
  std::vector<Dataset::File> files;
  for (const std::string& name : folder.images) {
    const auto line = static_cast<std::size_t>(validation_number(name).value_or(0));
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

std::vector<Dataset::File> label_by_name(const ValidationFolder& folder, int num_classes) {
  std::vector<Dataset::File> files;
  for (const std::string& name : folder.images) {
    files.push_back({folder.path / name, class_in_name(name)});
  }
  const bool labelled = num_classes == kImageNetClasses &&
                        std::ranges::none_of(files, [](const auto& f) { return f.label < 0; });
  if (!labelled) {
    throw Error(
        fmt::format("{}: {} images and no labels; put a val.txt of `path label` lines or "
                    "the devkit's {} beside them, or sort them into class folders",
                    folder.description, files.size(), kGroundTruth));
  }
  return files;
}

/// The class of each of `folder.folders`.
std::vector<int> classes_of_folders(const ValidationFolder& folder, int num_classes) {
  std::vector<int> classes(folder.folders.size());
  if (num_classes != kImageNetClasses) {
    if (folder.folders.size() != static_cast<std::size_t>(num_classes)) {
      throw Error(
          fmt::format("{}: {} class folders, this model has {} classes; there must be one "
                      "folder for each",
                      folder.description, folder.folders.size(), num_classes));
    }
    std::iota(classes.begin(), classes.end(), 0);
    return classes;
  }
  for (std::size_t i = 0; i < classes.size(); ++i) {
    classes[i] = imagenet_class_index(folder.folders[i]);
    if (classes[i] < 0) {
      throw Error(
          fmt::format("{}: folder '{}' is not the wnid of one of the model's 1000 classes; "
                      "name class folders like n01440764",
                      folder.description, folder.folders[i]));
    }
  }
  return classes;
}

std::vector<Dataset::File> label_by_folder(const ValidationFolder& folder, int num_classes) {
  const std::vector<int> classes = classes_of_folders(folder, num_classes);
  std::vector<Dataset::File> files;
  for (std::size_t i = 0; i < classes.size(); ++i) {
    const fs::path class_folder = folder.path / folder.folders[i];
    for (const std::string& name : images_below(class_folder, FolderLinks::ignore)) {
      files.push_back({class_folder / name, classes[i]});
    }
  }
  if (files.empty()) {
    throw Error(fmt::format("{}: {} class folders without a .jpeg, .jpg or .png image; {}",
                            folder.description, classes.size(), kExpected));
  }
  return files;
}

std::vector<Dataset::File> label_images(const ValidationFolder& folder, int num_classes) {
  const bool by_wnid = num_classes == kImageNetClasses &&
                       std::ranges::any_of(folder.folders, [](const std::string& name) {
                         return imagenet_class_index(name) >= 0;
                       });
  if (by_wnid && !folder.images.empty()) {
    throw Error(
        fmt::format("{}: {} images, such as {}, stand beside the class folders; move them "
                    "into those or away",
                    folder.description, folder.images.size(), folder.images.front()));
  }
  if (by_wnid) {
    return label_by_folder(folder, num_classes);
  }
  if (const auto list = find_label_list(folder)) {
    return read_label_list(*list, folder, num_classes);
  }
  if (!folder.images.empty()) {
    const auto ground_truth = find_ground_truth(folder);
    return ground_truth ? label_by_ground_truth(*ground_truth, folder, num_classes)
                        : label_by_name(folder, num_classes);
  }
  if (!folder.folders.empty()) {
    return label_by_folder(folder, num_classes);
  }
  throw Error(fmt::format("{}: no .jpeg, .jpg or .png images and no class folders; {}",
                          folder.description, kExpected));
}

// ---- Calibration images ----------------------------------------------------------------

/// A uniform number below `bound`; std's distributions differ between libraries.
std::uint64_t number_below(std::uint64_t bound, std::mt19937_64& engine) {
  const std::uint64_t accepted = std::mt19937_64::max() - std::mt19937_64::max() % bound;
  std::uint64_t number = engine();
  while (number >= accepted) {
    number = engine();
  }
  return number % bound;
}

/// `request.calibration_images` different numbers below `count`, ascending. `where` is for the
/// Error if there are not as many.
std::vector<std::size_t> sample(std::size_t count, const DatasetRequest& request,
                                const std::string& where) {
  const std::size_t wanted = request.calibration_images;
  if (count < wanted) {
    throw Error(
        fmt::format("{} holds {} images, {} were asked for; lower --calib-batchsize or "
                    "add images",
                    where, count, wanted));
  }
  std::vector<std::size_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), std::size_t{0});
  std::mt19937_64 engine(request.seed);
  for (std::size_t i = 0; i < wanted; ++i) {  // the first steps of Fisher and Yates' shuffle
    std::swap(numbers[i], numbers[i + number_below(count - i, engine)]);
  }
  numbers.resize(wanted);
  std::ranges::sort(numbers);
  return numbers;
}

std::string sample_phrase(std::size_t count, std::size_t wanted, const std::string& where) {
  return fmt::format("{}{} images of {}", count == wanted ? "" : "a seeded sample of ", wanted,
                     where);
}

void calibrate_with(const Dataset& images, const DatasetRequest& request, const std::string& where,
                    DatasetSplits& splits) {
  splits.calibration = images.subset(sample(images.size(), request, where));
  splits.calibration_source = sample_phrase(images.size(), request.calibration_images, where);
}

/// False if there is no image in `train`.
bool calibrate_with_folder(const fs::path& train, const DatasetRequest& request,
                           DatasetSplits& splits) {
  if (!is_folder(train)) {
    return false;
  }
  const std::vector<std::string> images = images_below(train, FolderLinks::follow);
  if (images.empty()) {
    return false;
  }
  std::vector<Dataset::File> files;
  for (const std::size_t i : sample(images.size(), request, train.string())) {
    files.push_back({train / images[i], -1});
  }
  splits.calibration = Dataset(std::move(files));
  splits.calibration_source =
      sample_phrase(images.size(), request.calibration_images, train.string());
  return true;
}

// ---- Layouts ---------------------------------------------------------------------------

DatasetSplits open_folder(const DatasetRequest& request) {
  const ValidationFolder folder = find_validation(request.path);
  DatasetSplits splits;
  splits.validation = Dataset(label_images(folder, request.num_classes));
  if (request.calibration_images == 0) {
    return splits;
  }
  const fs::path train = request.path / "train";
  if (!calibrate_with_folder(train, request, splits)) {
    calibrate_with(splits.validation, request, folder.path.string(), splits);
    splits.calibration_source +=
        is_folder(train) ? " (train/ holds no images)" : " (there is no train/)";
  }
  return splits;
}

void check_labels(const Dataset& images, int num_classes, const std::string& labels) {
  for (std::size_t i = 0; i < images.size(); ++i) {
    if (images.label(i) < 0) {
      throw Error(fmt::format("{}: there are no labels; the file must have this tensor", labels));
    }
    if (images.label(i) >= num_classes) {
      throw Error(fmt::format("{}: label {} is {}, this model has classes 0 to {}", labels, i,
                              images.label(i), num_classes - 1));
    }
  }
}

DatasetSplits open_tensors(const DatasetRequest& request) {
  const Safetensors file = Safetensors::open(request.path);
  DatasetSplits splits;
  splits.validation = Dataset::from_tensors(file, "val");
  check_labels(splits.validation, request.num_classes, file.name() + ": val.labels");
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

std::vector<fs::path> list_images(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const std::string& name : images_below(folder, FolderLinks::follow)) {
    paths.push_back(folder / name);
  }
  if (paths.empty()) {
    throw Error(fmt::format("{}: no .jpeg, .jpg or .png images in this folder", folder.string()));
  }
  return paths;
}

}  // namespace bitlog2
