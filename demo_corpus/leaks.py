"""Leak audit: check that features unrelated to synthesis do not separate the classes.

Classifiers are fitted on train and scored on dev, for each feature alone and for all features together. A dev EER below
`FLOOR` means that a detector could succeed by measuring loudness, silence or bandwidth, so results on this corpus would not
be meaningful.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from aasist_lib.audio import RATE, read
from aasist_lib.errors import AasistError
from aasist_lib.metrics import eer

FLOOR = 0.40
MIN_DEV_CLIPS = 100
"""With fewer dev clips the EER is too uncertain to reject a corpus; the table is still returned."""
_FRAME = RATE // 100
_TINY = 1e-10


class LeakError(AasistError, RuntimeError):
    """Trivial features separate the classes; the message names them."""


def features(wave: np.ndarray) -> dict[str, float]:
    """Compute trivial features of a clip `(samples,)` at 16 kHz, in seconds, dB, kHz or fractions."""
    frames = wave[: len(wave) // _FRAME * _FRAME].reshape(-1, _FRAME)
    energy = 10 * np.log10(np.mean(frames**2, axis=1) + _TINY)
    loud = np.flatnonzero(energy > energy.max() - 30)
    power = np.abs(np.fft.rfft(wave)) ** 2
    share = np.cumsum(power) / max(power.sum(), _TINY)
    rms, peak = np.sqrt(np.mean(wave**2)), np.abs(wave).max()
    return {
        "duration": len(wave) / RATE,
        "level": 20 * np.log10(rms + _TINY),
        "peak": 20 * np.log10(peak + _TINY),
        "start_silence": loud[0] / 100,
        "end_silence": (len(energy) - 1 - loud[-1]) / 100,
        "bandwidth": np.searchsorted(share, 0.99) * RATE / 2 / len(share) / 1000,
        "below_80_hz": _decibels(power, 0, 80),
        "above_7_khz": _decibels(power, 7000, RATE // 2),
        "digital_zeros": float(np.mean(wave == 0)),
        "noise_floor": float(np.percentile(energy, 5) - energy.max()),
        "offset": abs(float(np.mean(wave))) / (rms + _TINY),
    }


def _decibels(power: np.ndarray, low: int, high: int) -> float:
    """Return the energy between two frequencies, in dB relative to all of a power spectrum `(frequencies,)` up to 8 kHz."""
    bands = slice(*(hertz * 2 * len(power) // RATE for hertz in (low, high)))
    return float(10 * np.log10(power[bands].sum() / max(power.sum(), _TINY) + _TINY))


def audit(trials: pd.DataFrame, root: str | Path = ".") -> pd.DataFrame:
    """Return the dev EER of trivial features, with classifiers fitted on train.

    Args:
        trials: a trial table with train and dev clips of both classes.
        root: folder that relative paths are relative to.

    Returns:
        one row per feature and one for all features together: `feature`, `dev_eer` (a fraction; the lower one of a logistic
        regression and gradient boosting), `floor`, `enforced` (False if dev has fewer than `MIN_DEV_CLIPS` clips).

    Raises:
        LeakError: an EER is below `FLOOR` and dev has at least `MIN_DEV_CLIPS` clips.
        ValueError: a class is missing in train or dev.
    """
    used = trials[trials["split"].isin(["train", "dev"])]
    for split in ("train", "dev"):
        if set(used.loc[used["split"] == split, "label"]) != {"bonafide", "spoof"}:
            raise ValueError(f"audit: the {split} split needs clips of both classes")
    with ThreadPoolExecutor() as pool:
        table = pd.DataFrame(list(pool.map(lambda name: features(read(Path(root) / name)), used["path"])))
    target, train = (used["label"] == "bonafide").to_numpy(), (used["split"] == "train").to_numpy()
    sets = {name: [name] for name in table.columns} | {"all together": list(table.columns)}
    rows = [(name, _dev_eer(table[columns].to_numpy(), target, train)) for name, columns in sets.items()]
    enforced = int((~train).sum()) >= MIN_DEV_CLIPS
    result = pd.DataFrame(rows, columns=["feature", "dev_eer"]).assign(floor=FLOOR, enforced=enforced)
    leaks = result[result["dev_eer"] < FLOOR]
    if enforced and len(leaks):
        named = ", ".join(f"{row.feature} (dev EER {row.dev_eer:.3f})" for row in leaks.itertuples())
        raise LeakError(f"trivial features separate the classes: {named}; each dev EER must be {FLOOR:.2f} or above")
    return result


def _dev_eer(values: np.ndarray, target: np.ndarray, train: np.ndarray) -> float:
    # imported here because the builder's processes import this package but never run the audit
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    models = (
        make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)),
        HistGradientBoostingClassifier(max_depth=3, max_iter=60, class_weight="balanced", random_state=0),
    )
    found, shuffled = [], np.random.default_rng(0).permutation(int((~train).sum()))
    for model in models:
        scores = model.fit(values[train], target[train]).predict_proba(values[~train])[:, 1]
        ranks = np.argsort(np.lexsort((shuffled, scores)))  # trees give tied scores: break ties at random
        dev = target[~train]
        found.append(float(eer(ranks[dev], ranks[~dev])[0]))
    return min(found)
