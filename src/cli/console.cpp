#include "cli/console.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "bitlog2/error.h"

namespace bitlog2::cli {
namespace {

/// If the reader has closed the pipe (`| head`), ends the program as writers to a pipe usually end,
/// without a message.
[[noreturn]] void fail_to_print() {
  if (errno == EPIPE) {
    std::signal(SIGPIPE, SIG_DFL);
    std::raise(SIGPIPE);
  }
  throw Error(fmt::format("standard output: cannot be written ({})", std::strerror(errno)));
}

}  // namespace

void occupy_standard_streams() {
  // Opened in the wrong direction, so that using them is an error.
  constexpr std::array kFlags = {O_WRONLY, O_RDONLY, O_RDONLY};
  for (int descriptor = 0; descriptor < static_cast<int>(kFlags.size()); ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) {
      // The lowest free number is this one.
      static_cast<void>(::open("/dev/null", kFlags[static_cast<std::size_t>(descriptor)]));
    }
  }
}

std::string printable(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // In UTF-8 a C1 control is two bytes, of which the first is 0xC2.
    const bool is_c1 =
        byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (text[i] == '\n') {
      result += "\\n";
    } else if (text[i] == '\t') {
      result += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      result += fmt::format("\\x{:02x}", byte);
    } else if (is_c1) {
      ++i;
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i]));
    } else {
      result += text[i];
    }
  }
  return result;
}

void tell(std::string_view text) {
  const std::string line = printable(text) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) {
    fail_to_print();
  }
}

void flush_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    fail_to_print();
  }
}

std::string json_text(const nlohmann::ordered_json& document) {
  return document.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace bitlog2::cli
