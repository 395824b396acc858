"""The page of `bitlog2 report`, made by the program that comes with the package."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from ._error import Error
from ._images import StrPath

_PREFIX = "bitlog2: error: "


def _program() -> Path:
    program = Path(sysconfig.get_path("scripts")) / "bitlog2"
    if not program.is_file():
        raise Error(f"{program}: the program is not there; install the package again")
    return program


def report(
    output: StrPath,
    dataset: StrPath,
    *,
    model: StrPath = "",
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

    `output` is the page, .html. The other arguments are like the program's options. The model is
    given as a folder, file, repository or published name, because another process makes the page.

    Raises Error if the program refuses something."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = Path(folder) / "report.json"
        options: dict[str, StrPath | int] = {
            "--model": model,
            "--weights": weights,
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
        command = [os.fspath(_program()), "report"]
        for option, value in options.items():
            if value != "" and not (option == "--sample" and value == 0):
                command += [option, str(value)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.startswith(_PREFIX)]
            raise Error(lines[-1].removeprefix(_PREFIX) if lines else done.stderr.strip())
        result: dict[str, Any] = json.loads(numbers.read_text())
        return result
