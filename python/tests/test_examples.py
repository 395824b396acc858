"""The examples run on small models."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import DATA, DEMO_IMAGES, ROOT

PHOTOGRAPHS = [DATA / "images" / f"{name}.jpg" for name in ("colour_420", "colour_444", "gray")]


def run_example(name: str, *arguments: object) -> str:
    outcome = subprocess.run(
        [sys.executable, ROOT / "examples" / "python" / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def test_dinov2_knn(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for picture in DEMO_IMAGES.iterdir():
            folder = tmp_path / split / picture.stem
            folder.mkdir(parents=True)
            shutil.copy(picture, folder)
    lines = run_example(
        "dinov2_knn.py", DATA / "architectures" / "timm_dinov2", tmp_path, "--neighbours", 1,
        "--calibration-images", 3,
    ).splitlines()  # fmt: skip
    # Each image's nearest neighbour is itself.
    assert lines[0] == "float32: 100.00% right"
    assert lines[1].endswith("w8a8: 100.00% right")


def test_timm_to_4bit(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    folder = tmp_path / "photographs"
    folder.mkdir()
    for i in range(32):
        shutil.copy(PHOTOGRAPHS[i % 3], folder / f"{i}.jpg")
    output = tmp_path / "test_vit.safetensors"
    text = run_example("timm_to_4bit.py", "test_vit", folder, "-o", output, "--random-weights")
    assert output.stat().st_size > 0
    assert "BitLog2_Half_16.w4a4" in text
    assert "head: " in text


def test_transformers_classifier() -> None:
    pytest.importorskip("transformers")
    text = run_example(
        "transformers_classifier.py", DATA / "architectures" / "transformers_vit_classifier",
        *PHOTOGRAPHS,
    )  # fmt: skip
    assert "the same class for" in text
    difference = float(text.split("differ by ")[1].split()[0])
    assert difference < 1e-4
