"""Ctrl-C and SIGTERM: everything stops within seconds, and whoever asked is told how to go on."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import psutil

GRACE_SECONDS = 3.5
"""After so long a process that did not get to its end by itself is ended."""
ADVICE = "interrupted; the same command goes on from what is finished"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SOON = 0.01


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived; `number` is the signal's. asyncio lets only a KeyboardInterrupt through."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def interruptible() -> Iterator[None]:
    """While the block runs, SIGINT and SIGTERM kill all processes that this one started, and theirs, and raise `Interrupted`.

    A notebook's kernel lives in a session of its own, so a terminal's Ctrl-C does not reach it; processes are killed at
    once, while they can still be found as children of this one.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        for caught in _SIGNALS:
            signal.signal(caught, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch would report the end of its workers as an error
        for library in ("asyncio", "papermill"):  # and these that of the kernel
            logging.getLogger(library).disabled = True
        if _importing(frame):
            _end(number)
        _kill_children()
        raise Interrupted(number)

    def swallowed(what: sys.UnraisableHookArgs) -> None:
        """Python only notes what is raised in a destructor or a callback, and goes on: so it is raised again a little later."""
        if not isinstance(what.exc_value, Interrupted):
            return note(what)
        number = what.exc_value.number
        signal.signal(signal.SIGALRM, lambda _, frame: stop(number, frame))
        signal.setitimer(signal.ITIMER_REAL, _SOON)

    handlers = {number: signal.getsignal(number) for number in (*_SIGNALS, signal.SIGALRM)}
    for number in _SIGNALS:
        signal.signal(number, stop)
    note, sys.unraisablehook = sys.unraisablehook, swallowed
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = note
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def stopped_in_time() -> Iterator[None]:
    """While the block runs, the process ends at the latest `GRACE_SECONDS` after SIGINT or SIGTERM.

    Python handles a signal only between two of its own steps; where a process waits for others, say in a collective
    operation of NCCL, the next may be hours away. What is on disk then is what a killed process leaves, and that is enough to
    go on from.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _unwatch_forks()
    threading.Thread(target=_watch, args=(reading,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)


def _watch(reading: int) -> None:
    while numbers := os.read(reading, 1):
        if numbers[0] in _SIGNALS:
            time.sleep(GRACE_SECONDS)
            _end(numbers[0])
    os.close(reading)


def _unwatch_forks() -> None:
    """A forked worker's signals are not those of this process, whose pipe it inherits."""
    global _watched
    if not _watched:
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
        _watched = True


_watched = False


def _end(number: int) -> NoReturn:
    _kill_children()
    print(ADVICE, file=sys.stderr, flush=True)
    os._exit(128 + number)


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being loaded: the C++ that PyTorch runs then aborts the process where Python raises."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def _kill_children() -> None:
    """All but Python's trackers of semaphores and shared memory, which end by themselves and remove what is left of these."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if not any("resource_tracker" in argument for argument in child.cmdline()):
                child.kill()
