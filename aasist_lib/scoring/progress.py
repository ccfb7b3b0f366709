"""Scores of a long list of recordings, kept line by line while it is worked on, so that a call that was stopped resumes."""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from aasist_lib.runtime.files import WriteError, atomic, explain, sweep
from aasist_lib.runtime.kept import changes, file_state, make_key
from aasist_lib.scoring.recordings import Recording

Place = tuple[Path, int]
"""A list, and the byte at which a line of it begins."""


class Progress:
    """Lists with a line a scored recording: `<out>_unfinished.jsonl`, and `<out>_unfinished.<n>.jsonl` of each process n > 0.

    Every process finds what any of them had when `read` was called. A list counts for the same detector, settings and code, and
    a line for a file that is as it was. Lines are appended and flushed; one that was cut off, which can only be the last, is
    not used. In memory there is only where each line begins.
    """

    def __init__(self, out: Path, settings: dict[str, Any], process: int = 0) -> None:
        """Nothing is read or written yet.

        Args:
            out: the file that the scores will go to.
            settings: of the scoring, the detector's content among them.
            process: number of this process in its team, whose list is added to.
        """
        self._out = out
        self.path = self._first if process == 0 else out.with_name(f"{out.stem}_unfinished.{process}.jsonl")
        self._key = make_key(["aasist_lib.scoring.recordings", "aasist_lib.models.aasist"], settings)
        self._head = json.dumps({"key": self._key}).encode() + b"\n"
        self._places: dict[str, dict[str, Place]] = {}  # path -> channel -> line

    def __len__(self) -> int:
        """How many files the lists held when they were read."""
        return len(self._places)

    def collect(self, say: Callable[[str], None] = print) -> None:
        """Bring what an earlier call left, with any number of processes, into the first list. One process does it.

        Args:
            say: receives a line where a list is of another detector, other settings or other code, and is therefore removed.
        """
        sweep(self._out.parent, deep=False)
        for path in self._lists():
            if different := self._different(path):
                say(f"{path}: {different}: its recordings are scored anew")
        self.read()
        lists = self._lists()
        with atomic(self._first) as kept, kept.open("wb") as file:
            file.write(self._head)
            file.writelines(self._line(place) for channels in self._places.values() for place in channels.values())
        for path in lists:
            if path != self._first:
                path.unlink()
        self.read()

    def read(self) -> None:
        """Find the lines of all lists; of two for one recording the later list's, and there the later, counts."""
        self._places = {}
        for path in self._lists():
            with path.open("rb") as file:
                if file.readline() != self._head:
                    continue
                for at, text in _whole_lines(file):
                    line = json.loads(text)
                    channels = self._places.setdefault(line["recording"]["path"], {})
                    if channels and line["file"] != json.loads(self._line(next(iter(channels.values()))))["file"]:
                        channels.clear()  # of the file as it was before
                    channels[line["recording"]["channel"]] = path, at

    def has(self, file: Path) -> bool:
        """Whether the file, as it is now, is scored: all the channels that were asked for."""
        places = self._places.get(str(file))
        if not places or not file.is_file():
            return False
        lines = [json.loads(self._line(place)) for place in places.values()]
        return all(line["file"] == file_state(file) for line in lines) and len(lines) >= lines[0]["of"]

    def scored(self, path: str) -> list[Recording]:
        """A file's recordings, a channel each, whatever became of the file; none where no list has it."""
        places = self._places.get(path, {})
        return [_recording(json.loads(self._line(places[channel]))) for channel in sorted(places)]

    def add(self, recording: Recording, of: int = 1) -> None:
        """Keep a recording in this process' list; its peaks, which are for figures, are not.

        Args:
            of: how many recordings its file has, one a channel.
        """
        fields = asdict(recording) | {"timeline": recording.timeline.to_dict("list")}
        del fields["peaks"]
        line = json.dumps({"file": file_state(recording.path), "of": of, "recording": fields}).encode() + b"\n"
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

    def _different(self, path: Path) -> str:
        with path.open("rb") as file:
            try:
                return changes(json.loads(file.readline())["key"], self._key)
            except (ValueError, KeyError, TypeError):  # killed while it wrote its first line
                return ""

    @staticmethod
    def _line(place: Place) -> bytes:
        path, at = place
        with path.open("rb") as file:
            file.seek(at)
            return file.readline()


def _recording(line: dict[str, Any]) -> Recording:
    fields = line["recording"]
    timeline = pd.DataFrame(fields["timeline"])
    return Recording(**fields | {"timeline": timeline, "peaks": np.zeros(0, np.float32), "warnings": tuple(fields["warnings"])})


def _whole_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Where each line that is left begins, and the line; one without an end is left out."""
    at = file.tell()
    for line in file:
        if line.endswith(b"\n"):
            yield at, line
        at += len(line)
