"""Scores of a long list of recordings, kept line by line while it is worked on, so that a call that was stopped goes on."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pandas as pd

from aasist_lib.files import WriteError, atomic, explain, sweep
from aasist_lib.runs import to_json

if TYPE_CHECKING:
    from aasist_lib.recordings import Recording


class Unfinished:
    """Lists with a line a scored recording: `<out>_unfinished.jsonl`, and `<out>_unfinished.<n>.jsonl` of each process n > 0.

    Every process finds what any of them had when `read` was called. A list counts for the same detector and settings, and a
    line for a file that is as it was. Lines are appended and flushed; one that was cut off, which can only be the last, is not
    used. In memory there is only where each line begins.
    """

    def __init__(self, out: Path, facts: dict[str, Any], hop_seconds: float | None, process: int = 0) -> None:
        """Nothing is read or written yet.

        Args:
            out: the file that the scores will go to.
            facts: of the detector's checkpoint.
            hop_seconds: between windows.
            process: number of this process in its team, whose list is added to.
        """
        self._out = out
        self.path = self._first if process == 0 else out.with_name(f"{out.stem}_unfinished.{process}.jsonl")
        key = hashlib.sha256(to_json([facts, hop_seconds]).encode()).hexdigest()
        self._head = json.dumps({"key": key}).encode() + b"\n"
        self._places: dict[str, tuple[Path, int]] = {}

    def __len__(self) -> int:
        """How many recordings the lists held when they were read."""
        return len(self._places)

    def collect(self) -> None:
        """Bring what an earlier call left, with any number of processes, into the first list. One process does it."""
        sweep(self._out.parent, deep=False)
        self.read()
        lists = self._lists()
        with atomic(self._first) as kept, kept.open("wb") as file:
            file.write(self._head)
            file.writelines(self._line(place) for place in self._places.values())
        for path in lists:
            if path != self._first:
                path.unlink()
        self.read()

    def read(self) -> None:
        """Find the lines of all lists; of two for one recording the later list's, and there the later, counts."""
        self._places = {}
        for path in self._lists():
            with path.open("rb") as file:
                if file.readline() == self._head:
                    self._places |= {json.loads(line)["recording"]["path"]: (path, at) for at, line in _whole_lines(file)}

    def find(self, file: Path) -> dict[str, Any] | None:
        """The fields of the file's `Recording`, or None where it is yet to be scored or has changed since."""
        place = self._places.get(str(file))
        if place is None or not file.is_file():
            return None
        line = json.loads(self._line(place))
        return _fields(line) if line["file"] == _state(file) else None

    def scored(self, path: str) -> dict[str, Any] | None:
        """The fields of a `Recording` whatever became of its file, or None where no list has it."""
        place = self._places.get(path)
        return None if place is None else _fields(json.loads(self._line(place)))

    def add(self, recording: Recording) -> None:
        """Keep a recording in this process' list; its peaks, which are for figures, are not."""
        fields = asdict(recording) | {"timeline": recording.timeline.to_dict("list")}
        del fields["peaks"]
        line = json.dumps({"file": _state(Path(recording.path)), "recording": fields}).encode() + b"\n"
        try:
            with self.path.open("ab") as file:
                file.write(line if file.tell() else self._head + line)
        except OSError as error:
            raise WriteError(explain(error, self.path)) from error

    def remove(self) -> None:
        """The work is finished: all processes' lists go."""
        for path in self._lists():
            path.unlink()

    @property
    def _first(self) -> Path:
        return self._out.with_name(f"{self._out.stem}_unfinished.jsonl")

    def _lists(self) -> list[Path]:
        """The lists that are there, the first one first: an older line in it gives way to another list's."""
        others = self._out.parent.glob(f"{glob.escape(self._out.stem)}_unfinished.[0-9]*.jsonl")
        return [path for path in (self._first, *sorted(others)) if path.is_file()]

    @staticmethod
    def _line(place: tuple[Path, int]) -> bytes:
        path, at = place
        with path.open("rb") as file:
            file.seek(at)
            return file.readline()


def _fields(line: dict[str, Any]) -> dict[str, Any]:
    fields = line["recording"]
    timeline = pd.DataFrame(fields["timeline"])
    return fields | {"timeline": timeline, "peaks": np.zeros(0, np.float32), "warnings": tuple(fields["warnings"])}


def _whole_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Where each line that is left begins, and the line; one without an end is left out."""
    at = file.tell()
    for line in file:
        if line.endswith(b"\n"):
            yield at, line
        at += len(line)


def _state(file: Path) -> list[int]:
    """Size in bytes and time of the last change in ns: another file under the same name differs in them."""
    facts = os.stat(file)
    return [facts.st_size, facts.st_mtime_ns]
