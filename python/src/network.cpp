#include "network.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <span>
#include <utility>

#include "bitlog2/error.h"
#include "interrupts.h"
#include "model_content.h"

namespace bitlog2::python {
namespace {

namespace nb = nanobind;

/// An array that owns `values`.
template <class Array, class Value>
Array as_array(std::vector<Value> values, std::initializer_list<std::size_t> shape) {
  auto held = std::make_unique<std::vector<Value>>(std::move(values));
  Value* data = held->data();
  nb::capsule owner(held.get(), [](void* pointer) noexcept {
    const std::unique_ptr<std::vector<Value>> owned(static_cast<std::vector<Value>*>(pointer));
  });
  static_cast<void>(held.release());
  return Array(data, shape, std::move(owner));
}

void throw_first(const Errors& errors) {
  for (const std::optional<std::string>& error : errors) {
    if (error) {
      throw Error(*error);
    }
  }
}

}  // namespace

Network::Network(LoadedModel loaded, std::size_t threads)
    : model_(std::make_shared<const Model>(std::move(loaded.model))),
      engine_(make_fp32_engine(model_)),
      class_names_(std::move(loaded.class_names)),
      notes_(std::move(loaded.notes)),
      workers_(threads) {}

Network::Network(std::unique_ptr<const IntegerEngine> engine, std::size_t threads,
                 std::vector<std::string> notes)
    : integer_(std::move(engine)),
      engine_(integer_),
      class_names_(integer_->info().class_names),
      notes_(std::move(notes)),
      workers_(threads) {}

std::unique_ptr<Network> Network::load(const ModelSource& source, std::size_t threads) {
  const nb::gil_scoped_release unlocked;
  return std::make_unique<Network>(load_model(source), threads);
}

std::unique_ptr<Network> Network::open(const std::filesystem::path& path, std::size_t threads,
                                       const std::string& isa) {
  const nb::gil_scoped_release unlocked;
  return std::make_unique<Network>(IntegerEngine::open(path, isa), threads);
}

std::unique_ptr<Network> Network::from_bytes(const nb::bytes& content, const std::string& name,
                                             std::size_t threads, const std::string& isa,
                                             std::vector<std::string> notes) {
  const auto bytes = std::as_bytes(std::span(content.c_str(), content.size()));
  std::vector<std::byte> copy(bytes.begin(), bytes.end());
  const nb::gil_scoped_release unlocked;
  return std::make_unique<Network>(IntegerEngine::from_bytes(std::move(copy), name, isa), threads,
                                   std::move(notes));
}

std::unique_ptr<Network> Network::from_model_content(const nb::bytes& content,
                                                     std::vector<std::string> class_names,
                                                     std::vector<std::string> notes,
                                                     std::size_t threads) {
  // Python does not change bytes, and the caller holds them.
  const auto bytes = std::as_bytes(std::span(content.c_str(), content.size()));
  const nb::gil_scoped_release unlocked;
  return std::make_unique<Network>(
      LoadedModel{model_from_content(bytes), std::move(class_names), std::move(notes)}, threads);
}

nb::bytes Network::content() const {
  if (integer_) {
    const std::span<const std::byte> bytes = integer_->content();
    return nb::bytes(bytes.data(), bytes.size());
  }
  std::vector<std::byte> bytes;
  {
    const nb::gil_scoped_release unlocked;
    bytes = content_of_model(*model_);
  }
  return nb::bytes(bytes.data(), bytes.size());
}

const Model& Network::model() const {
  if (!model_) {
    throw Error("a quantized file holds no float model; give bitlog2.Model");
  }
  return *model_;
}

const IntegerEngine& Network::integer() const {
  if (!integer_) {
    throw Error("a float model is not quantized; bitlog2.quantize makes it so");
  }
  return *integer_;
}

template <class Use>
void Network::for_each_crop(const Images& images, bool keep_going, Errors& errors, Use use) {
  errors.resize(images.size());
  Interrupts interrupts;
  {
    const nb::gil_scoped_release unlocked;
    const auto one = [&](std::size_t i, ThreadPool* together) {
      if (interrupts.requested()) {
        return;
      }
      try {
        RgbImage made;
        use(i, images.crop(i, made), together);
      } catch (const Error& error) {
        errors[i] = error.what();
      }
    };
    workers_.with_pool([&](ThreadPool& pool) {
      if (images.size() < pool.size()) {
        for (std::size_t i = 0; i < images.size(); ++i) {
          one(i, &pool);
        }
        return;
      }
      pool.parallel_for(images.size(), 1, [&](std::size_t i, std::size_t) { one(i, nullptr); });
    });
  }
  interrupts.rethrow();
  if (!keep_going) {
    throw_first(errors);
  }
}

nb::tuple Network::run(const Images& images, bool keep_going) {
  const std::size_t size = output_size(config());
  std::vector<float> logits(images.size() * size, std::numeric_limits<float>::quiet_NaN());
  Errors errors;
  for_each_crop(images, keep_going, errors,
                [&](std::size_t i, const RgbImage& crop, ThreadPool* together) {
                  const std::span one(&crop, 1);
                  const std::vector<float> values =
                      together != nullptr ? engine_->logits(one, *together) : engine_->logits(one);
                  std::ranges::copy(values, logits.begin() + static_cast<std::ptrdiff_t>(i * size));
                });
  return nb::make_tuple(as_array<Logits>(std::move(logits), {images.size(), size}), errors);
}

void Network::read(Images& images) {
  Errors errors;
  for_each_crop(images, false, errors, [&](std::size_t i, const RgbImage& crop, ThreadPool*) {
    images.replace_by_crop(i, crop);
  });
}

nb::tuple Network::crops(const Images& images, bool keep_going) {
  const std::size_t side = config().img_size;
  const std::size_t size = 3 * side * side;
  std::vector<std::uint8_t> pixels(images.size() * size);
  Errors errors;
  for_each_crop(images, keep_going, errors, [&](std::size_t i, const RgbImage& crop, ThreadPool*) {
    std::ranges::copy(crop.pixels, pixels.begin() + static_cast<std::ptrdiff_t>(i * size));
  });
  return nb::make_tuple(as_array<Crops>(std::move(pixels), {images.size(), side, side, 3}), errors);
}

}  // namespace bitlog2::python
