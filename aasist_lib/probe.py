"""The baseline every number stands beside: logistic regression on mean and deviation of the same frozen features."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from aasist_lib.features import FeatureBank

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
