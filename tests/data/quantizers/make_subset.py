#!/usr/bin/env python3
"""Writes quantizers.goldens.safetensors in this folder from the reference data's file of that name:
all tensors of the affine quantizers, and 1024 of the probabilities with their values after each
attention scheme. The JSON file, with every delta and zero point, is a copy of the reference's."""

import json
import pathlib
import shutil
import struct
import sys

KEPT = 1024  # probabilities: the edge values, which are the last, and some of the others


def main(reference):
    here = pathlib.Path(__file__).parent
    data = (reference / "quantizers.goldens.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        values = data[8 + length + begin : 8 + length + end]
        shape = entry["shape"]
        if not name.startswith("u."):
            count = shape[0]
            places = list(range(0, count - KEPT // 2, (count - KEPT // 2) // (KEPT // 2) + 1))
            places += range(count - (KEPT - len(places)), count)
            values = b"".join(values[4 * i : 4 * i + 4] for i in places)
            shape = [len(places)]
        tensors[name] = (shape, values)
    new_header, offset = {}, 0
    for name, (shape, values) in tensors.items():
        new_header[name] = {"dtype": "F32", "shape": shape,
                            "data_offsets": [offset, offset + len(values)]}
        offset += len(values)
    text = json.dumps(new_header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(here / "quantizers.goldens.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, values in tensors.values():
            file.write(values)
    shutil.copyfile(reference / "quantizers.goldens.json", here / "quantizers.goldens.json")


main(pathlib.Path(sys.argv[1]))
