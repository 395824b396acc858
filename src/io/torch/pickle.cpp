// The pickle machine. Python's pickletools.py describes each operation.
#include "io/torch/pickle.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "io/torch/pickle_operations.h"
#include "io/torch/pickle_stack.h"

namespace bitlog2::torch {
namespace {

using Op = PickleOp;

class PickleMachine : private PickleStack {
 public:
  PickleMachine(std::span<const std::byte> bytes, const std::string& name)
      : PickleStack(bytes, name) {}

  PickleGraph run() {
    while (true) {
      const auto op = static_cast<Op>(static_cast<unsigned char>(bytes_.take(1).front()));
      if (op == Op::stop) {
        return finish();
      }
      if (!step_atom(op) && !step_memo(op) && !step_container(op) && !step_object(op)) {
        bytes_.fail(fmt::format("has the unknown operation {:#04x}", static_cast<unsigned>(op)));
      }
    }
  }

 private:
  /// A number in decimal; `other` if it does not fit.
  ValueId integer_of(std::string_view digits) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    return error == std::errc() && end == digits.data() + digits.size() ? integer(number) : other_;
  }

  /// A number in two's complement, little-endian; `other` if it does not fit.
  ValueId integer_of_bytes(std::string_view bytes) {
    if (bytes.size() > sizeof(std::int64_t)) {
      return other_;
    }
    const bool negative = !bytes.empty() && (bytes.back() & 0x80) != 0;
    std::uint64_t number = negative ? ~std::uint64_t{0} : 0;
    for (std::size_t i = bytes.size(); i > 0; --i) {
      number = number << 8 | static_cast<unsigned char>(bytes[i - 1]);
    }
    return integer(static_cast<std::int64_t>(number));
  }

  std::uint64_t take_place() {
    const std::string_view digits = bytes_.take_line();
    std::uint64_t place = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), place);
    if (error != std::errc() || end != digits.data() + digits.size()) {
      bytes_.fail("has a place that is no number");
    }
    return place;
  }

  // ---- Operations: each function handles some, and returns whether it did ----

  bool step_atom(Op op) {
    switch (op) {
      case Op::none:
        push(none_);
        break;
      case Op::newtrue:
        push(true_);
        break;
      case Op::newfalse:
        push(false_);
        break;
      case Op::int_line: {
        const std::string_view line = bytes_.take_line();
        push(line == "01" ? true_ : line == "00" ? false_ : integer_of(line));
        break;
      }
      case Op::long_line: {
        std::string_view line = bytes_.take_line();
        line.remove_suffix(line.ends_with('L') ? 1 : 0);
        push(integer_of(line));
        break;
      }
      case Op::binint:
        push(integer_of_bytes(bytes_.take(4)));
        break;
      case Op::binint1:
        push(integer(static_cast<std::int64_t>(bytes_.take_unsigned(1))));
        break;
      case Op::binint2:
        push(integer(static_cast<std::int64_t>(bytes_.take_unsigned(2))));
        break;
      case Op::long1:
        push(integer_of_bytes(bytes_.take_sized(1)));
        break;
      case Op::long4:
        push(integer_of_bytes(bytes_.take_sized(4)));
        break;
      case Op::float_line:
        bytes_.take_line();
        push(other_);
        break;
      case Op::binfloat:
        bytes_.take(8);
        push(other_);
        break;
      default:
        return step_text(op);
    }
    return true;
  }

  bool step_text(Op op) {
    switch (op) {
      case Op::string: {
        std::string_view line = bytes_.take_line();  // with its quotes
        const bool quoted = line.size() >= 2 && line.front() == line.back();
        push(text(quoted ? line.substr(1, line.size() - 2) : line));
        break;
      }
      case Op::unicode:
        push(text(bytes_.take_line()));
        break;
      case Op::short_binstring:
      case Op::short_binunicode:
      case Op::short_binbytes:
        push(text(bytes_.take_sized(1)));
        break;
      case Op::binstring:
      case Op::binunicode:
      case Op::binbytes:
        push(text(bytes_.take_sized(4)));
        break;
      case Op::binunicode8:
      case Op::binbytes8:
      case Op::bytearray8:
        push(text(bytes_.take_sized(8)));
        break;
      default:
        return false;
    }
    return true;
  }

  bool step_memo(Op op) {
    switch (op) {
      case Op::proto:
        if (bytes_.take_unsigned(1) > 5) {
          bytes_.fail("is of a protocol after 5");
        }
        break;
      case Op::frame:
        bytes_.take_unsigned(8);
        break;
      case Op::readonly_buffer:
        break;
      case Op::put:
        remember(take_place());
        break;
      case Op::binput:
        remember(bytes_.take_unsigned(1));
        break;
      case Op::long_binput:
        remember(bytes_.take_unsigned(4));
        break;
      case Op::memoize:
        remember();
        break;
      case Op::get:
        push(recall(take_place()));
        break;
      case Op::binget:
        push(recall(bytes_.take_unsigned(1)));
        break;
      case Op::long_binget:
        push(recall(bytes_.take_unsigned(4)));
        break;
      case Op::dup:
        push(top());
        break;
      case Op::pop:
        drop();
        break;
      case Op::pop_mark:
        pop_to_mark();
        break;
      case Op::mark:
        push_mark();
        break;
      default:
        return false;
    }
    return true;
  }

  /// A tuple of the last `count` values.
  void tuple(std::size_t count) {
    std::array<ValueId, 3> items = {};
    for (std::size_t i = count; i > 0; --i) {
      items[i - 1] = pop();
    }
    push(container(ValueKind::tuple, std::span(items).first(count)));
  }

  bool step_container(Op op) {
    switch (op) {
      case Op::empty_list:
        push(container(ValueKind::list, {}));
        break;
      case Op::empty_dict:
        push(container(ValueKind::dict, {}));
        break;
      case Op::empty_tuple:
        push(empty_tuple_);
        break;
      case Op::empty_set:
        push(other_);
        break;
      case Op::list:
        push(container(ValueKind::list, pop_to_mark()));
        break;
      case Op::tuple:
        push(container(ValueKind::tuple, pop_to_mark()));
        break;
      case Op::dict:
        push(container(ValueKind::dict, pop_pairs()));
        break;
      case Op::frozenset:
        pop_to_mark();
        push(other_);
        break;
      case Op::tuple1:
        tuple(1);
        break;
      case Op::tuple2:
        tuple(2);
        break;
      case Op::tuple3:
        tuple(3);
        break;
      case Op::append: {
        const ValueId item = pop();
        put_into(top(), std::span(&item, 1));
        break;
      }
      case Op::setitem: {
        const ValueId value = pop();
        const std::array<ValueId, 2> pair = {pop(), value};
        put_into(top(), pair);
        break;
      }
      case Op::appends:
      case Op::additems: {
        const std::vector<ValueId> items = pop_to_mark();
        put_into(top(), items);
        break;
      }
      case Op::setitems: {
        const std::vector<ValueId> items = pop_pairs();
        put_into(top(), items);
        break;
      }
      default:
        return false;
    }
    return true;
  }

  std::vector<ValueId> pop_pairs() {
    std::vector<ValueId> items = pop_to_mark();
    if (items.size() % 2 != 0) {
      bytes_.fail("has a key without a value");
    }
    return items;
  }

  void push_global(ValueId module, ValueId name) {
    push(add({.kind = ValueKind::global, .first = module, .second = name}));
  }

  bool step_object(Op op) {
    switch (op) {
      case Op::global: {
        const ValueId module = text(bytes_.take_line());
        push_global(module, text(bytes_.take_line()));
        break;
      }
      case Op::stack_global: {
        const ValueId name = pop();
        push_global(pop(), name);
        break;
      }
      case Op::ext1:
      case Op::ext2:
      case Op::ext4:  // a global by its number in a registry that is the writer's
        bytes_.take(op == Op::ext1 ? 1 : op == Op::ext2 ? 2 : 4);
        push(other_);
        break;
      case Op::reduce:
      case Op::newobj: {
        const ValueId arguments = pop();
        push(call(pop(), arguments));
        break;
      }
      case Op::newobj_ex: {
        pop();  // arguments with names
        const ValueId arguments = pop();
        push(call(pop(), arguments));
        break;
      }
      case Op::inst: {
        const ValueId module = text(bytes_.take_line());
        const ValueId name = text(bytes_.take_line());
        const ValueId arguments = container(ValueKind::tuple, pop_to_mark());
        push_global(module, name);
        push(call(pop(), arguments));
        break;
      }
      case Op::obj: {
        const std::vector<ValueId> items = pop_to_mark();
        if (items.empty()) {
          bytes_.fail("makes an object of no class");
        }
        const ValueId arguments = container(ValueKind::tuple, std::span(items).subspan(1));
        push(call(items.front(), arguments));
        break;
      }
      case Op::build:  // an object's attributes, which are not needed
        pop();
        top();
        break;
      case Op::persid: {
        const ValueId id = text(bytes_.take_line());
        push(add({.kind = ValueKind::persistent, .first = id}));
        break;
      }
      case Op::binpersid:
        push(add({.kind = ValueKind::persistent, .first = pop()}));
        break;
      default:
        return false;
    }
    return true;
  }
};

}  // namespace

std::string PickleGraph::global_name(ValueId id) const {
  constexpr std::size_t kLongest = 100;
  const Value& value = values_[id];
  if (value.kind != ValueKind::global) {
    return "";
  }
  std::string name = fmt::format("{}.{}", values_[value.first].text.substr(0, kLongest),
                                 values_[value.second].text.substr(0, kLongest));
  std::ranges::replace_if(
      name, [](char letter) { return letter < 0x20 || letter == 0x7F; }, '?');
  return name;
}

PickleGraph read_pickle(std::span<const std::byte> bytes, const std::string& name) {
  return PickleMachine(bytes, name).run();
}

}  // namespace bitlog2::torch
