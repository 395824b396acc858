// The program `test_quant`: the published script's command line, its progress lines and its
// last line, so that what was written around the script runs unchanged. The words printed
// here are an interface.
#include <fmt/format.h>

#include <CLI/App.hpp>

#include "bitlog2/error.h"
#include "cli/console.h"
#include "cli/interrupt.h"
#include "cli/job.h"
#include "cli/options.h"
#include "cli/program.h"

namespace bitlog2::cli {
namespace {

struct TestQuantOptions {
  ModelSource model = {.model = "deit_small", .weights = "", .config = ""};
  std::string dataset = "/dataset/imagenet/";
  std::size_t calib_batchsize = 32;
  std::size_t val_batchsize = 200;
  std::size_t num_workers = 16;
  std::string device = "cuda";
  std::size_t print_freq = 100;
  std::uint64_t seed = 0;
  int w_bits = 4;
  int a_bits = 4;
  std::string log_quant_scheme = "Sqrt2_17";
  // Not the script's: its namespace does not show them.
  std::size_t threads = 0;
  std::string class_map;
};

void say(const std::string& line) {
  print(line + "\n");
  flush_output();
}

std::string as_namespace(const TestQuantOptions& options) {
  return fmt::format(
      "Namespace(model='{}', dataset='{}', calib_batchsize={}, val_batchsize={}, num_workers={}, "
      "device='{}', print_freq={}, seed={}, w_bits={}, a_bits={}, log_quant_scheme='{}')",
      printable(options.model.model), printable(options.dataset), options.calib_batchsize,
      options.val_batchsize, options.num_workers, printable(options.device), options.print_freq,
      options.seed, options.w_bits, options.a_bits, printable(options.log_quant_scheme));
}

/// The script's "Test: ..." lines.
class BatchLines {
 public:
  explicit BatchLines(std::size_t print_freq) : print_freq_(print_freq) {}

  void report(const EvaluationProgress& progress) {
    seconds_ += progress.batch_seconds;
    if (progress.batch % print_freq_ != 0 || progress.last.images == 0) {
      return;
    }
    say(
        fmt::format("Test: [{}/{}]\tTime {:.3f} ({:.3f})\tLoss {:.4f} ({:.4f})\tPrec@1 {:.3f} "
                    "({:.3f})\tPrec@5 {:.3f} ({:.3f})",
                    progress.batch, progress.batches, progress.batch_seconds,
                    seconds_ / static_cast<double>(progress.batch + 1), progress.last.loss(),
                    progress.total.loss(), progress.last.top1(), progress.total.top1(),
                    progress.last.top5(), progress.total.top5()));
  }

 private:
  std::size_t print_freq_;
  double seconds_ = 0;
};

int test_quant(const TestQuantOptions& options) {
  const std::atomic<bool>& stop = catch_interrupt();
  const QuantizationSettings settings = {options.w_bits, options.a_bits,
                                         find_attention_scheme(options.log_quant_scheme)};
  say(as_namespace(options));
  if (options.device != "cpu") {
    tell(fmt::format("test_quant: this build runs on the CPU; --device {} is ignored",
                     options.device));
  }
  const ModelConfig& config = find_named_model(options.model.model).config;
  ThreadPool pool(thread_count(options.threads));

  say("Building dataloader ...");
  const DatasetSplits splits = open_dataset({.path = options.dataset,
                                             .num_classes = static_cast<int>(config.num_classes),
                                             .calibration_images = options.calib_batchsize,
                                             .seed = options.seed,
                                             .class_names = {},
                                             .class_map = options.class_map});
  tell_notes(splits.notes);
  say("Building model ...");
  const LoadedModel loaded = load_and_tell(options.model);
  const CalibrationImages images =
      calibration_batch(splits, config.preprocessing, pool, /*strict=*/false);

  say("Performing initial quantization ...");
  const Calibration calibration = calibrate_with_progress(
      loaded.model, settings, images, CalibrationContext{}.memory_bytes, pool, stop);
  say("Performing scale reparameterization ...");  // calibrate() ends with it
  say("Validating ...");
  const auto engine = make_simulated_engine(calibration.quantized);
  BatchLines lines(options.print_freq);
  const Evaluation evaluation =
      evaluate(*engine, splits.validation, pool,
               {.batch_size = options.val_batchsize,
                .stop = &stop,
                .report = [&](const EvaluationProgress& progress) { lines.report(progress); }});
  tell_skipped(evaluation);
  say(fmt::format(" * Prec@1 {:.3f} Prec@5 {:.3f} Time {:.3f}", evaluation.accuracy.top1(),
                  evaluation.accuracy.top5(), evaluation.seconds));
  return evaluation.stopped ? interrupted_exit() : 0;
}

}  // namespace
}  // namespace bitlog2::cli

int main(int argc, char** argv) {
  using bitlog2::kMaxBits;
  using bitlog2::kMinBits;
  using bitlog2::cli::whole_number;
  bitlog2::cli::TestQuantOptions options;
  CLI::App app("The published RepQ-ViT / BitLog2 script's command line.", "test_quant");
  app.option_defaults()->take_last();  // as argparse does
  app.add_option("--model", options.model.model, "Model")->capture_default_str();
  app.add_option("--dataset", options.dataset, "Path to the dataset")->capture_default_str();
  app.add_option("--calib-batchsize,--calibration-images", options.calib_batchsize,
                 "Calibration images")
      ->check(whole_number(1, 4096))
      ->capture_default_str();
  app.add_option("--val-batchsize", options.val_batchsize, "Images per batch")
      ->check(whole_number(1, 65536))
      ->capture_default_str();
  app.add_option("--num-workers", options.num_workers, "Accepted; --threads decode")
      ->check(whole_number(0, 65536))
      ->capture_default_str();
  app.add_option("--device", options.device, "Accepted; this build runs on the CPU")
      ->capture_default_str();
  app.add_option("--print-freq", options.print_freq, "Batches between two lines")
      ->check(whole_number(1, 1 << 30))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "Of the calibration sample")
      ->check(whole_number(0, UINT64_MAX))
      ->capture_default_str();
  app.add_option("--w_bits,--w_bit", options.w_bits, "Bits of weights")
      ->check(whole_number(kMinBits, kMaxBits))
      ->capture_default_str();
  app.add_option("--a_bits,--a_bit", options.a_bits, "Bits of activations")
      ->check(whole_number(kMinBits, kMaxBits))
      ->capture_default_str();
  app.add_option("--log_quant_scheme", options.log_quant_scheme, "Attention-map quantizer")
      ->capture_default_str();
  app.add_option("--weights", options.model.weights,
                 "Checkpoint, .safetensors (default: the model's in the Hugging Face cache)");
  bitlog2::cli::add_threads_option(app, options.threads);
  app.add_option("--class-map", options.class_map,
                 "Text file that numbers class folders: line k names class k's");
  return bitlog2::cli::run_program(app, argc, argv,
                                   [&] { return bitlog2::cli::test_quant(options); });
}
