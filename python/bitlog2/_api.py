"""Models, quantized models, and the functions that take them."""

from __future__ import annotations

import json
import operator
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, cast, overload

from . import _core, _torch
from ._error import Error
from ._images import (
    ImagesLike,
    StrPath,
    add_image,
    add_photograph,
    batches_of,
    is_full,
    is_path,
    items_of,
)
from ._progress import Progress, shown

if TYPE_CHECKING:
    import numpy
    import pandas
    from numpy.typing import NDArray
    from typing_extensions import NotRequired  # known to type checkers only

#: The default numbers of calibration images: for a dataset, and at most for other images.
CALIBRATION_IMAGES = 32
CALIBRATION_IMAGES_GIVEN = 4096
#: The largest number of calibration images, the same as the program's.
MAX_CALIBRATION_IMAGES = 1_000_000
#: The largest number of images on which networks are compared.
MAX_COMPARED_IMAGES = 4096

_MAX_THREADS = 1024
_MAX_SIZE = 1 << 14  # of an image, in pixels
_MAX_COUNT = (1 << 63) - 1

#: Names of the attention schemes that `quantize` takes.
attention_schemes: tuple[str, ...] = _core.attention_schemes


class Prediction(TypedDict):
    """A class that an image may show."""

    index: int
    label: str
    probability: float


class Evaluation(TypedDict):
    """Accuracy over a dataset. `top1` and `top5` are in percent; `loss` is the mean cross entropy;
    `skipped` has a line for each image that could not be read, with the reason."""

    model: str
    engine: str
    settings: str | None
    images: int
    top1: float
    top5: float
    loss: float
    seconds: float
    skipped: list[str]
    notes: list[str]


class ProbeEvaluation(TypedDict):
    """Accuracy, on the validation images, of one probe that has learned from the training images.

    `probe` is "knn" or "linear". `neighbours` belongs to knn, `penalty` to the linear probe; knn
    has no `loss`."""

    model: str
    engine: str
    settings: str | None
    probe: str
    neighbours: int | None
    penalty: float | None
    training_images: int
    training_skipped: list[str]
    images: int
    top1: float
    top5: float
    loss: float | None
    seconds: float
    skipped: list[str]
    notes: list[str]


class LayerDistance(TypedDict):
    """How far a layer's output in integers is from that in float32 and, with
    `quantize(keep_simulation=True)`, how far both are from the simulated one."""

    layer: str
    integer_to_fp32_db: float
    integer_to_fp32_cosine: float
    integer_to_simulated_db: NotRequired[float]
    integer_to_simulated_cosine: NotRequired[float]
    simulated_to_fp32_db: NotRequired[float]
    simulated_to_fp32_cosine: NotRequired[float]


class Preprocessing(TypedDict):
    """How a photograph becomes a crop [S, S, 3], and how the crop's pixels are normalised."""

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    keep_proportions: bool


Row = TypeVar("Row")


class Table(list[Row]):
    """A list of dicts that have the same keys."""

    def to_pandas(self) -> pandas.DataFrame:
        """The table as a DataFrame; pandas must be installed."""
        import pandas

        return pandas.DataFrame(list(self))


def _whole(name: str, value: Any, least: int = 0, most: int = _MAX_COUNT) -> int:
    """The whole number `value`; throws Error if it is none, or out of range."""
    try:
        number = operator.index(value)
    except TypeError:
        shown_value = " ".join(repr(value).split())
        raise Error(f"{name} is {shown_value}; give a whole number") from None
    if not least <= number <= most:
        wanted = f"{least} or more" if most == _MAX_COUNT else f"{least} to {most}"
        raise Error(f"{name} is {number}; give {wanted}")
    return number


def _threads(threads: Any) -> int:
    return _whole("threads", threads, 0, _MAX_THREADS)


def _path(name: str, value: Any) -> str:
    try:
        return os.fsdecode(value)
    except TypeError:
        raise Error(f"{name} has the type {type(value).__name__}; give a path") from None


def _need(kind: type, value: Any, name: str) -> None:
    if not isinstance(value, kind):
        wanted = "a bitlog2 model" if kind is _Network else f"a bitlog2.{kind.__name__}"
        raise Error(f"{name} has the type {type(value).__name__}; give {wanted}")


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    import numpy

    return parts[0] if len(parts) == 1 else numpy.concatenate(parts)


class _Network:
    """The part that a float model and a quantized one have in common. Any number of threads may
    call it at the same time; Python's lock is not held while the engine computes."""

    def __init__(self, core: _core.Network, threads: int = 0) -> None:
        self._core = core
        self._asked_threads = threads  # for pickles: another machine may have another number

    def __call__(self, images: ImagesLike) -> NDArray[numpy.float32]:
        """Logits, float32 [N, classes]; an encoder's embeddings, float32 [N, size].

        `images` are crops as the network sees them, uint8 [N, S, S, 3] or [S, S, 3] with
        S = `preprocessing["crop"]`, in any memory layout and from any library with DLPack; or
        normalised ones, float32 or float64 [N, 3, S, S]; or photographs, which are resized and
        cropped first: PIL images, paths, a folder; or an iterable of these.

        Raises Error for no image, one that cannot be read, and arrays of other dtypes and shapes.
        """
        return _joined([self._core.run(batch, False)[0] for batch in self._batches(images)])

    def preprocess(self, images: ImagesLike) -> NDArray[numpy.uint8]:
        """The crops that the network sees, uint8 [N, S, S, 3]; `images` as for a call, but arrays
        may be photographs of any size, uint8 [height, width, 3]. Raises Error as a call does."""
        side = self._core.preprocessing()["crop"]
        batch = self._core.new_images()
        parts = []
        for item in items_of(images):
            shape = tuple(getattr(item, "shape", ()))
            if len(shape) == 3 and shape[2] == 3 and shape[:2] != (side, side):
                add_photograph(batch, item)
            else:
                add_image(batch, item)
            if is_full(batch):
                parts.append(self._core.crops(batch, False)[0])
                batch = self._core.new_images()
        if len(batch) > 0:
            parts.append(self._core.crops(batch, False)[0])
        if not parts:
            raise Error("there are no images")
        return _joined(parts)

    @overload
    def predict(
        self, images: ImagesLike, top_k: int = 5, errors: Literal["raise"] = "raise"
    ) -> list[list[Prediction]]: ...

    @overload
    def predict(
        self, images: ImagesLike, top_k: int = 5, *, errors: Literal["return"]
    ) -> list[list[Prediction] | Error]: ...

    def predict(self, images: ImagesLike, top_k: int = 5, errors: str = "raise") -> list[Any]:
        """The `top_k` most probable classes of each image, the best first. With
        `errors="return"`, an image that cannot be read gets its Error instead of a list.

        Raises Error for an encoder, which has no classes, for `top_k` below 1, for no image, and,
        with `errors="raise"`, for the first image that cannot be read."""
        if self._core.is_encoder:
            raise Error(f"{self.name}: it has no classes, its output is an embedding; use embed()")
        if errors not in ("raise", "return"):
            raise Error(f"errors is {errors!r}; give 'raise' or 'return'")
        top_k = _whole("top_k", top_k, 1)
        answers: list[Any] = []
        for batch in self._batches(images):
            logits, failures = self._core.run(batch, errors == "return")
            for row, failure in zip(logits, failures):
                answers.append(
                    self._core.best_classes(row, top_k) if failure is None else Error(failure)
                )
        return answers

    def embed(self, images: ImagesLike, normalize: bool = False) -> NDArray[numpy.float32]:
        """Embeddings, float32 [N, size]; divided by their Euclidean norms if `normalize`.

        Raises Error for a model that has classes: `Model.encoder()` makes an encoder of it."""
        if not self._core.is_encoder:
            raise Error(
                f"{self.name}: it gives class scores; Model.encoder() gives embeddings, and can be"
                " quantized, too"
            )
        embeddings = self(images)
        if normalize:
            import numpy

            norms = numpy.linalg.norm(embeddings.astype(numpy.float64), axis=1, keepdims=True)
            embeddings = (embeddings / numpy.where(norms > 0, norms, 1)).astype(numpy.float32)
        return embeddings

    @property
    def name(self) -> str:
        """The published name, or "custom"."""
        return self._core.name

    @property
    def labels(self) -> list[str]:
        """One name for each class; empty if they are not known."""
        return self._core.class_names

    @property
    def preprocessing(self) -> Preprocessing:
        """How photographs become crops."""
        return cast(Preprocessing, self._core.preprocessing())

    @property
    def config(self) -> dict[str, Any]:
        """The architecture, with the keys of the program's --config."""
        config: dict[str, Any] = json.loads(self._core.config_json)
        return config

    @property
    def threads(self) -> int:
        """Threads that a call computes on."""
        return self._core.threads

    @property
    def is_encoder(self) -> bool:
        """Whether the output is an embedding, not the scores of classes."""
        return self._core.is_encoder

    @property
    def notes(self) -> list[str]:
        """Lines that say what was assumed or passed over when the model was loaded; for a quantized
        model, lines on its calibration images."""
        return self._core.notes

    def _batches(self, images: ImagesLike) -> Iterable[_core.Images]:
        return batches_of(self._core, images)


class Model(_Network):
    """A trained model in float32. `from_pretrained` and `from_torch` make one.

    A pickle of what `from_pretrained` made holds the names of its files, which are read again; that
    of any other model holds its weights."""

    _source: tuple[str, str, str, int, int] | None = None

    @classmethod
    def from_pretrained(
        cls,
        model: StrPath = "",
        *,
        weights: StrPath = "",
        config: StrPath = "",
        image_size: int = 0,
        threads: int = 0,
    ) -> Model:
        """A model from files: a folder as timm or transformers save it, a checkpoint (.safetensors,
        .pth, …), a repository in the Hugging Face cache, or a published name such as "deit_tiny".
        `weights` and `config` are like the program's options. `image_size`: the side of the input
        in pixels; 0: as the files say. `threads`: 0: all.

        Raises Error, which says what is missing or which tensors do not fit."""
        model, weights = _path("model", model), _path("weights", weights)
        config = _path("config", config)
        image_size = _whole("image_size", image_size, 0, _MAX_SIZE)
        threads = _threads(threads)
        made = cls(_core.load_model(model, weights, config, image_size, threads), threads)
        files = (_absolute(weights), _absolute(config))
        made._source = (_absolute_if_file(model), *files, image_size, threads)
        return made

    @classmethod
    def from_torch(
        cls, module: Any, *, processor: Any = None, image_size: int = 0, threads: int = 0
    ) -> Model:
        """A model from a module of timm, transformers or torchvision: its weights are copied, and
        the module is not kept. `processor` is an image processor of transformers; without one, a
        module of transformers gets the usual preprocessing of its kind (`notes` says so).

        Raises Error for a module that is no known architecture; it says what differs."""
        image_size = _whole("image_size", image_size, 0, _MAX_SIZE)
        threads = _threads(threads)
        with tempfile.TemporaryDirectory(prefix="bitlog2-") as folder:
            _torch.write_module(module, folder, processor)
            try:
                return cls(_core.load_model(folder, "", "", image_size, threads), threads)
            except Error as error:
                text = str(error).replace(folder, type(module).__name__)
                raise Error(text) from None

    def encoder(self, pool: str = "native") -> Model:
        """The same network without its classes; its output is an embedding. `pool` says from which
        tokens: "native", "class", "mean", "map" or "projection". Raises Error for a pooling that the
        model does not have; it lists those that it has."""
        return Model(self._core.encoder(pool), self._asked_threads)

    def __reduce__(self) -> tuple[Any, ...]:
        # By the names of its files where it has some, which are small; else by its content.
        if self._source is not None:
            return _reload, self._source
        core = self._core
        return _from_content, (core.content(), core.class_names, core.notes, self._asked_threads)

    def __repr__(self) -> str:
        return f"<bitlog2.Model {self.name}>"


def _reload(model: str, weights: str, config: str, image_size: int, threads: int) -> Model:
    return Model.from_pretrained(
        model, weights=weights, config=config, image_size=image_size, threads=threads
    )


def _from_content(content: bytes, class_names: list[str], notes: list[str], threads: int) -> Model:
    return Model(_core.from_model_content(content, class_names, notes, threads), threads)


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path else ""


def _absolute_if_file(model: str) -> str:
    """A published name or a repository stays as it is; a path does not depend on the process."""
    is_file = os.path.exists(model) and not _core.is_published_name(model)
    return os.path.abspath(model) if is_file else model


class QuantizedModel(_Network):
    """A model that runs in integers. `quantize` makes one, `load` opens a file.

    A pickle holds the file's content. The kernels are chosen again where it is read, unless `isa`
    was given."""

    def __init__(self, core: _core.Network, threads: int = 0, isa: str = "") -> None:
        super().__init__(core, threads)
        self._asked_isa = isa

    def save(self, path: StrPath) -> None:
        """Writes the file that `load` and the program read. It is first written under another name
        in the same folder, so that a file of this name is always complete. Raises Error if it
        cannot be written."""
        path = _path("path", path)
        folder, name = os.path.split(os.path.realpath(path))
        try:
            with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}.", delete=False) as file:
                try:
                    file.write(self.to_bytes())
                    file.flush()
                    os.fsync(file.fileno())
                    os.chmod(file.name, 0o666 & ~_umask())
                    os.replace(file.name, os.path.join(folder, name))
                except BaseException:
                    os.unlink(file.name)
                    raise
        except OSError as error:
            raise Error(f"{path}: cannot be written: {error.strerror}") from None

    def to_bytes(self) -> bytes:
        """The file's content; `loads` reads it."""
        return self._core.content()

    @property
    def settings(self) -> str:
        """Scheme and bits: "BitLog2_Half_16.w4a8"."""
        return self._core.settings

    @property
    def recipe(self) -> dict[str, str]:
        """How the model was calibrated, part by part."""
        recipe: dict[str, str] = json.loads(self._core.recipe_json)
        return recipe

    @property
    def isa(self) -> str:
        """The instruction set whose kernels run."""
        return self._core.isa

    @property
    def file_bytes(self) -> int:
        """Size of the file in bytes."""
        return self._core.file_bytes

    @property
    def memory_bytes(self) -> int:
        """Memory that a run needs, in bytes: the file, the packed weights, and the arena of each
        thread."""
        core = self._core
        return core.file_bytes + core.packed_bytes + core.threads * core.arena_bytes

    @property
    def saturations(self) -> int:
        """Values that were too large for the arithmetic and were cut off, in all runs so far."""
        return self._core.saturations

    def __reduce__(self) -> tuple[Any, ...]:
        asked = (self._asked_threads, self._asked_isa)
        return _core_loads, (self.to_bytes(), self.name, *asked, self.notes)

    def __repr__(self) -> str:
        return f"<bitlog2.QuantizedModel {self.name} {self.settings}>"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _core_loads(
    content: bytes, name: str, threads: int, isa: str = "", notes: Sequence[str] = ()
) -> QuantizedModel:
    core = _core.from_bytes(content, name, threads, isa, list(notes))
    return QuantizedModel(core, threads, isa)


def load(path: StrPath, *, threads: int = 0, isa: str = "") -> QuantizedModel:
    """Opens a quantized file without a copy of it in memory. `threads`: 0: all that this process
    may run on. `isa`: the instruction set of the kernels; "": the machine's best.

    Raises Error if the file is damaged, no quantized model, or of another version."""
    threads = _threads(threads)
    return QuantizedModel(_core.open(_path("path", path), threads, isa), threads, isa)


def loads(
    content: bytes, *, name: str = "bytes", threads: int = 0, isa: str = ""
) -> QuantizedModel:
    """Opens a quantized file's content; `name` is for messages. Raises Error as `load` does."""
    if not isinstance(content, (bytes, bytearray, memoryview)):
        kind = type(content).__name__
        raise Error(f"content has the type {kind}; give the bytes of a quantized file")
    return _core_loads(bytes(content), name, _threads(threads), isa)


def quantize(
    model: Model,
    images: ImagesLike,
    *,
    scheme: str = "BitLog2_Half_16",
    w_bits: int = 4,
    a_bits: int = 4,
    recipe: str = "repq",
    parts: Mapping[str, str] | None = None,
    calibration_images: int | None = None,
    seed: int = 0,
    memory_bytes: int | None = None,
    keep_simulation: bool = False,
    progress: Progress = False,
) -> QuantizedModel:
    """Calibrates `model` on a few images without labels and lowers it to integers.

    `images`: a dataset's path, from which `calibration_images` images (by default 32) are drawn by
    `seed`, exactly as in `bitlog2 quantize --dataset`; or images as for a call of the model, of
    which the first `calibration_images` are used, by default the first 4096 (the result's `notes`
    say if there may have been more). An iterator, such as a DataLoader, is read once and only as
    far as needed; if it gives (images, labels), the labels are ignored.

    Each image needs memory for its 8-bit crop [S, S, 3] and for its residual streams: about 8 bytes
    times tokens times width. `memory_bytes` limits the latter; a temporary file holds the rest, and
    the result is the same.

    `keep_simulation`: the result also holds the calibrated float model, for `compare`; this model
    is not saved or pickled.

    `scheme`: one of `attention_schemes`. `w_bits`, `a_bits`: 2 to 8. `recipe`: "repq", the
    published system, "best", or "reconstruct", which takes minutes (docs/accuracy.md). `parts`:
    changes to the recipe, such as {"weight_rounding": "gptq", "reconstruct": "100"}. `progress`:
    True for a bar, if tqdm is installed and stderr is a terminal; or a function, which is called
    with the layers and steps that are done and the number of all.

    Raises Error for unknown settings, for no images, and for images that cannot be read.
    """
    _need(Model, model, "model")
    w_bits, a_bits = _whole("w_bits", w_bits, 2, 8), _whole("a_bits", a_bits, 2, 8)
    seed = _whole("seed", seed)
    named = {name.replace("_", "-"): value for name, value in (parts or {}).items()}
    settings = _core.Scheme(scheme, w_bits, a_bits, recipe, named)
    if calibration_images is not None:
        calibration_images = _whole(
            "calibration_images", calibration_images, 1, MAX_CALIBRATION_IMAGES
        )
    if memory_bytes is not None:
        memory_bytes = _whole("memory_bytes", memory_bytes)
    limits = _core.CalibrationLimits(memory_bytes, keep_simulation)
    with shown(progress, f"{model.name}: calibrating") as show:
        if is_path(images) and _is_dataset(os.fspath(images)):
            count = calibration_images or CALIBRATION_IMAGES
            core = _core.quantize_with_dataset(
                model._core, os.fspath(images), count, seed, settings, limits, show
            )
        else:
            crops, notes = _calibration_images(model, images, calibration_images)
            core = _core.quantize(model._core, crops, settings, notes, limits, show)
    return QuantizedModel(core, model._asked_threads)


def _is_dataset(path: str) -> bool:
    return os.path.isdir(path) or path.endswith(".safetensors")


def _calibration_images(
    model: Model, images: ImagesLike, wanted: int | None
) -> tuple[_core.Images, list[str]]:
    """Crops of the first `wanted` images, and notes; later images are not read."""
    crops = _first_images(model, images, wanted or CALIBRATION_IMAGES_GIVEN)
    notes = []
    if wanted is None and len(crops) == CALIBRATION_IMAGES_GIVEN:
        notes.append(
            f"calibrated on the first {len(crops)} images and no others; calibration_images="
            " takes another number"
        )
    if wanted is not None and len(crops) < wanted:
        notes.append(f"calibrated on {len(crops)} images; calibration_images asks for {wanted}")
    return crops, notes


def _first_images(model: _Network, images: ImagesLike, most: int) -> _core.Images:
    """At most `most` images, as crops; photographs are not kept in memory."""
    core = model._core
    crops, batch = core.new_images(), core.new_images()
    for item in items_of(images):
        add_image(batch, item)
        enough = len(crops) + len(batch) >= most
        if enough or is_full(batch):
            core.read(batch)
            crops.take(batch, most - len(crops))
        if enough:
            return crops
    core.read(batch)
    crops.take(batch, len(batch))
    if len(crops) == 0:
        raise Error("there are no images")
    return crops


@overload
def evaluate(
    model: Model | QuantizedModel,
    dataset: StrPath,
    *,
    class_map: StrPath = "",
    limit: int = 0,
    sample: int = 0,
    seed: int = 0,
    strict: bool = False,
    progress: Progress = False,
) -> Evaluation: ...


@overload
def evaluate(
    model: Model | QuantizedModel,
    dataset: StrPath,
    *,
    knn: int,
    linear_probe: bool = False,
    limit: int = 0,
    sample: int = 0,
    seed: int = 0,
    strict: bool = False,
    progress: Progress = False,
) -> Table[ProbeEvaluation]: ...


@overload
def evaluate(
    model: Model | QuantizedModel,
    dataset: StrPath,
    *,
    linear_probe: Literal[True],
    knn: int = 0,
    limit: int = 0,
    sample: int = 0,
    seed: int = 0,
    strict: bool = False,
    progress: Progress = False,
) -> Table[ProbeEvaluation]: ...


def evaluate(
    model: Model | QuantizedModel,
    dataset: StrPath,
    *,
    class_map: StrPath = "",
    knn: int = 0,
    linear_probe: bool = False,
    limit: int = 0,
    sample: int = 0,
    seed: int = 0,
    strict: bool = False,
    progress: Progress = False,
) -> Evaluation | Table[ProbeEvaluation]:
    """Accuracy over a dataset of labelled images, in the layouts that `bitlog2 eval` reads; the
    numbers are the same. `limit`: only the first `limit` images. `sample`: only `sample` images,
    spread over the classes. `strict`: an image that cannot be read is an Error; otherwise it is
    skipped.

    The accuracy of an encoder is measured by probes. `knn`: the number of nearest neighbours among
    the embeddings of `train/`. `linear_probe`: a linear layer that is fitted to them. Both may be
    given. The result is then a table with a row for each.

    Raises Error for an encoder without a probe, for a probe of a model that has classes, for labels
    that the model does not have, and if no image could be read."""
    _need(_Network, model, "model")
    knn = _whole("knn", knn)
    limit, sample = _whole("limit", limit), _whole("sample", sample)
    seed = _whole("seed", seed)
    probes = bool(knn) or linear_probe
    if model.is_encoder and not probes:
        raise Error(
            f"{model.name}: it has no classes, its output is an embedding; give knn=20 or"
            " linear_probe=True, or use embed()"
        )
    if probes and not model.is_encoder:
        raise Error(
            f"{model.name}: it gives class scores; knn and linear_probe are for encoders, which"
            " Model.encoder() makes"
        )
    if probes and class_map:
        raise Error("class_map numbers the classes of a model; probes take those of train/")
    if limit and sample:
        raise Error("give limit or sample, a number of images, or neither")
    path = _path("dataset", dataset)
    of = {
        "model": model.name,
        "engine": "integer" if isinstance(model, QuantizedModel) else "fp32",
        "settings": model.settings if isinstance(model, QuantizedModel) else None,
    }
    which = (limit, sample, seed, strict)
    with shown(progress, f"{model.name}: evaluating") as show:
        if probes:
            rows = _core.evaluate_probes(model._core, path, *which, knn, linear_probe, show)
            return Table(cast(ProbeEvaluation, {**of, **row}) for row in rows)
        measured = _core.evaluate(model._core, path, os.fspath(class_map), *which, show)
    return cast(Evaluation, {**of, **measured})


def compare(
    model: Model,
    quantized: QuantizedModel,
    images: ImagesLike,
    *,
    limit: int = 0,
    progress: Progress = False,
) -> Table[LayerDistance]:
    """How far the quantized model is from the float one, layer by layer in order of execution: the
    signal-to-noise ratio in dB over all images, and the mean cosine similarity of an image's
    output. Eight images are enough: `limit=8` reads no more of them. At most the first 4096 are
    used. A model that was made with `keep_simulation=True` is also compared with its simulation.

    Raises Error for two different networks."""
    _need(Model, model, "model")
    _need(QuantizedModel, quantized, "quantized")
    limit = _whole("limit", limit, 0, MAX_COMPARED_IMAGES)
    with shown(progress, f"{model.name}: comparing") as show:
        crops = _first_images(model, images, limit or MAX_COMPARED_IMAGES)
        rows = _core.compare(model._core, quantized._core, crops, show)
    return Table(rows)
