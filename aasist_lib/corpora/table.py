"""The trial table: one row a clip, the same columns for every corpus, checked before anything uses it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from aasist_lib.runs import atomic

COLUMNS = ["utt_id", "path", "label", "speaker", "attack", "codec", "split", "corpus"]
LABELS = ("bonafide", "spoof")
SPLITS = ("train", "dev", "eval")
UNKNOWN = "-"
_SHOWN = 10


class TrialTableError(ValueError):
    """A trial table that breaks the contract; the message names the file, the line and the remedy."""


def validate(trials: pd.DataFrame, origin: str | Path, lines: Sequence[int] | None = None) -> pd.DataFrame:
    """Check a trial table and return it with its columns in order and a fresh index.

    Args:
        trials: at least the columns of `COLUMNS`; unknown values are '-'. Paths count from the working directory.
        origin: the file the rows come from, for the messages.
        lines: line number of each row in `origin`; by default rows are counted after one header line.

    Raises:
        TrialTableError: columns or values are missing, a label or split is unknown, an id occurs twice, or listed
            files are absent (their number and the first ten are named).
    """
    missing = [name for name in COLUMNS if name not in trials.columns]
    if missing:
        raise TrialTableError(f"{origin}:1: no column {', '.join(missing)}; a trial table has {', '.join(COLUMNS)}")
    trials = trials[COLUMNS].reset_index(drop=True)
    if trials.empty:
        raise TrialTableError(f"{origin}: the table has no trials")
    at = list(lines) if lines is not None else list(range(2, len(trials) + 2))
    for name in COLUMNS:
        empty = trials[name].isna() | (trials[name].astype(str) == "")
        _refuse(empty, at, origin, f"no value in column {name}; write '{UNKNOWN}' for unknown")
    for name, known in (("label", LABELS), ("split", SPLITS)):
        bad = ~trials[name].isin(known)
        _refuse(bad, at, origin, f"unknown {name} {{}}; known are {', '.join(known)}", trials[name])
    first = trials["utt_id"].drop_duplicates().index
    at_first = {trials["utt_id"][row]: at[row] for row in first}
    for row in trials.index[trials["utt_id"].duplicated()][:1]:
        name = trials["utt_id"][row]
        raise TrialTableError(f"{origin}:{at[row]}: utt_id '{name}' is already on line {at_first[name]}")
    _refuse_absent(trials, at, origin)
    return trials


def _refuse(
    bad: pd.Series, at: Sequence[int], origin: str | Path, message: str, values: pd.Series | None = None
) -> None:
    rows = bad.index[bad]
    if not len(rows):
        return
    shown = message if values is None else message.format(repr(values[rows[0]]))
    more = f" (and {len(rows) - 1} more such lines)" if len(rows) > 1 else ""
    raise TrialTableError(f"{origin}:{at[rows[0]]}: {shown}{more}")


def _refuse_absent(trials: pd.DataFrame, at: Sequence[int], origin: str | Path) -> None:
    absent = [(line, path) for line, path in zip(at, trials["path"], strict=True) if not Path(path).is_file()]
    if absent:
        shown = "".join(f"\n  {origin}:{line}: {path}" for line, path in absent[:_SHOWN])
        rest = f"\n  … and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        raise TrialTableError(
            f"{origin}: {len(absent)} of {len(trials)} listed files are absent:{shown}{rest}\n"
            "Build or download the corpus again, or point data.root at the folder that holds it."
        )


def read_trials(path: str | Path) -> pd.DataFrame:
    """Read a trial table (`.parquet`, or tab-separated text) and validate it.

    Relative paths in the file count from the file's own folder; the table returned has absolute ones.

    Raises:
        TrialTableError: the file is absent, of another kind, or breaks the contract.
    """
    path = Path(path)
    if not path.is_file():
        raise TrialTableError(f"{path}: no such trial table; run `python -m aasist_lib prepare` first")
    if path.suffix not in (".parquet", ".tsv"):
        raise TrialTableError(f"{path}: a trial table is a .parquet or a .tsv file")
    if path.suffix == ".parquet":
        trials = pd.read_parquet(path)
    else:
        trials = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    if "path" in trials.columns:
        folder = path.parent.resolve()
        trials["path"] = [str(folder / name) if name else "" for name in trials["path"].fillna("").astype(str)]
    return validate(trials, path)


def write_trials(trials: pd.DataFrame, path: str | Path) -> None:
    """Validate a trial table and write it atomically; paths below the file's folder are stored relative to it.

    Raises:
        TrialTableError: the table breaks the contract; nothing is written.
    """
    path = Path(path)
    folder = path.parent.resolve()
    checked = validate(trials, path)
    resolved = [Path(name).resolve() for name in checked["path"]]
    checked["path"] = [str(p.relative_to(folder)) if p.is_relative_to(folder) else str(p) for p in resolved]
    with atomic(path) as temporary:
        if path.suffix == ".parquet":
            checked.to_parquet(temporary, index=False)
        else:
            checked.to_csv(temporary, sep="\t", index=False)
