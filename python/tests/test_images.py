"""All kinds of images that the package takes."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bitlog2
from conftest import DEMO_IMAGES


def normalised(quantized: bitlog2.QuantizedModel, crops: np.ndarray) -> np.ndarray:
    """The crops as torchvision's ToTensor and Normalize give them: float32 [N, 3, S, S]."""
    preprocessing = quantized.preprocessing
    mean = np.float32(preprocessing["mean"])
    std = np.float32(preprocessing["std"])
    scaled = (crops.astype(np.float32) / np.float32(255) - mean) / std
    return scaled.transpose(0, 3, 1, 2)


def test_arrays_give_float32_logits(quantized: bitlog2.QuantizedModel, crops: np.ndarray) -> None:
    logits = quantized(crops)
    assert logits.dtype == np.float32
    assert logits.shape == (12, 10)
    assert np.isfinite(logits).all()
    # All threads run one image together; of several images, each thread runs its own.
    for i in range(len(crops)):
        assert np.array_equal(quantized(crops[i])[0], logits[i])


def test_memory_layout_does_not_matter(
    quantized: bitlog2.QuantizedModel, crops: np.ndarray
) -> None:
    expected = quantized(crops)
    read_only = crops.copy()
    read_only.flags.writeable = False
    planes = np.ascontiguousarray(crops.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    backwards = crops[::-1, ::-1].copy()[::-1, ::-1]
    wide = np.zeros((12, *crops.shape[1:3], 4), np.uint8)
    wide[..., :3] = crops
    negative = np.ascontiguousarray(crops[:, ::-1, :, ::-1])[:, ::-1, :, ::-1]
    fortran = np.asfortranarray(crops)
    for layout in (read_only, planes, backwards, negative, wide[..., :3], fortran):
        assert np.array_equal(layout, crops)
        assert np.array_equal(quantized(layout), expected)
    assert negative.strides[1] < 0
    assert negative.strides[3] < 0
    repeated = np.broadcast_to(crops[:1], crops.shape)
    flat = np.broadcast_to(crops[:, :1, :1, :1], crops.shape)
    floats = normalised(quantized, crops)
    for layout, same in (
        (repeated, repeated.copy()),
        (flat, flat.copy()),
        (floats[:, ::-1, ::-1], floats[:, ::-1, ::-1].copy()),
    ):
        assert layout.strides[0] == 0 or min(layout.strides) <= 0
        assert np.array_equal(quantized(layout), quantized(same))
    assert np.array_equal(quantized(repeated), expected[[0] * 12])


class OnlyDLPack:
    """An array of another library."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **options: object) -> object:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def test_any_library_with_dlpack(quantized: bitlog2.QuantizedModel, crops: np.ndarray) -> None:
    assert np.array_equal(quantized(OnlyDLPack(crops)), quantized(crops))


def test_normalised_floats_are_their_pixels(
    quantized: bitlog2.QuantizedModel, crops: np.ndarray
) -> None:
    expected = quantized(crops)
    floats = normalised(quantized, crops)
    assert np.array_equal(quantized(floats), expected)
    assert np.array_equal(quantized(floats.astype(np.float64)), expected)
    assert np.array_equal(quantized(floats[0]), expected[:1])


def test_results_stay_when_the_engine_goes(crops: np.ndarray, quantized_file: Path) -> None:
    quantized = bitlog2.load(quantized_file)
    logits = quantized(crops)
    kept = logits.copy()
    del quantized
    gc.collect()
    assert np.array_equal(logits, kept)


def test_photographs_by_path_picture_and_folder(quantized: bitlog2.QuantizedModel) -> None:
    paths = sorted(DEMO_IMAGES.iterdir())
    expected = quantized(paths)
    assert len(expected) == len(paths)
    assert np.array_equal(quantized(DEMO_IMAGES), expected)
    assert np.array_equal(quantized(str(paths[0])), expected[:1])
    assert np.array_equal(quantized([Image.open(path) for path in paths]), expected)
    assert np.array_equal(quantized(Image.open(paths[1])), expected[1:2])
    assert np.array_equal(quantized(iter([paths[0], Image.open(paths[1])])), expected[:2])


def test_preprocess_gives_what_the_network_sees(quantized: bitlog2.QuantizedModel) -> None:
    paths = sorted(DEMO_IMAGES.iterdir())
    seen = quantized.preprocess(paths)
    side = quantized.preprocessing["crop"]
    assert seen.shape == (len(paths), side, side, 3)
    assert seen.dtype == np.uint8
    assert np.array_equal(quantized(seen), quantized(paths))
    large = np.random.default_rng(2).integers(0, 256, (60, 45, 3), dtype=np.uint8)
    assert np.array_equal(
        quantized.preprocess([large]), quantized.preprocess(Image.fromarray(large))
    )


def test_many_images_are_taken_in_batches(
    quantized: bitlog2.QuantizedModel, crops: np.ndarray
) -> None:
    logits = quantized(crops[i % 12] for i in range(600))
    assert np.array_equal(logits, quantized(crops)[np.arange(600) % 12])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 28, 28), np.uint8), "uint8 [2, 28, 28]"),
        (np.zeros((2, 28, 29, 3), np.uint8), "uint8 [2, 28, 29, 3]"),
        (np.zeros((2, 3, 28, 28), np.uint8), "uint8 [2, 3, 28, 28]"),
        (np.zeros((1, 1, 28, 28, 3), np.uint8), "uint8 [1, 1, 28, 28, 3]"),
        (np.zeros((2, 28, 28, 3), np.int64), "int64 [2, 28, 28, 3]"),
        (np.zeros((2, 28, 28, 3), np.float32), "float32 [2, 28, 28, 3]"),
        (np.zeros((2, 28, 28, 3), np.float16), "float16 [2, 28, 28, 3]"),
        (np.zeros((2, 3, 28, 28), ">f4"), ">f4 [2, 3, 28, 28]"),
        (np.zeros((2, 28, 28, 3), bool), "bool [2, 28, 28, 3]"),
        (np.zeros((2, 28, 28, 3), np.complex64), "[2, 28, 28, 3]"),
        (np.array(["a"]), "is not what this model sees"),
        (np.uint8(3), "is not what this model sees"),
        (np.zeros((0, 28, 28, 3), np.uint8), "there are no images"),
        (np.full((1, 3, 28, 28), np.nan, np.float32), "NaN"),
        (np.full((1, 3, 28, 28), np.inf, np.float32), "inf"),
        (np.full((1, 3, 28, 28), 17.0, np.float32), "which no 8-bit pixel becomes"),
        ([], "there are no images"),
        (iter(()), "there are no images"),
        (3, "not a int"),
        (None, "not a NoneType"),
        ([None], "not a NoneType"),
        ({"image": 1}, "may not be a dict"),
        ("no_such.png", "no_such.png"),
        ([b"bytes"], "not a bytes"),
    ],
)
def test_bad_images_end_in_one_line(
    quantized: bitlog2.QuantizedModel, images: object, message: str
) -> None:
    with pytest.raises(bitlog2.Error) as caught:
        quantized(images)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("use", ["preprocess", "predict", "quantize", "compare"])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 3, 28, 28), ">f4"), ">f4 [2, 3, 28, 28]"),
        (np.zeros((2, 28, 28, 3), ">u2"), ">u2 [2, 28, 28, 3]"),
        (np.zeros((2, 28, 28, 3), np.int64), "int64 [2, 28, 28, 3]"),
        (np.zeros((28, 28, 3), np.uint16), "uint16 [28, 28, 3]"),
        (np.zeros((2, 28, 28, 4), np.uint8), "uint8 [2, 28, 28, 4]"),
        (np.zeros((0, 28, 28, 3), np.uint8), "there are no images"),
        (np.zeros((2, 0, 28, 3), np.uint8), "there are no images"),
        (np.full((2, 3, 28, 28), np.nan, np.float32), "NaN"),
        ([np.zeros((3, 28, 28), np.float64), np.full((3, 28, 28), np.nan)], "NaN"),
        ([], "there are no images"),
        (np.zeros((28, 28, 3), object), "object [28, 28, 3]"),
        ([np.zeros((30, 40, 3), ">u2")], ">u2 [30, 40, 3]"),
        ([np.zeros((30, 40, 3), np.float32)], "float32 [30, 40, 3]"),
    ],
)  # fmt: skip
def test_all_refuse_bad_images_in_one_line(
    model: bitlog2.Model,
    quantized: bitlog2.QuantizedModel,
    use: str,
    images: object,
    message: str,
) -> None:
    calls = {
        "preprocess": model.preprocess,
        "predict": quantized.predict,
        "quantize": lambda given: bitlog2.quantize(model, given),
        "compare": lambda given: bitlog2.compare(model, quantized, given),
    }
    with pytest.raises(bitlog2.Error) as caught:
        calls[use](images)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_folder(quantized: bitlog2.QuantizedModel, tmp_path: Path) -> None:
    with pytest.raises(bitlog2.Error, match="image"):
        quantized(tmp_path)


def test_a_damaged_image_is_named(quantized: bitlog2.QuantizedModel, tmp_path: Path) -> None:
    good = min(DEMO_IMAGES.iterdir())
    bad = tmp_path / "bad.png"
    bad.write_bytes(good.read_bytes()[:200])
    with pytest.raises(bitlog2.Error, match="bad.png"):
        quantized([good, bad, good])
    with pytest.raises(bitlog2.Error, match="bad.png"):
        quantized.predict([good, bad])
    first, failure, last = quantized.predict([good, bad, good], top_k=1, errors="return")
    assert isinstance(failure, bitlog2.Error)
    assert "bad.png" in str(failure)
    assert first == last == quantized.predict(good, top_k=1)[0]


@pytest.mark.parametrize("options", [{"top_k": 0}, {"errors": "ignore"}])
def test_bad_options_of_predict(
    quantized: bitlog2.QuantizedModel, options: dict[str, object]
) -> None:
    with pytest.raises(bitlog2.Error):
        quantized.predict(DEMO_IMAGES, **options)


def test_an_iterator_calibrates_and_is_read_once(model: bitlog2.Model, crops: np.ndarray) -> None:
    asked = 0

    def loader() -> Iterator[tuple[np.ndarray, list[int]]]:
        nonlocal asked
        for first in range(0, 12, 4):
            asked += 1
            yield crops[first : first + 4], [0, 1, 2, 3]

    q = bitlog2.quantize(model, loader())
    assert asked == 3
    assert q.to_bytes() == bitlog2.quantize(model, crops).to_bytes()


def test_calibration_takes_the_first_images_and_says_so(
    model: bitlog2.Model, monkeypatch: pytest.MonkeyPatch, crops: np.ndarray
) -> None:
    asked = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal asked
        while True:
            asked += 1
            yield crops[asked % 12]

    expected = bitlog2.quantize(model, crops[:5]).to_bytes()
    q = bitlog2.quantize(model, endless(), calibration_images=5)
    assert asked == 5
    assert q.notes == []
    assert q.to_bytes() == bitlog2.quantize(model, crops[[1, 2, 3, 4, 5]]).to_bytes()
    assert bitlog2.quantize(model, crops, calibration_images=5).to_bytes() == expected
    few = bitlog2.quantize(model, list(crops[:5]), calibration_images=7)
    assert few.to_bytes() == expected
    assert few.notes == ["calibrated on 5 images; calibration_images asks for 7"]
    asked = 0
    monkeypatch.setattr(bitlog2._api, "CALIBRATION_IMAGES_GIVEN", 4)
    q = bitlog2.quantize(model, endless())
    assert asked == 4
    assert len(q.notes) == 1
    assert "the first 4 images and no others" in q.notes[0]


def test_large_arrays_are_taken_in_parts(
    model: bitlog2.Model,
    quantized: bitlog2.QuantizedModel,
    monkeypatch: pytest.MonkeyPatch,
    crops: np.ndarray,
) -> None:
    expected = quantized(crops)
    calibrated = bitlog2.quantize(model, crops, memory_bytes=0).to_bytes()
    monkeypatch.setattr(bitlog2._images, "BATCH", 5)
    assert np.array_equal(quantized(crops), expected)
    assert np.array_equal(quantized([crops, crops[:2]])[:12], expected)
    assert np.array_equal(quantized.preprocess(crops), crops)
    assert np.array_equal(quantized(OnlyDLPack(crops)), expected)
    assert bitlog2.quantize(model, crops).to_bytes() == calibrated
    monkeypatch.setattr(bitlog2._images, "BATCH_BYTES", 1)
    assert np.array_equal(quantized([Image.fromarray(crop) for crop in crops]), expected)


def test_photographs_calibrate_as_their_crops(model: bitlog2.Model) -> None:
    paths = sorted(DEMO_IMAGES.iterdir())
    expected = bitlog2.quantize(model, model.preprocess(paths)).to_bytes()
    assert bitlog2.quantize(model, paths).to_bytes() == expected
    assert bitlog2.quantize(model, map(Image.open, paths)).to_bytes() == expected


def test_a_damaged_calibration_image_is_named(model: bitlog2.Model, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(min(DEMO_IMAGES.iterdir()).read_bytes()[:200])
    with pytest.raises(bitlog2.Error, match="bad.png"):
        bitlog2.quantize(model, [*sorted(DEMO_IMAGES.iterdir()), bad])


def test_no_warnings(quantized: bitlog2.QuantizedModel) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantized(DEMO_IMAGES)
