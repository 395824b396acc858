"""Spark, used as in docs/distributed.md, gives the same results as one process."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

import bitlog2
from conftest import DEMO_IMAGES, ROOT

pytest.importorskip("pyspark")
parquet = pytest.importorskip("pyarrow.parquet")


def test_the_lines_of_the_documentation(
    quantized: bitlog2.QuantizedModel, quantized_file: Path, tmp_path: Path
) -> None:
    photos, answers = tmp_path / "photos", tmp_path / "answers"
    (photos / "more").mkdir(parents=True)
    for i in range(3):
        for picture in DEMO_IMAGES.iterdir():
            (photos / "more" / f"{i} {picture.name}").write_bytes(picture.read_bytes())
    damaged = photos / "damaged.png"
    damaged.write_bytes(min(DEMO_IMAGES.iterdir()).read_bytes()[:200])

    text = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8").split("## Spark")[1]
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    for name, path in (("MODEL", quantized_file), ("PHOTOS", photos), ("ANSWERS", answers)):
        code, changed = re.subn(rf'{name} = ".*"', f"{name} = {str(path)!r}", code)
        assert changed == 1
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_HOSTNAME": "localhost",
        },
    )
    assert outcome.returncode == 0, outcome.stderr

    rows = parquet.read_table(answers).to_pylist()
    found = {Path(unquote(urlparse(row["path"]).path)): row for row in rows}
    paths = sorted(path for path in photos.rglob("*.png"))
    assert sorted(found) == paths
    assert len(rows) == len(paths)
    for path in paths:
        row = found[path]
        if path == damaged:
            assert (row["label"], row["probability"]) == (None, None)
            assert "damaged.png" in row["error"]
            continue
        ((best,),) = quantized.predict(path, top_k=1)
        assert (row["label"], row["probability"]) == (best["label"], best["probability"])
        assert row["error"] is None
