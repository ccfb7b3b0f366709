"""Scores of a long list of recordings, kept line by line while it is worked on, so that a call that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aasist_lib.runs import to_json

if TYPE_CHECKING:
    from aasist_lib.recordings import Recording


class Unfinished:
    """A file with a line a scored recording. It counts for the same detector and settings, and for files that are as they were.

    Lines are appended and flushed; one that was cut off, which can only be the last, is not used.
    """

    def __init__(self, path: Path, facts: dict[str, Any], hop_seconds: float | None) -> None:
        """Take over what an earlier call left, or begin.

        Args:
            path: of the file.
            facts: of the detector's checkpoint.
            hop_seconds: between windows.
        """
        self.path = path
        key = hashlib.sha256(to_json([facts, hop_seconds]).encode()).hexdigest()
        lines = list(_whole_lines(path))
        self._done = {line["recording"]["path"]: line for line in lines[1:]} if lines and lines[0] == {"key": key} else {}
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in ({"key": key}, *self._done.values()))

    def __len__(self) -> int:
        """How many recordings an earlier call left."""
        return len(self._done)

    def find(self, file: Path) -> dict[str, Any] | None:
        """The fields of the file's `Recording`, or None where it is yet to be scored or has changed since."""
        line = self._done.get(str(file))
        if line is None or not file.is_file() or line["file"] != _state(file):
            return None
        fields = line["recording"]
        timeline = pd.DataFrame(fields["timeline"])
        return fields | {"timeline": timeline, "peaks": np.zeros(0, np.float32), "warnings": tuple(fields["warnings"])}

    def add(self, recording: Recording) -> None:
        """Keep a recording; its peaks, which are for figures, are not."""
        fields = asdict(recording) | {"timeline": recording.timeline.to_dict("list")}
        del fields["peaks"]
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"file": _state(Path(recording.path)), "recording": fields}) + "\n")

    def remove(self) -> None:
        """The list is finished."""
        self.path.unlink()


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)


def _state(file: Path) -> list[int]:
    """Size in bytes and time of the last change in ns: another file under the same name differs in them."""
    facts = os.stat(file)
    return [facts.st_size, facts.st_mtime_ns]
