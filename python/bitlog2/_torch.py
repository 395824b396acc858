"""PyTorch modules of timm, transformers and torchvision as files that the engine reads. Nothing is
imported: whoever has a module has its library loaded."""

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
    """A state_dict as a safetensors file, tensor by tensor: no second copy of all is in memory."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    tensors = []
    offset = 0
    for name, tensor in state.items():
        dtype = _DTYPES.get(str(getattr(tensor, "dtype", None)))
        if dtype is None:
            continue  # what some modules keep beside their tensors
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
    torch = sys.modules["torch"]  # whose tensor this is
    return plain.view(torch.uint8).numpy().data if plain.numel() > 0 else b""


def _save_by_timm(module: Any, folder: str) -> bool:
    """Saves a module of timm as timm does it. False: it is none, or timm is too old to save it."""
    models = sys.modules.get("timm.models")
    has_config = hasattr(module, "pretrained_cfg") or hasattr(module, "default_cfg")
    if models is None or not has_config or not hasattr(models, "save_for_hf"):
        return False
    models.save_for_hf(module, folder, safe_serialization=True)
    return True


def _save_by_transformers(module: Any, folder: str) -> bool:
    """Saves a module of transformers as it does it itself. False: it is none."""
    if not callable(getattr(module, "save_pretrained", None)) or not hasattr(module, "config"):
        return False
    module.save_pretrained(folder)
    return True


def write_module(module: Any, folder: str, processor: Any = None) -> None:
    """The files of `module` in `folder`, as its library saves them. Raises Error for what is no
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
