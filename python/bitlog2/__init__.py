"""Quantize vision transformers to 4 bits and run them in integers.

>>> import bitlog2
>>> model = bitlog2.Model.from_pretrained("google/vit-base-patch16-224")
>>> q = bitlog2.quantize(model, "imagenet", recipe="best")
>>> q.save("vit.safetensors")
>>> q.predict(["photo.jpg"], top_k=1)
"""

from __future__ import annotations

from importlib.metadata import version as _version

from ._api import (
    Model,
    QuantizedModel,
    Table,
    attention_schemes,
    compare,
    evaluate,
    load,
    loads,
    quantize,
)
from ._error import Error
from ._images import ImagesLike
from ._report import report

__version__ = _version("bitlog2")

__all__ = [
    "Error",
    "ImagesLike",
    "Model",
    "QuantizedModel",
    "Table",
    "attention_schemes",
    "compare",
    "evaluate",
    "load",
    "loads",
    "quantize",
    "report",
]
