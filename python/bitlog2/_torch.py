"""Writes PyTorch modules of timm, transformers and torchvision as files that the engine reads. It
imports no library: the library of a module is loaded already."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from ._error import Error

_DTYPES = {
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.float64": "F64",
    "torch.uint8": "U8",
    "torch.int8": "I8",
    "torch.int16": "I16",
    "torch.int32": "I32",
    "torch.int64": "I64",
}


def write_state_dict(state: Mapping[str, Any], path: str) -> None:
    """Writes a state_dict as a safetensors file, tensor by tensor, without a copy of the whole."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    tensors = []
    offset = 0
    for name, tensor in state.items():
        dtype = _DTYPES.get(str(getattr(tensor, "dtype", None)))
        if dtype is None:
            continue  # no tensor: some modules keep other values, too
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
        tensors.append(tensor)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in tensors:
            file.write(_bytes_of(tensor))


def _bytes_of(tensor: Any) -> Any:
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    torch = sys.modules["torch"]  # loaded, because the tensor is torch's
    return plain.view(torch.uint8).numpy().data if plain.numel() > 0 else b""


def _save_by_timm(module: Any, folder: str) -> bool:
    """Saves a module of timm as timm does. False: it is of another library, or timm is too old."""
    models = sys.modules.get("timm.models")
    has_config = hasattr(module, "pretrained_cfg") or hasattr(module, "default_cfg")
    if models is None or not has_config or not hasattr(models, "save_for_hf"):
        return False
    models.save_for_hf(module, folder, safe_serialization=True)
    return True


def _save_by_transformers(module: Any, folder: str) -> bool:
    """Saves a module of transformers as transformers does. False: it is of another library."""
    if not callable(getattr(module, "save_pretrained", None)) or not hasattr(module, "config"):
        return False
    module.save_pretrained(folder)
    return True


def write_module(module: Any, folder: str, processor: Any = None) -> None:
    """Writes the files of `module` to `folder`, as its library saves them. Raises Error if it is no
    module."""
    if not callable(getattr(module, "state_dict", None)):
        raise Error(
            f"a {type(module).__name__} is no PyTorch module; give one of timm, transformers or"
            " torchvision, or use Model.from_pretrained for files"
        )
    if not _save_by_timm(module, folder) and not _save_by_transformers(module, folder):
        write_state_dict(module.state_dict(), os.path.join(folder, "model.safetensors"))
    if processor is None:
        return
    if not callable(getattr(processor, "save_pretrained", None)):
        raise Error(f"a {type(processor).__name__} is no image processor of transformers")
    processor.save_pretrained(folder)
