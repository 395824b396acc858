"""Modules of PyTorch's libraries give what the files that they save give."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitlog2
from conftest import DATA

torch = pytest.importorskip("torch")

PICTURES = [DATA / "images" / f"{name}.jpg" for name in ("colour_420", "colour_444", "gray")]
SMALL = {"img_size": 32, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}


def quantized_bytes(model: bitlog2.Model) -> bytes:
    return bitlog2.quantize(model, PICTURES).to_bytes()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {**SMALL, "num_classes": 10}),
        ("deit_tiny_distilled_patch16_224", {**SMALL, "num_classes": 10}),
        ("deit3_small_patch16_224", {**SMALL, "num_classes": 10}),
        ("vit_small_patch14_dinov2", SMALL),
        ("vit_base_patch16_clip_224.openai", {**SMALL, "num_classes": 10}),
        ("vit_base_patch16_siglip_224", SMALL),
        ("beit_base_patch16_224", {**SMALL, "num_classes": 10}),
        ("swin_tiny_patch4_window7_224", {
            "img_size": 56, "embed_dim": 24, "depths": (1, 1), "num_heads": (2, 4),
            "num_classes": 10,
        }),
    ],
)  # fmt: skip
def test_timm(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    module = timm.create_model(name, pretrained=False, **options).eval()
    timm.models.save_for_hf(module, tmp_path, safe_serialization=True)
    saved = bitlog2.Model.from_pretrained(tmp_path)
    given = bitlog2.Model.from_torch(module)
    assert given.config == saved.config
    assert given.preprocessing == saved.preprocessing
    assert np.array_equal(given(PICTURES), saved(PICTURES))
    assert quantized_bytes(given) == quantized_bytes(saved)
    assert quantized_bytes(pickle.loads(pickle.dumps(given))) == quantized_bytes(saved)
    side = given.preprocessing["crop"]
    data = timm.data.resolve_data_config({"input_size": (3, side, side)}, model=module)
    pixels = timm.data.create_transform(**data)
    from PIL import Image

    batch = torch.stack([pixels(Image.open(path).convert("RGB")) for path in PICTURES])
    with torch.inference_mode():
        expected = module(batch).numpy()
    assert np.abs(given(PICTURES) - expected).max() < 1e-4
    # What timm's own transforms make of the photographs are the same crops.
    assert np.array_equal(given(batch), given(PICTURES))


@pytest.mark.parametrize(
    "name",
    [
        "ViTForImageClassification",
        "Dinov2ForImageClassification",
        "SwinForImageClassification",
        "BeitForImageClassification",
        "CLIPVisionModel",
        "CLIPVisionModelWithProjection",
        "SiglipVisionModel",
    ],
)
def test_transformers(tmp_path: Path, name: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    sizes: dict[str, Any] = {"image_size": 32, "patch_size": 4, "num_labels": 5}
    if name.startswith("Swin"):
        sizes |= {"embed_dim": 24, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}
    else:
        sizes |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        sizes |= {"intermediate_size": 64, "mlp_ratio": 2, "projection_dim": 16}
    if name.startswith("Beit"):
        sizes |= {"use_relative_position_bias": True}
    made = getattr(transformers, name)
    module = made(made.config_class(**sizes)).eval()
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    module.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    saved = bitlog2.Model.from_pretrained(tmp_path)
    given = bitlog2.Model.from_torch(module, processor=processor)
    assert given.config == saved.config
    assert given.preprocessing == saved.preprocessing
    assert np.array_equal(given(PICTURES), saved(PICTURES))
    assert quantized_bytes(given) == quantized_bytes(saved)
    bare = bitlog2.Model.from_torch(module)
    assert any("preprocess" in note for note in bare.notes)


def test_torchvision() -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(1)
    module = torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=1, num_heads=1, hidden_dim=64, mlp_dim=64,
        num_classes=7,
    ).eval()  # fmt: skip
    # Its head is drawn as zeros, which would hide differences.
    torch.nn.init.normal_(module.heads.head.weight)
    given = bitlog2.Model.from_torch(module)
    mean, std = (torch.tensor(given.preprocessing[key]) for key in ("mean", "std"))
    crops = given.preprocess(PICTURES)
    batch = (torch.from_numpy(crops) / 255 - mean) / std
    with torch.inference_mode():
        expected = module(batch.permute(0, 3, 1, 2)).numpy()
    assert np.abs(given(crops) - expected).max() < 1e-4


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtypes(dtype: str) -> None:
    timm = pytest.importorskip("timm")
    module = timm.create_model("vit_tiny_patch16_224", pretrained=False, **SMALL)
    module = module.to(getattr(torch, dtype))
    given = bitlog2.Model.from_torch(module)
    same = bitlog2.Model.from_torch(module.to(torch.float32))
    assert np.array_equal(given(PICTURES), same(PICTURES))


def test_what_is_no_known_architecture() -> None:
    timm = pytest.importorskip("timm")
    more = timm.create_model("vit_tiny_patch16_224", pretrained=False, **SMALL)
    more.blocks[1].gate = torch.nn.Linear(3, 3)
    less = timm.create_model("vit_tiny_patch16_224", pretrained=False, **SMALL)
    del less.blocks[0].mlp.fc2
    for module, differs in (
        (torch.nn.Sequential(torch.nn.Linear(3, 4)), "it has no 'patch_embed.proj.weight'"),
        (timm.create_model("resnet18", pretrained=False), "it has no 'patch_embed.proj.weight'"),
        (more, "'blocks.1.gate.weight' is not part of it"),
        (less, "it has no 'blocks.0.mlp.fc2.weight'"),
    ):
        with pytest.raises(bitlog2.Error) as caught:
            bitlog2.Model.from_torch(module)
        message = str(caught.value)
        assert message.startswith(type(module).__name__)
        assert differs in message
        assert "\n" not in message
        assert "/tmp" not in message


def test_a_module_with_a_changed_layer() -> None:
    timm = pytest.importorskip("timm")
    module = timm.create_model("vit_tiny_patch16_224", pretrained=False, **SMALL)
    module.blocks[1].attn.proj = torch.nn.Linear(32, 31)
    with pytest.raises(bitlog2.Error, match=r"blocks\.1\.attn\.proj"):
        bitlog2.Model.from_torch(module)


def test_tensors_are_images(quantized: bitlog2.QuantizedModel, crops: np.ndarray) -> None:
    expected = quantized(crops)
    tensor = torch.from_numpy(crops)
    assert np.array_equal(quantized(tensor), expected)
    planes = tensor.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert np.array_equal(quantized(planes), expected)
    with pytest.raises(bitlog2.Error, match="bfloat16|bfloat"):
        quantized(tensor.to(torch.bfloat16))


def test_a_data_loader_calibrates(model: bitlog2.Model, crops: np.ndarray) -> None:
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(crops), torch.arange(12))
    loader = torch.utils.data.DataLoader(dataset, batch_size=5)
    q = bitlog2.quantize(model, loader)
    assert q.to_bytes() == bitlog2.quantize(model, crops).to_bytes()


def test_nothing_of_torch_is_kept() -> None:
    script = """
import gc, weakref, torch, torchvision, bitlog2
module = torchvision.models.VisionTransformer(32, 8, 1, 1, 64, 64)
gone = weakref.ref(module)
model = bitlog2.Model.from_torch(module)
del module
gc.collect()
assert gone() is None
"""
    pytest.importorskip("torchvision")
    subprocess.run([sys.executable, "-c", script], check=True)
