"""Many machines, by Ray: callable classes for `ray.data.Dataset.map_batches`, and a job that labels,
embeds or measures all images of a folder on any file system that pyarrow reads.

    python -m bitlog2.ray predict --model vit.safetensors --images s3://bucket/photos \\
        --output s3://bucket/answers

`pip install "bitlog2[ray]"` installs what this needs. docs/distributed.md has more.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import posixpath
import re
import socket
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

import fsspec
import numpy
import pyarrow
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet
import ray
import ray.data
import ray.exceptions
from pyarrow import fs

from . import _core
from ._api import QuantizedModel, loads
from ._error import Error
from .batches import (
    Batch,
    Classifier,
    Decoder,
    Embedder,
    Runner,
    Scorer,
    objects,
)

__all__ = ["Classifier", "Decoder", "Embedder", "main", "run"]

#: Images of one file of the output, which one worker has in memory as crops.
SHARD_IMAGES = 256

_MANIFEST = "_bitlog2.json"  # Parquet readers pass over names that begin with _
_TEMPORARY = re.compile(r"\.part-\d{8,}\.parquet\.[0-9a-f]{32}")  # of _temporary_name
_EVALUATION_BATCH = 64  # of EvaluationOptions in bitlog2/evaluate.h
_RETRY_SECONDS = (0.1, 0.5, 2.0)  # before a file that cannot be read is read again
_CONNECTION_SECONDS = 5.0
_VALIDATION_FOLDERS = ("val", "validation", "valid", "test")


# The job. A shard is a range of the images in the order of their paths; it becomes one file of the
# output. Who computes a shard again, because a machine went, writes the same file again.


def _file_system(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI, and the path in it: pyarrow's, else fsspec's."""
    if "://" not in uri:
        return fs.LocalFileSystem(), os.path.abspath(uri)
    try:
        system, path = fs.FileSystem.from_uri(uri)
        return system, path
    except (pyarrow.ArrowInvalid, ImportError, OSError) as error:
        if "Unrecognized filesystem type" not in str(error) and "::" not in uri:
            raise Error(f"{uri}: cannot be opened: {_line(error)}") from None
    try:
        found, path = fsspec.core.url_to_fs(uri)
    except Exception as error:  # noqa: BLE001 - a missing package, or any
        raise Error(
            f"{uri}: cannot be opened, neither by pyarrow nor by fsspec: {_line(error)}"
        ) from None
    return fs.PyFileSystem(fs.FSSpecHandler(found)), path


def _line(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:  # that of a host that is not found is below 0
        return os.strerror(number)
    return " ".join(str(error).split())


def _absolute(uri: str) -> str:
    """The same on every machine, wherever its worker was started."""
    return uri if "://" in uri else os.path.abspath(uri)


def _listed(system: fs.FileSystem, root: str, uri: str) -> dict[str, int]:
    """Paths of all images below `root`, relative to it, in byte order; with their sizes in bytes."""
    try:
        files = system.get_file_info(fs.FileSelector(root, recursive=True))
    except OSError as error:
        raise Error(f"{uri}: cannot be listed: {_line(error)}") from None
    sizes = {posixpath.relpath(file.path, root or "."): file.size for file in files if file.is_file}
    images = [
        path
        for path in sizes
        if _core.is_image_name(posixpath.basename(path))
        and not any(part.startswith(".") for part in path.split("/"))
    ]
    if not images:
        raise Error(f"{uri}: there are no images in it, and {len(sizes)} other files")
    return {path: sizes[path] for path in sorted(images, key=os.fsencode)}


def _class_indices(paths: list[str], model: QuantizedModel, uri: str) -> list[int]:
    """The class of each image by its folder, as `bitlog2 eval` numbers folders."""
    of_image = [path.split("/")[0] if "/" in path else "" for path in paths]
    folders = sorted(set(of_image), key=os.fsencode)
    if "" in folders:
        raise Error(
            f"{uri}: {paths[of_image.index('')]} is in no class's folder; evaluate needs one"
        )
    numbers = dict(zip(folders, _core.number_class_folders(model._core, folders, uri), strict=True))
    return [numbers[folder] for folder in of_image]


def _read(system: fs.FileSystem, path: str) -> tuple[bytes, str | None]:
    """A file's content, or why there is none."""
    try:
        with system.open_input_file(path) as file:
            return file.read(), None
    except OSError as error:
        return b"", f"{path}: cannot be read ({_line(error)})"


def _read_all(system: fs.FileSystem, paths: list[str]) -> list[tuple[bytes, str | None]]:
    """The files' contents. Those that cannot be read are tried again, all together: storage may be
    away for a moment."""
    read = [_read(system, path) for path in paths]
    for seconds in _RETRY_SECONDS:
        failed = [i for i, (_, unread) in enumerate(read) if unread]
        if not failed:
            break
        time.sleep(seconds)
        for i in failed:
            read[i] = _read(system, paths[i])
    return read


class _ShardDecoder:
    """Reads and decodes one shard, a row of the job, after the other. Images are below `folder` of
    `uri`."""

    def __init__(self, model: bytes, uri: str, folder: str) -> None:
        self._decoder = Decoder(model)
        self._uri = uri
        self._system, root = _file_system(uri)
        self._root = posixpath.join(root, folder)

    def __call__(self, batch: Batch) -> Batch:
        paths = [str(path) for path in batch["paths"][0]]
        read = _read_all(self._system, [posixpath.join(self._root, path) for path in paths])
        if len(read) > 1 and all(unread for _, unread in read):
            # The storage is away. Rows of errors would be results that a restart keeps.
            raise Error(f"{self._uri}: no image of a shard can be read; {read[0][1]}")
        decoded = self._decoder({"path": paths, "bytes": [content for content, _ in read]})
        errors = [
            unread or damaged for (_, unread), damaged in zip(read, decoded["error"], strict=True)
        ]
        crops = decoded["crop"]
        return {
            "shard": batch["shard"],
            "paths": objects([paths]),
            "labels": batch["labels"],
            "crops": objects([crops.tobytes()]),
            "side": [crops.shape[1]],
            "errors": objects([json.dumps(errors)]),
        }


class _ShardWriter:
    """Runs one shard after the other and writes the files."""

    def __init__(self, command: str, model: bytes, options: dict[str, Any], output: str) -> None:
        made: dict[str, type[Runner]] = {
            "predict": Classifier,
            "embed": Embedder,
            "evaluate": Scorer,
        }
        self._runner: Any = made[command](model, **options)
        self._system, self._root = _file_system(output)

    def __call__(self, batch: Batch) -> Batch:
        side = int(batch["side"][0])
        paths = [str(path) for path in batch["paths"][0]]
        errors = json.loads(batch["errors"][0])
        crops = numpy.frombuffer(batch["crops"][0], numpy.uint8).reshape(-1, side, side, 3)
        columns = {"path": objects(paths), "crop": crops, "error": objects(errors)}
        if len(batch["labels"][0]) > 0:
            columns["label"] = numpy.asarray(batch["labels"][0], dtype=numpy.int32)
        self._write(int(batch["shard"][0]), _table(self._runner(columns)))
        failed = sum(error is not None for error in errors)
        return {"shard": batch["shard"], "images": [len(paths)], "errors": [failed]}

    def _write(self, shard: int, table: pyarrow.Table) -> None:
        name = posixpath.join(self._root, _part_name(shard))
        temporary = posixpath.join(self._root, _temporary_name(shard))
        with self._system.open_output_stream(temporary) as stream:
            pyarrow.parquet.write_table(table, stream)
        self._system.move(temporary, name)


def _table(columns: Batch) -> pyarrow.Table:
    types = {
        "index": pyarrow.list_(pyarrow.int32()),
        "label": pyarrow.list_(pyarrow.string()) if "index" in columns else pyarrow.int32(),
        "probability": pyarrow.list_(pyarrow.float64()),
        "embedding": pyarrow.list_(pyarrow.float32()),
        "top1": pyarrow.bool_(),
        "top5": pyarrow.bool_(),
        "loss": pyarrow.float64(),
    }
    return pyarrow.table(
        {
            name: pyarrow.array(list(column), types.get(name, pyarrow.string()))
            for name, column in columns.items()
        }
    )


def _part_name(shard: int) -> str:
    return f"part-{shard:08}.parquet"


def _temporary_name(shard: int) -> str:
    return f".{_part_name(shard)}.{uuid.uuid4().hex}"


def _remove_temporaries(system: fs.FileSystem, root: str) -> None:
    """Those that killed workers of this job left, in its own folder. No worker is writing any more."""
    for file in system.get_file_info(fs.FileSelector(root)):
        if _TEMPORARY.fullmatch(posixpath.basename(file.path)):
            system.delete_file(file.path)


def _start_ray(address: str | None) -> None:
    if ray.is_initialized():
        return
    named = address or os.environ.get("RAY_ADDRESS") or ""
    _check_answers(named)
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except ConnectionError as error:
        raise Error(f"{named or 'Ray'}: no Ray cluster answers there: {_line(error)}") from None
    except ValueError as error:
        raise Error(f"Ray does not start: {_line(error)}") from None


def _check_answers(address: str) -> None:
    """Raises Error if nobody listens at HOST:PORT, for which Ray itself would wait for minutes. Other
    addresses are Ray's names, such as auto."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECTION_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise Error(
            f"{address}: no Ray cluster answers there: {_line(error)}; give the address that"
            " `ray start --head` prints"
        ) from None


def _workers(threads: int, asked: int) -> tuple[int, int]:
    """How many workers decode, with a thread each, and how many run the network."""
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    cpus = sum(nodes)
    running = asked or max(1, (cpus - 1) // (threads + 1))
    wanted = running * threads + 1
    if cpus < wanted or max(nodes, default=0) < threads:
        raise Error(
            f"the Ray cluster has {cpus} CPUs, {max(nodes, default=0)} at most on one machine; a"
            f" CPU that decodes and {running} workers with {threads} threads each need {wanted};"
            " ask for fewer"
        )
    return cpus - running * threads, running


def _begin(system: fs.FileSystem, root: str, uri: str, manifest: dict[str, Any]) -> set[str]:
    """Makes the output's folder; or finds it as this same job left it. Returns what is done."""
    path = posixpath.join(root, _MANIFEST)
    try:
        system.create_dir(root, recursive=True)
        names = {
            posixpath.basename(file.path) for file in system.get_file_info(fs.FileSelector(root))
        }
        if _MANIFEST in names:
            with system.open_input_file(path) as stream:
                before = json.loads(stream.read())
            different = [key for key in manifest if before.get(key) != manifest[key]]
            if different:
                raise Error(
                    f"{uri}: holds the results of another job ({', '.join(different)} differ);"
                    " choose another --output, or remove it"
                )
            return {name for name in names if name.startswith("part-")}
        visible = sorted(name for name in names if not name.startswith("."))
        if visible:
            raise Error(f"{uri}: is not empty ({visible[0]}), and no job's output; choose another")
        with system.open_output_stream(path) as stream:
            stream.write(json.dumps(manifest, indent=1).encode())
    except (OSError, ValueError) as error:
        raise Error(f"{uri}: cannot be written: {_line(error)}") from None
    return set()


def _model_content(uri: str) -> bytes:
    system, path = _file_system(uri)
    content, error = _read(system, path)
    if error:
        raise Error(error.replace(path, uri, 1))
    return content


def run(
    command: str,
    model: str,
    images: str,
    output: str,
    *,
    top_k: int = 5,
    normalize: bool = False,
    threads: int = 1,
    workers: int = 0,
    shard_images: int = SHARD_IMAGES,
    address: str | None = None,
) -> dict[str, Any]:
    """Labels ("predict"), embeds ("embed") or measures ("evaluate") all images below `images` by
    the quantized file `model`, and writes Parquet files to the folder `output`, whose rows are in
    the order of the images' paths. All three are paths or URIs that pyarrow reads on every machine.

    An image that cannot be read has its error in the row. Where `output` holds a part of the same
    job, it goes on from there. `workers` run the network with `threads` each, 0: as many as leave a
    CPU that decodes for each; the other CPUs decode, with a thread each. Returns counts, for
    "evaluate" with top1, top5 and loss.

    Raises Error for what cannot be read or written, for another job's output, for a cluster without
    enough CPUs, and if a worker fails."""
    if command not in ("predict", "embed", "evaluate"):
        raise Error(f"'{command}' is no command; there are predict, embed and evaluate")
    for name, value, least in (
        ("top_k", top_k, 1),
        ("threads", threads, 1),
        ("workers", workers, 0),
        ("shard_images", shard_images, 1),
    ):
        if value < least:
            raise Error(f"{name} is {value}; give {least} or more")
    images, output = _absolute(images), _absolute(output)
    content = _model_content(model)
    opened = loads(content, name=model, threads=1)
    _refuse_wrong_model(command, opened)
    images_system, images_root = _file_system(images)
    folder = _validation_folder(images_system, images_root) if command == "evaluate" else ""
    sizes = _listed(images_system, posixpath.join(images_root, folder), images)
    paths = list(sizes)
    if command == "evaluate":
        paths.sort(key=lambda path: [os.fsencode(part) for part in path.split("/", 1)])
    labels = _class_indices(paths, opened, images) if command == "evaluate" else None
    options: dict[str, Any] = {"threads": threads}
    if command == "predict":
        options["top_k"] = top_k
    elif command == "embed":
        options["normalize"] = normalize
    manifest = {
        "command": command,
        "model": hashlib.sha256(content).hexdigest(),
        "images": _fingerprint(posixpath.join(images, folder), sizes),
        "options": {key: value for key, value in options.items() if key != "threads"},
        "shard_images": shard_images,
    }
    output_system, output_root = _file_system(output)
    done = _begin(output_system, output_root, output, manifest)
    starts = range(0, len(paths), shard_images)
    left = [
        {
            "shard": shard,
            "paths": paths[start : start + shard_images],
            "labels": labels[start : start + shard_images] if labels else [],
        }
        for shard, start in enumerate(starts)
        if _part_name(shard) not in done
    ]
    if left:
        _start_ray(address)
        pools = _workers(threads, workers)
        _run_shards(command, content, options, left, (images, folder), output, pools)
    _remove_temporaries(output_system, output_root)
    return _summary(output_system, output_root, command, len(starts), len(starts) - len(left))


def _refuse_wrong_model(command: str, model: QuantizedModel) -> None:
    if command == "embed" and not model.is_encoder:
        raise Error(f"{model.name}: it gives class scores; quantize an encoder, or use predict")
    if command != "embed" and model.is_encoder:
        raise Error(f"{model.name}: it has no classes, its output is an embedding; use embed")


def _fingerprint(uri: str, sizes: dict[str, int]) -> str:
    lines = [uri, *(f"{path} {size}" for path, size in sizes.items())]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def _validation_folder(system: fs.FileSystem, root: str) -> str:
    """The name of the folder below `root` that has the images to count; empty: `root` itself."""
    for name in _VALIDATION_FOLDERS:
        if system.get_file_info(posixpath.join(root, name)).type == fs.FileType.Directory:
            return name
    return ""


def _cause_of(error: ray.exceptions.RayError) -> str:
    """The line of the innermost exception, which Ray passes on only in the text of its traceback."""
    lines = str(error).strip().splitlines()
    is_traceback = False
    for line in lines:
        if line.startswith("  File "):
            is_traceback = True
        elif is_traceback and line and not line.startswith(" "):
            return line.removeprefix("bitlog2.Error: ")
    return lines[-1]


def _run_shards(
    command: str,
    content: bytes,
    options: dict[str, Any],
    shards: list[dict[str, Any]],
    images: tuple[str, str],
    output: str,
    workers: tuple[int, int],
) -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    decoding, running = workers
    rows = ray.data.from_items(shards, override_num_blocks=len(shards))
    decoded = rows.map_batches(
        _ShardDecoder,
        batch_size=1,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=decoding),
        fn_constructor_args=(content, *images),
    )
    written = decoded.map_batches(
        _ShardWriter,
        batch_size=1,
        num_cpus=options["threads"],
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=running),
        fn_constructor_args=(command, content, options, output),
    )
    try:
        for _ in written.iter_rows():
            pass
    except ray.exceptions.RayError as error:
        raise Error(
            f"a worker failed: {_cause_of(error)}; the same command goes on from here when that is"
            " mended"
        ) from None


def _summary(
    system: fs.FileSystem, root: str, command: str, shards: int, found: int
) -> dict[str, Any]:
    """Counts over all files, read one after the other in their order."""
    columns = ["error"] + (["top1", "top5", "loss"] if command == "evaluate" else [])
    files = [posixpath.join(root, _part_name(shard)) for shard in range(shards)]
    rows = errors = top1 = top5 = 0
    losses = _LossSum()
    try:
        scanner = pyarrow.dataset.dataset(files, filesystem=system, format="parquet").scanner(
            columns=columns, batch_readahead=4, fragment_readahead=16
        )
        for batch in scanner.to_batches():
            rows += batch.num_rows
            errors += batch.num_rows - batch.column("error").null_count
            if command == "evaluate":
                top1 += pyarrow.compute.sum(batch.column("top1"), min_count=0).as_py()
                top5 += pyarrow.compute.sum(batch.column("top5"), min_count=0).as_py()
                losses.add(batch.column("loss").fill_null(0.0).to_numpy())
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise Error(f"{root}: the results cannot be counted: {_line(error)}") from None
    summary: dict[str, Any] = {"images": rows, "errors": errors, "files": shards}
    summary["files_found"] = found
    good = rows - errors
    if command == "evaluate" and good > 0:
        summary["top1"] = 100.0 * top1 / good
        summary["top5"] = 100.0 * top5 / good
        summary["loss"] = losses.total() / good
    return summary


class _LossSum:
    """The sum of losses, in the order of additions in which `evaluate` sums, for the same bits:
    each batch of its own, then the batches' sums. An image without a loss counts as 0."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._left: numpy.ndarray[Any, Any] = numpy.empty(0)  # of a batch that is not complete

    def add(self, losses: numpy.ndarray[Any, Any]) -> None:
        losses = numpy.concatenate([self._left, losses])
        whole = len(losses) // _EVALUATION_BATCH * _EVALUATION_BATCH
        self._left = losses[whole:]
        if whole > 0:
            # accumulate adds one after the other, unlike sum.
            batches = losses[:whole].reshape(-1, _EVALUATION_BATCH)
            sums = numpy.add.accumulate(batches, axis=1)[:, -1]
            self._sum = float(numpy.add.accumulate([self._sum, *sums])[-1])

    def total(self) -> float:
        """The sum of all losses; nothing may be added after it."""
        return self._sum + float(numpy.add.accumulate([0.0, *self._left])[-1])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bitlog2.ray",
        description="Label, embed or measure all images of a folder on a Ray cluster.",
    )
    parser.add_argument("command", choices=["predict", "embed", "evaluate"])
    parser.add_argument("--model", required=True, help="a quantized file: a path or a URI")
    parser.add_argument("--images", required=True, help="a folder of images: a path or a URI")
    parser.add_argument("--output", required=True, help="a folder for Parquet files")
    parser.add_argument("--top-k", type=int, default=5, help="predict: classes per image")
    parser.add_argument("--normalize", action="store_true", help="embed: divide by the norms")
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument(
        "--workers", type=int, default=0, help="0: as many as leave a CPU that decodes for each"
    )
    parser.add_argument("--shard-images", type=int, default=SHARD_IMAGES, help="in one file")
    parser.add_argument("--address", help="of the cluster; without it: RAY_ADDRESS, else local")
    options = vars(parser.parse_args(arguments))
    for name in ("threads", "shard_images", "top_k"):
        if options[name] < 1:
            parser.error(f"--{name.replace('_', '-')} is {options[name]}; give 1 or more")
    try:
        summary = run(**options)
    except Error as error:
        print(f"bitlog2.ray: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bitlog2.ray: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    # Of the module by its name, under which workers find it.
    from bitlog2.ray import main as _main

    sys.exit(_main())
