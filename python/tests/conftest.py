"""Models and images that the tests share. The tests use the installed package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bitlog2

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "bench"))  # common.py, which says which photographs calibrate nothing
DEMO = ROOT / "models" / "demo"
DEMO_WEIGHTS = DEMO / "fashion_vit.safetensors"
DEMO_DATASET = DEMO / "fashion_mnist.safetensors"
DEMO_IMAGES = DEMO / "images"
DATA = ROOT / "tests" / "data"


def reference() -> Path:
    """The reference data: weights and photographs that are not part of the project."""
    folder = Path(os.environ.get("BITLOG2_REFERENCE_DIR", ROOT.parent / "shared"))
    if not (folder / "goldens").is_dir():
        pytest.skip("no reference data")
    return folder


def run_program(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the program `bitlog2` of the package."""
    program = Path(sys.executable).parent / "bitlog2"
    return subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def results_of(*arguments: object) -> object:
    """Runs the program and returns the JSON that it writes."""
    outcome = run_program(*arguments, "--json=-")
    assert outcome.returncode == 0, outcome.stderr
    return json.loads(outcome.stdout)


def write_classes(dataset: Path, labels: list[str]) -> list[str]:
    """Writes eight images of noise a class to val/. Two are damaged: their paths below val/, in the
    order of evaluation."""
    random = np.random.default_rng(7)
    for label in labels:
        folder = dataset / "val" / label.replace("/", "_")
        folder.mkdir(parents=True)
        for i in range(8):
            pixels = random.integers(0, 256, (28, 28, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    paths = sorted((dataset / "val").rglob("*.png"))
    damaged = [paths[5], paths[70]]  # of two batches of 64 images
    damaged[0].write_bytes(damaged[0].read_bytes()[:100])
    damaged[1].write_bytes(b"")
    return [str(path.relative_to(dataset / "val")) for path in damaged]


@pytest.fixture(scope="session")
def model() -> bitlog2.Model:
    return bitlog2.Model.from_pretrained(weights=DEMO_WEIGHTS)


@pytest.fixture(scope="session")
def quantized(model: bitlog2.Model) -> bitlog2.QuantizedModel:
    return bitlog2.quantize(model, DEMO_DATASET)


@pytest.fixture(scope="session")
def quantized_file(
    quantized: bitlog2.QuantizedModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("quantized") / "demo.safetensors"
    quantized.save(path)
    return path


@pytest.fixture(scope="session")
def crops(quantized: bitlog2.QuantizedModel) -> np.ndarray:
    """Twelve crops of noise, uint8 [12, 28, 28, 3]."""
    side = quantized.preprocessing["crop"]
    return np.random.default_rng(1).integers(0, 256, (12, side, side, 3), dtype=np.uint8)
