"""Robustness of a trained detector to distortions: changes of scores, and EER over codecs and bitrates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from audiomentations.core.transforms_interface import BaseWaveformTransform
from tqdm import tqdm

from aasist_lib import audio
from aasist_lib.augment import build, clip_generator, seeded
from aasist_lib.config.augmentation import Item
from aasist_lib.metrics import bootstrap, eer, split_classes
from aasist_lib.models import AASIST, log_odds

BATCH = 16


@dataclass(frozen=True)
class Condition:
    """A codec at a bitrate in kbit/s, and whether training distorts clips with that codec."""

    codec: str
    kbps: float
    trained: bool


def balanced(trials: pd.DataFrame, clips: int, seed: int, attacks: Iterable[str] | None = None) -> pd.DataFrame:
    """`clips` trials, as many bona fide as spoofed (fewer where a class has no more), drawn by `seed`, in the table's order.

    Args:
        trials: rows of a trial table.
        clips: total number.
        seed: of the draw.
        attacks: only these among the spoofs; None = all.
    """
    keep = (trials["label"] == "bonafide") | (True if attacks is None else trials["attack"].isin(set(attacks)))
    groups = trials[keep].groupby("label", group_keys=False)
    drawn = [rows.sample(min(clips // 2, len(rows)), random_state=seed) for _, rows in groups]
    return pd.concat(drawn).sort_index().reset_index(drop=True)


def waves_of(trials: pd.DataFrame, samples: int) -> np.ndarray:
    """The beginnings of the trials' clips as detector input, `(trials, samples)` float32."""
    return np.stack([audio.fit(audio.read(path), samples) for path in trials["path"]])


def distort(
    wave: np.ndarray, transform: BaseWaveformTransform, utt_id: str, seed: int = 0, path: str | None = None
) -> np.ndarray:
    """One clip `(samples,)` of the file `path` through one transform, its draws made from (seed, utt_id)."""
    with seeded(clip_generator(seed, 0, utt_id), path):
        return transform(wave, sample_rate=audio.RATE)


@torch.inference_mode()
def score_waves(model: AASIST, waves: np.ndarray) -> np.ndarray:
    """Log-odds scores of `(clips, samples)`, `(clips,)` float64, on the device the detector is on."""
    parts = [
        log_odds(model(torch.from_numpy(waves[start : start + BATCH]).to(model.device)))
        for start in range(0, len(waves), BATCH)
    ]
    return np.concatenate(parts)


def score_shifts(
    model: AASIST, trials: pd.DataFrame, items: Sequence[Item], intensities: Sequence[float], seed: int = 0
) -> pd.DataFrame:
    """The effect of each distortion on the scores of the same clips.

    Args:
        model: a trained detector, in eval mode.
        trials: the clips, both classes; babble is made from the others.
        items: distortions of a profile's list.
        intensities: each distortion has exactly this strength (0 = the mild end of its ranges, 1 = the hard one).
        seed: of the draws.

    Returns:
        one row per distortion, intensity and class: `kind, intensity, label, shift` (mean change of the score), `spread`
            (standard deviation of the change over the clips), `eer` (a fraction) of these clips, and `eer_clean`.
    """
    waves = waves_of(trials, model.config.samples)
    clean = score_waves(model, waves)
    steps = [(item, intensity) for item in items for intensity in intensities]
    rows = []
    for item, intensity in tqdm(steps, desc="distortions", unit="step", mininterval=5):
        transform = build(item.kind, item.exactly(intensity), 1.0, trials["path"])
        change = score_waves(model, distort_all(waves, trials, transform, seed)) - clean
        rates = {"eer": _eer(trials, clean + change), "eer_clean": _eer(trials, clean)}
        for label in ("bonafide", "spoof"):
            own = change[(trials["label"] == label).to_numpy()]
            step = {"kind": item.kind, "intensity": intensity, "label": label}
            rows.append(step | {"shift": own.mean(), "spread": own.std()} | rates)
    return pd.DataFrame(rows)


def codec_matrix(
    model: AASIST, trials: pd.DataFrame, conditions: Sequence[Condition], replicates: int = 1000, seed: int = 0,
    score: Callable[[np.ndarray], np.ndarray] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """EER of the same trials through each codec and bitrate, with bootstrap intervals over trials.

    Args:
        model: a trained detector, in eval mode.
        trials: both classes.
        conditions: codecs at bitrates; the uncompressed clips are added as the first row.
        replicates: of the bootstrap.
        seed: of the bootstrap.
        score: how `(clips, samples)` become scores `(clips,)`; None = by the detector.

    Returns:
        columns `codec, kbps, trained, eer, low, high` (fractions) and `clips`; the first row is the codec 'none'.
    """
    waves = waves_of(trials, model.config.samples)
    score = score or (lambda distorted: score_waves(model, distorted))
    rows = [_row("none", np.nan, True, trials, score(waves), replicates, seed)]
    for condition in tqdm(conditions, desc="codecs", unit="codec", mininterval=5):
        arguments = {"codecs": (condition.codec,), "kbps": (condition.kbps, condition.kbps)}
        transform = build("codec", arguments, 1.0)
        scores = score(distort_all(waves, trials, transform, seed))
        rows.append(_row(condition.codec, condition.kbps, condition.trained, trials, scores, replicates, seed))
    return pd.DataFrame(rows)


def distort_all(waves: np.ndarray, trials: pd.DataFrame, transform: BaseWaveformTransform, seed: int = 0) -> np.ndarray:
    """Every trial's wave `(trials, samples)` through one transform; see `distort`."""
    distorted = np.empty_like(waves)
    for row, (wave, utt_id, path) in enumerate(zip(waves, trials["utt_id"], trials["path"], strict=True)):
        distorted[row] = distort(wave, transform, utt_id, seed, path)
    return distorted


def _eer(trials: pd.DataFrame, scores: np.ndarray) -> float:
    return eer(*split_classes(trials["label"], scores))[0]


def _row(
    codec: str, kbps: float, trained: bool, trials: pd.DataFrame, scores: np.ndarray, replicates: int, seed: int
) -> dict[str, object]:
    found = bootstrap(*split_classes(trials["label"], scores), replicates=replicates, seed=seed).eer
    facts = {"codec": codec, "kbps": kbps, "trained": trained, "clips": len(trials)}
    return facts | {"eer": found.value, "low": found.low, "high": found.high}
