// Probes of embeddings, compared with hand-made examples and plain formulas.
#include "bitlog2/probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "bitlog2/error.h"
#include "evaluate/lbfgs.h"
#include "reference.h"
#include "tensors.h"

namespace bitlog2 {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Embeddings make_embeddings(std::size_t size, std::vector<float> values, std::vector<int> labels) {
  return {.size = size, .values = std::move(values), .labels = std::move(labels)};
}

/// Points around the corners of a cube; each class has a corner.
Embeddings clusters(std::size_t count, std::size_t classes, float spread, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  Embeddings result = {.size = 5, .values = {}, .labels = {}};
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t label = i % classes;
    for (std::size_t c = 0; c < result.size; ++c) {
      // A constant channel and a channel of another scale must change nothing.
      const float corner = (label >> c & 1) != 0 ? 1.0F : -1.0F;
      result.values.push_back(c == 4 ? 7.0F : (corner + normal(random)) * (c == 3 ? 1000.0F : 1));
    }
    result.labels.push_back(static_cast<int>(label));
  }
  return result;
}

// ---- Nearest neighbours ----------------------------------------------------------------

TEST(NearestNeighbours, VoteByTheirCosine) {
  // The cosines with (1, 0) are 1, 0.6, 0 and -1, independent of the lengths.
  const Embeddings training = make_embeddings(2, {2, 0, 3, 4, 0, 5, -9, 0}, {2, 0, 0, 1});
  const std::vector<float> query = {10, 0};
  const auto weight = [](double cosine) { return static_cast<float>(std::exp(cosine / 0.07)); };
  EXPECT_THAT(NearestNeighbours(training, 3, 1).votes(query), ElementsAre(0, 0, weight(1)));
  const std::vector<float> two = NearestNeighbours(training, 3, 2).votes(query);
  EXPECT_NEAR(two[0] / weight(0.6), 1, 1e-5);
  EXPECT_EQ(two[1], 0);
  const std::vector<float> all = NearestNeighbours(training, 3, 9).votes(query);
  EXPECT_NEAR(all[0] / (weight(0.6) + weight(0)), 1, 1e-5);
  EXPECT_NEAR(all[1] / weight(-1), 1, 1e-5);
}

TEST(NearestNeighbours, OfEquallySimilarOnesTheFirstCounts) {
  const Embeddings training = make_embeddings(1, {1, 2, 3}, {1, 0, 0});
  const std::vector<float> votes = NearestNeighbours(training, 2, 1).votes(std::vector<float>{1});
  EXPECT_GT(votes[1], 0);
  EXPECT_EQ(votes[0], 0);
}

TEST(NearestNeighbours, ClassesWithoutAVoteAreNotCounted) {
  const Embeddings training = make_embeddings(2, {1, 0, 0, 1}, {1, 0});
  const Embeddings queries = make_embeddings(2, {1, 0, 1, 0, 3, 1}, {1, 0, 1});
  ThreadPool pool(1);
  const Accuracy one = NearestNeighbours(training, 2, 1).accuracy(queries, pool);
  EXPECT_EQ(one.images, 3U);
  EXPECT_EQ(one.top1_correct, 2U);
  EXPECT_EQ(one.top5_correct, 2U);
  EXPECT_TRUE(std::isnan(one.loss()));
  EXPECT_EQ(NearestNeighbours(training, 2, 2).accuracy(queries, pool).top5_correct, 3U);
}

TEST(NearestNeighbours, AZeroIsSimilarToNothing) {
  const Embeddings training = make_embeddings(2, {0, 0, 1, 1}, {0, 1});
  const std::vector<float> votes =
      NearestNeighbours(training, 2, 1).votes(std::vector<float>{1, 0});
  EXPECT_EQ(votes[0], 0);
  EXPECT_GT(votes[1], 0);
}

TEST(NearestNeighbours, DoNotDependOnThreads) {
  const Embeddings training = clusters(211, 7, 2, 1);
  const Embeddings queries = clusters(97, 7, 2, 2);
  ThreadPool one(1);
  const NearestNeighbours neighbours(training, 7, 9);
  const Accuracy expected = neighbours.accuracy(queries, one);
  EXPECT_GT(expected.top1_correct, 14U);
  for (const std::size_t threads : {2U, 5U}) {
    ThreadPool pool(threads);
    const Accuracy found = neighbours.accuracy(queries, pool);
    EXPECT_EQ(found.top1_correct, expected.top1_correct);
    EXPECT_EQ(found.top5_correct, expected.top5_correct);
  }
}

RC_GTEST_PROP(NearestNeighboursProperty, AgreeWithTheFormula, ()) {
  const auto size = *rc::gen::inRange<std::size_t>(2, 40);
  const auto count = *rc::gen::inRange<std::size_t>(1, 30);
  const auto neighbours = *rc::gen::inRange<std::size_t>(1, 12);
  std::mt19937 random(*rc::gen::inRange(0U, 1000U));
  std::normal_distribution<float> normal;
  const auto draw = [&](std::size_t values) {
    std::vector<float> drawn(values);
    std::ranges::generate(drawn, [&] { return normal(random); });
    return drawn;
  };
  Embeddings training = make_embeddings(size, draw(count * size), {});
  for (std::size_t i = 0; i < count; ++i) {
    training.labels.push_back(static_cast<int>(random() % 4));
  }
  const std::vector<float> query = draw(size);
  std::vector<std::pair<double, int>> found;
  for (std::size_t i = 0; i < count; ++i) {
    double product = 0;
    double squares = 0;
    double of_query = 0;
    for (std::size_t c = 0; c < size; ++c) {
      const double value = training.row(i)[c];
      product += value * query[c];
      squares += value * value;
      of_query += static_cast<double>(query[c]) * query[c];
    }
    found.emplace_back(product / std::sqrt(squares * of_query), training.labels[i]);
  }
  std::ranges::sort(found, std::greater<>());
  // If two neighbours are almost equally similar, rounding decides which is the last that votes.
  const bool is_clear =
      neighbours >= count || found[neighbours - 1].first - found[neighbours].first > 1e-5;
  RC_PRE(is_clear);
  std::vector<double> expected(4);
  for (std::size_t i = 0; i < std::min(neighbours, count); ++i) {
    expected[static_cast<std::size_t>(found[i].second)] += std::exp(found[i].first / 0.07);
  }
  const std::vector<float> votes = NearestNeighbours(training, 4, neighbours).votes(query);
  for (std::size_t c = 0; c < 4; ++c) {
    // The cosine is a float, and the division by 0.07 makes its error fourteen times as large.
    RC_ASSERT(std::abs(votes[c] - expected[c]) <= 1e-4 * (expected[c] + 1e-6));
  }
}

// ---- L-BFGS ----------------------------------------------------------------------------

TEST(Lbfgs, FindsTheMinimumOfABadlyScaledBowl) {
  const std::vector<double> scales = {1, 100, 1e-2, 7};
  std::vector<double> point = {3, -2, 5, 1};
  const bool converged = minimize(
      [&](std::span<const double> at, std::span<double> gradient) {
        double value = 0;
        for (std::size_t i = 0; i < at.size(); ++i) {
          const double difference = at[i] - static_cast<double>(i);
          value += scales[i] / 2 * difference * difference;
          gradient[i] = scales[i] * difference;
        }
        return value;
      },
      point, {.tolerance = 1e-9});
  EXPECT_TRUE(converged);
  for (std::size_t i = 0; i < point.size(); ++i) {
    EXPECT_NEAR(point[i], static_cast<double>(i), 1e-6);
  }
}

TEST(Lbfgs, StopsWhenItIsTold) {
  std::vector<double> point = {3};
  const auto bowl = [](std::span<const double> at, std::span<double> gradient) {
    gradient[0] = at[0];
    return at[0] * at[0] / 2;
  };
  EXPECT_FALSE(minimize(bowl, point, {.stop = [] { return true; }}));
  EXPECT_THAT(point, ElementsAre(3));
}

// ---- The linear probe ------------------------------------------------------------------

/// The mean cross entropy, plus the penalty of the weights for channels that are scaled to
/// deviation 1.
double objective(const LinearProbe& probe, const Embeddings& training, double penalty) {
  double loss = 0;
  for (std::size_t i = 0; i < training.count(); ++i) {
    Accuracy accuracy;
    accuracy.count(probe.logits(training.row(i)), training.labels[i]);
    loss += accuracy.loss_sum / static_cast<double>(training.count());
  }
  for (std::size_t c = 0; c < training.size; ++c) {
    double mean = 0;
    double square = 0;
    const auto count = static_cast<double>(training.count());
    for (std::size_t i = 0; i < training.count(); ++i) {
      mean += training.row(i)[c] / count;
    }
    for (std::size_t i = 0; i < training.count(); ++i) {
      square += std::pow(training.row(i)[c] - mean, 2) / count;
    }
    for (std::size_t k = 0; k < probe.classes; ++k) {
      loss += penalty / 2 * square * std::pow(probe.weights[c * probe.classes + k], 2);
    }
  }
  return loss;
}

TEST(LinearProbe, SeparatesClusters) {
  ThreadPool pool(2);
  const LinearProbe probe = fit_linear_probe(clusters(160, 8, 0.2F, 1), 8, pool);
  EXPECT_TRUE(probe.converged);
  const Accuracy accuracy = linear_probe_accuracy(probe, clusters(80, 8, 0.2F, 2), pool);
  EXPECT_EQ(accuracy.images, 80U);
  EXPECT_EQ(accuracy.top1(), 100);
  EXPECT_LT(accuracy.loss(), 0.1);
}

TEST(LinearProbe, IsAtTheMinimum) {
  const Embeddings training = clusters(60, 3, 1, 3);
  ThreadPool pool(1);
  const LinearProbe probe = fit_linear_probe(training, 3, pool, {.penalties = {0.1}});
  EXPECT_TRUE(probe.converged);
  EXPECT_EQ(probe.penalty, 0.1);
  const double least = objective(probe, training, 0.1);
  for (std::size_t i = 0; i < probe.weights.size(); ++i) {
    const std::size_t channel = i / 3;
    if (channel == 4) {
      EXPECT_NEAR(probe.weights[i], 0, 1e-12);  // the weight of the constant channel
      continue;
    }
    for (const double change : {-1e-2, 1e-2}) {
      LinearProbe other = probe;
      other.weights[i] += channel == 3 ? change / 1000 : change;
      EXPECT_GT(objective(other, training, 0.1), least) << i;
    }
  }
}

TEST(LinearProbe, DoesNotDependOnThreads) {
  const Embeddings training = clusters(101, 5, 1, 4);
  ThreadPool one(1);
  const LinearProbe expected = fit_linear_probe(training, 5, one);
  for (const std::size_t threads : {2U, 7U}) {
    ThreadPool pool(threads);
    const LinearProbe probe = fit_linear_probe(training, 5, pool);
    EXPECT_EQ(probe.weights, expected.weights);  // to the last bit
    EXPECT_EQ(probe.penalty, expected.penalty);
  }
}

TEST(LinearProbe, ChoosesItsPenaltyOnTrainingImages) {
  ThreadPool pool(1);
  // Random labels are best explained by weights of 0, those of clusters by large weights.
  Embeddings noise = clusters(200, 2, 1, 5);
  std::mt19937 random(6);
  std::ranges::generate(noise.labels, [&] { return static_cast<int>(random() % 2); });
  EXPECT_EQ(fit_linear_probe(noise, 2, pool).penalty, 1);
  EXPECT_LT(fit_linear_probe(clusters(200, 2, 0.1F, 5), 2, pool).penalty, 1e-3);
}

TEST(LinearProbe, LearnsFromOneImageOfEachClass) {
  ThreadPool pool(1);
  const Embeddings training = clusters(4, 4, 0, 7);
  EXPECT_EQ(linear_probe_accuracy(fit_linear_probe(training, 4, pool), training, pool).top1(), 100);
}

// ---- Embeddings of a dataset -----------------------------------------------------------

/// An encoder whose embedding has two values: the first two pixels.
class PixelEncoder : public Engine {
 public:
  PixelEncoder() {
    config_.num_classes = 0;
    config_.embed_dim = 2;
    config_.preprocessing.resize = 4;
    config_.preprocessing.crop = 4;
  }
  const ModelConfig& config() const override { return config_; }
  std::vector<float> logits(std::span<const RgbImage> crops) const override {
    return {static_cast<float>(crops[0].pixels[0]), static_cast<float>(crops[0].pixels[1])};
  }

 private:
  ModelConfig config_;
};

Dataset damaged_dataset() {
  const auto image = [](const std::string& name) { return testing::fixtures() / "images" / name; };
  return Dataset({{image("rgb_8.png"), 1},
                  {image("damaged/bad_checksum.png"), 2},
                  {image("colour_444.jpg"), 4}});
}

TEST(ForEachEmbedding, KeepsTheOrderAndNamesWhatIsSkipped) {
  for (const std::size_t batch_size : {1U, 2U, 64U}) {
    ThreadPool pool(3);
    std::vector<int> labels;
    std::size_t values = 0;
    std::size_t reported = 0;
    const EmbeddedImages images = for_each_embedding(
        PixelEncoder(), damaged_dataset(), pool,
        {.batch_size = batch_size, .report = [&](auto done) { reported = done; }},
        [&](const Embeddings& batch) {
          labels.insert(labels.end(), batch.labels.begin(), batch.labels.end());
          values += batch.values.size();
        });
    EXPECT_THAT(labels, ElementsAre(1, 4));
    EXPECT_EQ(values, 4U);
    EXPECT_EQ(reported, 3U);
    ASSERT_EQ(images.skipped.size(), 1U);
    EXPECT_THAT(images.skipped[0], HasSubstr("bad_checksum.png"));
    EXPECT_FALSE(images.stopped);
  }
}

TEST(ForEachEmbedding, StrictlyAnImageThatCannotBeReadIsFatal) {
  ThreadPool pool(1);
  EXPECT_THROW(for_each_embedding(PixelEncoder(), damaged_dataset(), pool, {.strict = true},
                                  [](const Embeddings&) {}),
               Error);
}

TEST(ForEachEmbedding, StopsWhenItIsTold) {
  ThreadPool pool(1);
  const std::atomic<bool> stop = true;
  std::size_t taken = 0;
  const EmbeddedImages images =
      for_each_embedding(PixelEncoder(), damaged_dataset(), pool, {.stop = &stop},
                         [&](const Embeddings&) { ++taken; });
  EXPECT_TRUE(images.stopped);
  EXPECT_EQ(taken, 0U);
}

}  // namespace
}  // namespace bitlog2
