// make_runtime_seeds FOLDER: writes the seeds of fuzz_runtime_open: small networks, and damaged
// ones. Must be run again when the file format changes.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "bitlog2/files.h"
#include "integer/runtime/program.h"
#include "tiny_networks.h"

namespace bitlog2::testing {
namespace {

using runtime::Header;
using runtime::Op;
using Bytes = std::vector<std::byte>;

std::size_t data_offset(const Bytes& file) {
  std::uint64_t json_bytes = 0;
  std::memcpy(&json_bytes, file.data(), sizeof(json_bytes));
  return sizeof(json_bytes) + static_cast<std::size_t>(json_bytes);
}

Bytes with_word(Bytes file, std::size_t offset, std::uint32_t word) {
  std::memcpy(file.data() + data_offset(file) + offset, &word, sizeof(word));
  return file;
}

Bytes cut(Bytes file, std::size_t data_bytes) {
  file.resize(data_offset(file) + data_bytes);
  return file;
}

std::size_t field_of(std::size_t op, std::size_t field) {
  return sizeof(Header) + op * sizeof(Op) + field;
}

void write_seeds(const std::filesystem::path& folder) {
  const auto write = [&](const char* name, const Bytes& file) {
    write_file_atomically(folder / name, file);
  };
  const Bytes vit = tiny_network(Family::vit, "BitLog2_Half_17", 4);
  write("vit_half_w4", vit);
  write("vit_single_w3", tiny_network(Family::vit, "BitLog2_Single_16", 3));
  write("vit_sqrt2_w8", tiny_network(Family::vit, "Sqrt2_17", 8));
  write("swin_half_w4", tiny_network(Family::swin, "BitLog2_Half_16", 4));
  write("vit_best_w4", tiny_network(Family::vit, "BitLog2_Half_16", 4, "best"));
  write("swin_best_w6", tiny_network(Family::swin, "BitLog2_Half_16", 6, "best"));
  write("distilled_w4", tiny_network("distilled", "BitLog2_Half_16", 4));
  write("registers_w4", tiny_network("registers", "Sqrt2_16", 4));
  write("siglip_w4", tiny_network("siglip", "BitLog2_Half_17", 4));
  write("beit_w4", tiny_network("beit", "BitLog2_Half_16", 4));
  write("clip_w4", tiny_network("clip", "BitLog2_Half_16", 4));
  write("pre_logits_w4", tiny_network("pre_logits", "BitLog2_Half_16", 4));
  write("rotary_w4", tiny_network("rotary", "BitLog2_Half_16", 4, "best"));
  write("swiglu_w4", tiny_network("swiglu", "BitLog2_Half_16", 4));

  write("empty", {});
  write("json_only", cut(vit, 0));
  write("header_only", cut(vit, sizeof(Header)));
  write("two_operations", cut(vit, sizeof(Header) + 2 * sizeof(Op)));
  write("half", Bytes(vit.begin(), vit.begin() + static_cast<std::ptrdiff_t>(vit.size() / 2)));
  write("no_magic", with_word(vit, offsetof(Header, magic), 0));
  write("other_version", with_word(vit, offsetof(Header, version), runtime::kVersion + 1));
  write("many_operations", with_word(vit, offsetof(Header, op_count), 0x10000));
  write("huge_image", with_word(vit, offsetof(Header, image_size), 0x4000));
  write("fraction_bits", with_word(vit, offsetof(Header, attention_fraction_bits), 3));
  write("nearest", with_word(vit, offsetof(Header, attention_nearest), 1));
  constexpr std::size_t kNorm = 1;
  constexpr std::size_t kLinear = 2;
  constexpr std::size_t kAttention = 3;
  write("hostile_rows", with_word(vit, field_of(kLinear, offsetof(Op, rows)), 0xFFFF));
  write("hostile_shift", with_word(vit, field_of(kLinear, offsetof(Op, shift)), 63));
  write("hostile_bias_shift", with_word(vit, field_of(kLinear, offsetof(Op, bias_shift)), 31));
  write("low_input_top", with_word(vit, field_of(kAttention, offsetof(Op, input_qmax)), 1));
  write("shift_without_window",
        with_word(vit, field_of(kAttention, offsetof(Op, window_shift)), 1));
  write("norm_to_sum", with_word(vit, field_of(kNorm, offsetof(Op, destination)),
                                 static_cast<std::uint32_t>(runtime::Buffer::residual_add)));
}

}  // namespace
}  // namespace bitlog2::testing

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: make_runtime_seeds FOLDER\n";
    return 2;
  }
  try {
    bitlog2::testing::write_seeds(argv[1]);
  } catch (const std::exception& error) {
    std::cerr << "make_runtime_seeds: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
