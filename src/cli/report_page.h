#pragma once

#include <string_view>

namespace bitlog2::cli {

/// The page of `bitlog2 report`, web/report.html with its style: @TITLE@ and @REPORT@, JSON, are to
/// be replaced. CMake makes its source.
extern const std::string_view kReportPage;

}  // namespace bitlog2::cli
