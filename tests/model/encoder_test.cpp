// Models without their classes: which embeddings there are, and that they are the inputs of the
// model's own head.
#include "bitlog2/encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "bitlog2/engine.h"
#include "error_of.h"
#include "integer/tiny_networks.h"
#include "model/forward.h"
#include "simulate/float_ops.h"

namespace bitlog2 {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Pool = EmbeddingPooling;

/// A tiny ViT whose biases are not 0, so that a missing one changes the results.
Model tiny_model(const ModelConfig& config) {
  Model model = make_random_model(config, 5);
  float value = 0.1F;
  for_each_parameter(model, [&](const Parameter& parameter) {
    if (parameter.name.ends_with(".bias")) {
      std::ranges::for_each(parameter.values, [&](float& bias) { bias = value = -0.9F * value; });
    }
  });
  return model;
}

ModelConfig tiny(Pooling pooling, std::size_t prefix_tokens) {
  ModelConfig config = testing::tiny_config(Family::vit);
  config.pooling = pooling;
  config.prefix_tokens = prefix_tokens;
  return config;
}

ModelConfig tiny_encoder(Pooling pooling, std::size_t prefix_tokens, std::size_t projection = 0) {
  ModelConfig config = tiny(pooling, prefix_tokens);
  config.num_classes = 0;
  config.projection = projection;
  return config;
}

std::vector<RgbImage> crops() {
  return testing::random_crops(8, 2, 3);
}

std::vector<float> output_of(const Model& model) {
  return make_fp32_engine(model)->logits(crops());
}

/// The final LayerNorm's outputs for all images, [images, tokens, channels].
std::vector<float> normed_tokens(const Model& model) {
  ThreadPool pool(1);
  simulate::NoQuantization none;
  const LayerObserver nobody;
  const auto images = normalised_batch(crops(), model.config.preprocessing);
  Model all = model;
  all.config.pooling = Pooling::mean;  // so that no token is left out
  simulate::FloatOps<simulate::NoQuantization> ops(all.config, images, none, pool, nobody);
  const auto tokens = ops.layer_norm(model.norm, forward_blocks(all, ops));
  const std::span<const float> values = tokens.values();
  return {values.begin(), values.end()};
}

/// The mean of each image's tokens from `first` to `last`, without `last`.
std::vector<float> mean_of(const std::vector<float>& tokens, std::size_t first, std::size_t last) {
  constexpr std::size_t kChannels = 8;
  const std::size_t per_image = tokens.size() / crops().size();
  std::vector<float> means;
  for (std::size_t image = 0; image < crops().size(); ++image) {
    for (std::size_t c = 0; c < kChannels; ++c) {
      double sum = 0;
      for (std::size_t token = first; token < last; ++token) {
        sum += tokens[image * per_image + token * kChannels + c];
      }
      means.push_back(static_cast<float>(sum / static_cast<double>(last - first)));
    }
  }
  return means;
}

void expect_near(const std::vector<float>& values, const std::vector<float>& expected) {
  ASSERT_EQ(values.size(), expected.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_NEAR(values[i], expected[i], 1e-5) << i;
  }
}

/// The text of the Error that as_encoder throws.
std::string error_of(const Model& model, Pool pooling) {
  return testing::error_of([&] { as_encoder(model, pooling); });
}

TEST(Encoder, PoolingsHaveNames) {
  for (const NamedEmbeddingPooling& named : kEmbeddingPoolings) {
    EXPECT_EQ(find_embedding_pooling(named.name), named.pooling);
    EXPECT_EQ(name_of(named.pooling), named.name);
  }
  try {
    find_embedding_pooling("max");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("choose native, class, mean, map, projection"));
  }
}

TEST(Encoder, SaysWhichPoolingsAModelHas) {
  EXPECT_THAT(embedding_poolings(tiny(Pooling::class_token, 1)),
              ElementsAre(Pool::native, Pool::class_token, Pool::mean));
  EXPECT_THAT(embedding_poolings(tiny(Pooling::mean, 0)), ElementsAre(Pool::native, Pool::mean));
  EXPECT_THAT(embedding_poolings(tiny(Pooling::mean, 1)),
              ElementsAre(Pool::native, Pool::class_token, Pool::mean));
  EXPECT_THAT(embedding_poolings(tiny(Pooling::mean, 4)),  // perhaps without a class token
              ElementsAre(Pool::native, Pool::mean));
  EXPECT_THAT(embedding_poolings(tiny(Pooling::mean_then_norm, 1)),
              ElementsAre(Pool::native, Pool::mean));
  EXPECT_THAT(embedding_poolings(tiny(Pooling::map, 0)),
              ElementsAre(Pool::native, Pool::mean, Pool::map));
  EXPECT_THAT(embedding_poolings(tiny_encoder(Pooling::class_token, 1, 6)),
              ElementsAre(Pool::native, Pool::class_token, Pool::mean, Pool::projection));
  const Model swin = make_random_model(testing::tiny_config(Family::swin), 1);
  EXPECT_EQ(error_of(swin, Pool::class_token),
            "custom has no embedding by pooling 'class'; it has native, mean");
  EXPECT_THAT(error_of(swin, Pool::map), HasSubstr("'map'"));
  EXPECT_THAT(error_of(swin, Pool::projection), HasSubstr("'projection'"));
}

TEST(Encoder, PoolsTheFinalNormsTokens) {
  const Model model = tiny_model(tiny(Pooling::class_and_mean, 2));
  const std::vector<float> tokens = normed_tokens(model);
  const std::size_t count = tokens.size() / 8 / crops().size();
  ASSERT_EQ(count, 6U);
  const std::vector<float> first = mean_of(tokens, 0, 1);
  const std::vector<float> mean = mean_of(tokens, 2, count);
  expect_near(output_of(as_encoder(model, Pool::class_token)), first);
  expect_near(output_of(as_encoder(model, Pool::mean)), mean);
  std::vector<float> both;
  for (std::size_t image = 0; image < 2; ++image) {
    for (const std::vector<float>* part : {&first, &mean}) {
      const auto begin = part->begin() + static_cast<std::ptrdiff_t>(8 * image);
      both.insert(both.end(), begin, begin + 8);
    }
  }
  expect_near(output_of(as_encoder(model, Pool::native)), both);
}

TEST(Encoder, NativeIsWhatTheHeadReads) {
  for (const auto& [pooling, prefix] : {std::pair(Pooling::class_token, std::size_t{1}),
                                        {Pooling::mean, 1},
                                        {Pooling::mean, 0},
                                        {Pooling::mean_then_norm, 0},
                                        {Pooling::class_and_mean, 1},
                                        {Pooling::map, 0}}) {
    Model model = tiny_model(tiny(pooling, prefix));
    const Model encoder = as_encoder(model, Pool::native);
    EXPECT_TRUE(is_encoder(encoder.config));
    EXPECT_EQ(encoder.head.role, Role::projection);
    const std::vector<float> embeddings = output_of(encoder);
    const std::size_t size = output_size(encoder.config);
    ASSERT_EQ(embeddings.size(), 2 * size);
    // The classifier's head, applied to the embedding, gives the classifier's logits.
    std::vector<float> logits;
    for (std::size_t image = 0; image < 2; ++image) {
      for (std::size_t c = 0; c < model.config.num_classes; ++c) {
        double sum = model.head.bias[c];
        for (std::size_t i = 0; i < size; ++i) {
          sum +=
              static_cast<double>(model.head.weight[c * size + i]) * embeddings[image * size + i];
        }
        logits.push_back(static_cast<float>(sum));
      }
    }
    expect_near(logits, output_of(model));
  }
}

TEST(Encoder, SwinsAreTheMeanOfTheirTokens) {
  const Model model = make_random_model(testing::tiny_config(Family::swin), 1);
  const Model encoder = as_encoder(model, Pool::native);
  EXPECT_EQ(output_size(encoder.config), 16U);
  EXPECT_EQ(output_of(encoder), output_of(as_encoder(model, Pool::mean)));
}

TEST(Encoder, PreLogitsGoWithTheClasses) {
  ModelConfig config = tiny(Pooling::class_token, 1);
  const Model plain = as_encoder(make_random_model(config, 5), Pool::native);
  config.pre_logits = 5;
  const Model encoder = as_encoder(make_random_model(config, 5), Pool::native);
  EXPECT_FALSE(encoder.pre_logits.has_value());
  EXPECT_EQ(encoder.config.pre_logits, 0U);
  EXPECT_EQ(encoder.head.out_features, 8U);
  EXPECT_EQ(output_of(encoder), output_of(plain));
}

TEST(Encoder, ADistilledModelsEmbeddingIsItsClassToken) {
  const Model model = tiny_model(tiny(Pooling::class_tokens, 2));
  const Model encoder = as_encoder(model, Pool::native);
  EXPECT_EQ(output_size(encoder.config), 8U);
  expect_near(output_of(encoder), mean_of(normed_tokens(model), 0, 1));
}

TEST(Encoder, AnEncoderStaysAsItIs) {
  const Model model = tiny_model(tiny_encoder(Pooling::class_token, 1, 6));
  for (const Pool pooling : {Pool::native, Pool::projection}) {
    const Model same = as_encoder(model, pooling);
    EXPECT_EQ(config_to_json(same.config), config_to_json(model.config));
    EXPECT_EQ(same.head.weight, model.head.weight);
  }
  // Other poolings leave out the projection.
  expect_near(output_of(as_encoder(model, Pool::class_token)), mean_of(normed_tokens(model), 0, 1));
}

TEST(Encoder, AttentionPoolingIsLeftOutWhereNothingReadsIt) {
  const Model model = tiny_model(tiny_encoder(Pooling::map, 0));
  EXPECT_TRUE(as_encoder(model, Pool::map).attention_pooling.has_value());
  const Model mean = as_encoder(model, Pool::mean);
  EXPECT_FALSE(mean.attention_pooling.has_value());
  expect_near(output_of(mean), mean_of(normed_tokens(model), 0, 4));
}

TEST(Encoder, RunsInIntegers) {
  const Model model = testing::nano_model("vit_nano");
  const Model encoder = as_encoder(model, Pool::native);
  for (const char* recipe : {"repq", "best"}) {
    const QuantizedModel quantized = testing::quantize(
        encoder, {8, 8, find_attention_scheme("BitLog2_Half_16"), find_recipe(recipe)});
    const auto engine = IntegerEngine::from_bytes(lower(quantized, {}), "test");
    EXPECT_TRUE(is_encoder(engine->config()));
    const auto images = testing::random_crops(encoder.config.img_size, 2, 3);
    const std::vector<float> values = engine->logits(images);
    const std::vector<float> exact = make_fp32_engine(encoder)->logits(images);
    ASSERT_EQ(values.size(), exact.size());
    const auto dot = [](const std::vector<float>& a, const std::vector<float>& b) {
      return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
    };
    EXPECT_GT(dot(values, exact) / std::sqrt(dot(values, values) * dot(exact, exact)), 0.98)
        << recipe;
  }
}

}  // namespace
}  // namespace bitlog2
