"""Fault injection: provoke a fault while a real command runs, undo it, and run the command again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reliability.project import Command
from benchmarks.reliability.starting import Started

WAITING = ("prepare", "features")
"""Commands whose second instance waits for the first. For all other commands the second instance is refused."""


@dataclass
class FaultTally:
    """One fault and command: the exit code, the message, and whether the repeated command gave the undisturbed results."""

    command: str
    fault: str
    code: int
    said: str
    equal: bool
    left: list[str]


def try_faults(command: Command) -> list[FaultTally]:
    """Provoke every fault of `FAULTS` once."""
    command.wipe()
    command.finish(typed=False)
    expected = command.results()
    tallies = []
    for name, provoke in FAULTS.items():
        command.wipe()
        code, said = provoke(command)
        command.finish(typed=False)
        tallies.append(FaultTally(command.name, name, code, said, command.results() == expected, command.leftovers()))
    return tallies


def _full_disk(command: Command) -> tuple[int, str]:
    """Run the command in a memory file system with space for half of its output."""
    command.finish(typed=False)
    size = sum(path.stat().st_size for path in command.state.rglob("*") if path.is_file()) // 2
    command.wipe()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={max(size, 8192)}", "tmpfs", str(command.state)]
    subprocess.run(mount, check=True)
    try:
        process = command.start(typed=False)
        return process.wait(), _line(command, process, "No space left on device", "GB free; keep fewer")
    finally:
        left = [path.name for path in command.state.rglob(".tmp-*")]
        subprocess.run(["umount", "-l", str(command.state)], check=True)  # nosec B607  # the system's program
        assert not left, f"{command.name}: a full disk left {left}"


def _vanished_folder(command: Command) -> tuple[int, str]:
    """Move the output folder away while the command runs, and restore it at the end."""
    process = command.start(typed=False)
    _until(lambda: _locks(command), process)
    time.sleep(0.5)
    away = command.state.with_name("away")
    command.state.rename(away)
    code = process.wait()
    shutil.rmtree(command.state, ignore_errors=True)
    away.rename(command.state)
    return code, _line(command, process, "restore it") if code else "(recreates the folder and continues)"


def _two_at_once(command: Command) -> tuple[int, str]:
    """Start the same command a second time while the first one, paused by SIGSTOP, works in the same folder."""
    first = command.start(typed=False)
    _until(lambda: _locks(command), first)
    time.sleep(0.3)  # time between creating the lock file and locking it
    first.send_signal(signal.SIGSTOP)
    second = command.start(typed=False)
    if command.name in WAITING:
        _until(lambda: "waiting for it" in second.said(), second)
        first.send_signal(signal.SIGCONT)
        code, said = second.wait(), _line(command, second, "waiting for it")
    else:
        code, said = second.wait(), _line(command, second, "another")
        first.send_signal(signal.SIGCONT)
        assert code, f"{command.name}: a second one was not refused"
    assert first.wait() == 0, first.said()
    return code, said


FAULTS = {"disk full": _full_disk, "folder vanishes": _vanished_folder, "two at once": _two_at_once}
"""`disk full` mounts a file system, which requires root."""


def _locks(command: Command) -> list[Path]:
    return [path for path in command.state.rglob(".*lock") if path.name != ".manifest.lock"]


def _until(condition: Callable[[], object], process: Started) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.said()
        time.sleep(0.01)


def _line(command: Command, process: Started, *needed: str) -> str:
    """Return the line with the error message; a traceback is allowed only in a notebook's cell."""
    said = process.said()
    assert command.name == "run" or "Traceback" not in said, said
    lines = [line.strip() for line in said.splitlines() if any(text in line for text in needed)]
    assert lines, f"{command.name}: no line with {needed}: {said}"
    return lines[-1].replace(str(command.state), "…")
