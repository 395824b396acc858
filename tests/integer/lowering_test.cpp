// What lowering refuses: layers in an order that is not possible with the runtime's one residual
// stream. A valid file must not lose anything that a layer computes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "bitlog2/error.h"
#include "bitlog2/safetensors.h"
#include "integer/lower/ops.h"
#include "model/forward.h"
#include "tiny_networks.h"

namespace bitlog2::integer {
namespace {

using Tensor = LoweringOps::Tensor;

/// Lowers layers of a calibrated model in any order.
class Lowering : public ::testing::TestWithParam<Family> {
 protected:
  /// The message with which the sequence of layers is refused; empty if it is not.
  std::string refusal(const std::function<void(LoweringOps&)>& layers) {
    ProgramBuilder program;
    LoweringOps ops(quantized_, program);
    try {
      layers(ops);
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  }

  Model& model() { return quantized_.model; }
  const Block& block() { return model().stages[0].blocks[0]; }

  /// Patches per side.
  std::size_t grid() const {
    return quantized_.model.config.img_size / quantized_.model.config.patch_size;
  }

  Tensor embed(LoweringOps& ops) {
    const Tensor patches = ops.embed_patches(model().patch_embed);
    return GetParam() == Family::vit
               ? ops.add_positions(model().prefix_tokens, model().pos_embed, patches)
               : ops.layer_norm(*model().embed_norm, patches);
  }

  /// The output of attention, before the layer that follows it.
  Tensor attend(LoweringOps& ops, const Tensor& x) {
    return ops.attention(block().attn,
                         ops.linear(block().attn.qkv, ops.layer_norm(block().norm1, x)));
  }

  QuantizedModel quantized_ =
      testing::quantize(make_random_model(testing::tiny_config(GetParam()), 3),
                        {4, 4, find_attention_scheme("BitLog2_Half_17")});
};

void expect_names(const std::string& message, const std::string& reader, const std::string& read) {
  EXPECT_NE(message.find(reader), std::string::npos) << message;
  EXPECT_NE(message.find(read), std::string::npos) << message;
  EXPECT_NE(message.find("no integer form"), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

TEST_P(Lowering, TheModelItselfIsLowered) {
  EXPECT_EQ(refusal([&](LoweringOps& ops) { ops.finish(forward(model(), ops)); }), "");
}

TEST_P(Lowering, NormBehindTheFirstTokenAndTheMeanIsRefused) {
  const std::string message = refusal([&](LoweringOps& ops) {
    const Tensor patches = ops.embed_patches(model().patch_embed);
    ops.layer_norm(model().norm, ops.first_and_mean(0, patches));
  });
  expect_names(message, model().norm.name, "the mean over tokens");
}

TEST_P(Lowering, JoinedTokensMustLeadToALinearLayer) {
  const std::string message = refusal([&](LoweringOps& ops) {
    const Tensor tokens = ops.first_tokens(2, ops.embed_patches(model().patch_embed));
    ops.layer_norm(block().norm2, ops.join_tokens(ops.layer_norm(block().norm1, tokens)));
  });
  expect_names(message, block().norm2.name, block().norm1.name);
}

TEST_P(Lowering, JoiningOfTheStreamIsRefused) {
  const std::string message = refusal([&](LoweringOps& ops) {
    ops.join_tokens(ops.first_tokens(2, ops.embed_patches(model().patch_embed)));
  });
  expect_names(message, "the joining of tokens", "the residual stream");
}

TEST_P(Lowering, MeanOfNoSquareIsRefused) {
  const Tensor five = {5, 8, 1};
  const std::string message = refusal([&](LoweringOps& ops) {
    ops.embed_patches(model().patch_embed);
    ops.mean_of_tokens(0, five);
  });
  EXPECT_NE(message.find("5 tokens"), std::string::npos) << message;
}

TEST_P(Lowering, MeanOfNothingIsRefused) {
  const std::string message = refusal([&](LoweringOps& ops) {
    const Tensor patches = ops.embed_patches(model().patch_embed);
    ops.mean_of_tokens(patches.tokens, patches);
  });
  EXPECT_NE(message.find("0 tokens"), std::string::npos) << message;
}

TEST_P(Lowering, MergingWithoutNormIsRefused) {
  const std::string message = refusal([&](LoweringOps& ops) {
    const Tensor patches = ops.embed_patches(model().patch_embed);
    ops.linear(block().attn.qkv, ops.merge_patches(grid(), patches));
  });
  expect_names(message, block().attn.qkv.name, "the merging of patches");
}

TEST_P(Lowering, NormOfMergedPatchesMustLeadToALinearLayer) {
  const std::string message = refusal([&](LoweringOps& ops) {
    const Tensor patches = ops.embed_patches(model().patch_embed);
    ops.layer_norm(block().norm2,
                   ops.layer_norm(block().norm1, ops.merge_patches(grid(), patches)));
  });
  expect_names(message, block().norm2.name, block().norm1.name);
}

TEST_P(Lowering, NormBehindAttentionIsRefused) {
  const std::string message =
      refusal([&](LoweringOps& ops) { ops.layer_norm(block().norm2, attend(ops, embed(ops))); });
  expect_names(message, block().norm2.name, block().attn.name);
}

TEST_P(Lowering, NormBehindGeluIsRefused) {
  const std::string message = refusal([&](LoweringOps& ops) {
    const Tensor fc1 = ops.linear(block().fc1, ops.layer_norm(block().norm2, embed(ops)));
    ops.layer_norm(model().norm, ops.activation(Activation::gelu, fc1));
  });
  expect_names(message, model().norm.name, block().fc1.name);
}

TEST_P(Lowering, TwoLinearLayersInARowAreRefused) {
  const std::string message = refusal([&](LoweringOps& ops) {
    const Tensor fc1 = ops.linear(block().fc1, ops.layer_norm(block().norm2, embed(ops)));
    ops.linear(block().fc2, fc1);
  });
  expect_names(message, block().fc2.name, block().fc1.name);
}

TEST_P(Lowering, LinearLayerOnTheResidualStreamIsRefused) {
  const std::string message = refusal([&](LoweringOps& ops) {
    Tensor x = embed(ops);
    x = ops.add(x, ops.linear(block().attn.proj, attend(ops, x)));
    ops.linear(block().fc1, x);
  });
  expect_names(message, block().fc1.name, "the residual stream");
}

TEST_P(Lowering, ParallelBranchesAreRefused) {
  const std::string message = refusal([&](LoweringOps& ops) {
    Tensor x = embed(ops);
    x = ops.add(x, ops.linear(block().attn.proj, attend(ops, x)));
    ops.linear(block().fc1, ops.layer_norm(block().norm2, x));
    ops.layer_norm(block().norm1, x);  // nothing has read fc1's output yet
  });
  expect_names(message, block().norm1.name, block().fc1.name);
}

TEST_P(Lowering, AdditionToAnotherTensorIsRefused) {
  const std::string message = refusal([&](LoweringOps& ops) {
    const Tensor x = embed(ops);
    const Tensor y = ops.add(x, ops.linear(block().attn.proj, attend(ops, x)));
    const Tensor z = ops.linear(block().fc1, ops.layer_norm(block().norm2, y));
    ops.add(x, ops.linear(block().fc2, ops.activation(Activation::gelu, z)));  // x is overwritten
  });
  expect_names(message, block().fc2.name, "the residual stream");
}

TEST_P(Lowering, WhatIsReadTwiceIsRefused) {
  const std::string message = refusal([&](LoweringOps& ops) {
    const Tensor normalised = ops.layer_norm(block().norm2, embed(ops));
    ops.linear(block().fc1, normalised);
    ops.linear(block().attn.qkv, normalised);
  });
  expect_names(message, block().attn.qkv.name, "neither");
}

TEST_P(Lowering, LayersThatNeedALinearLayerBeforeThemAreRefused) {
  for (const bool gelu : {true, false}) {
    const std::string message = refusal([&](LoweringOps& ops) {
      const Tensor x = ops.layer_norm(block().norm1, embed(ops));
      static_cast<void>(gelu ? ops.activation(Activation::gelu, x)
                             : ops.attention(block().attn, x));
    });
    expect_names(message, gelu ? "GELU" : block().attn.name, block().norm1.name);
  }
  const std::string message =
      refusal([&](LoweringOps& ops) { ops.finish(ops.layer_norm(model().norm, embed(ops))); });
  expect_names(message, "the logits", model().norm.name);
}

TEST_P(Lowering, SecondEmbeddingIsRefused) {
  const std::string message = refusal([&](LoweringOps& ops) {
    embed(ops);
    ops.embed_patches(model().patch_embed);
  });
  EXPECT_NE(message.find(model().patch_embed.name), std::string::npos) << message;
}

TEST_P(Lowering, PositionsOfAnotherSizeAreRefused) {
  const std::vector<float> positions(7);
  const std::string message = refusal([&](LoweringOps& ops) {
    ops.add_positions({}, positions, ops.embed_patches(model().patch_embed));
  });
  EXPECT_NE(message.find("position embedding has 7 values"), std::string::npos) << message;
}

TEST_P(Lowering, NormOfTheClassTokenMustLeadToALinearLayer) {
  const std::string message = refusal([&](LoweringOps& ops) {
    const Tensor patches = ops.embed_patches(model().patch_embed);
    const Tensor token = ops.first_tokens(1, patches);
    ops.layer_norm(block().norm2, ops.layer_norm(block().norm1, token));
  });
  expect_names(message, block().norm2.name, block().norm1.name);
}

TEST_P(Lowering, MergingOfAPartOfTheStreamIsRefused) {
  const std::string message = refusal([&](LoweringOps& ops) {
    ops.merge_patches(1, ops.first_tokens(1, ops.embed_patches(model().patch_embed)));
  });
  expect_names(message, "the merging of patches", "a part of the residual stream");
}

TEST_P(Lowering, MeanOfAPartOfTheStreamIsRefused) {
  const std::string message = refusal([&](LoweringOps& ops) {
    ops.mean_of_tokens(0, ops.first_tokens(1, ops.embed_patches(model().patch_embed)));
  });
  expect_names(message, "the mean over tokens", "a part of the residual stream");
}

TEST(LoweringOfZeros, ConstantQueryTakesNoBitsFromKeysAndValues) {
  const Model model = testing::random_model(testing::tiny_architecture("siglip"));
  const QuantizedModel quantized =
      testing::quantize(model, {8, 8, find_attention_scheme("BitLog2_Half_17")});
  const std::vector<std::byte> bytes = lower(quantized, {});
  const Safetensors file = Safetensors::parse(bytes, "siglip");
  const TensorView& tensor = file.at("attn_pool.qkv.multiplier");
  std::vector<std::int32_t> multipliers(tensor.bytes.size() / sizeof(std::int32_t));
  std::memcpy(multipliers.data(), tensor.bytes.data(), tensor.bytes.size());
  const auto first_key = multipliers.begin() + static_cast<std::ptrdiff_t>(model.config.embed_dim);
  EXPECT_EQ(std::count(multipliers.begin(), first_key, 0), first_key - multipliers.begin());
  EXPECT_GE(*std::max_element(first_key, multipliers.end()), 1 << 29);
}

INSTANTIATE_TEST_SUITE_P(Families, Lowering, ::testing::Values(Family::vit, Family::swin),
                         [](const auto& test) {
                           return std::string(test.param == Family::vit ? "vit" : "swin");
                         });

}  // namespace
}  // namespace bitlog2::integer
