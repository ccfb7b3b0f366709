"""Layouts of downloaded corpora: files and folders under all common names, and protocols combined into one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aasist_lib.corpora.table import TrialTableError, files_in, validate


@dataclass(frozen=True)
class Part:
    """Trials of one protocol. Their index is the row in the file, counted from 0; row 0 is on line `first`."""

    trials: pd.DataFrame
    file: Path
    first: int = 1


@dataclass(frozen=True)
class Tree:
    """A downloaded corpus: its folder, and where to get it if something is missing."""

    root: Path
    remedy: str

    def file(self, names: Sequence[str], what: str) -> Path:
        """The first of these files that exists.

        Raises:
            TrialTableError: none exists; the message names all places searched.
        """
        found = self.optional_file(names)
        if found is None:
            raise self.missing(what, names)
        return found

    def optional_file(self, names: Sequence[str]) -> Path | None:
        """As `file`, or None."""
        return next((self.root / name for name in names if (self.root / name).is_file()), None)

    def folders(self, patterns: Sequence[str], what: str) -> list[Path]:
        """All folders with these names ('*' matches anything); archives are often unpacked side by side.

        Raises:
            TrialTableError: there is none.
        """
        found = [place for pattern in patterns for place in sorted(self.root.glob(pattern)) if place.is_dir()]
        if not found:
            raise self.missing(what, patterns)
        return found

    def missing(self, what: str, names: Sequence[str]) -> TrialTableError:
        """An error that says what is missing, where it was searched, and how to get it."""
        if not self.root.is_dir():
            return TrialTableError(f"{self.root}: no such folder. {self.remedy}")
        places = "".join(f"\n  {self.root / name}" for name in names)
        return TrialTableError(f"{self.root}: no {what}; looked for{places}\n{self.remedy}")


def audio_paths(utterances: pd.Series, folders: list[Path], ending: str = ".flac") -> pd.Series:
    """The path of each utterance, in whichever of the folders has it."""
    paths = f"{folders[0]}/" + utterances + ending
    if len(folders) > 1:
        names = utterances + ending
        for folder in folders[1:]:
            paths = paths.mask(names.isin(files_in(folder)), f"{folder}/" + names)
    return paths


def assemble(parts: Sequence[Part], root: Path) -> pd.DataFrame:
    """The parts as one validated trial table; messages name each row's own file and line.

    Raises:
        TrialTableError: see `table.validate`; above all, listed audio that is missing.
    """
    starts = np.cumsum([0, *(len(part.trials) for part in parts)])

    def at(row: int) -> str:
        number = int(np.searchsorted(starts, row, side="right")) - 1
        part = parts[number]
        return f"{part.file}:{part.trials.index[row - starts[number]] + part.first}"

    return validate(pd.concat([part.trials for part in parts], ignore_index=True), root, at)
