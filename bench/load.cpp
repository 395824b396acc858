// bench_load MODEL FILE: loads a published model from a checkpoint and prints the seconds it took.
#include "bitlog2/load.h"

#include <fmt/format.h>

#include <chrono>
#include <exception>

int main(int argc, char** argv) {
  try {
    if (argc != 3) {
      fmt::print(stderr, "usage: bench_load MODEL FILE\n");
      return 2;
    }
    bitlog2::ModelSource source;
    source.model = argv[1];
    source.weights = argv[2];
    const auto start = std::chrono::steady_clock::now();
    const bitlog2::LoadedModel loaded = bitlog2::load_model(source);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    fmt::print("{:.3f}\n", elapsed.count());
    return loaded.model.stages.empty() ? 1 : 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_load: error: {}\n", error.what());
    return 1;
  }
}
