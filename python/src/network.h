// A network for Python: a float model or a quantized file, with its threads.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bitlog2/integer.h"
#include "bitlog2/load.h"
#include "bitlog2/quantized_model.h"
#include "images.h"
#include "workers.h"

namespace bitlog2::python {

using Logits = nanobind::ndarray<nanobind::numpy, float, nanobind::ndim<2>>;
using Crops = nanobind::ndarray<nanobind::numpy, std::uint8_t, nanobind::ndim<4>>;
/// For each image None, or why it could not be read.
using Errors = std::vector<std::optional<std::string>>;

class Network {
 public:
  /// A model in float32.
  Network(LoadedModel loaded, std::size_t threads);
  /// A quantized model in integers; `notes` are lines for the user.
  Network(std::unique_ptr<const IntegerEngine> engine, std::size_t threads,
          std::vector<std::string> notes = {});

  static std::unique_ptr<Network> load(const ModelSource& source, std::size_t threads);
  static std::unique_ptr<Network> open(const std::filesystem::path& path, std::size_t threads,
                                       const std::string& isa);
  static std::unique_ptr<Network> from_bytes(const nanobind::bytes& content,
                                             const std::string& name, std::size_t threads,
                                             const std::string& isa,
                                             std::vector<std::string> notes);
  /// A float model again, from what `content` gave.
  static std::unique_ptr<Network> from_model_content(const nanobind::bytes& content,
                                                     std::vector<std::string> class_names,
                                                     std::vector<std::string> notes,
                                                     std::size_t threads);

  const Engine& engine() const { return *engine_; }
  const ModelConfig& config() const { return engine_->config(); }
  const std::vector<std::string>& class_names() const { return class_names_; }
  const std::vector<std::string>& notes() const { return notes_; }
  Workers& workers() { return workers_; }

  /// The float model; throws Error if this is a quantized file.
  const Model& model() const;
  /// The integer engine; throws Error if this is a float model.
  const IntegerEngine& integer() const;

  /// A quantized file's content; of a float model, bytes that `from_model_content` takes.
  nanobind::bytes content() const;

  /// The calibrated model from which a quantized one was lowered, for its simulation; null unless
  /// it was kept.
  const QuantizedModel* simulation() const { return simulation_.get(); }
  void keep_simulation(QuantizedModel quantized) {
    simulation_ = std::make_shared<const QuantizedModel>(std::move(quantized));
  }

  /// Logits [images, classes], or embeddings. All threads run one image together; of several
  /// images, each thread runs its own. Without `keep_going`, an image that cannot be read is an
  /// Error; with it, its logits are NaN. Called with Python's lock, which it releases while it
  /// computes.
  nanobind::tuple run(const Images& images, bool keep_going);

  /// Replaces all images by their crops. Throws Error for the first that cannot be read.
  void read(Images& images);

  /// The crops that the network reads, [images, S, S, 3]. With `keep_going`, crops of images that
  /// cannot be read are 0.
  nanobind::tuple crops(const Images& images, bool keep_going);

 private:
  template <class Use>
  void for_each_crop(const Images& images, bool keep_going, Errors& errors, Use use);

  std::shared_ptr<const Model> model_;            // either this
  std::shared_ptr<const IntegerEngine> integer_;  // or this
  std::shared_ptr<const Engine> engine_;          // of the one that is set
  std::shared_ptr<const QuantizedModel> simulation_;
  std::vector<std::string> class_names_;
  std::vector<std::string> notes_;
  Workers workers_;
};

}  // namespace bitlog2::python
