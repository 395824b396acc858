// Text for web pages.
#include "cli/html.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/base64.h"
#include "cli/report_page.h"

namespace bitlog2::cli {
namespace {

std::string base64_of(std::string_view text) {
  return base64(std::as_bytes(std::span(text)));
}

TEST(Html, Base64IsRfc4648s) {
  EXPECT_EQ(base64_of(""), "");
  EXPECT_EQ(base64_of("f"), "Zg==");
  EXPECT_EQ(base64_of("fo"), "Zm8=");
  EXPECT_EQ(base64_of("foo"), "Zm9v");
  EXPECT_EQ(base64_of("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64_of("\xff\xfe\xfd"), "//79");
}

TEST(Html, TextStaysText) {
  EXPECT_EQ(for_html("a<b>&\"c\""), "a&lt;b>&amp;&quot;c&quot;");
}

TEST(Html, NothingEndsAScript) {
  const nlohmann::ordered_json value = {{"name", "</script><!-- \xff"}};
  const std::string text = for_script(value);
  EXPECT_EQ(text.find('<'), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(text)["name"], "</script><!-- \uFFFD");
}

TEST(Html, EveryMarkIsReplaced) {
  EXPECT_EQ(replaced("a @X@ b @X@", "@X@", "@X@@Y@"), "a @X@@Y@ b @X@@Y@");
  EXPECT_EQ(replaced("none", "@X@", "y"), "none");
}

TEST(Html, TheReportsPageHasItsMarks) {
  EXPECT_NE(kReportPage.find("@TITLE@"), std::string_view::npos);
  EXPECT_NE(kReportPage.find("@REPORT@"), std::string_view::npos);
  EXPECT_EQ(kReportPage.find("@STYLE@"), std::string_view::npos);
  EXPECT_NE(kReportPage.find(";\n"), std::string_view::npos) << "CMake lists eat semicolons";
}

}  // namespace
}  // namespace bitlog2::cli
