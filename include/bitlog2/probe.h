// Probes, which measure how good embeddings are: classes found by nearest neighbours, or by a
// linear layer that is fitted to embeddings.
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
  std::size_t size = 0;       ///< values of one embedding
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
  const std::atomic<bool>* stop = nullptr;  ///< checked often; true ends the work early
  std::function<void(std::size_t done)> report = {};  ///< `done` images, skipped ones included
};

/// What happened to the images that gave no embedding.
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

/// The temperature of the votes: a neighbour whose cosine is larger by this has e times the weight.
inline constexpr double kVoteTemperature = 0.07;

/// k-nearest-neighbour classification by cosine similarity. Each neighbour votes for its label with
/// the weight exp(cosine / kVoteTemperature), as in DINO's protocol (Caron et al.,
/// arXiv:2104.14294). Of equally similar embeddings the first is taken.
class NearestNeighbours {
 public:
  /// `training` is kept by reference; its labels are below `classes`. If it has fewer embeddings
  /// than `neighbours`, all of them vote.
  NearestNeighbours(const Embeddings& training, std::size_t classes, std::size_t neighbours);

  /// The sum of the neighbours' weights for each class, [classes].
  std::vector<float> votes(std::span<const float> query) const;

  /// The accuracy on `queries`. A class without a vote is not among the first five; the loss is
  /// NaN. The result does not depend on the number of threads.
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
  double penalty = 0;           ///< chosen factor of half the squared weights; see fit_linear_probe
  bool converged = false;

  std::vector<float> logits(std::span<const float> embedding) const;
};

struct ProbeOptions {
  std::vector<double> penalties = {1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5};  ///< to choose from
  std::size_t max_iterations = 300;
  const std::atomic<bool>* stop = nullptr;  ///< checked in every iteration; true ends the fit early
};

/// Fits a linear probe, in double precision, by L-BFGS. It minimizes the mean cross entropy plus
/// penalty / 2 times the squared weights of standardized channels. The penalty is the one with the
/// lowest cross entropy on held-out images, after a fit to the others: every fifth image of each
/// class, or the last one of a class of two to four. Where no class has two images, it is the first
/// penalty. Then the probe is fitted to all images. The result depends neither on the number of
/// threads nor on chance. Labels are below `classes`.
LinearProbe fit_linear_probe(const Embeddings& training, std::size_t classes, ThreadPool& pool,
                             const ProbeOptions& options = {});

/// The accuracy of a linear probe on `queries`.
Accuracy linear_probe_accuracy(const LinearProbe& probe, const Embeddings& queries,
                               ThreadPool& pool);

/// Which probes measure an encoder.
struct ProbeRequest {
  std::size_t neighbours =
      0;                ///< that vote, at most the number of training images; 0: no such probe
  bool linear = false;  ///< whether a linear probe is fitted
};

/// The progress of measure_probes.
struct ProbeProgress {
  bool training = true;   ///< whether it embeds training images, or validation images
  std::size_t done = 0;   ///< of these images
  std::size_t total = 0;  ///< of these images
};

struct ProbingOptions {
  std::size_t batch_size = 64;              ///< images between two reports
  bool strict = false;                      ///< an image that cannot be read is fatal, not skipped
  const std::atomic<bool>* stop = nullptr;  ///< checked often; true ends the work early
  std::function<void(const ProbeProgress&)> report = {};
};

/// The result of one probe.
struct ProbeResult {
  std::size_t neighbours = 0;  ///< 0: a linear probe
  double penalty = 0;          ///< of a linear probe
  bool converged = true;       ///< false: the linear probe is near its best, not at it
  Evaluation evaluation;       ///< its seconds count embedding and this probe
};

struct ProbeResults {
  std::vector<ProbeResult> probes;   ///< nearest neighbours, then the linear probe
  std::size_t training_images = 0;   ///< that were read
  std::vector<std::string> skipped;  ///< one message per training image that could not be read
};

/// Throws Error if there are fewer training images than requested neighbours.
void check_probes(const ProbeRequest& request, const LabelledSplits& splits);

/// Embeds the training images, learns from them, and tests on the validation images. Memory holds
/// the training images' embeddings. Throws Error if there are fewer training images than
/// neighbours, if none of the training or none of the validation images could be read, and for the
/// first that cannot be read if options.strict is set.
ProbeResults measure_probes(const Engine& encoder, const LabelledSplits& splits,
                            const ProbeRequest& request, ThreadPool& pool,
                            const ProbingOptions& options = {});

}  // namespace bitlog2
