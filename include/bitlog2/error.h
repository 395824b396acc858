// The exception type of the project: an error that a user can cause and correct.
#pragma once

#include <stdexcept>

#pragma GCC visibility push(default)
namespace bitlog2 {

/// Bad input, in one line that says what is wrong, where, and what to do. Thrown by all code that
/// checks a user's input or settings. Arithmetic throws it only for numbers that it cannot go on
/// with: activations that are not finite, or values that integers cannot hold.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace bitlog2
#pragma GCC visibility pop
