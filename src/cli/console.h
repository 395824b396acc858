// The output of the programs. Results go to stdout, and a result that cannot be written is an
// error. Everything else goes to stderr; if stderr cannot be written to, it is lost without an
// error.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace bitlog2::cli {

/// Opens stdin, stdout and stderr where the caller has closed them, so that no file of the program
/// gets their numbers. Reading or writing them then fails.
void occupy_standard_streams();

/// `text` without control characters: they are escaped as \n, \t or \x1b. Other bytes stay as they
/// are, valid UTF-8 or not.
std::string printable(std::string_view text);

/// Writes `text`, made printable, and a newline to stderr.
void tell(std::string_view text);

/// Writes `text` to stdout as it is. Throws Error if that fails.
void print(std::string_view text);

/// Writes what is still buffered to stdout. Throws Error if that or an earlier write failed. To be
/// called before the program reports success.
void flush_output();

/// `document` as indented JSON text with a newline at its end. Bytes that are no UTF-8, as file
/// names may hold, become U+FFFD.
std::string json_text(const nlohmann::ordered_json& document);

}  // namespace bitlog2::cli
