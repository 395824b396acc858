// The forward pass reports where blocks begin and end.
#include "model/forward.h"

#include <gtest/gtest.h>

#include "integer/tiny_networks.h"
#include "simulate/float_ops.h"

namespace bitlog2 {
namespace {

using simulate::NoQuantization;

class BoundaryOps : public simulate::FloatOps<NoQuantization> {
 public:
  using FloatOps::FloatOps;

  void begin_block(const Block& block, const Tensor& x) {
    begun.push_back(&block);
    inputs.push_back(copy(x));
  }
  void end_block(const Block& block, const Tensor& x) {
    ended.push_back(&block);
    outputs.push_back(copy(x));
  }

  std::vector<const Block*> begun;
  std::vector<const Block*> ended;
  std::vector<Tensor> inputs;
  std::vector<Tensor> outputs;
};

TEST(BlockBoundaries, AreEveryBlocksInputAndOutput) {
  ThreadPool pool(1);
  NoQuantization none;
  const LayerObserver nobody;
  for (const char* name : {"vit_nano", "swin_nano"}) {
    const Model model = testing::nano_model(name);
    std::vector<const Block*> blocks;
    for (const Stage& stage : model.stages) {
      for (const Block& block : stage.blocks) {
        blocks.push_back(&block);
      }
    }
    const auto images = normalised_batch(testing::random_crops(model.config.img_size, 2, 3),
                                         model.config.preprocessing);
    BoundaryOps ops(model.config, images, none, pool, nobody);
    static_cast<void>(forward(model, ops));
    EXPECT_EQ(ops.begun, blocks);
    EXPECT_EQ(ops.ended, blocks);
    // A block by itself, with the reported input, gives the reported output.
    simulate::FloatOps<NoQuantization> alone(model.config, images, none, pool, nobody);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const bool is_last_of_vit = model.config.family == Family::vit && i + 1 == blocks.size();
      const auto output = forward_block(*blocks[i], model.config.activation, alone,
                                        copy(ops.inputs[i]), is_last_of_vit ? 1 : 0);
      EXPECT_TRUE(std::ranges::equal(output.values(), ops.outputs[i].values())) << name << i;
    }
  }
}

/// An engine keeps its weights packed; run_fp32 and run_simulated pack them anew. With several
/// images, all threads share a product; with one, too.
TEST(FloatEngines, GiveTheSameBitsWithAnyNumberOfThreads) {
  for (const char* name : {"vit_nano", "swin_nano"}) {
    const Model model = testing::nano_model(name);
    const QuantizedModel quantized = testing::quantize(
        model, {4, 4, find_attention_scheme("BitLog2_Half_16"), find_recipe("repq")});
    const Model rounded = with_quantized_weights(quantized);
    const auto fp32 = make_fp32_engine(model);
    const auto simulated = make_simulated_engine(quantized);
    for (const std::size_t images : {1U, 5U}) {
      const auto crops = testing::random_crops(model.config.img_size, images, 3);
      const auto batch = normalised_batch(crops, model.config.preprocessing);
      ThreadPool alone(1);
      const auto exact = run_fp32(model, batch, alone);
      const auto coded = run_simulated(rounded, quantized.quantizers, batch, alone);
      for (const std::size_t threads : {1U, 2U, 3U}) {
        ThreadPool pool(threads);
        for (int again = 0; again < 2; ++again) {
          EXPECT_EQ(fp32->logits(crops, pool), exact) << name << ", " << threads << " threads";
          EXPECT_EQ(simulated->logits(crops, pool), coded) << name << ", " << threads;
        }
      }
    }
  }
}

}  // namespace
}  // namespace bitlog2
