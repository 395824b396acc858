"""The program `bitlog2`. It is a file of the package, so that it is found wherever the package is
installed: with `pip install --user`, with `--target`, in any environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ._error import Error


def program() -> Path:
    """The program's file. Raises Error if it is not there."""
    path = Path(__file__).parent / "bin" / "bitlog2"
    if not path.is_file():
        raise Error(f"{path}: the program is not there; install the package again")
    return path


def main() -> None:
    """Becomes the program, with this process's arguments."""
    try:
        os.execv(program(), ["bitlog2", *sys.argv[1:]])
    except (OSError, Error) as error:
        sys.exit(f"bitlog2: error: the program does not start: {error}")
