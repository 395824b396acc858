// A list of labelled images, in files or in the tensors of one file. An image is decoded only when
// it is read, and is not kept.
#include "bitlog2/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <utility>

#include "bitlog2/error.h"
#include "bitlog2/image.h"
#include "io/seeded.h"

namespace bitlog2 {
namespace {

constexpr std::string_view kTensors = "docs/datasets-and-configs.md has the tensors";

std::string shape_text(const TensorView& tensor) {
  return fmt::format("{} [{}]", tensor.dtype_name, fmt::join(tensor.shape, ","));
}

void check_images(const std::string& name, const TensorView& images) {
  const std::vector<std::uint64_t>& shape = images.shape;
  const bool fits = images.dtype == DType::u8 && images.element_count > 0 &&
                    (shape.size() == 3 || (shape.size() == 4 && shape[3] == 3)) &&
                    shape[1] * shape[2] <= kMaxPixels;
  if (!fits) {
    throw Error(fmt::format("{} is {}; images must be U8 [N,H,W] or [N,H,W,3], at least one; {}",
                            name, shape_text(images), kTensors));
  }
}

std::int64_t label_at(const TensorView& labels, std::size_t row) {
  if (labels.dtype == DType::u8) {
    return std::to_integer<std::int64_t>(labels.bytes[row]);
  }
  std::int64_t label = 0;  // copied, for a tensor may start at any byte of its file
  std::memcpy(&label, labels.bytes.data() + row * sizeof(label), sizeof(label));
  return label;
}

std::vector<int> read_labels(const std::string& name, const TensorView& labels, std::size_t count) {
  const bool fits = (labels.dtype == DType::u8 || labels.dtype == DType::i64) &&
                    labels.shape.size() == 1 && labels.shape[0] == count;
  if (!fits) {
    throw Error(fmt::format("{} is {}; the labels of {} images must be U8 or I64 [{}]; {}", name,
                            shape_text(labels), count, count, kTensors));
  }
  std::vector<int> result(count);
  for (std::size_t row = 0; row < count; ++row) {
    const std::int64_t label = label_at(labels, row);
    if (label < 0 || label > std::numeric_limits<int>::max()) {
      throw Error(fmt::format("{}: label {} is {}; labels are class indices from 0 on; {}", name,
                              row, label, kTensors));
    }
    result[row] = static_cast<int>(label);
  }
  return result;
}

}  // namespace

struct Dataset::Tensors {
  Safetensors file;  // keeps the bytes mapped
  std::string split;
  std::span<const std::byte> images;
  std::size_t height = 0;
  std::size_t width = 0;
  std::size_t channels = 0;
  std::vector<int> labels;  // empty: unlabelled

  RgbImage image(std::size_t row) const;
};

RgbImage Dataset::Tensors::image(std::size_t row) const {
  const std::size_t bytes = height * width * channels;
  RgbImage image{static_cast<int>(width), static_cast<int>(height), {}};
  image.pixels.reserve(height * width * 3);
  for (const std::byte value : images.subspan(row * bytes, bytes)) {
    image.pixels.insert(image.pixels.end(), channels == 1 ? 3 : 1,
                        std::to_integer<std::uint8_t>(value));
  }
  return image;
}

Dataset::Dataset(std::vector<File> files)
    : files_(std::make_shared<const std::vector<File>>(std::move(files))),
      rows_(numbers_below(files_->size())) {}

Dataset Dataset::from_tensors(const Safetensors& file, const std::string& split) {
  Tensors tensors;
  tensors.file = file;
  tensors.split = split;
  const TensorView* found = tensors.file.find(split + ".images");
  if (found == nullptr) {
    throw Error(fmt::format("{}: there is no tensor {}.images, so this is no dataset; {}",
                            file.name(), split, kTensors));
  }
  const TensorView& images = *found;
  check_images(fmt::format("{}: {}.images", file.name(), split), images);
  const auto count = static_cast<std::size_t>(images.shape[0]);
  tensors.images = images.bytes;
  tensors.height = static_cast<std::size_t>(images.shape[1]);
  tensors.width = static_cast<std::size_t>(images.shape[2]);
  tensors.channels = images.shape.size() == 4 ? 3 : 1;
  if (const TensorView* labels = tensors.file.find(split + ".labels")) {
    tensors.labels = read_labels(fmt::format("{}: {}.labels", file.name(), split), *labels, count);
  }
  Dataset dataset;
  dataset.tensors_ = std::make_shared<const Tensors>(std::move(tensors));
  dataset.rows_ = numbers_below(count);
  return dataset;
}

std::size_t Dataset::size() const {
  return rows_.size();
}

int Dataset::label(std::size_t index) const {
  const std::size_t row = rows_.at(index);
  if (files_ != nullptr) {
    return (*files_)[row].label;
  }
  return tensors_->labels.empty() ? -1 : tensors_->labels[row];
}

std::string Dataset::name(std::size_t index) const {
  const std::size_t row = rows_.at(index);
  return files_ != nullptr
             ? (*files_)[row].path.string()
             : fmt::format("{}: {} image {}", tensors_->file.name(), tensors_->split, row);
}

RgbImage Dataset::read(std::size_t index) const {
  const std::size_t row = rows_.at(index);
  return files_ != nullptr ? read_image((*files_)[row].path) : tensors_->image(row);
}

Dataset Dataset::subset(const std::vector<std::size_t>& indices) const {
  Dataset result;
  result.files_ = files_;
  result.tensors_ = tensors_;
  result.rows_.reserve(indices.size());
  for (const std::size_t index : indices) {
    result.rows_.push_back(rows_.at(index));
  }
  return result;
}

Dataset Dataset::sample_by_class(std::size_t count, std::uint64_t seed) const {
  std::map<int, std::vector<std::size_t>> by_label;
  for (std::size_t index = 0; index < size(); ++index) {
    by_label[label(index)].push_back(index);
  }
  std::mt19937_64 engine(seed);
  std::vector<std::vector<std::size_t>> classes;
  for (auto& [label, indices] : by_label) {
    shuffle_first(indices, indices.size(), engine);
    classes.push_back(std::move(indices));
  }
  shuffle_first(classes, classes.size(), engine);
  std::vector<std::size_t> chosen;
  for (std::size_t turn = 0; chosen.size() < std::min(count, size()); ++turn) {
    for (const std::vector<std::size_t>& indices : classes) {
      if (turn < indices.size() && chosen.size() < count) {
        chosen.push_back(indices[turn]);
      }
    }
  }
  std::ranges::sort(chosen);
  return subset(chosen);
}

}  // namespace bitlog2
