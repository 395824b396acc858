"""Loading, saving, settings, and what they refuse."""

from __future__ import annotations

import copy
import fcntl
import json
import multiprocessing
import os
import pickle
import signal
import stat
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import bitlog2
from conftest import DATA, DEMO_DATASET, DEMO_WEIGHTS


def test_what_a_model_says_of_itself(
    model: bitlog2.Model, quantized: bitlog2.QuantizedModel
) -> None:
    for network in (model, quantized):
        assert network.labels[9] == "Ankle boot"
        assert network.preprocessing["crop"] == 28
        assert network.config["depths"] == [6]
        assert not network.is_encoder
        assert network.threads >= 1
    assert quantized.settings == "BitLog2_Half_16.w4a4"
    assert quantized.recipe["weight-rounding"] == "nearest"
    assert quantized.file_bytes == len(quantized.to_bytes())
    assert quantized.memory_bytes > quantized.file_bytes
    assert "BitLog2_Half_16" in bitlog2.attention_schemes
    assert "BitLog2_Half_16.w4a4" in repr(quantized)
    assert "custom" in repr(model)


def test_folders_of_libraries_load() -> None:
    for name in ("timm_vit", "transformers_vit_classifier", "torchvision_vit"):
        folder = DATA / "architectures" / name
        files = [folder] if (folder / "config.json").exists() else list(folder.glob("*.pth"))
        loaded = bitlog2.Model.from_pretrained(files[0])
        side = loaded.preprocessing["crop"]
        assert loaded(np.zeros((1, side, side, 3), np.uint8)).shape[0] == 1


def test_saved_and_loaded_is_the_same(
    quantized: bitlog2.QuantizedModel, crops: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "q.safetensors"
    path.write_bytes(b"what was there before")
    quantized.save(path)
    assert np.array_equal(bitlog2.load(path)(crops), quantized(crops))
    assert np.array_equal(bitlog2.load(str(path), threads=1)(crops), quantized(crops))
    assert np.array_equal(bitlog2.loads(path.read_bytes())(crops), quantized(crops))
    assert [entry.name for entry in tmp_path.iterdir()] == ["q.safetensors"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044 & ~os.umask(os.umask(0o022))


def test_instruction_sets_give_the_same(
    quantized: bitlog2.QuantizedModel, quantized_file: Path, crops: np.ndarray
) -> None:
    portable = bitlog2.load(quantized_file, isa="portable")
    assert portable.isa == "portable"
    assert np.array_equal(portable(crops), quantized(crops))
    with pytest.raises(bitlog2.Error, match="pentium"):
        bitlog2.load(quantized_file, isa="pentium")


def test_pickles(
    model: bitlog2.Model, quantized: bitlog2.QuantizedModel, crops: np.ndarray
) -> None:
    for network in (model, quantized):
        again = pickle.loads(pickle.dumps(network))
        assert type(again) is type(network)
        assert again.threads == network.threads
        assert np.array_equal(again(crops), network(crops))
        assert np.array_equal(copy.deepcopy(network)(crops[:1]), network(crops[:1]))
    noted = bitlog2.quantize(model, crops[:2], calibration_images=5)
    assert noted.notes
    assert pickle.loads(pickle.dumps(noted)).notes == noted.notes
    portable = bitlog2.loads(bytearray(quantized.to_bytes()), isa="portable", threads=np.int64(1))
    again = pickle.loads(pickle.dumps(portable))
    assert (again.isa, again.threads) == ("portable", 1)
    error = pickle.loads(pickle.dumps(bitlog2.Error("a line")))
    assert isinstance(error, bitlog2.Error)
    assert str(error) == "a line"


@pytest.mark.parametrize(
    "name",
    [
        "timm_beit", "timm_clip", "timm_deit_distilled", "timm_dinov2_reg4", "timm_siglip",
        "timm_dinov2_swiglu", "timm_dinov3", "timm_eva02", "timm_swin", "timm_vit_fc_norm", "timm_vit_no_qkv_bias", "transformers_beit_model",
        "transformers_clip_vision_projection", "transformers_dinov2_classifier",
        "transformers_swin_classifier", "transformers_vit_classifier",
    ],
)  # fmt: skip
def test_models_pickle_without_their_files(name: str) -> None:
    loaded = bitlog2.Model.from_pretrained(DATA / "architectures" / name, threads=1)
    # from_torch makes models of which no file is known.
    unnamed = bitlog2.Model(loaded._core, threads=1)
    side = loaded.preprocessing["crop"]
    seen = np.random.default_rng(3).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    for network in (unnamed, loaded.encoder(), loaded.encoder().encoder("mean")):
        again = pickle.loads(pickle.dumps(network))
        assert type(again) is bitlog2.Model
        for of in ("name", "config", "labels", "notes", "preprocessing", "threads", "is_encoder"):
            assert getattr(again, of) == getattr(network, of), of
        assert np.array_equal(again(seen), network(seen))
        # Once more, as one that was pickled may be.
        assert np.array_equal(copy.deepcopy(again)(seen), network(seen))
    given, kept = (
        bitlog2.quantize(each, seen, recipe="best").to_bytes()
        for each in (unnamed, pickle.loads(pickle.dumps(unnamed)))
    )
    assert given == kept


def test_a_pickle_of_files_is_small_and_knows_its_place(
    crops: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(DEMO_WEIGHTS.parent)
    by_path = bitlog2.Model.from_pretrained(DEMO_WEIGHTS.name)
    by_weights = bitlog2.Model.from_pretrained(weights=DEMO_WEIGHTS.name, image_size=56)
    monkeypatch.chdir(tmp_path)
    for network in (by_path, by_weights):
        pickled = pickle.dumps(network)
        assert len(pickled) < 1000
        side = network.preprocessing["crop"]
        seen = np.resize(crops, (2, side, side, 3))
        assert np.array_equal(pickle.loads(pickled)(seen), network(seen))


def test_a_damaged_pickle_is_an_error(model: bitlog2.Model) -> None:
    content = model.encoder()._core.content()
    for damaged in (b"", content[:-4], content.replace(b"pickled_config", b"another_config")):
        with pytest.raises(bitlog2.Error, match="a pickled model"):
            bitlog2._core.from_model_content(damaged, [], [], 1)


def test_threads_do_not_disturb_each_other(
    model: bitlog2.Model, quantized: bitlog2.QuantizedModel, crops: np.ndarray
) -> None:
    for network in (model, quantized):
        expected = network(crops)
        parts = [crops[i % 12 :] for i in range(48)]
        with ThreadPoolExecutor(8) as threads:
            for i, logits in enumerate(threads.map(network, parts)):
                assert np.array_equal(logits, expected[i % 12 :])


@pytest.mark.parametrize("work", ["call", "evaluate", "quantize"])
def test_other_threads_run_meanwhile(
    model: bitlog2.Model, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    monkeypatch.setattr(bitlog2._images, "BATCH", 10**6)  # one call of the engine is all of it
    (batch,) = model._batches(np.concatenate([crops] * 150))
    many = bitlog2._api._first_images(model, np.concatenate([crops] * 50), 600)
    scheme = bitlog2._core.Scheme("Sqrt2_17", 4, 4, "repq", {})
    limits = bitlog2._core.CalibrationLimits(None, False)
    core = model._core
    calls = {
        "call": lambda: core.run(batch, False),
        "evaluate": lambda: bitlog2._core.evaluate(
            core, str(DEMO_DATASET), "", 0, 0, 0, False, None
        ),
        "quantize": lambda: bitlog2._core.quantize(core, many, scheme, [], limits, None),
    }
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)

    clock = threading.Thread(target=tick)
    clock.start()
    before = ticks
    calls[work]()
    meanwhile = ticks - before
    done.set()
    clock.join()
    # One that waits for Python's lock ticks once or twice before and after.
    assert meanwhile > 20


def _logits_in_child(network: bitlog2._api._Network, crops: np.ndarray, pipe: object) -> None:
    pipe.send(network(crops))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork beside threads
@pytest.mark.parametrize("kind", ["float", "integer"])
def test_a_forked_process_starts_its_own_threads(
    quantized_file: Path, crops: np.ndarray, kind: str
) -> None:
    network: bitlog2._api._Network = (
        bitlog2.load(quantized_file, threads=2)
        if kind == "integer"
        else bitlog2.Model.from_pretrained(weights=DEMO_WEIGHTS, threads=2)
    )
    expected = network(crops)  # whose threads are running now
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    child = context.Process(target=_logits_in_child, args=(network, crops, theirs))
    child.start()
    assert mine.poll(60), "the child does not answer"
    assert np.array_equal(mine.recv(), expected)
    child.join(60)
    assert child.exitcode == 0
    assert np.array_equal(network(crops), expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_may_be_forked_while_another_thread_computes(
    quantized_file: Path, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantized = bitlog2.load(quantized_file, threads=2)
    expected = quantized(crops)
    monkeypatch.setattr(bitlog2._images, "BATCH", 10**6)
    many = np.concatenate([crops] * 500)
    context = multiprocessing.get_context("fork")
    done = threading.Event()

    def compute() -> None:
        while not done.is_set():
            quantized(many)

    busy = threading.Thread(target=compute)
    busy.start()
    try:
        for _ in range(3):
            mine, theirs = context.Pipe()
            child = context.Process(target=_logits_in_child, args=(quantized, crops, theirs))
            child.start()
            answered = mine.poll(60)
            if not answered:
                child.kill()
            assert answered, "the child does not answer"
            assert np.array_equal(mine.recv(), expected)
            child.join(60)
    finally:
        done.set()
        busy.join()


def test_a_started_process_gets_the_model(
    model: bitlog2.Model, quantized: bitlog2.QuantizedModel, crops: np.ndarray
) -> None:
    networks = (quantized, model, model.encoder(), bitlog2.Model(model._core))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        for network in networks:
            assert np.array_equal(processes.submit(network, crops).result(60), network(crops))


INTERRUPTED = """
import signal
import numpy as np
import bitlog2
# A job in the background inherits that Ctrl-C is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
bitlog2._images.BATCH = 10**6  # one call of the engine is all of it
bitlog2._images.BATCH_BYTES = 1 << 40
model = bitlog2.Model.from_pretrained(weights={weights!r}, threads=1)
demo, large = {demo!r}, {large!r}
def crops(count, side=28):
    one = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return np.broadcast_to(one, (count, side, side, 3))
def prepared():
{prepare}
work = prepared()
print("ready", flush=True)
try:
    work()
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.fixture(scope="module")
def large_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's, with its validation images repeated until one pass takes minutes."""
    content = DEMO_DATASET.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    data = b""
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        first, end = tensor["data_offsets"]
        times = 40 if name.startswith("val.") else 1
        tensor["shape"][0] *= times
        tensor["data_offsets"] = [len(data), len(data) + times * (end - first)]
        data += times * content[start + first : start + end]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = tmp_path_factory.mktemp("large") / "large.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.mark.parametrize(
    "prepare",
    [
        """
    images = crops(60_000)
    return lambda: model.predict(images)""",
        """
    q, images = bitlog2.quantize(model, demo), crops(200_000)
    return lambda: q.predict(images)""",
        """
    return lambda: bitlog2.evaluate(model, large)""",
        """
    return lambda: bitlog2.evaluate(model.encoder(), large, knn=5)""",
        """
    images = crops(20_000)
    return lambda: bitlog2.quantize(model, images, calibration_images=20_000)""",
        """
    images = crops(4000)
    return lambda: bitlog2.quantize(model, images, recipe="best")""",
        """
    return lambda: bitlog2.quantize(
        model, demo, recipe="reconstruct", parts={{"reconstruct": "1000000"}})""",
        """
    wide = bitlog2.Model.from_pretrained(weights={weights!r}, image_size=56, threads=1)
    q, images = bitlog2.quantize(wide, demo), crops(4096, 56)
    return lambda: bitlog2.compare(wide, q, images)""",
    ],
    ids=[
        "predict", "predict in integers", "evaluate", "probe", "quantize", "quantize best",
        "reconstruct", "compare",
    ],
)  # fmt: skip
def test_interrupted_work_ends_soon(prepare: str, large_dataset: Path) -> None:
    paths = {"weights": str(DEMO_WEIGHTS), "demo": str(DEMO_DATASET), "large": str(large_dataset)}
    script = INTERRUPTED.format(**paths, prepare=prepare.format(**paths))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(1)
        assert process.poll() is None, "the work was over before Ctrl-C"
        process.send_signal(signal.SIGINT)
        try:
            # The package promises a second. The work takes most of a minute or more, so that ten
            # seconds, which a busy machine may need, tell the two apart.
            output, _ = process.communicate(timeout=10)
        finally:
            process.kill()
    assert output == b"interrupted\n"
    assert process.returncode == 0


def test_progress_is_told(model: bitlog2.Model, crops: np.ndarray) -> None:
    told: list[tuple[int, int]] = []
    bitlog2.quantize(model, DEMO_DATASET, progress=lambda done, total: told.append((done, total)))
    assert told
    assert told[-1][0] == told[-1][1]
    assert told == sorted(told)


def test_progress_may_end_the_work(model: bitlog2.Model) -> None:
    def refuse(done: int, total: int) -> None:
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        bitlog2.evaluate(model, DEMO_DATASET, progress=refuse)


def test_progress_says_nothing_in_a_pipe(
    model: bitlog2.Model, capfd: pytest.CaptureFixture[str]
) -> None:
    bitlog2.quantize(model, DEMO_DATASET, progress=True)
    assert capfd.readouterr() == ("", "")


def test_progress_is_a_bar_of_tqdm_on_a_terminal() -> None:
    pytest.importorskip("tqdm")
    mine, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    script = f"""
import bitlog2
model = bitlog2.Model.from_pretrained(weights={str(DEMO_WEIGHTS)!r})
bitlog2.quantize(model, {str(DEMO_DATASET)!r}, recipe="best", progress=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(mine, 4096):
                shown += part
        except OSError:  # the terminal's other end is closed
            pass
    os.close(mine)
    assert process.returncode == 0
    assert b"custom: calibrating" in shown


def test_reconstruction_takes_steps_and_comes_closer(model: bitlog2.Model) -> None:
    seen: list[tuple[int, int]] = []
    before = bitlog2.quantize(model, DEMO_DATASET, w_bits=3, a_bits=3, recipe="best")
    after = bitlog2.quantize(
        model,
        DEMO_DATASET,
        w_bits=3,
        a_bits=3,
        recipe="reconstruct",
        parts={"reconstruct": "60"},
        progress=lambda done, total: seen.append((done, total)),
    )
    assert after.recipe["reconstruct"] == "60"
    assert seen[-1][0] == seen[-1][1] > 60
    losses = [bitlog2.evaluate(network, DEMO_DATASET)["loss"] for network in (before, after)]
    assert losses[1] < losses[0]


def test_compare_names_every_layer(
    model: bitlog2.Model, quantized: bitlog2.QuantizedModel, crops: np.ndarray
) -> None:
    rows = bitlog2.compare(model, quantized, crops)
    layers = [row["layer"] for row in rows]
    assert layers[0] == "patch_embed.proj"
    assert "blocks.5.mlp.fc2" in layers
    assert len(set(layers)) == len(layers)
    assert all(-10 < row["integer_to_fp32_db"] < 100 for row in rows)
    better = bitlog2.quantize(model, DEMO_DATASET, w_bits=8, a_bits=8)
    for low, high in zip(rows, bitlog2.compare(model, better, crops)):
        assert high["integer_to_fp32_db"] > low["integer_to_fp32_db"], low["layer"]
    pandas = pytest.importorskip("pandas")
    assert list(rows.to_pandas().columns) == list(rows[0])
    assert isinstance(rows.to_pandas(), pandas.DataFrame)


def test_compare_reads_no_more_images_than_asked(
    model: bitlog2.Model, quantized: bitlog2.QuantizedModel, crops: np.ndarray
) -> None:
    read = 0

    def each() -> Iterator[np.ndarray]:
        nonlocal read
        for crop in crops:
            read += 1
            yield crop

    rows = bitlog2.compare(model, quantized, each(), limit=3)
    assert read == 3
    assert list(rows) == list(bitlog2.compare(model, quantized, crops[:3]))
    for limit in (-1, 5000):
        with pytest.raises(bitlog2.Error, match=f"limit is {limit}; give 0 to 4096"):
            bitlog2.compare(model, quantized, crops, limit=limit)


def test_compare_refuses_two_networks(quantized: bitlog2.QuantizedModel) -> None:
    other = bitlog2.Model.from_pretrained(weights=DATA / "nano" / "vit_nano.safetensors")
    with pytest.raises(bitlog2.Error, match="different networks"):
        bitlog2.compare(other, quantized, DATA / "images" / "colour_444.jpg")


def test_encoders_and_classifiers_are_told_apart(
    model: bitlog2.Model, quantized: bitlog2.QuantizedModel, crops: np.ndarray
) -> None:
    encoder = model.encoder()
    assert encoder.is_encoder
    assert encoder.embed(crops).shape == (12, 128)
    lengths = np.linalg.norm(encoder.embed(crops, normalize=True), axis=1)
    assert np.allclose(lengths, 1, atol=1e-6)
    with pytest.raises(bitlog2.Error, match="use embed"):
        encoder.predict(crops)
    with pytest.raises(bitlog2.Error, match="no classes"):
        bitlog2.evaluate(encoder, DEMO_DATASET)
    with pytest.raises(bitlog2.Error, match="for encoders"):
        bitlog2.evaluate(quantized, DEMO_DATASET, knn=5)
    with pytest.raises(bitlog2.Error, match="encoder"):
        quantized.embed(crops)
    with pytest.raises(bitlog2.Error, match="best_pool"):
        model.encoder("best_pool")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "BitLog3"}, "BitLog3"),
        ({"recipe": "worst"}, "worst"),
        ({"w_bits": 1}, "w_bits is 1; give 2 to 8"),
        ({"a_bits": 9}, "a_bits is 9; give 2 to 8"),
        ({"parts": {"weight_rounding": "up"}}, "up"),
        ({"parts": {"rounding": "gptq"}}, "rounding"),
        ({"parts": {"reconstruct": "long"}}, "number of steps"),
        ({"calibration_images": 0}, "calibration_images is 0"),
        ({"calibration_images": 1_000_001}, "give 1 to 1000000"),
        ({"calibration_images": 4096}, "4096"),
        ({"memory_bytes": -1}, "memory_bytes is -1"),
    ],
)
def test_bad_settings_end_in_one_line(
    model: bitlog2.Model, options: dict[str, object], message: str
) -> None:
    with pytest.raises(bitlog2.Error) as caught:
        bitlog2.quantize(model, DEMO_DATASET, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_models_are_quantized(quantized: bitlog2.QuantizedModel) -> None:
    with pytest.raises(
        bitlog2.Error, match="model has the type QuantizedModel; give a bitlog2.Model"
    ):
        bitlog2.quantize(quantized, DEMO_DATASET)
    with pytest.raises(bitlog2.Error, match="model has the type str; give a bitlog2.Model"):
        bitlog2.quantize("deit_tiny", DEMO_DATASET)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, q: bitlog2.load(1), "path has the type int; give a path"),
        (lambda m, q: bitlog2.load(DEMO_WEIGHTS, threads=-1), "threads is -1; give 0 to 1024"),
        (lambda m, q: bitlog2.load(DEMO_WEIGHTS, threads="2"), "threads is '2'; give a whole number"),
        (lambda m, q: bitlog2.loads("text"), "content has the type str"),
        (lambda m, q: bitlog2.Model.from_pretrained(None), "model has the type NoneType; give a path"),
        (lambda m, q: bitlog2.Model.from_pretrained("x", image_size=-1), "image_size is -1"),
        (lambda m, q: bitlog2.Model.from_torch({}, threads=1.5), "threads is 1.5"),
        (lambda m, q: bitlog2.quantize(m, DEMO_DATASET, w_bits="4"), "w_bits is '4'"),
        (lambda m, q: bitlog2.quantize(m, DEMO_DATASET, a_bits=9), "a_bits is 9; give 2 to 8"),
        (lambda m, q: bitlog2.quantize(m, DEMO_DATASET, seed=-1), "seed is -1; give 0 or more"),
        (lambda m, q: bitlog2.evaluate(3, DEMO_DATASET), "model has the type int; give a bitlog2 model"),
        (lambda m, q: bitlog2.evaluate(q, DEMO_DATASET, seed=-1), "seed is -1"),
        (lambda m, q: bitlog2.evaluate(q, 5), "dataset has the type int; give a path"),
        (lambda m, q: bitlog2.compare(q, q, DEMO_DATASET), "model has the type QuantizedModel"),
        (lambda m, q: bitlog2.compare(m, m, DEMO_DATASET), "quantized has the type Model"),
        (lambda m, q: q.predict(DEMO_DATASET, top_k=0), "top_k is 0; give 1 or more"),
        (lambda m, q: q.predict(DEMO_DATASET, top_k=None), "top_k is None"),
        (lambda m, q: q.save(7), "path has the type int"),
    ],
)  # fmt: skip
def test_wrong_arguments_end_in_one_line(
    model: bitlog2.Model,
    quantized: bitlog2.QuantizedModel,
    call: Callable[[bitlog2.Model, bitlog2.QuantizedModel], object],
    message: str,
) -> None:
    with pytest.raises(bitlog2.Error) as caught:
        call(model, quantized)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def of_version(content: bytes, version: int) -> bytes:
    """A quantized file that says it is of this version: its program's header does."""
    magic = content.index(b"BLG2") + 4
    return content[:magic] + version.to_bytes(4, "little") + content[magic + 4 :]


def test_files_that_do_not_open(quantized_file: Path, tmp_path: Path) -> None:
    content = quantized_file.read_bytes()
    for name, damaged, message in (
        ("version", of_version(content, 999), "version"),
        ("short", content[:-100], "short"),
        ("empty", b"", "empty"),
        ("text", b"no model at all, but a few words", "text"),
    ):
        path = tmp_path / name
        path.write_bytes(damaged)
        with pytest.raises(bitlog2.Error, match=message):
            bitlog2.load(path)
        with pytest.raises(bitlog2.Error, match=message):
            bitlog2.loads(damaged, name=name)
    with pytest.raises(bitlog2.Error, match="fashion_vit"):
        bitlog2.load(DEMO_WEIGHTS)
    with pytest.raises(bitlog2.Error, match="no_such_file"):
        bitlog2.load("no_such_file")
    with pytest.raises(bitlog2.Error, match="no_such_model"):
        bitlog2.Model.from_pretrained("no_such_model")
    with pytest.raises(bitlog2.Error):
        bitlog2.Model.from_pretrained()


def test_what_cannot_be_written(quantized: bitlog2.QuantizedModel, tmp_path: Path) -> None:
    with pytest.raises(bitlog2.Error, match="no_such_folder"):
        quantized.save(tmp_path / "no_such_folder" / "q.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(bitlog2.Error, match="folder"):
        quantized.save(tmp_path / "folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_what_is_no_module() -> None:
    with pytest.raises(bitlog2.Error, match="a dict is no PyTorch module"):
        bitlog2.Model.from_torch({})


@pytest.mark.parametrize(
    "options", [{"limit": -1}, {"limit": 5, "sample": 5}, {"dataset": "no_such_dataset"}]
)
def test_bad_options_of_evaluate(
    quantized: bitlog2.QuantizedModel, options: dict[str, object]
) -> None:
    with pytest.raises(bitlog2.Error):
        bitlog2.evaluate(quantized, **{"dataset": DEMO_DATASET, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"knn": -1}, "knn is -1"),
        ({"knn": 1000}, "there are 32 training images"),
        ({"linear_probe": True, "class_map": "map.txt"}, "class_map"),
        ({"knn": 5, "limit": 5, "sample": 5}, "limit or sample"),
    ],
)
def test_bad_options_of_probes(
    model: bitlog2.Model, options: dict[str, object], message: str
) -> None:
    with pytest.raises(bitlog2.Error, match=message):
        bitlog2.evaluate(model.encoder(), DEMO_DATASET, **options)


def test_errors_name_the_package() -> None:
    assert bitlog2.Error.__module__ == "bitlog2"
    assert issubclass(bitlog2.Error, Exception)


def test_torch_is_not_imported() -> None:
    script = """
import sys, bitlog2
sys.exit(any(name in sys.modules for name in ("torch", "PIL", "pandas", "ray", "tqdm")))
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
