"""The trial table: one row per clip, the same columns for every corpus, validated before use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from aasist_lib.conventions import LABELS, SPLITS, TOLD, UNKNOWN, known_words, read_labels
from aasist_lib.runtime.files import atomic
from aasist_lib.runtime.text_tables import TabularError, fields, head, read_parquet, read_rows, read_text, refuse_line_breaks

COLUMNS = ["utt_id", "path", "label", "speaker", "attack", "codec", "split", "corpus"]
_SHOWN = 10
_SEPARATORS = {".tsv": "\t", ".csv": ","}
_KINDS = "a trial table is a .parquet, a .tsv or a .csv file"

At = Callable[[int], str]
"""`at(row)` is the origin of a row: 'file:line'."""


class TrialTableError(TabularError):
    """A trial table is invalid; the message names file and line and says how to fix it."""


def validate(trials: pd.DataFrame, origin: str | Path, at: At | None = None) -> pd.DataFrame:
    """Check a trial table and return it with its columns in order and a fresh index.

    Each folder is listed once, whatever the number of its files: 680 774 trials take a few seconds.

    Args:
        trials: at least the columns of `COLUMNS`; unknown values are '-'. Those of `conventions.TOLD` are kept, others are
            dropped. Paths are relative to the working directory.
        origin: the file or folder the rows come from, for the messages.
        at: the file and line of a row; by default rows are counted in `origin` after one header line.

    Raises:
        TrialTableError: columns or values are missing, a label or split is unknown, an id occurs twice, or listed
            files are missing (their number and the first ten are named).
    """
    missing = [name for name in COLUMNS if name not in trials.columns]
    if missing:
        raise TrialTableError(f"{origin}:1: no column {', '.join(missing)}; a trial table has {', '.join(COLUMNS)}")
    trials = trials[[*COLUMNS, *(name for name in TOLD if name in trials.columns)]].reset_index(drop=True)
    if trials.empty:
        raise TrialTableError(f"{origin}: the table has no trials")
    at = at or (lambda row: f"{origin}:{row + 2}")
    for name in trials.columns:
        refuse_empty(trials[name], at)
    words = " and ".join(f"{known_words(label)} for {label}" for label in LABELS)
    refuse_unknown(trials["label"], LABELS, at, said=words)
    refuse_unknown(trials["split"], SPLITS, at)
    refuse_twice(trials["utt_id"], at)
    _refuse_absent(trials["path"], origin, at)
    return trials


def refuse_empty(values: pd.Series, at: At, error: type[TrialTableError] = TrialTableError) -> None:
    """Raise an error at the first row with an empty value."""
    bad = (values.isna() | values.astype("str").str.isspace() | (values == "")).to_numpy(dtype=bool)
    said = f"no value in column {values.name}; write '{UNKNOWN}' for unknown, or remove the line if it is empty"
    _refuse(bad, at, lambda row: said, error)


def refuse_unknown(
    values: pd.Series, known: tuple[str, ...], at: At, error: type[TrialTableError] = TrialTableError, said: str = ""
) -> None:
    """Raise an error at the first row with an unknown value; `said` lists the known ones in the message."""
    bad = ~values.isin(known).to_numpy()
    _refuse(bad, at, lambda row: f"unknown {values.name} {values.iloc[row]!r}; known are {said or ', '.join(known)}", error)


def refuse_twice(ids: pd.Series, at: At, error: type[TrialTableError] = TrialTableError) -> None:
    """Raise an error at the first duplicate id."""
    bad = ids.duplicated().to_numpy()
    if bad.any():
        row = int(bad.argmax())
        first = int((ids == ids.iloc[row]).to_numpy().argmax())
        raise error(f"{at(row)}: utt_id '{ids.iloc[row]}' is already at {at(first)}")


def _refuse(bad: np.ndarray, at: At, message: Callable[[int], str], error: type[TrialTableError]) -> None:
    if bad.any():
        row, more = int(bad.argmax()), int(bad.sum()) - 1
        raise error(f"{at(row)}: {message(row)}" + (f" (and {more} more such lines)" if more else ""))


def _refuse_absent(paths: pd.Series, origin: str | Path, at: At) -> None:
    listed: dict[str, set[str]] = {}
    absent = []
    for row, path in enumerate(paths):
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = files_in(folder or ".")
        if name not in listed[folder]:
            absent.append(row)
    if absent:
        shown = "".join(f"\n  {at(row)}: {paths.iloc[row]}" for row in absent[:_SHOWN])
        rest = f"\n  … and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        raise TrialTableError(
            f"{origin}: {len(absent)} of {len(paths)} listed files are absent:{shown}{rest}\n"
            "Build or download the corpus again, or point data.root at the folder that holds it."
        )


def files_in(folder: str | Path) -> set[str]:
    """Names of the files in a folder; none if the folder is missing."""
    if not os.path.isdir(folder):
        return set()
    with os.scandir(folder) as entries:
        # os.path.isfile is False for a link to itself, where DirEntry.is_file raises an error.
        return {e.name for e in entries if (os.path.isfile(e) if e.is_symlink() else e.is_file())}


def read_trials(path: str | Path) -> pd.DataFrame:
    """Read a trial table (`.parquet`, tab-separated `.tsv` or `.csv`) and validate it.

    Paths in the file are relative to its folder; the returned table has absolute paths.

    Raises:
        TrialTableError: the file is missing, of another kind, or invalid.
    """
    path = Path(path)
    if not path.is_file():
        raise TrialTableError(f"{path}: no such trial table; run `python -m aasist_lib prepare` first")
    return validate(read_columns(path), path)


def read_columns(path: Path) -> pd.DataFrame:
    """Read a trial table without validation; its standard columns are text, and paths are made absolute."""
    if path.suffix == ".parquet":
        trials = read_parquet(path, TrialTableError)
        trials = trials.astype({name: "str" for name in (*COLUMNS, *TOLD) if name in trials.columns})
    elif path.suffix in _SEPARATORS:
        trials = _read_text(path)
    else:
        raise TrialTableError(f"{path}: {_KINDS}")
    if "label" in trials.columns:
        trials["label"] = read_labels(trials["label"])
    if "path" in trials.columns:
        folder = path.parent.resolve()
        trials["path"] = [os.path.join(folder, name) if name else "" for name in trials["path"].fillna("").astype(str)]
    return trials


def _read_text(path: Path) -> pd.DataFrame:
    heading = head(read_text(path, TrialTableError))
    mark = _SEPARATORS[path.suffix]
    names = fields(path, heading, TrialTableError, mark)
    if not names:
        raise TrialTableError(f"{path}:1: no heading; the first line names the columns: {', '.join(COLUMNS)}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TrialTableError(f"{path}:1: the heading has {', '.join(twice)} more than once: rename or remove one")
    # Blank lines are kept, so that rows correspond to lines; they are refused later.
    rows = read_rows(path, heading.rest, mark, TrialTableError, first=2, columns=len(names))
    return rows.set_axis(names, axis=1)


def write_trials(trials: pd.DataFrame, path: str | Path) -> None:
    """Validate a trial table and write it atomically; paths below the file's folder are stored relative to it.

    Raises:
        TrialTableError: the table is invalid; nothing is written.
    """
    path = Path(path)
    if path.suffix not in (".parquet", *_SEPARATORS):
        raise TrialTableError(f"{path}: {_KINDS}")
    folder = path.parent.resolve()
    checked = validate(trials, path)
    if path.suffix != ".parquet":
        refuse_line_breaks(checked, path, TrialTableError)
    resolved = [Path(name).resolve() for name in checked["path"]]
    checked["path"] = [str(p.relative_to(folder)) if p.is_relative_to(folder) else str(p) for p in resolved]
    with atomic(path) as temporary:
        if path.suffix == ".parquet":
            checked.to_parquet(temporary, index=False)
        else:
            checked.to_csv(temporary, sep=_SEPARATORS[path.suffix], index=False)
