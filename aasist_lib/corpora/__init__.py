"""Corpora: a module a corpus, all giving the same trial table (`table.COLUMNS`)."""

from __future__ import annotations

import pandas as pd

from aasist_lib.config import DataConfig
from aasist_lib.corpora.asvspoof5 import load_asvspoof5
from aasist_lib.corpora.table import COLUMNS, TrialTableError, read_trials, validate, write_trials

__all__ = ["COLUMNS", "TrialTableError", "load_trials", "read_trials", "validate", "write_trials"]


def load_trials(data: DataConfig) -> pd.DataFrame:
    """The trial table of a profile's corpus, with absolute paths.

    Args:
        data: `data.corpus` picks the loader; a relative `data.root` counts from the project root.

    Raises:
        TrialTableError: the corpus is not there, or its table breaks the contract.
    """
    if data.corpus == "asvspoof5":
        return load_asvspoof5(data.folder)
    return read_trials(data.folder / "trials.parquet")
