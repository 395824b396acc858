"""What the measuring scripts share: where things are, and running one program."""
import os
import pathlib
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
