// Prints the classes of pictures with a quantized model, in integers only.
//
//   predict QUANTIZED.safetensors PICTURE...
#include <bitlog2/dataset.h>
#include <bitlog2/error.h>
#include <bitlog2/image.h>
#include <bitlog2/integer.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <iomanip>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

namespace {

/// The classes of the `count` largest logits, the largest first.
std::vector<std::size_t> top_classes(const std::vector<float>& logits, std::size_t count) {
  std::vector<std::size_t> classes(logits.size());
  std::iota(classes.begin(), classes.end(), std::size_t{0});
  std::ranges::stable_sort(classes, std::greater{}, [&](std::size_t i) { return logits[i]; });
  classes.resize(std::min(count, classes.size()));
  return classes;
}

void predict(const bitlog2::IntegerEngine& engine, const std::string& picture) {
  const bitlog2::RgbImage image = bitlog2::read_image(picture);
  const bitlog2::RgbImage crop = bitlog2::resize_and_crop(image, engine.config().preprocessing);
  const std::vector<float> logits = engine.logits({&crop, 1});
  const std::vector<std::string>& names = engine.info().class_names;
  std::cout << picture << '\n' << std::fixed << std::setprecision(3);
  for (const std::size_t i : top_classes(logits, 5)) {
    std::cout << "  " << logits[i] << "  class " << i << ' ' << (names.empty() ? "" : names[i])
              << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) {
    std::cerr << "usage: predict QUANTIZED PICTURE...\n";
    return 2;
  }
  const auto engine = bitlog2::IntegerEngine::open(argv[1]);
  for (int i = 2; i < argc; ++i) {
    predict(*engine, argv[i]);
  }
} catch (const bitlog2::Error& error) {
  std::cerr << "predict: " << error.what() << '\n';
  return 1;
}
