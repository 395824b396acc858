"""The package gives what the program gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bitlog2
from common import link_unseen
from conftest import (
    DATA,
    DEMO_DATASET,
    DEMO_IMAGES,
    DEMO_WEIGHTS,
    reference,
    results_of,
    run_program,
    write_classes,
)


def test_the_program_is_of_the_same_version() -> None:
    assert run_program("--version").stdout.strip() == bitlog2.__version__


REPORT = """
import sys, bitlog2
assert bitlog2.__file__.startswith({place!r}), bitlog2.__file__
bitlog2.report({page!r}, {dataset!r}, weights={weights!r}, recipe="repq", sample=10)
"""


@pytest.mark.parametrize("scheme", ["target", "user", "prefix"])
def test_the_program_is_found_wherever_pip_installs(tmp_path: Path, scheme: str) -> None:
    """pip installs the wheel in several layouts; the program is found though its folder is not on PATH."""
    wheel = os.environ.get("BITLOG2_WHEEL")
    if wheel is None:
        pytest.skip("BITLOG2_WHEEL, the wheel's file, is not given")
    place = tmp_path / "place"
    options = {
        "target": ["--target", place],
        "user": ["--user"],
        "prefix": ["--prefix", place],
    }
    environment = {**os.environ, "PYTHONUSERBASE": str(place), "PIP_BREAK_SYSTEM_PACKAGES": "1"}
    # Not the environment of this test: --user is not for environments.
    python = Path(sys.base_prefix) / "bin" / "python3"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps",
         "--no-index", "--disable-pip-version-check", "--ignore-installed", *options[scheme], wheel],
        check=True, env=environment,
    )  # fmt: skip
    (package,) = place.rglob("bitlog2/_program.py")
    site = package.parents[1]
    page = tmp_path / "page.html"
    script = REPORT.format(
        place=str(place), page=str(page), dataset=str(DEMO_DATASET), weights=str(DEMO_WEIGHTS)
    )
    environment["PYTHONPATH"] = os.pathsep.join([str(site), str(Path(np.__file__).parents[1])])
    subprocess.run([python, "-c", script], check=True, env=environment, cwd=tmp_path)
    assert page.exists()
    (command,) = [
        path for path in place.rglob("bin/bitlog2") if path.parent.parent != package.parent
    ]
    outcome = subprocess.run(
        [command, "--version"], check=True, env=environment, capture_output=True, text=True
    )
    assert outcome.stdout.strip() == bitlog2.__version__


def test_a_missing_program_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bitlog2._program, "__file__", str(tmp_path / "_program.py"))
    with pytest.raises(bitlog2.Error, match="bin/bitlog2: the program is not there"):
        bitlog2.report(tmp_path / "page.html", DEMO_DATASET, weights=DEMO_WEIGHTS)
    with pytest.raises(SystemExit, match="bin/bitlog2: the program is not there"):
        bitlog2._program.main()


@pytest.mark.parametrize(
    ("recipe", "scheme", "w_bits", "a_bits"),
    [("repq", "BitLog2_Half_16", 4, 4), ("best", "Sqrt2_17", 3, 6)],
)
def test_the_file_is_the_programs(
    tmp_path: Path, model: bitlog2.Model, recipe: str, scheme: str, w_bits: int, a_bits: int
) -> None:
    outcome = run_program(
        "quantize", "--weights", DEMO_WEIGHTS, "--dataset", DEMO_DATASET, "--recipe", recipe,
        "--log-quant-scheme", scheme, "--w-bits", w_bits, "--a-bits", a_bits,
        "-o", tmp_path / "program.safetensors",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    q = bitlog2.quantize(
        model, DEMO_DATASET, recipe=recipe, scheme=scheme, w_bits=w_bits, a_bits=a_bits
    )
    q.save(tmp_path / "package.safetensors")
    program = (tmp_path / "program.safetensors").read_bytes()
    assert (tmp_path / "package.safetensors").read_bytes() == program
    assert q.to_bytes() == program
    assert q.settings == f"{scheme}.w{w_bits}a{a_bits}"


def test_evaluate_is_the_programs(
    model: bitlog2.Model, quantized: bitlog2.QuantizedModel, quantized_file: Path
) -> None:
    for network, arguments in (
        (model, ["--weights", DEMO_WEIGHTS, "--engine", "fp32"]),
        (quantized, ["--quantized", quantized_file]),
    ):
        (row,) = results_of("eval", *arguments, "--dataset", DEMO_DATASET, "--limit", 500)
        mine = bitlog2.evaluate(network, DEMO_DATASET, limit=500)
        for key in ("engine", "images", "top1", "top5", "loss"):
            assert mine[key] == row[key], key


def test_probes_are_the_programs(tmp_path: Path, model: bitlog2.Model) -> None:
    encoder = model.encoder()
    q = bitlog2.quantize(encoder, DEMO_DATASET, w_bits=8, a_bits=8)
    q.save(tmp_path / "encoder.safetensors")
    for network, arguments in (
        (encoder, ["--weights", DEMO_WEIGHTS, "--pool", "native", "--engine", "fp32"]),
        (q, ["--quantized", tmp_path / "encoder.safetensors"]),
    ):
        rows = results_of(
            "eval", *arguments, "--dataset", DEMO_DATASET, "--sample", 200, "--knn", 5,
            "--linear-probe",
        )  # fmt: skip
        mine = bitlog2.evaluate(network, DEMO_DATASET, sample=200, knn=5, linear_probe=True)
        assert [row["probe"] for row in mine] == ["knn", "linear"]
        for row, expected in zip(mine, rows, strict=True):
            for key in ("engine", "probe", "training_images", "images", "top1", "top5", "loss"):
                assert row[key] == expected[key], key
        assert mine[0]["neighbours"] == 5
        assert mine[1]["penalty"] == rows[1]["penalty"]
        (alone,) = bitlog2.evaluate(network, DEMO_DATASET, sample=200, linear_probe=True)
        assert alone["loss"] == mine[1]["loss"]


def test_compare_is_the_programs(model: bitlog2.Model) -> None:
    rows = results_of(
        "compare", "--weights", DEMO_WEIGHTS, "--dataset", DEMO_DATASET, "--images", 3,
    )  # fmt: skip
    q = bitlog2.quantize(model, DEMO_DATASET, keep_simulation=True)
    with DEMO_DATASET.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        images = header["val.images"]
        start, end = images["data_offsets"]
        file.seek(start, 1)
        pixels = np.frombuffer(file.read(end - start), np.uint8).reshape(images["shape"])
    first = [np.stack([image] * 3, -1) if image.ndim == 2 else image for image in pixels[:3]]
    assert list(bitlog2.compare(model, q, model.preprocess(first))) == rows


def test_evaluate_samples_as_the_program(
    quantized: bitlog2.QuantizedModel, quantized_file: Path
) -> None:
    (row,) = results_of(
        "eval", "--quantized", quantized_file, "--dataset", DEMO_DATASET, "--sample", 100,
        "--seed", 3,
    )  # fmt: skip
    mine = bitlog2.evaluate(quantized, DEMO_DATASET, sample=100, seed=3)
    assert (mine["images"], mine["loss"]) == (100, row["loss"])


def test_predict_is_the_programs(
    model: bitlog2.Model, quantized: bitlog2.QuantizedModel, quantized_file: Path
) -> None:
    for network, arguments in (
        (model, ["--weights", DEMO_WEIGHTS]),
        (quantized, ["--quantized", quantized_file]),
    ):
        rows = results_of("predict", *arguments, DEMO_IMAGES, "--top", 3)
        expected = [
            [
                {"index": p["index"], "label": p["class"], "probability": p["probability"]}
                for p in row["predictions"]
            ]
            for row in rows
        ]
        assert network.predict(DEMO_IMAGES, top_k=3) == expected


def test_embeddings_are_the_programs_to_the_bit(tmp_path: Path) -> None:
    model = bitlog2.Model.from_pretrained(DATA / "architectures" / "timm_dinov2")
    encoder = model.encoder()
    q = bitlog2.quantize(encoder, DEMO_IMAGES, calibration_images=3, w_bits=8, a_bits=8)
    q.save(tmp_path / "encoder.safetensors")
    outcome = run_program(
        "embed", "--quantized", tmp_path / "encoder.safetensors", DEMO_IMAGES,
        "-o", tmp_path / "embeddings.npy", "--normalize",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    expected = np.load(tmp_path / "embeddings.npy")
    assert np.array_equal(q.embed(DEMO_IMAGES, normalize=True), expected)


def test_evaluate_on_photographs_is_the_programs(tmp_path: Path) -> None:
    """On the 468 photographs of README that calibrate nothing."""
    data = reference() / "data"
    unseen = tmp_path / "unseen"
    assert link_unseen(data / "imagenet-500", unseen) == 468
    arguments = ["--model", "deit_tiny", "--weights", data / "deit_tiny_patch16_224.safetensors"]
    model = bitlog2.Model.from_pretrained(arguments[1], weights=arguments[3])
    q = bitlog2.quantize(model, unseen)
    q.save(tmp_path / "deit.safetensors")
    for network, named in (
        (model, [*arguments, "--engine", "fp32"]),
        (q, ["--quantized", tmp_path / "deit.safetensors"]),
    ):
        (row,) = results_of("eval", *named, "--dataset", unseen)
        mine = bitlog2.evaluate(network, unseen)
        assert mine["images"] == row["images"] == 468
        for key in ("engine", "top1", "top5", "loss"):
            assert mine[key] == row[key], key


def test_evaluate_skips_damaged_images_as_the_program_does(
    tmp_path: Path, quantized: bitlog2.QuantizedModel, quantized_file: Path
) -> None:
    damaged = write_classes(tmp_path / "data", quantized.labels)
    (row,) = results_of("eval", "--quantized", quantized_file, "--dataset", tmp_path / "data")
    mine = bitlog2.evaluate(quantized, tmp_path / "data")
    for key in ("engine", "images", "top1", "top5", "loss"):
        assert mine[key] == row[key], key
    assert mine["images"] == 80 - len(damaged)
    assert len(mine["skipped"]) == row["skipped"] == len(damaged)
    assert all(name in line for name, line in zip(damaged, mine["skipped"], strict=True))
    with pytest.raises(bitlog2.Error, match=damaged[0]):
        bitlog2.evaluate(quantized, tmp_path / "data", strict=True)


def test_report_is_the_programs(tmp_path: Path) -> None:
    numbers = bitlog2.report(
        tmp_path / "mine.html", DEMO_DATASET, weights=DEMO_WEIGHTS, recipe="repq", sample=100
    )
    outcome = run_program(
        "report", "--weights", DEMO_WEIGHTS, "--dataset", DEMO_DATASET, "--sample", 100,
        "-o", tmp_path / "program.html", "--json", tmp_path / "program.json",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    program = json.loads((tmp_path / "program.json").read_text())
    for key in ("model", "settings", "attention", "layers", "quantizers", "changed"):
        assert numbers[key] == program[key], key
    assert (tmp_path / "mine.html").read_text().startswith("<!doctype html>")


def test_report_takes_a_model(tmp_path: Path) -> None:
    options = {"recipe": "repq", "sample": 50}
    by_name = bitlog2.report(tmp_path / "a.html", DEMO_DATASET, weights=DEMO_WEIGHTS, **options)
    loaded = bitlog2.Model.from_pretrained(weights=DEMO_WEIGHTS)
    given = bitlog2.report(tmp_path / "b.html", DEMO_DATASET, model=loaded, **options)
    for key in ("model", "settings", "attention", "layers", "quantizers", "changed"):
        assert given[key] == by_name[key], key
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**loaded.config, "mean": [0.5, 0.5, 0.5]}))
    changed = bitlog2.Model.from_pretrained(
        weights=DEMO_WEIGHTS, config=config, image_size=56, threads=1
    )
    page = bitlog2.report(tmp_path / "c.html", DEMO_DATASET, model=changed, **options)
    assert page["layers"] != given["layers"]


def test_report_refuses_other_models(
    tmp_path: Path, model: bitlog2.Model, quantized: bitlog2.QuantizedModel
) -> None:
    for given, options, message in (
        (model.encoder(), {}, "not loaded from files"),
        (model, {"weights": DEMO_WEIGHTS}, "leave weights out"),
        (quantized, {}, "a QuantizedModel has no report"),
        (3, {}, "a int has no report"),
    ):
        with pytest.raises(bitlog2.Error, match=message):
            bitlog2.report(tmp_path / "page.html", DEMO_DATASET, model=given, **options)
    assert not (tmp_path / "page.html").exists()


def test_report_refuses_as_the_program_does(tmp_path: Path) -> None:
    with pytest.raises(bitlog2.Error, match="no_such"):
        bitlog2.report(tmp_path / "page.html", DEMO_DATASET, weights=tmp_path / "no_such")
    assert not (tmp_path / "page.html").exists()
