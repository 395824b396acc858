// The text of the Error that an action throws.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "bitlog2/error.h"

namespace bitlog2::testing {

/// The text of the Error that `action` throws, which must be one line; fails if there is none.
template <class Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    return text;
  }
  ADD_FAILURE() << "no Error";
  return "";
}

}  // namespace bitlog2::testing
