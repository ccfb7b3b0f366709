"""Score files and keys as people have them: parquet, CSV, or text columns with or without a heading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

LABELS = {"bonafide": True, "spoof": False}
_SHOWN = 5


class TableError(ValueError):
    """A score file or key that cannot be used; the message names the file and what is wrong."""


def read_columns(path: Path, value: str) -> pd.Series:
    """The column `value` of a table by `utt_id`.

    A file without a heading has two columns, the id and the value. Columns are separated by white space or commas.

    Raises:
        TableError: no such file, no such column, or an id occurs twice.
    """
    if not path.is_file():
        raise TableError(f"{path}: no such file")
    try:
        table = _read(path, value)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise TableError(f"{path}: not a table: {error}") from error
    if missing := [name for name in ("utt_id", value) if name not in table.columns]:
        raise TableError(f"{path}: no column {' and no '.join(missing)}; it has {', '.join(map(str, table.columns))}")
    twice = table["utt_id"][table["utt_id"].duplicated()]
    if len(twice):
        raise TableError(f"{path}: {len(twice)} ids occur more than once: {_some(twice)}")
    return table.set_index(table["utt_id"].astype(str))[value]


def join_scores(scores: Path, key: Path) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the bona fide and of the spoof trials, `(n,)` each, by joining a score file and a key on `utt_id`.

    Raises:
        TableError: an id stands in one of the two files only, a score is no number, or a label is unknown.
    """
    values, labels = read_columns(scores, "score"), read_columns(key, "label")
    for name, other, extra in (
        (scores, key, values.index.difference(labels.index)),
        (key, scores, labels.index.difference(values.index)),
    ):
        if len(extra):
            raise TableError(f"{len(extra)} ids of {name} are not in {other}: {_some(extra)}")
    numbers = pd.to_numeric(values, errors="coerce")
    if bad := list(values.index[~np.isfinite(numbers)]):
        raise TableError(f"{scores}: {len(bad)} scores are no finite numbers: {_some(bad)}")
    if unknown := sorted(set(labels.astype(str)) - set(LABELS)):
        raise TableError(f"{key}: unknown labels {_some(unknown)}; known are {', '.join(LABELS)}")
    real = labels.map(LABELS).astype(bool).reindex(numbers.index).to_numpy()
    return numbers.to_numpy(float)[real], numbers.to_numpy(float)[~real]


def _read(path: Path, value: str) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    with path.open(encoding="utf-8") as stream:
        separator = "," if "," in stream.readline() else r"\s+"
    table = pd.read_csv(path, sep=separator, dtype=str, header=None, keep_default_na=False, skipinitialspace=True)
    if "utt_id" in set(table.iloc[0]):
        return table.iloc[1:].set_axis(list(table.iloc[0]), axis=1)
    if table.shape[1] != 2:
        raise TableError(f"{path}: {table.shape[1]} columns without a heading; write 'utt_id' and '{value}' above them")
    return table.set_axis(["utt_id", value], axis=1)


def _some(items) -> str:
    shown = ", ".join(map(str, list(items)[:_SHOWN]))
    return shown + (" …" if len(items) > _SHOWN else "")
