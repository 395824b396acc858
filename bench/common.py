"""What the measuring scripts share: the paths of files, and how a program is run."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "release"


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def find_reference():
    """The folder that holds data/ and goldens/, or None."""
    given = os.environ.get("BITLOG2_REFERENCE_DIR")
    folder = pathlib.Path(given) if given else ROOT.parent / "shared"
    return folder if (folder / "data" / "imagenet-500").is_dir() else None


def digest(path):
    return hashlib.sha256(path.read_bytes()).digest()


def link_unseen(photographs, folder):
    """Fills `folder` with links to `photographs`: to all of train, and to those of val that are not
    also in train. Returns the number of the latter."""
    shutil.rmtree(folder, ignore_errors=True)
    seen = {digest(path) for path in (photographs / "train").rglob("*") if path.is_file()}
    count = 0
    for path in sorted((photographs / "val").rglob("*")):
        if not path.is_file() or digest(path) in seen:
            continue
        link = folder / "val" / path.parent.name / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
        count += 1
    (folder / "train").symlink_to((photographs / "train").resolve())
    return count


class Run:
    """One finished process: what it printed and the most memory it held."""

    def __init__(self, command):
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True)
        self.output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"bench: {' '.join(map(str, command))} failed; run it alone to see why")
        self.peak_bytes = usage.ru_maxrss * 1024
