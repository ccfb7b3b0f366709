"""Scores of a corpus' trials through a trained detector. A score is log-odds, higher = bona fide."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from aasist_lib.config import Profile
from aasist_lib.corpora import load_trials
from aasist_lib.features import FeatureBank, Waves, build_bank, iterate_batches
from aasist_lib.models import AASIST


class ScoringError(ValueError):
    """Nothing could be scored; the message says why."""


def score_split(profile: Profile, model: AASIST, split: str, device: str = "cpu") -> pd.DataFrame:
    """Score table of one split: `score` beside the trial columns. Features come from the bank where the profile has one.

    Args:
        profile: corpus, crop and batch size.
        model: a trained detector, in eval mode.
        split: 'train', 'dev' or 'eval'.
    """
    trials = load_trials(profile.data)
    trials = trials[trials["split"] == split].reset_index(drop=True)
    model = model.eval().to(device)
    if profile.training.feature_cache:
        scores = bank_scores(model, build_bank(profile, model.frontend, trials, train=False, device=device), device)
    else:
        scores = _wave_scores(model, Waves(trials, profile.model.samples, profile.seed), profile, device)
    return score_table(trials, scores)


def score_table(trials: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    """`utt_id, score` and then the trial columns; `scores (trials,)` in the order of the rows."""
    return pd.concat([trials[["utt_id"]], pd.Series(scores, name="score"), trials.drop(columns="utt_id")], axis=1)


@torch.inference_mode()
def bank_scores(model: AASIST, bank: FeatureBank, device: str = "cpu", batch_size: int = 32) -> np.ndarray:
    """Scores of view 0 of a bank's clips, `(clips,)` float64."""
    parts = [log_odds(model.backend(states.to(device))) for states in iterate_batches(bank, batch_size)]
    return np.concatenate(parts)


@torch.inference_mode()
def _wave_scores(model: AASIST, waves: Waves, profile: Profile, device: str) -> np.ndarray:
    rows = torch.utils.data.DataLoader(
        [(row, 0) for row in range(len(waves))], batch_size=profile.training.batch_size, collate_fn=list
    )
    parts = []
    for batch in tqdm(rows, desc="scoring", unit="batch", mininterval=5):
        waveform = torch.from_numpy(np.stack([waves[item] for item in batch]))
        parts.append(log_odds(model(waveform.to(device))))
    return np.concatenate(parts)


def log_odds(logits: torch.Tensor) -> np.ndarray:
    """Scores `(batch,)` float64 from logits `(batch, 2)`."""
    return (logits[:, 1] - logits[:, 0]).double().cpu().numpy()
