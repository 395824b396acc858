// How good embeddings are: classes found by their nearest neighbours, or by a linear layer that is
// fitted to them.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitlog2/dataset.h"
#include "bitlog2/engine.h"
#include "bitlog2/evaluate.h"
#include "bitlog2/parallel.h"

namespace bitlog2 {

/// Embeddings of labelled images.
struct Embeddings {
  std::size_t size = 0;       ///< values of one
  std::vector<float> values;  ///< [labels.size(), size]
  std::vector<int> labels;

  std::size_t count() const { return labels.size(); }
  std::span<const float> row(std::size_t index) const {
    return std::span(values).subspan(index * size, size);
  }
};

struct EmbeddingOptions {
  std::size_t batch_size = 64;              ///< images between two reports
  bool strict = false;                      ///< an image that cannot be read is fatal, not skipped
  const std::atomic<bool>* stop = nullptr;  ///< looked at often; ends the work early
  std::function<void(std::size_t done)> report = {};  ///< images, those skipped included
};

/// What became of the images that are no embeddings.
struct EmbeddedImages {
  std::vector<std::string> skipped;  ///< one message per image that could not be read
  bool stopped = false;              ///< before the end, by options.stop
};

/// Calls `take` with the embeddings of every batch of `dataset`, in its order, on the calling
/// thread; they are made on all threads of `pool`. Memory does not grow with the dataset. Throws
/// Error for an image that cannot be read if options.strict is set.
EmbeddedImages for_each_embedding(const Engine& encoder, const Dataset& dataset, ThreadPool& pool,
                                  const EmbeddingOptions& options,
                                  const std::function<void(const Embeddings&)>& take);

/// The value at which a neighbour's vote is e times that of one which is less similar by as much.
inline constexpr double kVoteTemperature = 0.07;

/// Classes by the training embeddings that are most similar to a query by their cosine. Each votes
/// for its label with the weight exp(cosine / kVoteTemperature), as in DINO's protocol. Of equally
/// similar ones the first counts.
class NearestNeighbours {
 public:
  /// `training`, whose labels are below `classes`, is not copied. All of it votes if it is smaller
  /// than `neighbours`.
  NearestNeighbours(const Embeddings& training, std::size_t classes, std::size_t neighbours);

  /// [classes].
  std::vector<float> votes(std::span<const float> query) const;

  /// Counts `queries` by the votes that they get. A class without a vote is not among the first
  /// five; the loss is not a number. Does not depend on the number of threads.
  Accuracy accuracy(const Embeddings& queries, ThreadPool& pool) const;

 private:
  std::vector<std::vector<float>> votes_of(std::span<const std::span<const float>> queries) const;

  const Embeddings& training_;
  std::size_t classes_;
  std::size_t neighbours_;
  std::vector<float> inverse_norms_;  // of training_
};

/// Multinomial logistic regression on embeddings.
struct LinearProbe {
  std::size_t size = 0;
  std::size_t classes = 0;
  std::vector<double> weights;  ///< [size + 1, classes], the last row is the bias
  double penalty = 0;           ///< chosen: of half the squared weights of standardized embeddings
  bool converged = false;

  std::vector<float> logits(std::span<const float> embedding) const;
};

struct ProbeOptions {
  std::vector<double> penalties = {1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5};  ///< to choose from
  std::size_t max_iterations = 300;
  const std::atomic<bool>* stop = nullptr;  ///< looked at in every iteration; ends the fit early
};

/// Fits a linear probe, in double precision, to the mean cross entropy and the penalty. Channels
/// are standardized. Of several penalties the one is taken with the least cross entropy on every
/// fifth image of each class, or the last of two to four, after a fit to the others; the first
/// where no class has two. Then all images are fitted. Depends on neither the number of threads nor
/// chance. Labels are below `classes`.
LinearProbe fit_linear_probe(const Embeddings& training, std::size_t classes, ThreadPool& pool,
                             const ProbeOptions& options = {});

Accuracy linear_probe_accuracy(const LinearProbe& probe, const Embeddings& queries,
                               ThreadPool& pool);

/// Which probes measure an encoder.
struct ProbeRequest {
  std::size_t neighbours = 0;  ///< that vote, at most as many as training images; 0: none do
  bool linear = false;         ///< whether a linear probe is fitted
};

/// What measure_probes reports as it goes on.
struct ProbeProgress {
  bool training = true;   ///< whether it embeds training images, or those to be tested on
  std::size_t done = 0;   ///< of these images
  std::size_t total = 0;  ///< of these images
};

struct ProbingOptions {
  std::size_t batch_size = 64;              ///< images between two reports
  bool strict = false;                      ///< an image that cannot be read is fatal, not skipped
  const std::atomic<bool>* stop = nullptr;  ///< looked at often; ends the work early
  std::function<void(const ProbeProgress&)> report = {};
};

/// What one probe came to.
struct ProbeResult {
  std::size_t neighbours = 0;  ///< 0: a linear probe
  double penalty = 0;          ///< of a linear probe
  bool converged = true;       ///< false: the linear probe is near its best, not at it
  Evaluation evaluation;       ///< its seconds are those of embedding and of this probe
};

struct ProbeResults {
  std::vector<ProbeResult> probes;   ///< nearest neighbours, then the linear probe
  std::size_t training_images = 0;   ///< that were read
  std::vector<std::string> skipped;  ///< one message per training image that could not be read
};

/// Throws Error if there are fewer training images than neighbours are asked for.
void check_probes(const ProbeRequest& request, const LabelledSplits& splits);

/// Embeds the training images, learns from them, and tests on the validation images. Memory holds
/// the training images' embeddings. Throws Error if there are fewer training images than
/// neighbours, if none of the training or none of the validation images could be read, and for the
/// first that cannot be read if options.strict is set.
ProbeResults measure_probes(const Engine& encoder, const LabelledSplits& splits,
                            const ProbeRequest& request, ThreadPool& pool,
                            const ProbingOptions& options = {});

}  // namespace bitlog2
