"""Many machines give what one gives, on a real cluster of several nodes on this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bitlog2
from conftest import DATA, DEMO_DATASET, DEMO_IMAGES, write_classes

ray = pytest.importorskip("ray")
pyarrow = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("ray.data")

from ray.cluster_utils import Cluster

from bitlog2.ray import Classifier, Decoder, Embedder, main, run

IMAGES = 60
DAMAGED = "class_1/0013.png"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Workers find what this process finds.
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "object_store_memory": 150 << 20},
    )
    made.add_node(num_cpus=2, object_store_memory=150 << 20)
    ray.init(address=made.address, logging_level="error", log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty images in two folders; one is damaged, and one file is no image."""
    root = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(5)
    for i in range(IMAGES):
        folder = root / f"class_{i % 2}"
        folder.mkdir(exist_ok=True)
        pixels = random.integers(0, 256, (28 + i, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:04}.png")
    damaged = root / DAMAGED
    damaged.write_bytes(damaged.read_bytes()[:100])
    (root / "readme.txt").write_text("no image")
    return root


def paths_of(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))


def check_predictions(output: Path, photographs: Path, quantized: bitlog2.QuantizedModel) -> None:
    table = pq.read_table(output).to_pydict()
    paths = paths_of(photographs)
    assert table["path"] == paths  # each once, in a stable order
    expected = quantized.predict([photographs / path for path in paths], 3, errors="return")
    for i, answer in enumerate(expected):
        if isinstance(answer, bitlog2.Error):
            assert paths[i] == DAMAGED
            assert DAMAGED in table["error"][i]
            assert table["index"][i] == []
        else:
            assert table["error"][i] is None
            assert table["index"][i] == [best["index"] for best in answer]
            assert table["label"][i] == [best["label"] for best in answer]
            assert table["probability"][i] == [best["probability"] for best in answer]


def test_predict(
    cluster: Cluster,
    photographs: Path,
    quantized: bitlog2.QuantizedModel,
    quantized_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "answers"
    arguments = [
        "predict", "--model", str(quantized_file), "--images", str(photographs),
        "--output", str(output), "--top-k", "3", "--shard-images", "7",
    ]  # fmt: skip
    assert main(arguments) == 0
    first = json.loads(capsys.readouterr().out)
    assert first == {"images": IMAGES, "errors": 1, "files": 9, "files_found": 0}
    check_predictions(output, photographs, quantized)

    # It goes on where it was: only what is missing is made, and it is made the same.
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    kept = (output / "part-00000001.parquet").stat().st_mtime_ns
    for name in ("part-00000000.parquet", "part-00000008.parquet"):
        (output / name).unlink()
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["files_found"] == 7
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert (output / "part-00000001.parquet").stat().st_mtime_ns == kept

    # Another job does not write there.
    assert main([*arguments[:-4], "--top-k", "2", "--shard-images", "7"]) == 1
    assert "another job" in capsys.readouterr().err


def test_embed(cluster: Cluster, photographs: Path, tmp_path: Path) -> None:
    encoder = bitlog2.Model.from_pretrained(DATA / "architectures" / "timm_dinov2").encoder()
    q = bitlog2.quantize(encoder, DEMO_IMAGES, calibration_images=3, w_bits=8, a_bits=8)
    q.save(tmp_path / "encoder.safetensors")
    run(
        "embed", str(tmp_path / "encoder.safetensors"), f"file://{photographs}",
        str(tmp_path / "embeddings"), normalize=True, shard_images=25,
    )  # fmt: skip
    table = pq.read_table(tmp_path / "embeddings").to_pydict()
    good = [path for path in paths_of(photographs) if path != DAMAGED]
    expected = q.embed([photographs / path for path in good], normalize=True)
    rows = [i for i, error in enumerate(table["error"]) if error is None]
    assert [table["path"][i] for i in rows] == good
    assert np.array_equal(np.float32([table["embedding"][i] for i in rows]), expected)


def test_evaluate(
    cluster: Cluster, quantized: bitlog2.QuantizedModel, quantized_file: Path, tmp_path: Path
) -> None:
    """As bitlog2.evaluate and the program do (test_program.py), which pass over damaged images."""
    damaged = write_classes(tmp_path / "data", quantized.labels)
    expected = bitlog2.evaluate(quantized, tmp_path / "data")
    # Files of less than one of evaluate's batches, 64 images, and of more.
    for shard_images in (9, 70):
        summary = run(
            "evaluate", str(quantized_file), str(tmp_path / "data"),
            str(tmp_path / f"rows_{shard_images}"), shard_images=shard_images,
        )  # fmt: skip
        assert summary["errors"] == len(damaged) == len(expected["skipped"])
        assert summary["images"] - summary["errors"] == expected["images"] == 80 - len(damaged)
        for key in ("top1", "top5", "loss"):
            assert summary[key] == expected[key], key
    rows = pq.read_table(tmp_path / "rows_9").to_pylist()
    bad = [row for row in rows if row["error"] is not None]
    assert [row["path"] for row in bad] == damaged
    for row, skipped in zip(bad, expected["skipped"], strict=True):
        assert row["top1"] is row["top5"] is row["loss"] is None
        # The same reason; the one names the path in the dataset, the other the file.
        assert skipped.endswith(row["error"])


def test_losses_are_summed_as_evaluate_does() -> None:
    losses = np.random.default_rng(1).lognormal(0, 3, 1000)
    expected = 0.0
    for first in range(0, 1000, 64):
        part = 0.0
        for loss in losses[first : first + 64]:
            part += loss
        expected += part
    assert expected != losses.sum()  # the order matters
    for size in (1, 7, 64, 65, 300, 1000):
        summed = bitlog2.ray._LossSum()
        for first in range(0, 1000, size):
            summed.add(losses[first : first + size])
        assert summed.total() == expected
    assert bitlog2.ray._LossSum().total() == 0


def test_the_summary_needs_no_memory_for_each_row(tmp_path: Path) -> None:
    """The rows of 60 files take more than 300 MB as Python's objects; counting them, a few."""
    rows = 100_000
    table = pyarrow.table(
        {
            "error": pyarrow.array([None] * rows, pyarrow.string()),
            "top1": pyarrow.array(np.arange(rows) % 2 == 0),
            "top5": pyarrow.array(np.full(rows, True)),
            "loss": pyarrow.array(np.full(rows, 0.5)),
        }
    )
    first = tmp_path / "part-00000000.parquet"
    pq.write_table(table, first)
    for shard in range(1, 60):
        (tmp_path / f"part-{shard:08}.parquet").hardlink_to(first)
    script = f"""
import resource
import bitlog2.ray
from pyarrow import fs

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

count = lambda files: bitlog2.ray._summary(
    fs.LocalFileSystem(), {str(tmp_path)!r}, "evaluate", files, 0)
count(20)
before = most()
summary = count(60)
assert (summary["images"], summary["top1"], summary["loss"]) == (6_000_000, 50.0, 0.5), summary
print(most() - before)
"""
    outcome = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert int(outcome.stdout) < 100_000  # KiB


def actors_on(node: Any) -> int:
    """Live actors on a node: the workers of a job that runs there."""
    return sum(
        actor["State"] == "ALIVE" and actor["Address"]["NodeID"] == node.node_id
        for actor in ray._private.state.actors().values()
    )


def test_a_killed_node_loses_no_image(
    cluster: Cluster,
    quantized: bitlog2.QuantizedModel,
    quantized_file: Path,
    photographs: Path,
    tmp_path: Path,
) -> None:
    node = cluster.add_node(num_cpus=2, object_store_memory=150 << 20)

    def kills_node(output: Path) -> bool:
        """Runs a job, and kills the node as soon as the job has workers there; whether it had."""
        over, killed = threading.Event(), threading.Event()

        def kill() -> None:
            while not over.wait(0.01):
                if len(list(output.glob("part-*"))) >= 3 and actors_on(node) > 0:
                    killed.set()
                    cluster.remove_node(node, allow_graceful=False)
                    return

        killer = threading.Thread(target=kill)
        killer.start()
        summary = run(
            "predict", str(quantized_file), str(photographs), str(output), top_k=3,
            shard_images=1, workers=3,
        )  # fmt: skip
        was_killed = killed.is_set()
        over.set()
        killer.join()
        assert summary["images"] == IMAGES
        check_predictions(output, photographs, quantized)
        return was_killed

    # A job may be over before it has workers there.
    assert any(kills_node(tmp_path / f"answers_{i}") for i in range(5))


def test_a_killed_job_goes_on(
    cluster: Cluster,
    quantized: bitlog2.QuantizedModel,
    quantized_file: Path,
    photographs: Path,
    tmp_path: Path,
) -> None:
    job = {"top_k": 3, "shard_images": 1}

    def parts_of_killed_job(output: Path) -> int:
        script = f"""
import bitlog2.ray
bitlog2.ray.run("predict", {str(quantized_file)!r}, {str(photographs)!r}, {str(output)!r},
                address={cluster.address!r}, **{job!r})
"""
        started = subprocess.Popen([sys.executable, "-c", script])
        deadline = time.monotonic() + 120
        while len(list(output.glob("part-*"))) < 3 and started.poll() is None:
            assert time.monotonic() < deadline, "the job does not begin"
            time.sleep(0.01)
        started.kill()
        started.wait()
        before, found = -1, 0
        while before != found:  # until its workers are gone, too
            time.sleep(1)
            before, found = found, len(list(output.glob("part-*")))
        return found

    # A job may be over before it can be killed.
    tries = (tmp_path / f"answers_{i}" for i in range(5))
    output = next((each for each in tries if parts_of_killed_job(each) < IMAGES), None)
    assert output is not None, "every job was over before it was killed"
    summary = run("predict", str(quantized_file), str(photographs), str(output), **job)
    assert summary["files"] == summary["images"] == IMAGES
    assert 3 <= summary["files_found"] < IMAGES
    check_predictions(output, photographs, quantized)


def test_what_a_killed_worker_left_is_removed(
    cluster: Cluster,
    quantized: bitlog2.QuantizedModel,
    quantized_file: Path,
    photographs: Path,
    tmp_path: Path,
) -> None:
    output = tmp_path / "answers"
    job = {"shard_images": 20, "top_k": 3}
    run("predict", str(quantized_file), str(photographs), str(output), **job)
    lost = "part-00000001.parquet"
    (output / lost).unlink()

    @ray.remote(max_retries=0)
    def write_half_a_shard(model: bytes, folder: str) -> None:
        import signal

        import pyarrow.parquet

        from bitlog2.ray import _ShardWriter

        def write_and_die(table: object, stream: Any) -> None:
            stream.write(b"PAR1")
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        pyarrow.parquet.write_table = write_and_die
        _ShardWriter("predict", model, {}, folder)._write(1, None)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(write_half_a_shard.remote(quantized.to_bytes(), str(output)))
    (left,) = output.glob(f".{lost}.*")
    assert left.stat().st_size == 4
    others = [output / ".part-of-something-else", output / f".{lost}.crc"]
    for other in others:
        other.write_text("not the job's")

    # Another job does not touch it.
    with pytest.raises(bitlog2.Error, match="another job"):
        run("predict", str(quantized_file), str(photographs), str(output), top_k=2)
    assert left.exists()

    summary = run("predict", str(quantized_file), str(photographs), str(output), **job)
    assert (summary["files"], summary["files_found"]) == (3, 2)
    assert not left.exists()
    assert all(other.exists() for other in others)
    check_predictions(output, photographs, quantized)

    # Nor does one that finds everything done keep it.
    left.write_bytes(b"PAR1")
    run("predict", str(quantized_file), str(photographs), str(output), **job)
    assert not left.exists()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket, as moto serves it on this machine."""
    from pyarrow import fs

    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"{host}:{port}"
    store = fs.S3FileSystem(
        access_key="user", secret_key="secret", endpoint_override=endpoint, scheme="http",
        allow_bucket_creation=True,
    )  # fmt: skip
    store.create_dir("bucket")
    yield (
        store,
        lambda path: f"s3://user:secret@bucket/{path}?scheme=http&endpoint_override={endpoint}",
    )
    server.stop()


def test_a_bucket(
    cluster: Cluster,
    quantized: bitlog2.QuantizedModel,
    photographs: Path,
    bucket: Any,
    tmp_path: Path,
) -> None:
    store, uri_of = bucket
    for path in paths_of(photographs):
        with store.open_output_stream(f"bucket/photos/{path}") as stream:
            stream.write((photographs / path).read_bytes())
    with store.open_output_stream("bucket/q.safetensors") as stream:
        stream.write(quantized.to_bytes())
    job = (uri_of("q.safetensors"), uri_of("photos"), uri_of("answers"))
    assert run("predict", *job, top_k=3, shard_images=25) == {
        "images": IMAGES, "errors": 1, "files": 3, "files_found": 0
    }  # fmt: skip
    store.delete_file("bucket/answers/part-00000001.parquet")
    assert run("predict", *job, top_k=3, shard_images=25)["files_found"] == 2
    from pyarrow import fs

    (tmp_path / "answers").mkdir()
    fs.copy_files("bucket/answers", str(tmp_path / "answers"), source_filesystem=store)
    check_predictions(tmp_path / "answers", photographs, quantized)


def test_classes_for_map_batches(
    cluster: Cluster, quantized: bitlog2.QuantizedModel, quantized_file: Path, photographs: Path
) -> None:
    paths = paths_of(photographs)[:12]
    rows = [
        {"path": path, "bytes": (photographs / path).read_bytes(), "id": i}
        for i, path in enumerate(paths)
    ]
    pool = ray.data.ActorPoolStrategy(size=1)
    file = str(quantized_file)
    answers = (
        ray.data.from_items(rows)
        .map_batches(Decoder, fn_constructor_args=[file], batch_size=4, compute=pool)
        .map_batches(Classifier, fn_constructor_args=[file, 1], batch_size=5, compute=pool)
        .take_all()
    )
    assert {answer["id"] for answer in answers} == set(range(12))
    for answer in answers:
        ((expected,),) = quantized.predict(photographs / paths[answer["id"]], top_k=1)
        assert answer["path"] == paths[answer["id"]]
        assert list(answer["index"]) == [expected["index"]]
        assert list(answer["probability"]) == [expected["probability"]]


def test_classes_alone(
    model: bitlog2.Model, quantized: bitlog2.QuantizedModel, crops: np.ndarray
) -> None:
    batch = Classifier(quantized, top_k=2)({"crop": crops, "id": np.arange(12)})
    assert list(batch["id"]) == list(range(12))
    expected = quantized.predict(crops, top_k=2)
    assert list(batch["index"]) == [[best["index"] for best in row] for row in expected]
    encoder = bitlog2.quantize(model.encoder(), crops)
    batch = Embedder(encoder.to_bytes())({"crop": crops})
    assert np.array_equal(batch["embedding"], encoder.embed(crops))
    with pytest.raises(bitlog2.Error, match="Embedder"):
        Classifier(encoder)
    with pytest.raises(bitlog2.Error, match="Classifier"):
        Embedder(quantized)
    with pytest.raises(bitlog2.Error, match="'crop' or 'bytes' is needed"):
        Classifier(quantized)({"image": crops})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "no_such_model"}, "no_such_model"),
        ({"model": str(DEMO_DATASET)}, "fashion_mnist"),
        ({"images": "no_such_folder"}, "no_such_folder"),
        ({"images": "gopher://x/y"}, "gopher"),
        ({"images": "s3://"}, "s3://"),
        ({"images": "file:///no/such/folder"}, "file:///no/such/folder"),
        ({"model": "gopher://x/y"}, "gopher"),
        ({"model": "file:///no_such_model"}, "file:///no_such_model"),
        ({"output": "gopher://x/y"}, "gopher"),
        ({"output": "file:///proc/answers"}, "file:///proc/answers"),
        pytest.param(
            {"images": "hf://datasets/x/y"},
            "huggingface_hub",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("huggingface_hub") is not None,
                reason="the package that would be missing is there",
            ),
        ),
        ({"images": "zip://x::file:///no_such.zip"}, "zip://x::file:///no_such.zip"),
        ({"images": "file://another-host/x"}, "file://another-host/x"),
        ({"images": "abfs://x/y"}, "account name"),
        ({"images": str(DATA / "nano")}, "there are no images"),
        ({"output": "/proc/answers"}, "/proc/answers"),
        ({"threads": 100}, "100 threads each"),
        ({"workers": 100}, "100 workers"),
        ({"workers": -1}, "workers is -1; give 0 or more"),
        ({"threads": 0}, "threads is 0; give 1 or more"),
        ({"shard_images": 0}, "shard_images is 0; give 1 or more"),
        ({"command": "embed"}, "class scores"),
        ({"command": "evaluate"}, "2 class folders"),
    ],
)
def test_what_a_job_refuses(
    cluster: Cluster,
    quantized_file: Path,
    photographs: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    message: str,
) -> None:
    job: dict[str, Any] = {
        "command": "predict",
        "model": str(quantized_file),
        "images": str(photographs),
        "output": str(tmp_path / "answers"),
    }
    with pytest.raises(bitlog2.Error) as caught:
        run(**{**job, **changes})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_images_of_the_same_names_are_another_job(
    cluster: Cluster, quantized_file: Path, photographs: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(photographs, other)
    output = str(tmp_path / "answers")
    run("predict", str(quantized_file), str(photographs), output)
    with pytest.raises(bitlog2.Error, match="another job"):
        run("predict", str(quantized_file), str(other), output)
    grown = photographs / paths_of(photographs)[0]
    content = grown.read_bytes()
    try:
        grown.write_bytes(content + b"\0")
        with pytest.raises(bitlog2.Error, match="images differ"):
            run("predict", str(quantized_file), str(photographs), output)
    finally:
        grown.write_bytes(content)


def test_paths_may_be_relative(
    cluster: Cluster,
    quantized_file: Path,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absolute = run("predict", str(quantized_file), str(photographs), str(tmp_path / "a"))
    monkeypatch.chdir(photographs.parent)
    relative = run(
        "predict", str(quantized_file), photographs.name, os.path.relpath(tmp_path / "b")
    )
    assert relative["errors"] == absolute["errors"]
    assert (tmp_path / "b" / "part-00000000.parquet").exists()


def test_storage_that_goes_away_is_no_result(
    cluster: Cluster, quantized_file: Path, photographs: Path, tmp_path: Path
) -> None:
    away = tmp_path / "away"
    shutil.copytree(photographs, away)
    _, root = bitlog2.ray._file_system(str(away))
    decoder = bitlog2.ray._ShardDecoder(quantized_file.read_bytes(), str(away), "")
    paths = paths_of(away)[:2]
    shutil.rmtree(root)
    with pytest.raises(bitlog2.Error, match="no image of a shard can be read"):
        decoder({"shard": [0], "paths": [paths], "labels": [[]]})


class AwayForAMoment:
    """A file system whose files can be read only after some tries."""

    def __init__(self, tries: int) -> None:
        self.left: dict[str, int] = {}
        self.tries = tries

    def open_input_file(self, path: str) -> Any:
        self.left.setdefault(path, self.tries)
        if self.left[path] > 0:
            self.left[path] -= 1
            raise OSError(f"no route to the storage of {path}")
        return pyarrow.BufferReader(path.encode())


def test_storage_that_is_away_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    names = [f"{i}.png" for i in range(50)]
    tries = len(bitlog2.ray._RETRY_SECONDS)
    read = bitlog2.ray._read_all(AwayForAMoment(tries), names)
    assert read == [(name.encode(), None) for name in names]
    # All files wait together.
    assert tuple(waits) == bitlog2.ray._RETRY_SECONDS
    system = AwayForAMoment(tries + 1)
    system.left["7.png"] = 0
    read = bitlog2.ray._read_all(system, names)
    assert read[7] == (b"7.png", None)
    assert read[8] == (b"", "8.png: cannot be read (no route to the storage of 8.png)")
    waits.clear()
    bitlog2.ray._read_all(AwayForAMoment(0), names)
    assert not waits


def test_file_systems_of_fsspec(
    cluster: Cluster,
    quantized: bitlog2.QuantizedModel,
    quantized_file: Path,
    photographs: Path,
    tmp_path: Path,
) -> None:
    """pyarrow does not know zip. The workers read the model and the images out of an archive."""
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(quantized_file, "model.safetensors")
        for path in photographs.rglob("*"):
            if path.is_file():
                file.write(path, f"photographs/{path.relative_to(photographs)}")
    inside = f"::file://{archive}"
    output = tmp_path / "answers"
    summary = run(
        "predict", f"zip://model.safetensors{inside}", f"zip://photographs{inside}",
        f"file://{output}", top_k=3, shard_images=25,
    )  # fmt: skip
    assert (summary["images"], summary["errors"]) == (IMAGES, 1)
    check_predictions(output, photographs, quantized)


def test_output_to_a_file_system_of_fsspec(
    quantized: bitlog2.QuantizedModel, quantized_file: Path, photographs: Path
) -> None:
    """Its memory belongs to one process, so that here the stages run without Ray."""
    job = {"command": "predict"}
    system, root = bitlog2.ray._file_system("memory://answers")
    assert bitlog2.ray._begin(system, root, "memory://answers", job) == set()
    paths = paths_of(photographs)
    content = quantized_file.read_bytes()
    decode = bitlog2.ray._ShardDecoder(content, str(photographs), "")
    write = bitlog2.ray._ShardWriter("predict", content, {"top_k": 3}, "memory://answers")
    for shard in range(2):
        some = paths[30 * shard : 30 * shard + 30]
        write(decode({"shard": [shard], "paths": [some], "labels": [[]]}))
    with system.open_output_stream(f"{root}/{bitlog2.ray._temporary_name(1)}") as stream:
        stream.write(b"PAR1")
    bitlog2.ray._remove_temporaries(system, root)
    assert bitlog2.ray._begin(system, root, "memory://answers", job) == {
        "part-00000000.parquet", "part-00000001.parquet",
    }  # fmt: skip
    with pytest.raises(bitlog2.Error, match="another job"):
        bitlog2.ray._begin(system, root, "memory://answers", {"command": "embed"})
    assert bitlog2.ray._summary(system, root, "predict", 2, 0) == {
        "images": IMAGES, "errors": 1, "files": 2, "files_found": 0,
    }  # fmt: skip
    expected = quantized.predict([photographs / path for path in paths], 3, errors="return")
    rows = [
        row
        for shard in range(2)
        for row in pq.read_table(f"{root}/part-{shard:08}.parquet", filesystem=system).to_pylist()
    ]
    assert [row["path"] for row in rows] == paths
    for row, answer in zip(rows, expected, strict=True):
        good = not isinstance(answer, bitlog2.Error)
        assert row["index"] == ([best["index"] for best in answer] if good else [])


def test_a_worker_that_fails_is_one_line(
    cluster: Cluster,
    quantized_file: Path,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = {f"gone/{i}.png": 1 for i in range(4)}  # for the workers the storage is away
    monkeypatch.setattr(bitlog2.ray, "_listed", lambda *_: gone)
    output = tmp_path / "answers"
    with pytest.raises(bitlog2.Error) as caught:
        run("predict", str(quantized_file), str(photographs), str(output))
    assert "a worker failed" in str(caught.value)
    assert "no image of a shard can be read" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(output.glob("part-*"))


def test_a_cluster_without_enough_cpus(
    cluster: Cluster,
    quantized_file: Path,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = {"Alive": True, "Resources": {"CPU": 1.0}}
    gone = {"Alive": False, "Resources": {"CPU": 64.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [one, gone])
    with pytest.raises(bitlog2.Error, match="has 1 CPUs, 1 at most on one machine.*need 2"):
        run("predict", str(quantized_file), str(photographs), str(tmp_path / "answers"))
    monkeypatch.setattr(ray, "nodes", lambda: [one] * 8)
    with pytest.raises(bitlog2.Error, match="1 at most on one machine.*2 threads each"):
        run("predict", str(quantized_file), str(photographs), str(tmp_path / "answers"), threads=2)


def test_no_cluster_at_the_address(
    quantized_file: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**options: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nUse another address.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(
        bitlog2.Error, match="^auto: no Ray cluster answers there: Could not find"
    ) as caught:
        run(
            "predict", str(quantized_file), str(photographs), str(tmp_path / "answers"),
            address="auto",
        )  # fmt: skip
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", ["--address", "RAY_ADDRESS", "ray://"])
def test_nobody_answers_at_the_address(
    quantized_file: Path, photographs: Path, tmp_path: Path, given: str
) -> None:
    """Ray itself would try for minutes to reach a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        address = f"ray://{address}" if given == "ray://" else address
        options = [] if given == "RAY_ADDRESS" else ["--address", address]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        outcome = subprocess.run(
            [
                sys.executable, "-m", "bitlog2.ray", "predict", "--model", str(quantized_file),
                "--images", str(photographs), "--output", str(tmp_path / "answers"), *options,
            ],
            capture_output=True, text=True, check=False, timeout=60,
            env={**environment, "RAY_ADDRESS": address} if not options else environment,
        )  # fmt: skip
    assert outcome.returncode == 1
    assert outcome.stderr == (
        f"bitlog2.ray: error: {address}: no Ray cluster answers there: Connection refused; give the"
        " address that `ray start --head` prints\n"
    )


def test_a_folder_with_other_files_is_no_output(
    cluster: Cluster, quantized_file: Path, photographs: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(bitlog2.Error, match="not empty"):
        run("predict", str(quantized_file), str(photographs), str(tmp_path))


def test_the_command_line_says_one_line(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [
            sys.executable, "-m", "bitlog2.ray", "predict", "--model", "no_such_file",
            "--images", str(tmp_path), "--output", str(tmp_path / "out"),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("bitlog2.ray: error: no_such_file")
    assert outcome.stderr.count("\n") == 1


def test_the_program_on_a_cluster(
    cluster: Cluster,
    quantized: bitlog2.QuantizedModel,
    quantized_file: Path,
    photographs: Path,
    tmp_path: Path,
) -> None:
    """As a user runs it: another process, which finds the cluster by its address."""
    output = tmp_path / "answers"
    outcome = subprocess.run(
        [
            sys.executable, "-m", "bitlog2.ray", "predict", "--model", str(quantized_file),
            "--images", str(photographs), "--output", str(output), "--top-k", "3",
            "--address", cluster.address,
        ],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout)["images"] == IMAGES
    check_predictions(output, photographs, quantized)
    shutil.rmtree(output)
