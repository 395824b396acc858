"""Callable classes for batches of images, as Ray's `map_batches` and Spark's `predict_batch_udf` have
them: a batch is a dict of columns. Workers make each once. docs/distributed.md has examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy

from . import _core
from ._api import QuantizedModel, load, loads
from ._error import Error

__all__ = ["Batch", "Classifier", "Decoder", "Embedder", "ModelLike"]

#: A quantized file's path on every machine, its content, or the model itself.
ModelLike: TypeAlias = str | bytes | QuantizedModel

#: Columns of a batch.
Batch = dict[str, Any]


def opened(model: ModelLike, threads: int) -> QuantizedModel:
    if isinstance(model, QuantizedModel):
        return loads(model.to_bytes(), name=model.name, threads=threads)
    if isinstance(model, bytes):
        return loads(model, threads=threads)
    return load(model, threads=threads)


def objects(values: Sequence[Any]) -> numpy.ndarray[Any, Any]:
    """A column of any objects, None among them."""
    column = numpy.empty(len(values), dtype=object)
    column[:] = list(values)
    return column


def decoded(network: QuantizedModel, batch: Batch) -> tuple[Any, list[str | None]]:
    """Crops of the files' contents in column "bytes", and why some are none."""
    contents = batch["bytes"]
    names = batch.get("path", [f"image {i} of a batch" for i in range(len(contents))])
    images = network._core.new_images()
    for content, name in zip(contents, names, strict=True):
        images.add_encoded(bytes(content), str(name))
    return network._core.crops(images, True)


class Decoder:
    """JPEG and the other formats, decoded, resized and cropped: the stage that takes longest.

    Takes a batch with the column "bytes", the contents of image files, and perhaps "path". Gives it
    with "crop", uint8 [S, S, 3], and "error", None or why there is none, in the place of "bytes".
    """

    def __init__(self, model: ModelLike, threads: int = 1) -> None:
        self._model = opened(model, threads)

    def __call__(self, batch: Batch) -> Batch:
        crops, errors = decoded(self._model, batch)
        kept = {name: column for name, column in batch.items() if name != "bytes"}
        return {**kept, "crop": crops, "error": objects(errors)}


class Runner:
    """What Classifier and Embedder share."""

    def __init__(self, model: ModelLike, threads: int) -> None:
        self._model = opened(model, threads)

    def _run(self, batch: Batch) -> tuple[Any, list[str | None], Batch]:
        """Logits; errors; and the columns that stay."""
        if "crop" in batch:
            crops = numpy.ascontiguousarray(numpy.stack(list(batch["crop"])))
            # A column of nothing but None comes as NaN.
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

    Takes a batch with the column "crop", uint8 [S, S, 3] as Decoder gives it, or "bytes". Gives it
    with the columns "index", "label" and "probability", each a list of the `top_k` most probable
    classes, the best first, and "error"; other columns stay. The constructor opens the model, on
    each worker once; `threads` should be the worker's num_cpus."""

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
    """The embeddings of images, for `map_batches`: as Classifier, with the column "embedding",
    float32 [size], NaN where there is an error."""

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
    """Accuracy, image by image, by the column "label"."""

    def __call__(self, batch: Batch) -> Batch:
        logits, errors, kept = self._run(batch)
        columns: dict[str, list[Any]] = {"top1": [], "top5": [], "loss": []}
        for row, label, error in zip(logits, batch["label"], errors, strict=True):
            counted = (None,) * 3 if error else _core.accuracy(row, int(label))
            for column, value in zip(columns.values(), counted, strict=True):
                column.append(value)
        return {**kept, **columns, "error": objects(errors)}
