"""Corpora: one module per corpus; all return the same trial table (`table.COLUMNS`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from aasist_lib.config import DataConfig
from aasist_lib.conventions import SPLITS, UNKNOWN
from aasist_lib.corpora.asvspoof5 import load_asvspoof5
from aasist_lib.corpora.asvspoof2019 import load_asvspoof2019_la
from aasist_lib.corpora.asvspoof2021 import load_asvspoof2021_df, load_asvspoof2021_la
from aasist_lib.corpora.folder import load_folder, load_table
from aasist_lib.corpora.in_the_wild import load_in_the_wild
from aasist_lib.corpora.protocols import ProtocolError, read_key
from aasist_lib.corpora.table import COLUMNS, TrialTableError, read_trials, validate, write_trials

__all__ = [
    "COLUMNS",
    "ProtocolError",
    "TrialTableError",
    "load_trials",
    "read_key",
    "read_trials",
    "validate",
    "write_trials",
]


def _load_demo(root: Path, splits: Sequence[str] = SPLITS) -> pd.DataFrame:
    trials = read_trials(root / "trials.parquet")
    return trials[trials["split"].isin(splits)].reset_index(drop=True)


_LOADERS: dict[str, Callable[[Path, Sequence[str]], pd.DataFrame]] = {
    "demo": _load_demo,
    "asvspoof5": load_asvspoof5,
    "asvspoof2019_la": load_asvspoof2019_la,
    "asvspoof2021_la": load_asvspoof2021_la,
    "asvspoof2021_df": load_asvspoof2021_df,
    "in_the_wild": load_in_the_wild,
    "folder": load_folder,
    "table": load_table,
}


def load_trials(data: DataConfig) -> pd.DataFrame:
    """The trial table of a profile's corpus, with absolute paths.

    Args:
        data: `data.corpus` selects the loader; a relative `data.root` is relative to the project. With `data.evaluate_on`
            the eval split is that of the other corpus; the training corpus's own may be missing.

    Raises:
        TrialTableError: a corpus is missing, its table is invalid, the corpus to evaluate on has no eval split, or
            the two corpora share trials or speakers.
    """
    load = _LOADERS[data.corpus]
    if data.evaluate_on is None:
        return load(data.source, SPLITS)
    own = load(data.source, ("train", "dev"))
    other = _LOADERS[data.evaluate_on.corpus](data.evaluate_on.source, ("eval",))
    if other.empty:
        raise TrialTableError(f"data.evaluate_on: {data.evaluate_on.source} has no trial of the split eval")
    for column in ("utt_id", "speaker"):
        shared = sorted((set(own[column]) & set(other[column])) - {UNKNOWN})
        if shared:
            raise TrialTableError(
                f"data.evaluate_on: the same {column} in {data.corpus} (train, dev) and in {data.evaluate_on.corpus} (eval), "
                f"{len(shared)} in all: {', '.join(shared[:3])}. An eval split shares neither trials nor speakers with "
                "training; if only the names are alike, rename them in a trial table (data.corpus: table)."
            )
    return pd.concat([own, other], ignore_index=True)
