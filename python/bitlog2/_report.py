"""The page of `bitlog2 report`, made by the program that comes with the package."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ._api import Model
from ._error import Error
from ._images import StrPath, is_path
from ._program import program

_PREFIX = "bitlog2: error: "


def report(
    output: StrPath,
    dataset: StrPath,
    *,
    model: StrPath | Model = "",
    weights: StrPath = "",
    calibration: StrPath = "",
    calibration_images: int = 32,
    scheme: str = "BitLog2_Half_16",
    w_bits: int = 4,
    a_bits: int = 4,
    recipe: str = "best",
    sample: int = 0,
    seed: int = 0,
    threads: int = 0,
) -> dict[str, Any]:
    """Quantizes a model and writes a page that shows how this changes it: the accuracy before and
    after, an attention map with every scheme, the noise and the time of each layer, every
    quantizer, and the images whose first class changed. Returns the page's numbers.

    `output` is the page, .html. `model` is a folder, a file, a repository or a published name, or a
    Model that `Model.from_pretrained` made of one; another process reads its files again. The other
    arguments are like the program's options.

    Raises Error if the program refuses something, and for a Model that was not loaded from files."""
    options: dict[str, StrPath | int] = {}
    if isinstance(model, Model):
        if model._source is None:
            raise Error(
                "a model that was not loaded from files has no report; save it by its own library and"
                " give the folder"
            )
        if weights:
            raise Error("a Model has its weights; leave weights out, or give the model's name")
        named = ("--model", "--weights", "--config", "--image-size")
        options = dict(zip(named, model._source[:4], strict=True))
        threads = threads or model._source[4]
    elif is_path(model):
        options = {"--model": model, "--weights": weights}
    else:
        raise Error(f"a {type(model).__name__} has no report; give a bitlog2.Model or its name")
    with tempfile.TemporaryDirectory() as folder:
        numbers = Path(folder) / "report.json"
        options |= {
            "--dataset": dataset,
            "--calibration": calibration,
            "--calibration-images": calibration_images,
            "--log-quant-scheme": scheme,
            "--w-bits": w_bits,
            "--a-bits": a_bits,
            "--recipe": recipe,
            "--sample": sample,
            "--seed": seed,
            "--threads": threads,
            "--output": output,
            "--json": numbers,
        }
        command = [os.fspath(program()), "report"]
        for option, value in options.items():
            if value != "" and not (option in ("--sample", "--image-size") and value == 0):
                command += [option, str(value)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.startswith(_PREFIX)]
            raise Error(lines[-1].removeprefix(_PREFIX) if lines else done.stderr.strip())
        result: dict[str, Any] = json.loads(numbers.read_text())
        return result
