"""Ctrl-C and SIGTERM: end all child processes, print one line and exit with code 130 or 143.

Nothing has to be saved first: files are written whole or not at all, and a rerun resumes from what is finished.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import psutil

ADVICE = "interrupted; rerun the same command to resume"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def ends_on_signals() -> Iterator[None]:
    """While the block runs, SIGINT and SIGTERM end this process and all processes below it, including notebook kernels."""
    owner, first = os.getpid(), os.environ.get("RANK", "0") == "0"

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch would report the end of its workers as an error
        _kill_children()
        if first and os.getpid() == owner:  # a forked worker inherits this handler
            os.write(2, f"{ADVICE}\n".encode())
        os._exit(128 + number)

    before = {number: signal.signal(number, end) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _kill_children() -> None:
    """All but Python's trackers of semaphores and shared memory, which end by themselves and clean up after the others."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if not any("resource_tracker" in argument for argument in child.cmdline()):
                child.kill()
