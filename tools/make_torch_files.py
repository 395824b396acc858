"""Makes tests/data/torch, checkpoints as torch.save writes them, and fuzz/corpus/torch.

Beside them, expected.safetensors holds the values of the tensors that are read, as float32. The
old format names storages by their addresses: those files differ from run to run.

Needs torch 2.15.0 and NumPy 2.4.6 (pip install torch==2.15.0 numpy==2.4.6).
"""

import argparse
import collections
import io
import json
import os
import pathlib
import pickle
import shutil
import struct
import tarfile
import zipfile

import numpy as np
import torch

TORCH = "2.15.0"
ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "tests" / "data" / "torch"
CORPUS = ROOT / "fuzz" / "corpus" / "torch"

torch.manual_seed(7)


class Command:
    """A pickle of this runs a command where Python loads it."""

    def __reduce__(self):
        return os.system, ("touch the_pickle_was_run",)


def tensors():
    """One tensor of each kind that is read."""
    wide = torch.randn(4, 6)
    result = collections.OrderedDict()
    result["f32"] = torch.randn(2, 3)
    result["f16"] = torch.randn(5).half()
    result["bf16"] = torch.randn(5).bfloat16()
    result["f64"] = torch.randn(2, 2, dtype=torch.float64)
    result["parameter"] = torch.nn.Parameter(torch.randn(3))
    result["scalar"] = torch.tensor(2.5)
    result["empty"] = torch.zeros(0, 3)
    result["transposed"] = torch.randn(3, 4).t()
    result["permuted"] = torch.randn(2, 3, 4).permute(2, 0, 1)
    result["strided"] = torch.randn(9)[1::3]
    result["whole"] = wide
    result["rows"] = wide[1:3]
    result["columns"] = wide[:, 2:4]
    result["one_row"] = wide.t()[:, 2:3]
    return result


def others():
    """Tensors that are listed, but are no weights."""
    return {
        "i64": torch.arange(3),
        "i32": torch.arange(3, dtype=torch.int32),
        "i16": torch.arange(3, dtype=torch.int16),
        "i8": torch.arange(3, dtype=torch.int8),
        "u8": torch.arange(3, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "complex": torch.tensor([1 + 2j]),
        "u16": torch.tensor([0, 1, 2], dtype=torch.uint16),
        "f8": torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn),
    }


def save(value, name, **options):
    torch.save(value, OUT / name, **options)


def write_expected(values):
    """A safetensors file of float32."""
    header, data = {}, b""
    for name, tensor in values.items():
        content = tensor.detach().float().contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    (OUT / "expected.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def compressed(source, target):
    """The same archive, deflated."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name), old.read(name), zipfile.ZIP_DEFLATED)


def big_endian(source, target):
    """The same archive, with the mark of a big-endian machine."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            is_mark = name.endswith("/byteorder")
            new.writestr(zipfile.ZipInfo(name), b"big" if is_mark else old.read(name))


def training_state():
    """What a training script leaves."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    average = {name: value + 1 for name, value in model.state_dict().items()}
    return {
        "epoch": 3, "model": model.state_dict(), "model_ema": average,
        "optimizer": optimizer.state_dict(), "best_acc": np.float64(0.5), "history": [0.1, 0.2],
        "args": argparse.Namespace(lr=0.1, output=pathlib.PurePosixPath("out"), names={"a", "b"}),
    }


def nano_vit():
    """The tensors of tests/data/nano/vit_nano.safetensors."""
    content = (ROOT / "tests" / "data" / "nano" / "vit_nano.safetensors").read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    result = {}
    for name, entry in json.loads(content[8:8 + length]).items():
        if name != "__metadata__":
            first, last = (8 + length + offset for offset in entry["data_offsets"])
            values = np.frombuffer(content[first:last], {"F32": "<f4"}[entry["dtype"]])
            result[name] = torch.from_numpy(values.reshape(entry["shape"]).copy())
    return result


def tar_of_torch_0_1(path):
    """The first members of the oldest format."""
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            content = pickle.dumps({}, 2)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def make_tests():
    values = tensors()
    write_expected(values)
    everything = collections.OrderedDict(list(values.items()) + list(others().items()))
    save(everything, "zip.pth")
    compressed(OUT / "zip.pth", OUT / "deflated.pth")
    # The old format refuses dtypes that are newer than it.
    old = {name: value for name, value in everything.items() if name not in ("u16", "f8")}
    save(old, "legacy.pth", _use_new_zipfile_serialization=False)
    save(old, "legacy_protocol_4.pth", _use_new_zipfile_serialization=False, pickle_protocol=4)
    for protocol in (1, 3, 4, 5):
        save({"f32": values["f32"]}, f"protocol_{protocol}.pth", pickle_protocol=protocol)

    save(training_state(), "training.pth")
    save(training_state(), "training_legacy.pth", _use_new_zipfile_serialization=False)
    save({"state_dict": {"teacher": {"f32": values["f32"]}, "student": {"f32": values["f16"]}}},
         "nested.pth")
    save({"f32": values["f32"], "evil": Command()}, "command_inside.pth")
    save(Command(), "command.pth")
    save(torch.nn.Linear(2, 2), "whole_model.pth")

    attributes = {"f32": values["f32"].clone(), "parameter": torch.nn.Parameter(values["parameter"])}
    attributes["f32"].note = "one"
    attributes["parameter"].note = "two"
    save(attributes, "attributes.pth")
    save({"repeated": torch.ones(1).expand(1000)}, "repeated.pth")
    save({"repeated": torch.ones(1).expand(10 ** 12)}, "repeated_too_often.pth")
    tar_of_torch_0_1(OUT / "tar.pth")
    big_endian(OUT / "protocol_3.pth", OUT / "big_endian.pth")

    save({"model": {f"module.{name}": value for name, value in nano_vit().items()}, "epoch": 1},
         "vit_nano.pth")

    shards = OUT / "shards"
    shards.mkdir()
    names = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    torch.save({"f32": values["f32"]}, shards / names[0])
    torch.save({"f16": values["f16"], "extra": values["scalar"]}, shards / names[1])
    index = {"metadata": {"total_size": 34}, "weight_map": {"f32": names[0], "f16": names[1]}}
    (shards / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1) + "\n")


def make_seeds():
    tiny = {"a": torch.ones(2, 2).t(), "b": torch.nn.Parameter(torch.ones(3).half())}
    for name, value in {"tiny": tiny, "nested": {"model": tiny, "x": np.float64(1)},
                        "command": Command(), "f8": {"f8": others()["f8"]}}.items():
        torch.save(value, CORPUS / f"{name}_zip")
        if name != "f8":
            torch.save(value, CORPUS / f"{name}_legacy", _use_new_zipfile_serialization=False)
    torch.save(tiny, CORPUS / "protocol_4_legacy", _use_new_zipfile_serialization=False,
               pickle_protocol=4)
    torch.save(training_state(), CORPUS / "training_legacy", _use_new_zipfile_serialization=False)
    compressed(CORPUS / "tiny_zip", CORPUS / "tiny_deflated")
    # Python 2's and the oldest protocols, by themselves.
    (CORPUS / "protocol_0").write_bytes(pickle.dumps(
        [1, 2 ** 70, 1.5, "text", b"bytes", True, None, {"a": (1, 2)}, np.float64(1), [[]]], 0))
    (CORPUS / "protocol_1").write_bytes(pickle.dumps([{"a": [1, (2, 3, 4, 5)]}, {1, 2}], 1))
    (CORPUS / "protocol_5").write_bytes(pickle.dumps(
        [{1, 2}, frozenset([3]), bytearray(b"x"), "t" * 300, b"b" * 300, 10 ** 100], 5))


def main():
    if torch.__version__.split("+")[0] != TORCH:
        raise SystemExit(f"needs torch {TORCH}, this is {torch.__version__}")
    for folder in (OUT, CORPUS):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    make_tests()
    make_seeds()


if __name__ == "__main__":
    main()
