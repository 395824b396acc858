// A quantized file as a web page that runs it: everything in one file, which opens without a
// network.
#pragma once

#include <filesystem>
#include <vector>

namespace bitlog2::cli {

/// The files of a page in a folder: index.html, which needs no other file, and the files for pages
/// of one's own.
std::vector<std::filesystem::path> web_page_files(const std::filesystem::path& folder);

/// Writes the page of the quantized file `quantized` to `folder`, which is made if it is not there.
/// Returns the size of index.html in bytes. Throws Error if the file is no quantized file, if this
/// program has no WebAssembly runtime beside it, or if a file cannot be written.
std::size_t write_web_page(const std::filesystem::path& quantized,
                           const std::filesystem::path& folder);

}  // namespace bitlog2::cli
