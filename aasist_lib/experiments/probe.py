"""Baseline: logistic regression on mean and standard deviation of the same features."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader
from tqdm import tqdm

from aasist_lib.config import Profile
from aasist_lib.corpora import load_trials
from aasist_lib.datasets.check import usable
from aasist_lib.datasets.clips import Clips
from aasist_lib.datasets.feature_bank import FeatureBank
from aasist_lib.datasets.source import open_source
from aasist_lib.models.base import Frontend
from aasist_lib.runtime.kept import BY_CONTENT, Key, clips_digest, make_key, trials_digest
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring import score_table

C = 1e-3
"""Inverse regularisation strength: strong, because there are more features than clips."""


def pooled(bank: FeatureBank, view: int) -> np.ndarray:
    """Mean and standard deviation over frames of every layer: `(clips, layers * 2 * features)` float32."""
    rows = []
    for row in range(len(bank)):
        states = bank[row, view].astype(np.float32)
        rows.append(np.concatenate([states.mean(axis=1), states.std(axis=1)], axis=-1).ravel())
    return np.stack(rows)


@torch.inference_mode()
def pooled_on_the_fly(profile: Profile, encoder: Frontend, waves: Clips, view: int, device: str) -> np.ndarray:
    """As `pooled`, computed from the audio, for corpora without a feature bank."""
    settings = profile.training
    items = [(row, view) for row in range(len(waves))]
    batches = [items[start : start + settings.batch_size] for start in range(0, len(items), settings.batch_size)]
    loader = DataLoader(waves, batch_sampler=batches, num_workers=settings.workers)
    rows, encoder = [], encoder.eval().to(device)
    for waveform in tqdm(loader, desc="probe", unit="batch", mininterval=5):
        states = encoder(waveform.to(device)).float()
        moments = torch.cat([states.mean(dim=2), states.std(dim=2, correction=0)], dim=-1)
        rows.append(moments.flatten(1).cpu().numpy())
    return np.concatenate(rows)


def run_probe(
    profile: Profile, encoder: Frontend, device: str = "cpu", run: RunFolder | None = None
) -> dict[str, pd.DataFrame]:
    """Fit on all views of the profile's train split and score dev and eval: `{"dev": score table, "eval": score table}`.

    Features come from the feature bank if the profile uses one. Scores are log-odds of bona fide, up to a constant.

    Args:
        run: cache the tables there as `scores/probe_<split>.parquet`.
    """
    trials = {split: rows.reset_index(drop=True) for split, rows in usable(profile, load_trials(profile.data)).groupby("split")}
    key = _key(profile, encoder, pd.concat(trials.values()))

    @lru_cache
    def fitted() -> Pipeline:
        views = _pooled_views(profile, encoder, trials["train"], True, device)
        labels = (trials["train"]["label"] == "bonafide").to_numpy().astype(int)
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=C, class_weight="balanced", max_iter=2000))
        return probe.fit(np.concatenate(views), np.tile(labels, len(views)))

    def score(split: str) -> pd.DataFrame:
        (features,) = _pooled_views(profile, encoder, trials[split], False, device)
        return score_table(trials[split], fitted().decision_function(features))

    if run is None:
        return {split: score(split) for split in ("dev", "eval")}
    return {
        split: run.kept_under(f"scores/probe_{split}.parquet", key, partial(score, split)) for split in ("dev", "eval")
    }  # fmt: skip


def _key(profile: Profile, encoder: Frontend, trials: pd.DataFrame) -> Key:
    """The cache key of the scores."""
    training = profile.training_settings()["training"]
    settings = {
        "encoder": encoder.identity(), "augmentation": profile.augmentation, "root": str(profile.data.source),
        "samples": profile.model.samples, "seed": profile.data.seed,
        "training": {name: training[name] for name in ("feature_cache", "feature_dtype")},
    }  # fmt: skip
    data = {"the trials": trials_digest(trials, trials.columns.drop("path")), "the clips": clips_digest(trials)}
    entries = ["aasist_lib.experiments.probe", type(encoder).__module__]
    return make_key(entries, settings, data, leave_out=(*BY_CONTENT, "aasist_lib.models.aasist"))


def _pooled_views(profile: Profile, encoder: Frontend, trials: pd.DataFrame, train: bool, device: str) -> list[np.ndarray]:
    source = open_source(profile, encoder, trials, train, profile.data.seed, device)
    if isinstance(source, FeatureBank):
        return [pooled(source, view) for view in range(source.views)]
    views = profile.augmentation.views if train else 1
    return [pooled_on_the_fly(profile, encoder, source, view, device) for view in range(views)]
