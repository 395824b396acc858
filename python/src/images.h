// What Python gives for images, brought to the crops that a network sees.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <string>
#include <variant>
#include <vector>

#include "bitlog2/image.h"

namespace bitlog2::python {

/// An array in memory that the CPU reads, of any dtype, shape and strides.
using AnyArray = nanobind::ndarray<nanobind::ro, nanobind::device::cpu>;

/// A list of images that are read when they are needed.
class Images {
 public:
  explicit Images(const Preprocessing& preprocessing) : preprocessing_(preprocessing) {}

  /// Crops: uint8 [S, S, 3] or [N, S, S, 3]; or, as torchvision's transforms give them, normalised
  /// float32 or float64 [3, S, S] or [N, 3, S, S], from which the pixels are worked out. S is
  /// `preprocessing.crop`. The values are copied. Throws Error for another array, for no image, and
  /// for floats that are no pixels normalised so.
  void add_crops(const AnyArray& array);

  /// A photograph, uint8 [height, width, 3], which will be resized and cropped. Throws Error for
  /// another array.
  void add_photograph(const AnyArray& array);

  /// An image file.
  void add_file(std::string path) { items_.emplace_back(File{std::move(path)}); }

  /// An image file's content; `name` is for messages.
  void add_encoded(const nanobind::bytes& content, std::string name);

  std::size_t size() const { return items_.size(); }

  /// Memory that the images take as they are now: photographs at their size, files' contents,
  /// crops.
  std::size_t byte_count() const;

  /// Puts `crop`, [S, S, 3], in the place of image `index`. Safe from several threads for several
  /// images.
  void replace_by_crop(std::size_t index, RgbImage crop);

  /// Moves the first `count` images of `other`, or all, to the end; `other` is empty then.
  void take(Images& other, std::size_t count);

  /// The images, all of them crops, which go from here.
  std::vector<RgbImage> take_crops();

  /// The crop of image `index`, [S, S, 3]; `made` holds it unless it is here already. Safe from
  /// several threads, without Python's lock. Throws Error that names the image if it cannot be
  /// read.
  const RgbImage& crop(std::size_t index, RgbImage& made) const;

 private:
  struct Crop {
    RgbImage image;
  };
  struct Photograph {
    RgbImage image;
  };
  struct File {
    std::string path;
  };
  struct Encoded {
    std::string content;
    std::string name;
  };

  void add_pixels(const AnyArray& array);
  template <class Value>
  void add_normalised(const AnyArray& array);

  Preprocessing preprocessing_;
  std::vector<std::variant<Crop, Photograph, File, Encoded>> items_;
};

}  // namespace bitlog2::python
