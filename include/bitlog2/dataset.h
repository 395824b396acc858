// Labelled images as people have them on disk: ImageNet's folders, flat folders
// with a list, subsets, or one safetensors file. A dataset never guesses a label and
// never writes to its files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitlog2/image.h"
#include "bitlog2/parallel.h"
#include "bitlog2/safetensors.h"

#pragma GCC visibility push(default)
namespace bitlog2 {

/// A list of images, labelled or not, that are read when asked for. Cheap to copy.
class Dataset {
 public:
  struct File {
    std::filesystem::path path;
    int label = 0;  ///< class index of the model, -1 where there is none
  };

  Dataset() = default;
  explicit Dataset(std::vector<File> files);

  /// Images from tensors `<split>.images` (U8, [N,H,W] grey or [N,H,W,3], N > 0) and
  /// `<split>.labels` (U8 or I64, [N]). Without labels every label is -1. Throws
  /// Error if the images are absent, for other dtypes and shapes, and for labels that are
  /// no class index of any model.
  static Dataset from_tensors(const Safetensors& file, const std::string& split);

  std::size_t size() const;
  int label(std::size_t index) const;         ///< class index, -1 for an unlabelled image
  std::string name(std::size_t index) const;  ///< a path, or "FILE: val image 17"

  /// Decodes image `index`; throws Error naming it. Safe from several threads.
  RgbImage read(std::size_t index) const;

  /// The images at `indices`, in that order.
  Dataset subset(const std::vector<std::size_t>& indices) const;

  /// `count` images, or all if there are not as many, spread over the classes: no class gives
  /// two more than another that has images left. The choice depends on the seed and the labels
  /// alone; its order is the dataset's.
  Dataset sample_by_class(std::size_t count, std::uint64_t seed) const;

 private:
  struct Tensors;
  std::shared_ptr<const std::vector<File>> files_;  // of an image folder
  std::shared_ptr<const Tensors> tensors_;          // or of a safetensors file, and
  std::vector<std::size_t> rows_;                   // which of either, in this order
};

/// What `--dataset PATH` holds.
struct DatasetSplits {
  Dataset validation;
  Dataset calibration;             ///< exactly as many images as were asked for
  Dataset calibration_reserve;     ///< replace unreadable calibration images, in this order
  std::string calibration_source;  ///< a phrase for people, e.g. "32 images of DIR/train"
  std::vector<std::string> notes;  ///< lines for people: what was passed over or is in doubt
};

/// What to open, and how.
struct DatasetRequest {
  std::filesystem::path path;
  int num_classes = 1000;
  std::size_t calibration_images = 32;        ///< how many; 0: none
  std::uint64_t seed = 0;                     ///< of the calibration sample
  std::vector<std::string> class_names = {};  ///< the model's, by class; empty: not known
  std::filesystem::path class_map = {};       ///< file with the class folders' names; empty: none
  /// The names of the class folders, by class; no other folder is allowed. Empty: the rules of
  /// open_dataset number the folders.
  std::vector<std::string> class_folders = {};
  /// Whether validation images need labels. If not, all images that are there are taken, without
  /// labels, and no class map may be given.
  bool labelled = true;
};

/// Opens a dataset in any of the layouts below; throws Error that says what was found
/// and what is expected. Images are regular files called *.jpeg, *.jpg, *.jpe, *.jfif, *.png,
/// *.webp, *.bmp, *.dib, *.gif, *.tif or *.tiff in any case; hidden ones do not count, and none
/// is opened here. They come in the byte order of their paths, class folder by class folder
/// where there are class folders. docs/datasets-and-configs.md explains the layouts to users.
///
///  - PATH/val/<class>/, or validation/, valid/ or test/ instead of val/. Folders are numbered
///    by the first of these rules that applies: the class map; ImageNet's wnids for 1000 classes;
///    the class names; the byte order, for which there must be `num_classes` folders
///  - PATH/val/ flat, labelled by a list of `path label` lines (val.txt or val_list.txt in
///    PATH or PATH/val; 0-based class index or wnid; paths relative to PATH/val or PATH, or
///    absolute), by the devkit's ILSVRC2012_validation_ground_truth.txt (in PATH/val, PATH, or
///    ILSVRC2012_devkit_t12/data or devkit/data there), or by the wnid in the images' names
///    (ILSVRC2012_val_00000293_n01440764.JPEG). A list also labels images in folders that are
///    not called by wnids
///  - PATH itself as such a folder, when it has no val/. Label files are looked for in the
///    folder above, too, if PATH ends in val
///  - PATH a safetensors file with val.images, val.labels and perhaps train.images
///
/// Calibration images: a seeded sample of train/ or training/, else of the validation images, in
/// sorted order. The sample depends on the seed and the sorted names alone, not on the machine.
DatasetSplits open_dataset(const DatasetRequest& request);

/// Sets the calibration of `splits` to a sample of the image files below `folder`, found as
/// list_images finds them; `request` says how many, and the seed. Throws Error if there are too
/// few.
void calibrate_on_folder(const std::filesystem::path& folder, const DatasetRequest& request,
                         DatasetSplits& splits);

/// Images to learn classes from and images to test on, both labelled by the dataset's own classes.
struct LabelledSplits {
  Dataset training;
  Dataset validation;
  std::size_t classes = 0;         ///< labels of both are below
  std::vector<std::string> notes;  ///< lines for people, as of DatasetSplits
};

/// Opens the training and the validation images of a dataset, both with labels. In a folder, train/
/// (or training/) has a folder for each class. If all are called by ImageNet's wnids, they have
/// ImageNet's numbers, and validation images are labelled as open_dataset does it for 1000 classes.
/// Else they are numbered in byte order, and val/ has folders of the same names or a list of class
/// indices. A safetensors file has train.labels and val.labels. Throws Error for what is missing,
/// and for a validation image of a class that no training image has.
LabelledSplits open_labelled_splits(const std::filesystem::path& path);

/// Calibration images, ready for a model.
struct CalibrationImages {
  std::vector<RgbImage> crops;
  std::vector<std::string> names;     ///< of the images, in the order of the crops
  std::vector<std::string> replaced;  ///< lines: why an image was not read, and what replaces it
};

/// Reads `splits.calibration`, resized and cropped. An image that cannot be read is replaced by the
/// next one of the reserve; which one does not depend on the number of threads. Throws Error if the
/// reserve ends, and, if `strict`, for the first image that cannot be read.
CalibrationImages read_calibration(const DatasetSplits& splits, const Preprocessing& preprocessing,
                                   ThreadPool& pool, bool strict);

/// True if a file of this name counts as an image in a dataset: *.jpeg, *.png, *.webp and so on, in
/// any case.
bool is_image_name(std::string_view name);

/// Image files below `folder` (recursively, sorted), for prediction on unlabelled images; lines
/// on what was passed over go to `notes`. Throws Error if `folder` is no folder or holds none.
std::vector<std::filesystem::path> list_images(const std::filesystem::path& folder,
                                               std::vector<std::string>* notes = nullptr);

/// One of the 1000 ImageNet classes.
struct ImageNetClass {
  std::string_view wnid;  ///< "n01440764"
  std::string_view name;  ///< "tench"
};

/// All 1000 classes, by class index (sorted by wnid).
std::span<const ImageNetClass> imagenet_classes();

/// Class index of a wnid, or -1.
int imagenet_class_index(std::string_view wnid);

}  // namespace bitlog2
#pragma GCC visibility pop
