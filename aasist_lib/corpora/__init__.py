"""Corpora: a module a corpus, all giving the same trial table (`table.COLUMNS`)."""

from __future__ import annotations

import pandas as pd

from aasist_lib.config import ConfigError, DataConfig, project_root
from aasist_lib.corpora.table import COLUMNS, TrialTableError, read_trials, validate, write_trials

__all__ = ["COLUMNS", "TrialTableError", "load_trials", "read_trials", "validate", "write_trials"]


def load_trials(data: DataConfig) -> pd.DataFrame:
    """The trial table of a profile's corpus, with absolute paths.

    Args:
        data: `data.corpus` picks the loader; a relative `data.root` counts from the project root.

    Raises:
        ConfigError: no loader for this corpus.
        TrialTableError: the corpus is not built, or its table breaks the contract.
    """
    root = data.root if data.root.is_absolute() else project_root() / data.root
    if data.corpus == "demo":
        return read_trials(root / "trials.parquet")
    raise ConfigError(f"data.corpus = '{data.corpus}': this version has a loader for 'demo' only")
