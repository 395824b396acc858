#!/usr/bin/env python3
"""Write src/io/imagenet_classes.cpp from two lists.

  --classes  a table with the columns index, wnid, name (tab-separated, one header
             line), sorted by wnid: the 1000 classes as every published model numbers
             them
  --devkit   the wnids in the order of the devkit's ILSVRC2012_ID, one line per ID from
             1 on, anything beside the wnid ignored; what follows line 1000 (the
             devkit's inner nodes) is ignored too. The devkit has it in data/meta.mat and,
             in later years, in data/map_clsloc.txt; Debian's package darknet carries it
             as /usr/share/darknet/data/imagenet.labels.list

The two must hold the same 1000 wnids.
"""
import argparse
import pathlib
import re

COUNT = 1000
OUTPUT = pathlib.Path(__file__).parent.parent / "src/io/imagenet_classes.cpp"

TEMPLATE = """\
// The 1000 classes of ImageNet (ILSVRC2012), and the devkit's own numbering of them.
// Written by tools/make_imagenet_classes.py: never edit it by hand.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "bitlog2/dataset.h"
#include "io/imagenet_devkit.h"

namespace bitlog2 {{
namespace {{

// clang-format off
constexpr std::array<ImageNetClass, {count}> kClasses = {{{{
{classes}
}}}};

/// Class index by ILSVRC2012_ID - 1.
constexpr std::array<std::int16_t, {count}> kClassOfDevkitId = {{
{devkit}
}};
// clang-format on

static_assert(std::ranges::is_sorted(kClasses, {{}}, &ImageNetClass::wnid));

}}  // namespace

std::span<const ImageNetClass> imagenet_classes() {{
  return kClasses;
}}

int imagenet_class_index(std::string_view wnid) {{
  const auto index = static_cast<std::size_t>(
      std::ranges::lower_bound(kClasses, wnid, {{}}, &ImageNetClass::wnid) - kClasses.begin());
  const bool known = index < kClasses.size() && kClasses[index].wnid == wnid;
  return known ? static_cast<int>(index) : -1;
}}

int class_of_devkit_id(int id) {{
  const bool known = id >= 1 && id <= static_cast<int>(kClassOfDevkitId.size());
  return known ? kClassOfDevkitId[static_cast<std::size_t>(id) - 1] : -1;
}}

}}  // namespace bitlog2
"""


def read_classes(path):
    """[(wnid, name)] by class index."""
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()[1:] if line]
    if [int(row[0]) for row in rows] != list(range(COUNT)):
        raise SystemExit(f"{path}: the indices are not 0 to {COUNT - 1}")
    classes = [(row[1], row[2]) for row in rows]
    if [wnid for wnid, _ in classes] != sorted({wnid for wnid, _ in classes}):
        raise SystemExit(f"{path}: the wnids are not sorted or not unique")
    return classes


def read_devkit(path):
    """Wnids by ILSVRC2012_ID - 1."""
    lines = path.read_text("utf-8").splitlines()[:COUNT]
    wnids = [match.group() for line in lines if (match := re.search(r"\bn\d{8}\b", line))]
    if len(wnids) != COUNT:
        raise SystemExit(f"{path}: {len(wnids)} lines with a wnid, expected {COUNT}")
    return wnids


def literal(text):
    """A C++ string literal; the source is UTF-8."""
    if not text.isprintable():
        raise SystemExit(f"not a class name: {text!r}")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def wrapped(numbers, per_line=16):
    starts = range(0, len(numbers), per_line)
    lines = [", ".join(map(str, numbers[start:start + per_line])) for start in starts]
    return ",\n".join("    " + line for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=pathlib.Path, required=True)
    parser.add_argument("--devkit", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, default=OUTPUT)
    arguments = parser.parse_args()

    classes = read_classes(arguments.classes)
    devkit = read_devkit(arguments.devkit)
    index = {wnid: i for i, (wnid, _) in enumerate(classes)}
    if sorted(devkit) != sorted(index):
        raise SystemExit(f"{arguments.devkit}: not the wnids of {arguments.classes}")
    arguments.output.write_text(TEMPLATE.format(
        count=COUNT,
        classes="\n".join(f"    {{{literal(wnid)}, {literal(name)}}}," for wnid, name in classes),
        devkit=wrapped([index[wnid] for wnid in devkit])), "utf-8")


if __name__ == "__main__":
    main()
