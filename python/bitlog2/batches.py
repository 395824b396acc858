"""Callable classes for batches of images, for Ray's `map_batches` and Spark's `predict_batch_udf`.
A batch is a dict of columns. Each worker makes one object. docs/distributed.md has examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy

from . import _core
from ._api import QuantizedModel, load, loads
from ._error import Error

__all__ = ["Batch", "Classifier", "Decoder", "Embedder", "ModelLike"]

#: The path of a quantized file, the same on every machine; the file's content; or the model itself.
ModelLike: TypeAlias = str | bytes | QuantizedModel

#: The columns of a batch, by name.
Batch = dict[str, Any]


def opened(model: ModelLike, threads: int) -> QuantizedModel:
    if isinstance(model, QuantizedModel):
        return loads(model.to_bytes(), name=model.name, threads=threads)
    if isinstance(model, bytes):
        return loads(model, threads=threads)
    return load(model, threads=threads)


def objects(values: Sequence[Any]) -> numpy.ndarray[Any, Any]:
    """A column of any objects, also None."""
    column = numpy.empty(len(values), dtype=object)
    column[:] = list(values)
    return column


def decoded(network: QuantizedModel, batch: Batch) -> tuple[Any, list[str | None]]:
    """Crops of the files' contents in the column "bytes", and for each None or its error."""
    contents = batch["bytes"]
    names = batch.get("path", [f"image {i} of a batch" for i in range(len(contents))])
    images = network._core.new_images()
    for content, name in zip(contents, names, strict=True):
        images.add_encoded(bytes(content), str(name))
    return network._core.crops(images, True)


class Decoder:
    """Decodes, resizes and crops images, from JPEG and the other formats.

    Takes a batch with the column "bytes", the contents of image files, and perhaps "path". In the
    result, "bytes" is replaced by "crop", uint8 [S, S, 3], and "error": None, or why there is no
    crop.
    """

    def __init__(self, model: ModelLike, threads: int = 1) -> None:
        self._model = opened(model, threads)

    def __call__(self, batch: Batch) -> Batch:
        crops, errors = decoded(self._model, batch)
        kept = {name: column for name, column in batch.items() if name != "bytes"}
        return {**kept, "crop": crops, "error": objects(errors)}


class Runner:
    """The base of Classifier, Embedder and Scorer."""

    def __init__(self, model: ModelLike, threads: int) -> None:
        self._model = opened(model, threads)

    def _run(self, batch: Batch) -> tuple[Any, list[str | None], Batch]:
        """The logits, the errors, and the columns that stay."""
        if "crop" in batch:
            crops = numpy.ascontiguousarray(numpy.stack(list(batch["crop"])))
            # A column in which all values are None may arrive as NaN.
            given = batch.get("error", [None] * len(crops))
            errors = [error if isinstance(error, str) else None for error in given]
        elif "bytes" in batch:
            crops, errors = decoded(self._model, batch)
        else:
            raise Error(f"a batch has the columns {', '.join(batch)}; 'crop' or 'bytes' is needed")
        kept = {name: batch[name] for name in batch if name not in ("bytes", "crop", "error")}
        return self._model(crops), errors, kept


class Classifier(Runner):
    """The classes of images, for `map_batches`.

    Takes a batch with the column "crop", uint8 [S, S, 3] as Decoder gives it, or "bytes". The
    result has "error" and the columns "index", "label" and "probability", each a list of the
    `top_k` most probable classes, the best first; other columns stay. The constructor opens the
    model, once on each worker; `threads` should be the worker's num_cpus."""

    def __init__(self, model: ModelLike, top_k: int = 5, threads: int = 1) -> None:
        super().__init__(model, threads)
        if self._model.is_encoder:
            raise Error("the model has no classes, its output is an embedding; use Embedder")
        self._top_k = top_k

    def __call__(self, batch: Batch) -> Batch:
        logits, errors, kept = self._run(batch)
        answers = [
            [] if error else self._model._core.best_classes(row, self._top_k)
            for row, error in zip(logits, errors, strict=True)
        ]
        columns = {
            key: objects([[best[key] for best in answer] for answer in answers])
            for key in ("index", "label", "probability")
        }
        return {**kept, **columns, "error": objects(errors)}


class Embedder(Runner):
    """The embeddings of images, for `map_batches`. Like Classifier, but the result has the column
    "embedding", float32 [size]; it is NaN if there is an error."""

    def __init__(self, model: ModelLike, normalize: bool = False, threads: int = 1) -> None:
        super().__init__(model, threads)
        if not self._model.is_encoder:
            raise Error("the model gives class scores; quantize Model.encoder(), or use Classifier")
        self._normalize = normalize

    def __call__(self, batch: Batch) -> Batch:
        embeddings, errors, kept = self._run(batch)
        if self._normalize:
            norms = numpy.linalg.norm(embeddings.astype(numpy.float64), axis=1, keepdims=True)
            embeddings = (embeddings / numpy.where(norms > 0, norms, 1)).astype(numpy.float32)
        embeddings[[error is not None for error in errors]] = numpy.nan
        return {**kept, "embedding": embeddings, "error": objects(errors)}


class Scorer(Runner):
    """The accuracy of each image; the column "label" has its class."""

    def __call__(self, batch: Batch) -> Batch:
        logits, errors, kept = self._run(batch)
        columns: dict[str, list[Any]] = {"top1": [], "top5": [], "loss": []}
        for row, label, error in zip(logits, batch["label"], errors, strict=True):
            counted = (None,) * 3 if error else _core.accuracy(row, int(label))
            for column, value in zip(columns.values(), counted, strict=True):
                column.append(value)
        return {**kept, **columns, "error": objects(errors)}
