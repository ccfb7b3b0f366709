"""Send SIGKILL, SIGINT and SIGTERM at random times, and check what a command leaves and whether it resumes from it."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from aasist_lib.runtime.signals import ADVICE
from benchmarks.reliability.project import Command
from benchmarks.reliability.starting import Started

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOP_SECONDS = 5.0
ORPHAN_SECONDS = 10.0


@dataclass
class Tally:
    """Test results for one command; `lost` names artefacts that differ from those of an undisturbed run."""

    command: str
    undisturbed_seconds: float
    artefacts: int = 0
    kills: int = 0
    in_a_write: int = 0
    signals: int = 0
    slowest_stop: float = 0.0
    ends: int = 0
    equal: int = 0
    lost: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    orphans: int = 0


@dataclass(frozen=True)
class Blow:
    """A signal after `seconds`, or, if `write` is not 0, as soon as that many files have started to be written."""

    number: signal.Signals
    seconds: float
    write: int = 0

    @property
    def kills(self) -> bool:
        """Whether the signal is SIGKILL, which the process cannot handle."""
        return self.number == signal.SIGKILL


def try_command(command: Command, kills: int, rng: np.random.Generator, typed: int = 5, signals: int = 20) -> Tally:
    """Kill and restart a command many times, then interrupt and restart it; compare the results after every completed run.

    Args:
        kills: number of kills. Every third is aimed at a file that is being written. The others are spread evenly over the
            duration of an undisturbed run, including its start. Each restart resumes from what the previous one left.
        typed: every `typed`-th try starts a new interpreter; the others start with the libraries loaded. 0 = never.
        signals: number of SIGINT and SIGTERM, in turn, at times as for kills, counted from when the signal handlers are set.
    """
    command.wipe()
    command.finish(typed=False)  # also creates what is stored outside its folder, such as a feature bank
    command.wipe()
    started = time.monotonic()
    command.finish(typed=False)
    tally = Tally(command.name, round(time.monotonic() - started, 1))
    expected = command.results()
    tally.artefacts = len(expected)
    for count, numbers in ((kills, (signal.SIGKILL,)), (signals, SIGNALS)):
        blows, until = _blows(count, tally.undisturbed_seconds, numbers, rng), tally.kills + tally.signals + count
        while tally.kills + tally.signals < until:
            _round(command, blows, until, tally, typed)
            _compare(command, expected, tally)
    return tally


def _blows(count: int, seconds: float, numbers: Sequence[signal.Signals], rng: np.random.Generator) -> Iterator[Blow]:
    timed, number = count - count // 3, itertools.cycle(numbers)
    for turn in itertools.count():
        order = rng.permutation(timed) if turn % 2 == 0 else np.arange(timed)
        for place, part in enumerate(order):
            yield Blow(next(number), seconds * (part + rng.random()) / timed)
            if place % 2:
                yield Blow(next(number), 60 + 3 * seconds, int(rng.integers(1, 8)))


def _round(command: Command, blows: Iterator[Blow], until: int, tally: Tally, typed: int) -> None:
    """Run the command from an empty folder to its end, with signals in between, until the tally has `until` signals."""
    command.wipe()
    children: list[psutil.Process] = []
    while (number := tally.kills + tally.signals) < until:
        blow = next(blows)
        process = command.start(typed=bool(typed) and number % typed == typed - 1)
        if _wait(process, command, blow):
            break
        try:
            children += psutil.Process(process.pid).children(recursive=True)
            process.send_signal(blow.number)
        except (psutil.NoSuchProcess, ProcessLookupError):  # it has ended in the meantime
            process.wait()
            _wait(process, command, blow)
            break
        if blow.kills:
            process.wait()
            tally.kills += 1
        else:
            _stopped(command, process, blow, tally)
        tally.in_a_write += blow.kills and blow.write > 0
    else:
        command.finish(typed=False)
    _, alive = psutil.wait_procs(children, timeout=ORPHAN_SECONDS)
    tally.orphans += len(alive)


def _wait(process: Started, command: Command, blow: Blow) -> bool:
    """Wait for the time of the signal (returns False) or the end of the command (returns True, raises if it failed)."""
    while not blow.kills and process.poll() is None and not process.listens():
        time.sleep(0.005)
    until, seen = time.monotonic() + blow.seconds, set(_being_written(command))
    left_before = len(seen)
    while process.poll() is None and time.monotonic() < until:
        if blow.write:
            seen.update(_being_written(command))
            if len(seen) - left_before >= blow.write:
                return False
        time.sleep(0.0005 if blow.write else 0.01)
    if process.poll() is None:
        return False
    if process.poll():
        raise AssertionError(f"{command.name}: exit code {process.poll()} instead of resuming: {process.said()}")
    return True


def _being_written(command: Command) -> list[Path]:
    try:
        return list(command.state.rglob(command.writes))
    except FileNotFoundError:  # a folder was removed while it was being listed
        return []


def _stopped(command: Command, process: Started, blow: Blow, tally: Tally) -> None:
    """Check that the command ends in time after a signal, with the signal's exit code and a line that says how to resume."""
    sent = time.monotonic()
    code = process.wait(60)
    took = time.monotonic() - sent
    if code == 0:  # it had finished before the signal
        return
    tally.signals += 1
    tally.slowest_stop = round(max(tally.slowest_stop, took), 1)
    error = process.err.read_text()
    assert code == 128 + blow.number, f"{command.name}: exit code {code} after {blow.number.name}: {error}"
    assert ADVICE in error and "Traceback" not in error, f"{command.name}: {error}"
    assert took < STOP_SECONDS, f"{command.name}: {blow.number.name} took {took:.1f} s"


def _compare(command: Command, expected: dict[str, str], tally: Tally) -> None:
    """Record the results and leftovers of a completed run."""
    found = command.results()
    differing = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    tally.ends += 1
    tally.equal += not differing
    tally.lost += differing
    tally.left += command.leftovers()
