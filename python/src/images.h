// Turns the images that Python gives into the crops that a network reads.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <string>
#include <variant>
#include <vector>

#include "bitlog2/image.h"

namespace bitlog2::python {

/// An array in the CPU's memory, of any dtype, shape and strides.
using AnyArray = nanobind::ndarray<nanobind::ro, nanobind::device::cpu>;

/// A list of images. They are read when they are needed.
class Images {
 public:
  explicit Images(const Preprocessing& preprocessing) : preprocessing_(preprocessing) {}

  /// Adds crops: uint8 [S, S, 3] or [N, S, S, 3]; or, as torchvision's transforms give them,
  /// normalised float32 or float64 [3, S, S] or [N, 3, S, S], from which the pixels are computed. S
  /// is `preprocessing.crop`. The values are copied. Throws Error for another array, for no image,
  /// and for floats that are no normalised pixels.
  void add_crops(const AnyArray& array);

  /// Adds a photograph, uint8 [height, width, 3], which will be resized and cropped. Throws Error
  /// for another array.
  void add_photograph(const AnyArray& array);

  /// Adds an image file.
  void add_file(std::string path) { items_.emplace_back(File{std::move(path)}); }

  /// Adds an image file's content; `name` is for messages.
  void add_encoded(const nanobind::bytes& content, std::string name);

  std::size_t size() const { return items_.size(); }

  /// The bytes of memory that the images take now: photographs in their size, files' contents and
  /// crops.
  std::size_t byte_count() const;

  /// Replaces image `index` by `crop`, [S, S, 3]. Several threads may call it at the same time for
  /// different images.
  void replace_by_crop(std::size_t index, RgbImage crop);

  /// Moves the first `count` images of `other`, or all if there are fewer, to the end of this list.
  /// `other` is empty then.
  void take(Images& other, std::size_t count);

  /// Moves the images out; all of them must be crops.
  std::vector<RgbImage> take_crops();

  /// The crop of image `index`, [S, S, 3]. `made` holds it, unless the list has it already. Several
  /// threads may call it at the same time, without Python's lock. Throws Error, which names the
  /// image, if it cannot be read.
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
