// bitlog2._core: the module that the package's Python files call. Users see only those files.
#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include "bitlog2/dataset.h"
#include "bitlog2/encoder.h"
#include "bitlog2/error.h"
#include "bitlog2/evaluate.h"
#include "bitlog2/model.h"
#include "bitlog2/predictions.h"
#include "images.h"
#include "io/dataset_classes.h"
#include "jobs.h"
#include "network.h"

namespace bitlog2::python {
namespace {

namespace nb = nanobind;
using nb::literals::operator""_a;
using Row = nb::ndarray<nb::ro, nb::device::cpu, float, nb::ndim<1>, nb::c_contig>;

nb::dict preprocessing_of(const Network& network) {
  const Preprocessing& preprocessing = network.config().preprocessing;
  nb::dict result;
  result["resize"] = preprocessing.resize;
  result["crop"] = preprocessing.crop;
  result["mean"] =
      nb::make_tuple(preprocessing.mean[0], preprocessing.mean[1], preprocessing.mean[2]);
  result["std"] = nb::make_tuple(preprocessing.std[0], preprocessing.std[1], preprocessing.std[2]);
  result["interpolation"] = kFilterNames.at(static_cast<std::size_t>(preprocessing.filter));
  result["keep_proportions"] = preprocessing.resize_mode == ResizeMode::shorter;
  return result;
}

nb::list best_classes_of(const Network& network, const Row& logits, std::size_t count) {
  nb::list result;
  for (const Prediction& prediction :
       best_classes(std::span(logits.data(), logits.size()), network.class_names(), count)) {
    nb::dict entry;
    entry["index"] = prediction.index;
    entry["label"] =
        prediction.name.empty() ? fmt::format("class {}", prediction.index) : prediction.name;
    entry["probability"] = prediction.probability;
    result.append(entry);
  }
  return result;
}

/// Of one image: whether its class is the first, whether it is among the first five, and the cross
/// entropy.
nb::tuple accuracy_of(const Row& logits, std::size_t label) {
  if (label >= logits.size()) {
    throw Error(
        fmt::format("a label is {}, this model has classes 0 to {}", label, logits.size() - 1));
  }
  Accuracy accuracy;
  accuracy.count(std::span(logits.data(), logits.size()), static_cast<int>(label));
  return nb::make_tuple(accuracy.top1_correct > 0, accuracy.top5_correct > 0, accuracy.loss_sum);
}

std::unique_ptr<Network> encoder_of(Network& network, const std::string& pool) {
  LoadedModel loaded = {
      as_encoder(network.model(), find_embedding_pooling(pool)), {}, network.notes()};
  return std::make_unique<Network>(std::move(loaded), network.workers().threads());
}

bool is_published_name(const std::string& name) {
  try {
    static_cast<void>(find_named_model(name));
  } catch (const Error&) {
    return false;
  }
  return true;
}

std::vector<std::string> image_files(const std::filesystem::path& folder) {
  std::vector<std::string> files;
  for (const std::filesystem::path& path : list_images(folder)) {
    files.push_back(path.string());
  }
  return files;
}

/// The class of each folder. The folders must be sorted bytewise.
std::vector<int> class_folders(const Network& network, const std::vector<std::string>& folders,
                               const std::string& where) {
  std::vector<ClassFolder> named;
  for (const std::string& folder : folders) {
    named.push_back({folder});
  }
  const auto classes = static_cast<int>(network.config().num_classes);
  return number_class_folders(named, {.count = classes, .names = network.class_names()}, where)
      .classes;
}

void bind_images(nb::module_& module) {
  nb::class_<Images>(module, "Images")
      .def("__len__", &Images::size)
      .def_prop_ro("byte_count", &Images::byte_count)
      .def("take", &Images::take, "other"_a, "count"_a)
      .def("add_crops", &Images::add_crops, "array"_a)
      .def("add_photograph", &Images::add_photograph, "array"_a)
      .def("add_file", &Images::add_file, "path"_a)
      .def("add_encoded", &Images::add_encoded, "content"_a, "name"_a);
}

void bind_network(nb::module_& module) {
  nb::class_<Network>(module, "Network")
      .def("new_images",
           [](const Network& network) { return Images(network.config().preprocessing); })
      .def("run", &Network::run, "images"_a, "keep_going"_a,
           nb::sig("def run(self, images: Images, keep_going: bool) -> "
                   "tuple[numpy.typing.NDArray[numpy.float32], list[str | None]]"))
      .def("read", &Network::read, "images"_a)
      .def("crops", &Network::crops, "images"_a, "keep_going"_a,
           nb::sig("def crops(self, images: Images, keep_going: bool) -> "
                   "tuple[numpy.typing.NDArray[numpy.uint8], list[str | None]]"))
      .def("best_classes", &best_classes_of, "logits"_a, "count"_a)
      .def("encoder", &encoder_of, "pool"_a, nb::call_guard<nb::gil_scoped_release>())
      .def("content", &Network::content)
      .def("preprocessing", &preprocessing_of)
      .def_prop_ro("config_json",
                   [](const Network& network) { return config_to_json(network.config()); })
      .def_prop_ro("name", [](const Network& network) { return network.config().name; })
      .def_prop_ro("class_names", &Network::class_names)
      .def_prop_ro("notes", &Network::notes)
      .def_prop_ro("is_encoder",
                   [](const Network& network) { return is_encoder(network.config()); })
      .def_prop_ro("output_size",
                   [](const Network& network) { return output_size(network.config()); })
      .def_prop_ro("threads", [](Network& network) { return network.workers().threads(); })
      .def_prop_ro("settings",
                   [](const Network& network) { return network.integer().info().settings.name(); })
      .def_prop_ro("recipe_json",
                   [](const Network& network) {
                     return recipe_to_json(network.integer().info().settings.recipe);
                   })
      .def_prop_ro("isa", [](const Network& network) { return network.integer().isa(); })
      .def_prop_ro("file_bytes",
                   [](const Network& network) { return network.integer().file_bytes(); })
      .def_prop_ro("packed_bytes",
                   [](const Network& network) { return network.integer().packed_bytes(); })
      .def_prop_ro("arena_bytes",
                   [](const Network& network) { return network.integer().arena_bytes(); })
      .def_prop_ro("saturations",
                   [](const Network& network) { return network.engine().saturations(); });
}

void bind_opening(nb::module_& module) {
  module.def(
      "load_model",
      [](const std::string& model, const std::string& weights, const std::string& config,
         std::size_t image_size, std::size_t threads) {
        return Network::load({model, weights, config, image_size}, threads);
      },
      "model"_a, "weights"_a, "config"_a, "image_size"_a, "threads"_a);
  module.def("open", &Network::open, "path"_a, "threads"_a, "isa"_a);
  module.def("from_bytes", &Network::from_bytes, "content"_a, "name"_a, "threads"_a, "isa"_a,
             "notes"_a);
  module.def("from_model_content", &Network::from_model_content, "content"_a, "class_names"_a,
             "notes"_a, "threads"_a);
  module.def("is_published_name", &is_published_name, "name"_a);
  module.def(
      "is_image_name", [](const std::string& name) { return is_image_name(name); }, "name"_a);
  module.def("number_class_folders", &class_folders, "network"_a, "folders"_a, "where"_a);
  module.def("image_files", &image_files, "folder"_a, nb::call_guard<nb::gil_scoped_release>());
}

void bind_jobs(nb::module_& module) {
  nb::class_<Scheme>(module, "Scheme")
      .def(
          "__init__",
          [](Scheme* scheme, std::string name, int w_bits, int a_bits, std::string recipe,
             std::map<std::string, std::string> parts) {
            new (scheme)
                Scheme{std::move(name), w_bits, a_bits, std::move(recipe), std::move(parts)};
          },
          "scheme"_a, "w_bits"_a, "a_bits"_a, "recipe"_a, "parts"_a);
  nb::class_<CalibrationLimits>(module, "CalibrationLimits")
      .def(
          "__init__",
          [](CalibrationLimits* limits, std::optional<std::size_t> memory, bool keep_simulation) {
            new (limits) CalibrationLimits{memory, keep_simulation};
          },
          "memory_bytes"_a.none(), "keep_simulation"_a);
  module.def("quantize", &quantize, "model"_a, "images"_a, "scheme"_a, "notes"_a, "limits"_a,
             "progress"_a.none());
  module.def(
      "quantize_with_dataset",
      [](Network& model, const std::filesystem::path& dataset, std::size_t count,
         std::uint64_t seed, const Scheme& scheme, const CalibrationLimits& limits,
         const nb::object& progress) {
        return quantize_with_dataset(model, {dataset, count, seed}, scheme, limits, progress);
      },
      "model"_a, "dataset"_a, "count"_a, "seed"_a, "scheme"_a, "limits"_a, "progress"_a.none());
  module.def(
      "evaluate",
      [](Network& network, const std::filesystem::path& dataset,
         const std::filesystem::path& class_map, std::size_t limit, std::size_t sample,
         std::uint64_t seed, bool strict, const nb::object& progress) {
        return evaluate_network(network, {dataset, class_map, limit, sample, seed, strict},
                                progress);
      },
      "network"_a, "dataset"_a, "class_map"_a, "limit"_a, "sample"_a, "seed"_a, "strict"_a,
      "progress"_a.none());
  module.def(
      "evaluate_probes",
      [](Network& encoder, const std::filesystem::path& dataset, std::size_t limit,
         std::size_t sample, std::uint64_t seed, bool strict, std::size_t neighbours, bool linear,
         const nb::object& progress) {
        return evaluate_probes(encoder, {dataset, {}, limit, sample, seed, strict},
                               {.neighbours = neighbours, .linear = linear}, progress);
      },
      "encoder"_a, "dataset"_a, "limit"_a, "sample"_a, "seed"_a, "strict"_a, "neighbours"_a,
      "linear"_a, "progress"_a.none());
  module.def("accuracy", &accuracy_of, "logits"_a, "label"_a,
             nb::sig("def accuracy(logits: numpy.typing.NDArray[numpy.float32], label: int) -> "
                     "tuple[bool, bool, float]"));
  module.def("compare", &compare_networks, "model"_a, "quantized"_a, "images"_a,
             "progress"_a.none());
}

/// Turns the C++ class bitlog2::Error into Python's bitlog2.Error.
void translate_errors() {
  nb::object error = nb::module_::import_("bitlog2._error").attr("Error");
  nb::register_exception_translator(
      [](const std::exception_ptr& thrown, void* type) {
        try {
          std::rethrow_exception(thrown);
        } catch (const Error& caught) {
          PyErr_SetString(static_cast<PyObject*>(type), caught.what());
        }
      },
      error.release().ptr());
}

}  // namespace
}  // namespace bitlog2::python

NB_MODULE(_core, module) {
  module.doc() = "The engine of the package bitlog2; see its own functions.";
  bitlog2::python::translate_errors();
  module.attr("attention_schemes") = [] {
    nanobind::list names;
    for (const bitlog2::AttentionScheme& scheme : bitlog2::kAttentionSchemes) {
      names.append(nanobind::str(scheme.name.data(), scheme.name.size()));
    }
    return nanobind::tuple(names);
  }();
  bitlog2::python::bind_images(module);
  bitlog2::python::bind_network(module);
  bitlog2::python::bind_opening(module);
  bitlog2::python::bind_jobs(module);
}
