// Embeddings of a dataset, batch by batch.
#include <algorithm>
#include <iterator>
#include <utility>

#include "bitlog2/error.h"
#include "bitlog2/probe.h"

namespace bitlog2 {
namespace {

/// The result for one image.
struct EmbeddedImage {
  std::vector<float> embedding;  // empty: none
  std::string skipped;           // why, if it could not be read
};

EmbeddedImage embed_image(const Engine& encoder, const Dataset& dataset, std::size_t index,
                          bool strict) {
  EmbeddedImage result;
  RgbImage crop;
  try {
    crop = resize_and_crop(dataset.read(index), encoder.config().preprocessing);
  } catch (const Error& error) {
    if (strict) {
      throw;
    }
    result.skipped = error.what();
    return result;
  }
  result.embedding = encoder.logits(std::span(&crop, 1));
  return result;
}

}  // namespace

EmbeddedImages for_each_embedding(const Engine& encoder, const Dataset& dataset, ThreadPool& pool,
                                  const EmbeddingOptions& options,
                                  const std::function<void(const Embeddings&)>& take) {
  const std::size_t batch_size = std::max<std::size_t>(options.batch_size, 1);
  const auto stop_requested = [&] { return options.stop != nullptr && options.stop->load(); };
  EmbeddedImages images;
  for (std::size_t first = 0; first < dataset.size() && !stop_requested(); first += batch_size) {
    std::vector<EmbeddedImage> results(std::min(batch_size, dataset.size() - first));
    pool.parallel_for(results.size(), 1, [&](std::size_t i, std::size_t) {
      if (!stop_requested()) {
        results[i] = embed_image(encoder, dataset, first + i, options.strict);
      }
    });
    Embeddings batch = {.size = output_size(encoder.config()), .values = {}, .labels = {}};
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (!results[i].skipped.empty()) {
        images.skipped.push_back(std::move(results[i].skipped));
      }
      if (!results[i].embedding.empty()) {
        std::ranges::copy(results[i].embedding, std::back_inserter(batch.values));
        batch.labels.push_back(dataset.label(first + i));
      }
    }
    take(batch);
    if (options.report) {
      options.report(first + results.size());
    }
  }
  images.stopped = stop_requested();
  return images;
}

}  // namespace bitlog2
