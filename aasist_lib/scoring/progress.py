"""Intermediate scores of a long list of recordings, saved line by line so that an interrupted call can resume."""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from aasist_lib.runtime.files import WriteError, advise, atomic, sweep
from aasist_lib.runtime.kept import changes, file_state, make_key
from aasist_lib.scoring.recordings import Recording

Place = tuple[Path, int]
"""A list file, and the byte offset of one of its lines."""


class Progress:
    """Lists with one line per scored recording: `<out>_unfinished.jsonl`, and `<out>_unfinished.<n>.jsonl` for process n > 0.

    Every process finds the lines that all processes had written when it called `read`. A list is valid only for the same
    detector, settings and code, and a line only for an unchanged file. Lines are appended and flushed; an incomplete line,
    which can only be the last, is ignored. Memory holds only the lines' offsets.
    """

    def __init__(self, out: Path, settings: dict[str, Any], process: int = 0) -> None:
        """Set up paths and key, without reading or writing.

        Args:
            out: the file that will hold the scores.
            settings: scoring settings, including the detector's content.
            process: index of this process, which appends to its own list.
        """
        self._out = out
        self.path = self._first if process == 0 else out.with_name(f"{out.stem}_unfinished.{process}.jsonl")
        self._key = make_key(["aasist_lib.scoring.recordings", "aasist_lib.models.aasist"], settings)
        self._head = json.dumps({"key": self._key}).encode() + b"\n"
        self._places: dict[str, dict[str, Place]] = {}  # path -> channel -> line

    def __len__(self) -> int:
        """Number of files in the lists when they were last read."""
        return len(self._places)

    def collect(self, say: Callable[[str], None] = print) -> None:
        """Merge the lists of an earlier call, with any number of processes, into the first list. Call it in one process only.

        Args:
            say: receives a line for each list that has another detector, other settings or other code and is therefore removed.
        """
        sweep(self._out.parent, deep=False)
        for path in self._lists():
            if different := self._different(path):
                say(f"{path}: {different}: its recordings are scored again")
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
        """Index the lines of all lists; for a recording with several lines, the last line of the last list is used."""
        self._places = {}
        for path in self._lists():
            with path.open("rb") as file:
                if file.readline() != self._head:
                    continue
                for at, text in _whole_lines(file):
                    line = json.loads(text)
                    channels = self._places.setdefault(line["recording"]["path"], {})
                    if channels and line["file"] != json.loads(self._line(next(iter(channels.values()))))["file"]:
                        channels.clear()  # from an older version of the file
                    channels[line["recording"]["channel"]] = path, at

    def has(self, file: Path) -> bool:
        """Whether the file's current version is scored, with all requested channels."""
        places = self._places.get(str(file))
        if not places or not file.is_file():
            return False
        lines = [json.loads(self._line(place)) for place in places.values()]
        return all(line["file"] == file_state(file) for line in lines) and len(lines) >= lines[0]["of"]

    def scored(self, path: str) -> list[Recording]:
        """Return a file's recordings, one per channel, even if the file has changed; empty if no list has it."""
        places = self._places.get(path, {})
        return [_recording(json.loads(self._line(places[channel]))) for channel in sorted(places)]

    def add(self, recording: Recording, of: int = 1) -> None:
        """Append a recording to this process's list, without its peaks, which only figures use.

        Args:
            of: number of recordings of its file, one per channel.
        """
        fields = asdict(recording) | {"timeline": recording.timeline.to_dict("list")}
        del fields["peaks"]
        line = json.dumps({"file": file_state(recording.path), "of": of, "recording": fields}).encode() + b"\n"
        try:
            with self.path.open("ab") as file:
                file.write(line if file.tell() else self._head + line)
        except OSError as error:
            raise WriteError(advise(error, self.path)) from error

    def remove(self) -> None:
        """Delete all processes' lists once scoring is finished."""
        for path in self._lists():
            path.unlink()

    @property
    def _first(self) -> Path:
        return self._out.with_name(f"{self._out.stem}_unfinished.jsonl")

    def _lists(self) -> list[Path]:
        """The existing lists, the first one first, so that other lists override its older lines."""
        others = self._out.parent.glob(f"{glob.escape(self._out.stem)}_unfinished.[0-9]*.jsonl")
        return [path for path in (self._first, *sorted(others)) if path.is_file()]

    def _different(self, path: Path) -> str:
        with path.open("rb") as file:
            try:
                return changes(json.loads(file.readline())["key"], self._key)
            except (ValueError, KeyError, TypeError):  # killed while writing the first line
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
    """Yield the offset and content of each remaining line, except an incomplete one."""
    at = file.tell()
    for line in file:
        if line.endswith(b"\n"):
            yield at, line
        at += len(line)
