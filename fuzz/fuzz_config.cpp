// Feeds arbitrary text to the reader of model configurations, which people write by hand. For any
// text, it may throw nothing but Error; a configuration that is accepted must be the same after it
// was written and read again. The same text goes to the reader of other libraries' configurations:
// the part before a zero byte as config.json, the part after it as preprocessor_config.json. Seeds:
// fuzz/corpus/config.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "bitlog2/error.h"
#include "bitlog2/model.h"
#include "model/names/library_config.h"

namespace {

void read_library_config(std::string_view text) {
  const std::string_view config = text.substr(0, text.find('\0'));
  const std::string_view rest = text.substr(config.size());
  try {
    const bitlog2::LibraryConfig parsed =
        bitlog2::parse_library_config(config, rest.substr(rest.empty() ? 0 : 1), "fuzz");
    if (parsed.preprocessing && bitlog2::preprocessing_at(parsed, 32).crop != 32) {
      __builtin_trap();
    }
  } catch (const bitlog2::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  read_library_config({reinterpret_cast<const char*>(data), size});
  bitlog2::ModelConfig config;
  try {
    config = bitlog2::parse_config({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const bitlog2::Error&) {
    return 0;
  }
  // An Error here counts as a crash: a configuration that was read can be written and read again.
  const std::string written = bitlog2::config_to_json(config);
  if (bitlog2::config_to_json(bitlog2::parse_config(written, "written")) != written) {
    __builtin_trap();
  }
  return 0;
}
