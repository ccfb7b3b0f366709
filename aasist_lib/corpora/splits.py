"""Divide a corpus into train, dev and eval so that no speaker is in two of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aasist_lib.conventions import SPLITS, UNKNOWN
from aasist_lib.corpora.table import TrialTableError

SHARES = (0.6, 0.2, 0.2)
"""Shares of the clips for train, dev and eval."""


def split_by_speaker(trials: pd.DataFrame, seed: int = 0) -> tuple[pd.DataFrame, list[str]]:
    """Assign new splits: whole speakers go to train, dev and eval, with about 60, 20 and 20 % of the clips of each class.

    Spoofed clips of unknown speakers are divided at random within each attack.

    Returns:
        the table, and warnings.

    Raises:
        TrialTableError: there are fewer than three bona fide speakers, or a split would lack a class.
    """
    known = trials["speaker"] != UNKNOWN
    bonafide = trials[known & (trials["label"] == "bonafide")]
    if (number := bonafide["speaker"].nunique()) < len(SPLITS):
        raise TrialTableError(
            f"a split by speaker needs bona fide clips of at least three speakers, but only {number} are labelled: "
            "name them by folders (bonafide/<speaker>/…) or in the column 'speaker', or sort the clips into train/, dev/ and "
            "eval/ yourself"
        )
    rng = np.random.default_rng(seed)
    place = _deal(bonafide["speaker"].value_counts(), rng)
    others = trials.loc[known & ~trials["speaker"].isin(place), "speaker"].value_counts()  # voices of spoofs alone
    place |= _deal(others, rng)
    split = trials["speaker"].map(place)
    notes = []
    for (label, attack), rows in trials[~known].groupby(["label", "attack"]):
        drawn = rng.permutation(np.repeat(SPLITS, _counts(len(rows))))
        split[rows.index] = drawn
        what = "bona fide" if label == "bonafide" else f"spoofed ({attack})"
        notes.append(f"{len(rows)} {what} clips name no speaker: divided by chance, so a voice may be in two splits")
    divided = trials.assign(split=split)
    missing = [f"{label} in {part}" for part in SPLITS for label in ("bonafide", "spoof")
               if not ((divided["split"] == part) & (divided["label"] == label)).any()]  # fmt: skip
    if missing:
        raise TrialTableError(f"after the split there is no {', no '.join(missing)}: more speakers or more clips are needed")
    return divided, notes


def _deal(clips: pd.Series, rng: np.random.Generator) -> dict[str, str]:
    """Speaker -> split: largest speakers first, each to the split that lacks most clips; `clips` per speaker."""
    order = clips.iloc[rng.permutation(len(clips))].sort_values(ascending=False, kind="stable")
    wanted, place = np.array(SHARES) * clips.sum(), {}
    for speaker, count in order.items():
        lacking = int(np.argmax(wanted))
        place[str(speaker)] = SPLITS[lacking]
        wanted[lacking] -= count
    if len(order) >= len(SPLITS):  # few speakers of very different sizes may all have gone elsewhere
        for part in (part for part in SPLITS if part not in place.values()):
            most = max(SPLITS, key=list(place.values()).count)
            place[next(name for name in reversed(place) if place[name] == most)] = part
    return place


def _counts(clips: int) -> list[int]:
    """Number of clips for each split."""
    ends = np.round(np.cumsum(SHARES) * clips).astype(int)
    return np.diff([0, *ends]).tolist()
