"""The baseline every number stands beside: logistic regression on mean and deviation of the same frozen features."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from aasist_lib.config import Profile
from aasist_lib.corpora import load_trials
from aasist_lib.features import FeatureBank, build_bank
from aasist_lib.models.frontend import FrozenEncoder
from aasist_lib.scoring import score_table

C = 1e-3
"""Inverse regularisation: strong, there are more features than clips."""


def pooled(bank: FeatureBank, view: int) -> np.ndarray:
    """Mean and standard deviation over frames of every layer: `(clips, layers * 2 * features)` float32."""
    rows = []
    for row in range(len(bank)):
        states = bank[row, view].astype(np.float32)
        rows.append(np.concatenate([states.mean(axis=1), states.std(axis=1)], axis=-1).ravel())
    return np.stack(rows)


def fit_probe(bank: FeatureBank, labels: np.ndarray) -> Pipeline:
    """Fit on all views of the train bank.

    Args:
        bank: of the train split.
        labels: `(clips,)`, bona fide = 1, spoof = 0.
    """
    features = np.concatenate([pooled(bank, view) for view in range(bank.views)])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=C, class_weight="balanced", max_iter=2000))
    return probe.fit(features, np.tile(labels, bank.views))


def probe_scores(probe: Pipeline, bank: FeatureBank) -> np.ndarray:
    """Log-odds of bona fide of view 0 of each clip, `(clips,)`."""
    return probe.decision_function(pooled(bank, 0))


def run_probe(profile: Profile, encoder: FrozenEncoder, device: str = "cpu") -> dict[str, pd.DataFrame]:
    """Fit on the profile's train split and score dev and eval: `{"dev": score table, "eval": score table}`."""
    trials = {split: rows.reset_index(drop=True) for split, rows in load_trials(profile.data).groupby("split")}
    bank = build_bank(profile, encoder, trials["train"], train=True, device=device)
    probe = fit_probe(bank, (trials["train"]["label"] == "bonafide").to_numpy().astype(int))
    tables = {}
    for split in ("dev", "eval"):
        bank = build_bank(profile, encoder, trials[split], train=False, device=device)
        tables[split] = score_table(trials[split], probe_scores(probe, bank))
    return tables
