"""What goes wrong around a command: provoked on the real command, undone, and the command repeated."""

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
"""Commands of which a second one waits for the first; of the others it is refused."""


@dataclass
class FaultTally:
    """One fault and command: the exit code, the message's line, and whether the same command then ended as undisturbed."""

    command: str
    fault: str
    code: int
    said: str
    equal: bool
    left: list[str]


def try_faults(command: Command) -> list[FaultTally]:
    """Provoke every fault once; see `FAULTS`."""
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
    """The folder is a disk of its own, in memory, with room for half of what the command makes."""
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
        subprocess.run(["umount", "-l", str(command.state)], check=True)  # nosec B607  # the system's, wherever it lies
        assert not left, f"{command.name}: a full disk left {left}"


def _vanished_folder(command: Command) -> tuple[int, str]:
    """The folder that it writes to is taken away in the middle, and brought back at the end."""
    process = command.start(typed=False)
    _until(lambda: _locks(command), process)
    time.sleep(0.5)
    away = command.state.with_name("away")
    command.state.rename(away)
    code = process.wait()
    shutil.rmtree(command.state, ignore_errors=True)
    away.rename(command.state)
    return code, _line(command, process, "restore it") if code else "(goes on in a folder that it makes anew)"


def _two_at_once(command: Command) -> tuple[int, str]:
    """The same command is started while a first one, which is held for so long, works in the same folder."""
    first = command.start(typed=False)
    _until(lambda: _locks(command), first)
    time.sleep(0.3)  # from the lock's file to the lock
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
"""`disk full` mounts, and so needs root."""


def _locks(command: Command) -> list[Path]:
    return [path for path in command.state.rglob(".*lock") if path.name != ".manifest.lock"]


def _until(condition: Callable[[], object], process: Started) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.said()
        time.sleep(0.01)


def _line(command: Command, process: Started, *needed: str) -> str:
    """The line that tells what is the matter; a traceback is allowed in a notebook's cell only."""
    said = process.said()
    assert command.name == "run" or "Traceback" not in said, said
    lines = [line.strip() for line in said.splitlines() if any(text in line for text in needed)]
    assert lines, f"{command.name}: no line with {needed}: {said}"
    return lines[-1].replace(str(command.state), "…")
