// JSON read byte by byte, without a heap or recursion. A string's text may itself be JSON: the
// bytes of a string are a source for another reader. Reading never leaves the source, whatever its
// bytes are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace bitlog2::runtime {

/// The value that a source of bytes returns behind its last byte.
inline constexpr int kEnd = -1;

/// Bytes one by one.
class Bytes {
 public:
  explicit Bytes(std::span<const std::byte> bytes) : bytes_(bytes) {}

  int take() { return at_ < bytes_.size() ? static_cast<int>(bytes_[at_++]) : kEnd; }

 private:
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
};

constexpr int hex_digit(int c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : kEnd;
}

/// The bytes that a JSON string stands for, in UTF-8. Its opening quote is taken already.
template <class Source>
class StringBytes {
 public:
  explicit StringBytes(Source& source) : source_(source) {}

  /// kEnd behind the closing quote, or where the string is malformed.
  int take() {
    if (pending_count_ > 0) {
      const int byte = static_cast<int>(pending_ & 255);
      pending_ >>= 8;
      --pending_count_;
      return byte;
    }
    if (ended_) {
      return kEnd;
    }
    const int c = source_.take();
    if (c == '"' || c == kEnd) {
      closed_ = c == '"';
      ended_ = true;
      return kEnd;
    }
    return c == '\\' ? take_escape() : c;
  }

  /// Takes the rest. Returns whether the string ended with its quote.
  bool close() {
    while (take() != kEnd) {
    }
    return closed_;
  }

 private:
  int fail() {
    ended_ = true;
    return kEnd;
  }

  int take_escape() {
    const int c = source_.take();
    switch (c) {
      case '"':
      case '\\':
      case '/':
        return c;
      case 'b':
        return '\b';
      case 'f':
        return '\f';
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'u':
        return take_unicode();
      default:
        return fail();
    }
  }

  /// Four hexadecimal digits; kEnd if they are none.
  int take_unit() {
    int unit = 0;
    for (int i = 0; i < 4; ++i) {
      const int digit = hex_digit(source_.take());
      if (digit == kEnd) {
        return kEnd;
      }
      unit = unit * 16 + digit;
    }
    return unit;
  }

  int take_unicode() {
    const int unit = take_unit();
    if (unit == kEnd || (unit >= 0xDC00 && unit < 0xE000)) {
      return fail();
    }
    auto code = static_cast<std::uint32_t>(unit);
    if (unit >= 0xD800 && unit < 0xDC00) {
      if (source_.take() != '\\' || source_.take() != 'u') {
        return fail();
      }
      const int second = take_unit();
      if (second < 0xDC00 || second >= 0xE000) {
        return fail();
      }
      code = 0x10000 + ((code - 0xD800) << 10) + (static_cast<std::uint32_t>(second) - 0xDC00);
    }
    return encode(code);
  }

  /// UTF-8: returns the first byte and keeps those behind it.
  int encode(std::uint32_t code) {
    if (code < 0x80) {
      return static_cast<int>(code);
    }
    pending_count_ = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    pending_ = 0;
    std::uint32_t rest = code;
    for (int i = 0; i < pending_count_; ++i) {  // the last byte first
      pending_ = pending_ << 8 | (0x80 | (rest & 0x3F));
      rest >>= 6;
    }
    const std::uint32_t lead = pending_count_ == 1 ? 0xC0 : pending_count_ == 2 ? 0xE0 : 0xF0;
    return static_cast<int>(lead | rest);
  }

  Source& source_;
  std::uint32_t pending_ = 0;
  int pending_count_ = 0;
  bool ended_ = false;
  bool closed_ = false;
};

constexpr bool is_space(int c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/// Reads JSON text, value by value. After a function has returned false, the position is undefined.
template <class Source>
class JsonReader {
 public:
  explicit JsonReader(Source& source) : source_(source), current_(source.take()) {}

  int take() {
    const int c = current_;
    current_ = c == kEnd ? kEnd : source_.take();
    return c;
  }

  /// Takes `c` and the spaces before it, if `c` is next.
  bool take_if(char c) {
    while (is_space(current_)) {
      take();
    }
    const bool comes = current_ == c;
    if (comes) {
      take();
    }
    return comes;
  }

  bool skip_string() { return StringBytes(*this).close(); }  // its opening quote is taken

  /// Takes a string. Returns whether it is `text`.
  bool take_string(const char* text) { return take_if('"') && is_string(text); }

  /// Takes a value of any depth, without recursion.
  bool skip_value() {
    std::size_t depth = 0;
    do {
      if (take_if('"')) {
        if (!skip_string()) {
          return false;
        }
      } else if (take_if('[') || take_if('{')) {
        ++depth;
      } else if (take_if(']') || take_if('}')) {
        if (depth == 0) {
          return false;
        }
        --depth;
      } else if (!take_if(',') && !take_if(':') && !skip_word()) {
        return false;
      }
    } while (depth > 0);
    return true;
  }

  /// Goes to the value of `key` in the object that is next.
  bool find(const char* key) {
    if (!take_if('{')) {
      return false;
    }
    do {
      if (!take_if('"')) {
        return false;
      }
      const bool found = is_string(key);
      if (!take_if(':')) {
        return false;
      }
      if (found) {
        return true;
      }
      if (!skip_value()) {
        return false;
      }
    } while (take_if(','));
    return false;
  }

  /// Goes to the element at `index` in the array that is next.
  bool find_element(std::size_t index) {
    if (!take_if('[')) {
      return false;
    }
    for (std::size_t i = 0; i < index; ++i) {
      if (!skip_value() || !take_if(',')) {
        return false;
      }
    }
    return true;
  }

  /// A number's digits times a power of ten.
  struct Decimal {
    std::uint64_t digits = 0;
    int exponent = 0;
    bool negative = false;
  };

  bool take_number(Decimal& number) {
    number = {};
    number.negative = take_if('-');
    bool any = false;
    bool fraction = false;
    while ((current_ >= '0' && current_ <= '9') || (current_ == '.' && !fraction)) {
      const int c = take();
      if (c == '.') {
        fraction = true;
        continue;
      }
      any = true;
      // More digits than that change nothing that is asked for here.
      const bool room = number.digits < 100'000'000'000'000'000;
      number.digits =
          room ? number.digits * 10 + static_cast<std::uint64_t>(c - '0') : number.digits;
      number.exponent += (room ? 0 : 1) - (fraction ? 1 : 0);
      if (number.exponent > 1000 || number.exponent < -1000) {
        return false;
      }
    }
    if (current_ == 'e' || current_ == 'E') {
      take();
      const bool negative = current_ == '-';
      if (current_ == '-' || current_ == '+') {
        take();
      }
      int exponent = 0;
      while (current_ >= '0' && current_ <= '9') {
        exponent = exponent * 10 + take() - '0';
        if (exponent > 1000) {
          return false;
        }
      }
      number.exponent += negative ? -exponent : exponent;
    }
    return any;
  }

 private:
  /// A number, true, false or null; at least one character.
  bool skip_word() {
    bool any = false;
    while (current_ != kEnd && !is_space(current_) && current_ != ',' && current_ != ':' &&
           current_ != ']' && current_ != '}' && current_ != '[' && current_ != '{' &&
           current_ != '"') {
      take();
      any = true;
    }
    return any;
  }

  /// Takes a string, whose opening quote is taken, and compares it.
  bool is_string(const char* text) {
    StringBytes string(*this);
    bool same = true;
    for (int c = string.take(); c != kEnd; c = string.take()) {
      same = same && *text != '\0' && c == static_cast<unsigned char>(*text);
      text += same ? 1 : 0;
    }
    return same && *text == '\0';
  }

  Source& source_;
  int current_;
};

}  // namespace bitlog2::runtime
