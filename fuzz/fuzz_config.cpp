// Feeds arbitrary text to the reader of model configurations, which people write by hand.
// Whatever the text, nothing but Error may come out; what is accepted must survive being written
// and read again. Seeds: fuzz/corpus/config.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "bitlog2/error.h"
#include "bitlog2/model.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  bitlog2::ModelConfig config;
  try {
    config = bitlog2::parse_config({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const bitlog2::Error&) {
    return 0;
  }
  // An Error here would be a crash: what was read can be written and read.
  const std::string written = bitlog2::config_to_json(config);
  if (bitlog2::config_to_json(bitlog2::parse_config(written, "written")) != written) {
    __builtin_trap();
  }
  return 0;
}
