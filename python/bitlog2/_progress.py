"""Shows the progress of long work with tqdm, if it is installed and stderr is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

#: True: tqdm's bar, if possible; False: nothing; or a function that is called with (done, total).
Progress: TypeAlias = bool | Callable[[int, int], Any]


@contextmanager
def shown(progress: Progress, what: str) -> Iterator[Callable[[int, int], Any] | None]:
    """The function that the engine calls with (done, total), or None."""
    if callable(progress):
        yield progress
        return
    if not progress or not sys.stderr.isatty():
        yield None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield None
        return
    with tqdm(desc=what, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
