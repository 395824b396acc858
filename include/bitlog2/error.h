// The one exception type of the project: something a user can cause and mend.
#pragma once

#include <stdexcept>

#pragma GCC visibility push(default)
namespace bitlog2 {

/// Bad input, in one line that says what, where and what to do. Thrown by io and
/// cli and by whatever checks user-given settings; never by arithmetic.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace bitlog2
#pragma GCC visibility pop
