#!/usr/bin/env python3
"""Makes tests/data/architectures: tiny models as timm, transformers, torchvision and torch.save
leave them, and what those libraries compute with them.

  python3 -m venv venv && venv/bin/pip install -r tools/requirements-goldens.txt
  venv/bin/python tools/make_goldens.py              writes all cases
  venv/bin/python tools/make_goldens.py timm_vit     writes that one
  venv/bin/python tools/make_goldens.py --check      makes them elsewhere and compares
  venv/bin/python tools/make_goldens.py --list       prints names and shapes of all tensors

Each case is a folder: the files as the library saves them, and expected.safetensors. The weights
are random and large enough for each piece to matter: a gain, a bias, a token or a position that
is left out changes the outputs. Everything is synthetic; nothing is downloaded.

tests/data/architectures/README.md is written too. The cases stand in golden_table.py.
"""

import argparse
import os
import pathlib
import shutil
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is downloaded
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import numpy as np
import PIL
import safetensors.numpy
import safetensors.torch
import torch
import transformers as hf

from golden_cases import LIBRARIES, pictures, write_case
from golden_table import cases

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "tests" / "data" / "architectures"

README = """# Models of many origins

`tools/make_goldens.py` wrote these files and says how to make them again. Tests read them without
Python. Each folder holds a tiny model with random weights, saved as its library saves it, and
`expected.safetensors`. `pictures.safetensors` holds `images`, U8 [2,40,52,3], the input of all
models.

`expected.safetensors` has, for every image size S that was run:

| tensor | is |
|---|---|
| `S.pixels` | U8 [2,S,S,3]: the pictures after the library's own resize and crop (Pillow) |
| `S.logits` | F32 [2,classes] |
| `S.embedding_class` | F32: the class token after the last norm |
| `S.embedding_mean` | F32: the mean of the patch tokens after the last norm |
| `S.embedding_map` | F32: attention pooling (SigLIP) |
| `S.embedding_projection` | F32: CLIP's projected class token |
| `S.embedding_pooler` | F32: transformers' pooler |
| `S.embedding_distillation` | F32: DeiT's second token |
| `S.embedding_native` | F32: what the library gives as the embedding, or its classifier's input |

Its metadata has library, class, mean, std, the preprocessing in words, and `hints`: facts that no
file of the case contains. If `fc_norm` follows the pooling, there is no last norm of the tokens.
At a size other than the file's, resize and crop keep the file's proportion, and positions are
interpolated as in the library. The weights of F16 and BF16 files are computed with in F32. Models
in bare files have one head of width 64, because nothing in the file says how many heads there are.

| case | class | container | special | sizes |
|---|---|---|---|---|
"""


def write_readme(folder, table):
    rows = [f"| `{name}` | {case.class_name} | {case.container} | {case.special} | "
            f"{', '.join(map(str, case.sizes))} |\n" for name, case in sorted(table.items())]
    versions = ", ".join(f"{name} {version}" for name, version in LIBRARIES.items())
    (folder / "README.md").write_text(README + "".join(rows) +
                                      f"\nMade with {versions}, Pillow {PIL.__version__}.\n")


def make(folder, names):
    table = cases()
    unknown = set(names) - set(table)
    if unknown:
        raise SystemExit(f"no such case: {', '.join(sorted(unknown))}")
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for name, build in table.items():
        if names and name not in names:
            continue
        made[name] = build()
        shutil.rmtree(folder / name, ignore_errors=True)
        write_case(name, made[name], folder / name)
        print(name, flush=True)
    if not names:
        safetensors.numpy.save_file({"images": pictures()}, folder / "pictures.safetensors")
        write_readme(folder, made)


def same_file(ours, theirs):
    """Outputs may differ by rounding, from processor to processor; all else is equal."""
    if ours.parent.name == "container_bin_legacy" and ours.suffix == ".bin":
        a, b = tensors_of(ours), tensors_of(theirs)  # this format names storages by addresses
        return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    if ours.name != "expected.safetensors":
        return ours.read_bytes() == theirs.read_bytes()
    a, b = (safetensors.numpy.load_file(path) for path in (ours, theirs))
    return a.keys() == b.keys() and all(
        a[key].shape == b[key].shape and a[key].dtype == b[key].dtype
        and np.allclose(a[key], b[key], rtol=1e-4, atol=1e-5 if a[key].dtype.kind == "f" else 0)
        for key in a)


def files_of(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def check():
    with tempfile.TemporaryDirectory() as temporary:
        fresh = pathlib.Path(temporary)
        make(fresh, [])
        names = files_of(fresh) | files_of(OUT)
        wrong = [str(name) for name in sorted(names)
                 if not ((fresh / name).exists() and (OUT / name).exists()
                         and same_file(OUT / name, fresh / name))]
    if wrong:
        raise SystemExit("differ: " + ", ".join(wrong))
    print(f"{len(names)} files are as they were")


def tensors_of(path):
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    return dict(flattened(torch.load(path, weights_only=False)))


def flattened(value, prefix=""):
    """Tensors by their names; those inside dictionaries have [..] before."""
    for key, inner in value.items():
        if isinstance(inner, torch.Tensor):
            yield f"{prefix}{key}", inner
        elif isinstance(inner, dict):
            yield from flattened(inner, f"{prefix}[{key}] ")
        else:
            yield f"{prefix}{key} = {str(inner)[:60]}", None


def list_tensors():
    for path in sorted(OUT.rglob("*")):
        if path.suffix in (".safetensors", ".pth", ".bin", ".ckpt", ".tar"):
            print(f"== {path.relative_to(OUT)}")
            for key, value in sorted(tensors_of(path).items()):
                about = "" if value is None else f"{value.dtype} {list(value.shape)}"
                print(f"    {key} {about.removeprefix('torch.')}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="CASE")
    parser.add_argument("--check", action="store_true", help="compare with fresh ones")
    parser.add_argument("--list", action="store_true", help="print names and shapes of all tensors")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    hf.utils.logging.disable_progress_bar()
    if arguments.list:
        list_tensors()
    elif arguments.check:
        check()
    else:
        make(OUT, arguments.names)


if __name__ == "__main__":
    main()
