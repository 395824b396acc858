// Reconstruction: the gradients of every architecture's forward pass, and what is learned with
// them.
#include "calibrate/reconstruction/reconstruction.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "bitlog2/calibrate.h"
#include "bitlog2/engine.h"
#include "bitlog2/integer.h"
#include "calibrate/reconstruction/adam.h"
#include "calibrate/reconstruction/gradient_ops.h"
#include "goldens.h"
#include "integer/tiny_networks.h"
#include "model/forward.h"
#include "random_values.h"
#include "simulate/gradients.h"
#include "simulate/loops.h"

namespace bitlog2::calibration {
namespace {

using ::bitlog2::testing::architectures;
using ::bitlog2::testing::normal_values;
using ::bitlog2::testing::random_crops;
using ::bitlog2::testing::relative_l2;

/// Calls visit(values, gradient) for all learned values except scales.
template <class Visit>
void for_each_learned(Model& model, const Gradients& gradients, Visit visit) {
  for_each_linear(model, [&](Linear& layer) {
    const Gradients::OfLinear& gradient = gradients.linear.at(layer.name);
    visit(layer.weight, gradient.weight);
    visit(layer.bias, gradient.bias);
  });
  for_each_norm(model, [&](LayerNorm& norm) {
    const Gradients::OfNorm& gradient = gradients.norms.at(norm.name);
    visit(norm.gamma, gradient.gamma);
    visit(norm.beta, gradient.beta);
  });
}

class WayBack : public ::testing::TestWithParam<std::string> {};

/// The loss is the dot product of the output, and of the stream after every block, with fixed
/// random numbers.
TEST_P(WayBack, IsTheSlopeOfTheLoss) {
  Model model = testing::random_model(testing::architecture(GetParam()));
  ThreadPool pool(2);
  const auto images =
      normalised_batch(random_crops(model.config.img_size, 3, 1), model.config.preprocessing);
  QuantizedModel quantized = {model, {}, {}};
  Gradients gradients(quantized);
  const auto loss_of = [&](Model& changed, bool back) {
    double loss = 0;
    const auto weigh = [&](Variable& x, std::uint32_t seed) {
      const std::vector<float> weights = normal_values(x.value.size(), seed);
      loss += static_cast<double>(simulate::dot(x.value.values(), weights));
      simulate::Tensor gradient(x.value.batch(), x.value.tokens(), x.value.channels());
      std::ranges::copy(weights, gradient.values().begin());
      add_gradient(x, std::move(gradient));
    };
    Gradients unused(quantized);
    GradientOps ops(
        model.config, quantized.quantizers, images, back ? gradients : unused,
        [&](std::size_t block, Variable& x) { weigh(x, static_cast<std::uint32_t>(block) + 10); },
        pool);
    const GradientOps::Tensor output = forward(changed, ops);
    weigh(*output, 1);
    ops.go_back();
    return loss;
  };
  loss_of(model, true);
  constexpr float kStep = 1.0F / 256;
  double slope = 0;
  Model above = model;
  Model below = model;
  std::uint32_t seed = 100;
  std::vector<std::vector<float>> directions;
  for_each_learned(model, gradients, [&](std::vector<float>& values, const auto& gradient) {
    std::vector<float> direction = normal_values(values.size(), seed++);
    const float size = std::sqrt(simulate::dot(values, values) /
                                 static_cast<float>(std::max<std::size_t>(1, values.size())));
    simulate::scale(direction, 0.1F * size + 0.01F);
    slope += static_cast<double>(simulate::dot(direction, gradient));
    directions.push_back(std::move(direction));
  });
  const auto move = [&](Model& moved, float step) {
    std::size_t i = 0;
    for_each_learned(moved, gradients, [&](std::vector<float>& values, const auto&) {
      std::vector<float> change = directions[i++];
      simulate::scale(change, step);
      simulate::add(values, change);
    });
  };
  move(above, kStep);
  move(below, -kStep);
  const double difference =
      (loss_of(above, false) - loss_of(below, false)) / (2 * static_cast<double>(kStep));
  EXPECT_NEAR(slope / difference, 1.0, 0.02) << slope << " and " << difference;
}

INSTANTIATE_TEST_SUITE_P(Architectures, WayBack, ::testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const auto& architecture : architectures()) {
                             names.push_back(architecture.name);
                           }
                           return names;
                         }()),
                         [](const auto& info) { return info.param; });

TEST(Adam, GoesToTheMinimumOfAParabola) {
  ThreadPool pool(1);
  std::vector<float> x = {3.0F, -1.0F};
  std::vector<float> gradient(2);
  Adam adam(x, gradient);
  for (int i = 0; i < 400; ++i) {
    gradient = {2 * (x[0] - 1), 200 * (x[1] - 2)};  // one steep and one flat direction
    adam.step(0.03F, false, pool);
  }
  EXPECT_NEAR(x[0], 1.0F, 0.02F);
  EXPECT_NEAR(x[1], 2.0F, 0.02F);
}

/// The error of the simulated logits.
double error_of(const QuantizedModel& quantized, const Model& exact,
                std::span<const RgbImage> crops) {
  return relative_l2(make_simulated_engine(quantized)->logits(crops),
                     make_fp32_engine(exact)->logits(crops));
}

QuantizationSettings reconstructing(const std::string& recipe, std::uint32_t steps) {
  QuantizationSettings settings = {4, 4, find_attention_scheme("BitLog2_Half_16"),
                                   find_recipe(recipe)};
  settings.recipe.reconstruction_steps = steps;
  return settings;
}

TEST(Reconstruction, BringsNanoModelsCloserOnImagesThatItHasNotSeen) {
  ThreadPool pool(2);
  for (const char* name : {"vit_nano", "swin_nano"}) {
    const Model model = testing::nano_model(name);
    const auto crops = random_crops(model.config.img_size, 64, 5);
    const auto unseen = random_crops(model.config.img_size, 32, 6);
    // The steps find nothing better than best for every model; then they keep it.
    for (const auto& [recipe, share] : {std::pair{"repq", 0.94}, std::pair{"best", 1.0}}) {
      const auto before = calibrate(model, reconstructing(recipe, 0), crops, pool).quantized;
      const auto after = calibrate(model, reconstructing(recipe, 60), crops, pool).quantized;
      EXPECT_LE(error_of(after, model, unseen), share * error_of(before, model, unseen))
          << name << ' ' << recipe;
    }
  }
}

TEST(Reconstruction, GivesTheSameWithAnyNumberOfThreads) {
  const Model model = testing::nano_model("vit_nano");
  const auto crops = random_crops(model.config.img_size, 20, 7);
  const auto file_of = [&](std::size_t threads) {
    ThreadPool pool(threads);
    return lower(calibrate(model, reconstructing("best", 3), crops, pool).quantized, {});
  };
  EXPECT_EQ(file_of(1), file_of(3));
}

TEST(Reconstruction, RunsInIntegersAsItIsSimulated) {
  ThreadPool pool(1);
  for (const auto& architecture : architectures()) {
    const Model model = testing::random_model(architecture.config);
    const auto crops = random_crops(model.config.img_size, 8, 8);
    const auto quantized = calibrate(model, reconstructing("best", 4), crops, pool).quantized;
    const auto engine = IntegerEngine::from_bytes(lower(quantized, {}), architecture.name);
    EXPECT_LE(relative_l2(engine->logits(crops), make_simulated_engine(quantized)->logits(crops)),
              error_of(quantized, model, crops))  // room for flipped codes
        << architecture.name;
    EXPECT_EQ(engine->saturations(), 0U) << architecture.name;
  }
}

TEST(Reconstruction, TellsOfProgressAndEndsWhereThatThrows) {
  ThreadPool pool(1);
  const Model model = testing::nano_model("vit_nano");
  const auto crops = random_crops(model.config.img_size, 4, 9);
  std::size_t last = 0;
  const auto show = [&](std::size_t done, std::size_t total) {
    EXPECT_LE(done, total);
    last = done;
    if (done + 2 == total) {
      throw Stopped();
    }
  };
  EXPECT_THROW(calibrate(model, reconstructing("repq", 5), crops, pool, {.progress = show}),
               Stopped);
  EXPECT_GT(last, 3U);
}

}  // namespace
}  // namespace bitlog2::calibration
