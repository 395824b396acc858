"""Turns all kinds of images into the form that the engine takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union

from . import _core
from ._error import Error

if TYPE_CHECKING:
    import numpy.typing

StrPath: TypeAlias = Union[str, "os.PathLike[str]"]

#: What counts as images: an array of crops (NumPy, PyTorch or any other with DLPack; uint8
#: [N, S, S, 3] or [S, S, 3], or normalised float32 or float64 [N, 3, S, S]), a PIL image, a path, a
#: folder, or an iterable of these.
ImagesLike: TypeAlias = Union[
    str, "os.PathLike[str]", "numpy.typing.NDArray[Any]", Iterable[Any], Any
]

#: The number of images from which a batch is full.
BATCH = 256
#: The bytes of images from which a batch is full.
BATCH_BYTES = 1 << 28


def is_path(images: object) -> TypeGuard[StrPath]:
    return isinstance(images, (str, os.PathLike))


def is_array(images: object) -> bool:
    return hasattr(images, "__dlpack__") or hasattr(images, "__array_interface__")


def is_picture(images: object) -> bool:
    """Whether this is a PIL image, without importing PIL."""
    return callable(getattr(images, "convert", None)) and hasattr(images, "getbands")


def _for_cpu(array: Any) -> Any:
    """A tensor of PyTorch, without its gradient and in the CPU's memory; else the array itself."""
    return array.detach().cpu() if callable(getattr(array, "detach", None)) else array


def _add_array(add: Callable[[Any], None], array: Any) -> None:
    try:
        add(_for_cpu(array))
    except TypeError:
        dtype = getattr(array, "dtype", "an unknown dtype")
        shape = list(getattr(array, "shape", []))
        raise Error(
            f"an array of {dtype} {shape} is not what this model sees; give pixels, uint8"
            " [N, S, S, 3], in the CPU's memory"
        ) from None


def add_photograph(target: _core.Images, array: Any) -> None:
    """Of any size, uint8 [height, width, 3]."""
    _add_array(target.add_photograph, array)


def add_image(target: _core.Images, item: Any) -> None:
    if is_path(item):
        target.add_file(os.fspath(item))
    elif is_picture(item):
        import numpy

        target.add_photograph(numpy.asarray(item.convert("RGB")))
    elif is_array(item):
        _add_array(target.add_crops, item)
    else:
        raise Error(f"an image may be a path, a PIL image or an array, not a {type(item).__name__}")


def is_full(batch: _core.Images) -> bool:
    """Whether the batch is large enough for a call of the engine."""
    return len(batch) >= BATCH or batch.byte_count >= BATCH_BYTES


def _parts_of(array: Any) -> Iterator[Any]:
    """Splits an array of many images into views of at most BATCH images."""
    shape: tuple[int, ...] = tuple(getattr(array, "shape", ()))
    if len(shape) != 4 or shape[0] <= BATCH or not hasattr(array, "__getitem__"):
        yield array
        return
    for first in range(0, shape[0], BATCH):
        yield array[first : first + BATCH]


def items_of(images: ImagesLike) -> Iterator[Any]:
    """Paths, PIL images and arrays, one after the other. An item of an iterable, such as a
    DataLoader, may be a tuple or list of images and labels; the labels are ignored."""
    if is_path(images):
        path = os.fspath(images)
        yield from _core.image_files(path) if os.path.isdir(path) else [path]
    elif is_array(images):
        yield from _parts_of(images)
    elif is_picture(images):
        yield images
    elif isinstance(images, dict):
        raise Error("images may not be a dict; give the array in it")
    elif isinstance(images, Iterable):
        for item in images:
            if isinstance(item, (tuple, list)) and item and is_array(item[0]):
                yield from _parts_of(item[0])
            elif is_array(item):
                yield from _parts_of(item)
            elif is_path(item) and os.path.isdir(item):
                yield from _core.image_files(os.fspath(item))
            else:
                yield item
    else:
        raise Error(
            "images may be an array, a PIL image, a path, a folder or an iterable of these, not a"
            f" {type(images).__name__}"
        )


def batches_of(network: _core.Network, images: ImagesLike) -> Iterator[_core.Images]:
    """All images, in lists of at least BATCH images or BATCH_BYTES, except for the last one. No
    list is empty.

    Raises Error if there is no image."""
    batch = network.new_images()
    none = True
    for item in items_of(images):
        add_image(batch, item)
        none = False
        if is_full(batch):
            yield batch
            batch = network.new_images()
    if none:
        raise Error("there are no images")
    if len(batch) > 0:
        yield batch
