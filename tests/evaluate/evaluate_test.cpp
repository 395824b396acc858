// Counting accuracy, and running invented engines over invented datasets.
#include "bitlog2/evaluate.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "bitlog2/error.h"
#include "reference.h"
#include "tensors.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::make_tensor;

constexpr std::size_t kClasses = 7;
constexpr std::size_t kSide = 4;

/// Logits that depend only on the first pixel.
std::vector<float> logits_of(std::uint8_t pixel) {
  std::vector<float> logits(kClasses);
  for (std::size_t i = 0; i < kClasses; ++i) {
    logits[i] = static_cast<float>((pixel * (i + 3) * 29 + i * 11) % 97) / 13.0F;
  }
  return logits;
}

class PixelEngine : public Engine {
 public:
  PixelEngine() {
    config_.num_classes = kClasses;
    config_.img_size = kSide;
    config_.preprocessing.resize = kSide;
    config_.preprocessing.crop = kSide;
  }

  const ModelConfig& config() const override { return config_; }

  std::vector<float> logits(std::span<const RgbImage> crops) const override {
    std::vector<float> result;
    for (const RgbImage& crop : crops) {
      EXPECT_EQ(crop.pixels.size(), kSide * kSide * 3);
      const std::vector<float> logits = logits_of(crop.pixels[0]);
      result.insert(result.end(), logits.begin(), logits.end());
    }
    return result;
  }

 private:
  ModelConfig config_;
};

/// All values of image i are i, and its label is i * 5 modulo the number of classes.
Dataset make_dataset(std::size_t count) {
  std::vector<std::uint8_t> pixels;
  std::vector<std::uint8_t> labels;
  for (std::size_t i = 0; i < count; ++i) {
    pixels.insert(pixels.end(), kSide * kSide, static_cast<std::uint8_t>(i));
    labels.push_back(static_cast<std::uint8_t>(i * 5 % kClasses));
  }
  const testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "data.safetensors";
  testing::write_tensors(path, {make_tensor("val.images", DType::u8, {count, kSide, kSide}, pixels),
                                make_tensor("val.labels", DType::u8, {count}, labels)});
  return Dataset::from_tensors(Safetensors::open(path), "val");
}

Accuracy expected_accuracy(std::size_t first, std::size_t count) {
  Accuracy accuracy;
  for (std::size_t i = first; i < first + count; ++i) {
    accuracy.count(logits_of(static_cast<std::uint8_t>(i)), static_cast<int>(i * 5 % kClasses));
  }
  return accuracy;
}

void expect_same(const Accuracy& a, const Accuracy& b) {
  EXPECT_EQ(a.images, b.images);
  EXPECT_EQ(a.top1_correct, b.top1_correct);
  EXPECT_EQ(a.top5_correct, b.top5_correct);
  EXPECT_NEAR(a.loss_sum, b.loss_sum, 1e-9 * (1 + std::abs(b.loss_sum)));
}

/// Options, and the number of threads.
struct ThreadedOptions : EvaluationOptions {
  std::size_t threads = 1;
};

Evaluation evaluate_with(const Engine& engine, const Dataset& dataset,
                         const ThreadedOptions& options) {
  ThreadPool pool(options.threads);
  return evaluate(engine, dataset, pool, options);
}

ThreadedOptions options_for(std::size_t batch_size, std::size_t threads = 1) {
  ThreadedOptions options;
  options.batch_size = batch_size;
  options.threads = threads;
  return options;
}

// ---- Counting --------------------------------------------------------------------------

TEST(Accuracy, OfNothingIsNoNumber) {
  const Accuracy accuracy;
  EXPECT_TRUE(std::isnan(accuracy.top1()));
  EXPECT_TRUE(std::isnan(accuracy.top5()));
  EXPECT_TRUE(std::isnan(accuracy.loss()));
}

TEST(Accuracy, CountsTheLabelsRank) {
  const std::vector<float> logits = {0.5F, 3, 1, 2, -1, 0, -2};
  const std::vector<int> ranked = {1, 3, 2, 0, 5, 4, 6};
  for (std::size_t rank = 0; rank < ranked.size(); ++rank) {
    Accuracy accuracy;
    accuracy.count(logits, ranked[rank]);
    EXPECT_EQ(accuracy.images, 1U);
    EXPECT_EQ(accuracy.top1_correct, rank == 0 ? 1U : 0U);
    EXPECT_EQ(accuracy.top5_correct, rank < 5 ? 1U : 0U);
  }
}

TEST(Accuracy, GivesATieToTheLowerClass) {
  Accuracy first;
  Accuracy last;
  first.count(std::vector<float>(6, 1.0F), 0);
  last.count(std::vector<float>(6, 1.0F), 5);
  EXPECT_EQ(first.top1_correct, 1U);
  EXPECT_EQ(last.top1_correct, 0U);
  EXPECT_EQ(last.top5_correct, 0U);
  EXPECT_DOUBLE_EQ(first.loss(), std::log(6.0));
}

TEST(Accuracy, WorksWithFewClassesAndLargeLogits) {
  Accuracy one;
  one.count(std::vector<float>{-3}, 0);
  EXPECT_EQ(one.top1(), 100);
  EXPECT_EQ(one.top5(), 100);
  EXPECT_EQ(one.loss(), 0);
  Accuracy large;
  large.count(std::vector<float>{1e30F, -1e30F, 0}, 2);
  EXPECT_EQ(large.top5(), 100);
  EXPECT_DOUBLE_EQ(large.loss(), static_cast<double>(1e30F));
}

TEST(Accuracy, AddsUp) {
  Accuracy sum = expected_accuracy(0, 10);
  sum.add(expected_accuracy(10, 15));
  expect_same(sum, expected_accuracy(0, 25));
  EXPECT_DOUBLE_EQ(sum.top1(), 4.0 * static_cast<double>(sum.top1_correct));
  EXPECT_DOUBLE_EQ(sum.loss(), sum.loss_sum / 25);
}

RC_GTEST_PROP(AccuracyProperty, AgreesWithTheFormulas, ()) {
  const auto classes = *rc::gen::inRange<std::size_t>(1, 20);
  const auto label = *rc::gen::inRange<std::size_t>(0, classes);
  std::vector<float> logits(classes);
  for (float& logit : logits) {
    logit = static_cast<float>(*rc::gen::inRange(-20, 20)) / 4.0F;  // with ties
  }
  std::vector<std::size_t> order(classes);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](auto a, auto b) { return logits[a] > logits[b]; });
  const auto rank = std::ranges::find(order, label) - order.begin();
  long double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(static_cast<long double>(logit));
  }

  Accuracy accuracy;
  accuracy.count(logits, static_cast<int>(label));
  RC_ASSERT(accuracy.top1_correct == (rank < 1 ? 1U : 0U));
  RC_ASSERT(accuracy.top5_correct == (rank < 5 ? 1U : 0U));
  const auto loss = static_cast<double>(std::log(sum) - logits[label]);
  RC_ASSERT(std::abs(accuracy.loss() - loss) < 1e-12 * (1 + loss));
}

// ---- Running ---------------------------------------------------------------------------

TEST(Evaluate, CountsEveryImage) {
  const Evaluation evaluation = evaluate_with(PixelEngine(), make_dataset(41), {});
  expect_same(evaluation.accuracy, expected_accuracy(0, 41));
  EXPECT_GT(evaluation.accuracy.top1_correct, 0U);
  EXPECT_LT(evaluation.accuracy.top1_correct, 41U);
  EXPECT_THAT(evaluation.skipped, ElementsAre());
  EXPECT_FALSE(evaluation.stopped);
  EXPECT_GE(evaluation.seconds, 0);
}

TEST(Evaluate, OfNothingIsNothing) {
  std::size_t reports = 0;
  ThreadedOptions options;
  options.report = [&](const EvaluationProgress&) { ++reports; };
  const Evaluation evaluation = evaluate_with(PixelEngine(), make_dataset(3).subset({}), options);
  EXPECT_EQ(evaluation.accuracy.images, 0U);
  EXPECT_EQ(reports, 0U);
  EXPECT_FALSE(evaluation.stopped);
}

TEST(Evaluate, DoesNotDependOnTheNumberOfThreads) {
  const Dataset dataset = make_dataset(101);
  for (const std::size_t batch_size : {1U, 7U, 64U, 1000U}) {
    const Evaluation one = evaluate_with(PixelEngine(), dataset, options_for(batch_size));
    for (const std::size_t threads : {0U, 2U, 3U, 8U}) {
      const Evaluation many =
          evaluate_with(PixelEngine(), dataset, options_for(batch_size, threads));
      expect_same(many.accuracy, one.accuracy);
      EXPECT_EQ(many.accuracy.loss_sum, one.accuracy.loss_sum);  // to the last bit
    }
  }
}

TEST(Evaluate, ReportsEveryBatch) {
  std::vector<std::size_t> batches;
  std::size_t next_image = 0;
  ThreadedOptions options = options_for(10, 2);
  options.report = [&](const EvaluationProgress& progress) {
    const std::size_t images = std::min<std::size_t>(10, 34 - next_image);
    batches.push_back(progress.batch);
    EXPECT_EQ(progress.batches, 4U);
    EXPECT_GE(progress.batch_seconds, 0);
    expect_same(progress.last, expected_accuracy(next_image, images));
    expect_same(progress.total, expected_accuracy(0, next_image + images));
    next_image += images;
  };
  evaluate_with(PixelEngine(), make_dataset(34), options);
  EXPECT_THAT(batches, ElementsAre(0, 1, 2, 3));
}

TEST(Evaluate, ReportsEveryImageAsABatchOfOne) {
  std::size_t reports = 0;
  ThreadedOptions options = options_for(0);
  options.report = [&](const EvaluationProgress& progress) {
    EXPECT_EQ(progress.last.images, 1U);
    ++reports;
  };
  evaluate_with(PixelEngine(), make_dataset(5), options);
  EXPECT_EQ(reports, 5U);
}

// ---- Images that cannot be read --------------------------------------------------------

fs::path image(const std::string& name) {
  return testing::fixtures() / "images" / name;
}

/// Two images that can be read, and three that cannot.
Dataset damaged_dataset() {
  return Dataset({{image("rgb_8.png"), 1},
                  {image("damaged/bad_checksum.png"), 2},
                  {image("no_such.png"), 3},
                  {image("colour_444.jpg"), 4},
                  {image("make_images.py"), 5}});
}

TEST(EvaluateDamaged, ImagesAreNamedAndSkipped) {
  for (const std::size_t threads : {1U, 3U}) {
    for (const std::size_t batch_size : {1U, 2U, 64U}) {
      const Evaluation evaluation =
          evaluate_with(PixelEngine(), damaged_dataset(), options_for(batch_size, threads));
      EXPECT_EQ(evaluation.accuracy.images, 2U);
      EXPECT_THAT(evaluation.skipped,
                  ElementsAre(HasSubstr("bad_checksum.png"), HasSubstr("no_such.png"),
                              HasSubstr("make_images.py")));
      EXPECT_FALSE(evaluation.stopped);
    }
  }
}

TEST(EvaluateDamaged, ImagesDoNotMoveTheLabelsOfOthers) {
  Accuracy expected;
  for (const auto& [name, label] : {std::pair("rgb_8.png", 1), std::pair("colour_444.jpg", 4)}) {
    const RgbImage crop =
        resize_and_crop(read_image(image(name)), PixelEngine().config().preprocessing);
    expected.count(logits_of(crop.pixels[0]), label);
  }
  expect_same(evaluate_with(PixelEngine(), damaged_dataset(), {}).accuracy, expected);
}

TEST(EvaluateDamaged, DatasetsGiveNoAccuracy) {
  const Evaluation evaluation =
      evaluate_with(PixelEngine(), damaged_dataset().subset({1, 2, 4}), options_for(2));
  EXPECT_EQ(evaluation.accuracy.images, 0U);
  EXPECT_TRUE(std::isnan(evaluation.accuracy.top1()));
  EXPECT_EQ(evaluation.skipped.size(), 3U);
}

ThreadedOptions strict_options(std::size_t threads) {
  ThreadedOptions options = options_for(64, threads);
  options.strict = true;
  return options;
}

TEST(EvaluateDamaged, ImagesAreFatalIfStrict) {
  for (const std::size_t threads : {1U, 3U}) {
    try {
      evaluate_with(PixelEngine(), damaged_dataset().subset({0, 1, 3}), strict_options(threads));
      ADD_FAILURE() << "no Error";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("bad_checksum.png"));
    }
  }
  const Evaluation whole =
      evaluate_with(PixelEngine(), damaged_dataset().subset({0, 3}), strict_options(1));
  EXPECT_EQ(whole.accuracy.images, 2U);
}

// ---- Labels that are no class ----------------------------------------------------------

TEST(EvaluateMislabelled, ImagesAreNamedAndFatal) {
  for (const auto& [label, complaint] :
       {std::pair(-1, "colour_444.jpg: has no label"),
        std::pair(static_cast<int>(kClasses), "colour_444.jpg: its label is 7"),
        std::pair(std::numeric_limits<int>::max(), "this model has classes 0 to 6")}) {
    const Dataset dataset({{image("rgb_8.png"), 1}, {image("colour_444.jpg"), label}});
    for (const std::size_t threads : {1U, 3U}) {
      try {
        evaluate_with(PixelEngine(), dataset, options_for(64, threads));
        ADD_FAILURE() << "no Error for label " << label;
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr(complaint));
      }
    }
  }
}

// ---- Stopping --------------------------------------------------------------------------

TEST(EvaluateStopped, BeforeItBeginsDoesNothing) {
  const std::atomic<bool> stop = true;
  ThreadedOptions options;
  options.stop = &stop;
  const Evaluation evaluation = evaluate_with(PixelEngine(), make_dataset(20), options);
  EXPECT_TRUE(evaluation.stopped);
  EXPECT_EQ(evaluation.accuracy.images, 0U);
}

TEST(EvaluateStopped, BetweenBatchesKeepsWhatWasReached) {
  std::atomic<bool> stop = false;
  ThreadedOptions options = options_for(6, 2);
  options.stop = &stop;
  options.report = [&](const EvaluationProgress& progress) { stop = progress.batch == 1; };
  const Evaluation evaluation = evaluate_with(PixelEngine(), make_dataset(100), options);
  EXPECT_TRUE(evaluation.stopped);
  expect_same(evaluation.accuracy, expected_accuracy(0, 12));
}

/// Sets a flag when it is run for the third time.
class StoppingEngine final : public PixelEngine {
 public:
  explicit StoppingEngine(std::atomic<bool>& stop) : stop_(stop) {}

  std::vector<float> logits(std::span<const RgbImage> crops) const override {
    const int call = ++calls_;
    if (call == 3) {
      stop_ = true;
    }
    while (call > 3 && !stop_) {
    }
    return PixelEngine::logits(crops);
  }

 private:
  std::atomic<bool>& stop_;
  mutable std::atomic<int> calls_ = 0;
};

TEST(EvaluateStopped, WithinABatchKeepsWhatWasReached) {
  for (const std::size_t threads : {1U, 4U}) {
    std::atomic<bool> stop = false;
    ThreadedOptions options = options_for(1000, threads);
    options.stop = &stop;
    const Evaluation evaluation = evaluate_with(StoppingEngine(stop), make_dataset(200), options);
    EXPECT_TRUE(evaluation.stopped);
    EXPECT_GT(evaluation.accuracy.images, 0U);
    EXPECT_LT(evaluation.accuracy.images, 200U);
  }
}

}  // namespace
}  // namespace bitlog2
