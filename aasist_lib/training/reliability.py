"""What a detector's answers are worth: the calibration of its scores on dev, and its typicality."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from aasist_lib.config.profile import TrainingConfig
from aasist_lib.datasets.training_set import TrialData
from aasist_lib.metrics import ScoreWarning, calibrate_fit
from aasist_lib.models import AASIST
from aasist_lib.models.checkpoints import add_to_checkpoint, load_model, put_weights, read_facts, trained_weights
from aasist_lib.models.typicality import Typicality, summary

MOST_CLIPS = 4000
"""Largest number of train clips, drawn at random, that the typicality is fitted to."""


def fit_calibration(bonafide: NDArray, spoof: NDArray) -> dict[str, float] | None:
    """Scale and offset from scores to natural-log likelihood ratios, and the numbers of clips they were fitted on; None if
    every clip has the same score."""
    if np.ptp(np.concatenate((bonafide, spoof))) == 0:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScoreWarning)  # not in every epoch: `Detector.caution` reports it for the best
        fitted = asdict(calibrate_fit(bonafide, spoof))
    return fitted | {"bonafide": len(bonafide), "spoof": len(spoof)}


def add_typicality(checkpoint: Path, model: AASIST, train: TrialData, dev: TrialData, settings: TrainingConfig) -> None:
    """Fit the typicality of a finished training and add it to its best checkpoint, unless it is there.

    Args:
        checkpoint: the folder of the best checkpoint.
        model: the trained model; its weights are put aside, because a fine-tuned encoder's states depend on those of the
            checkpoint.
        train, dev: whole clips.
        settings: batch size and workers; with `feature_cache` the data are states, else waveforms.
    """
    if "typicality" in read_facts(checkpoint):
        return
    kept = {name: tensor.clone() for name, tensor in trained_weights(model).items()}
    load_model(checkpoint, model)
    drawn = np.random.default_rng(train.seed).permutation(len(train))[:MOST_CLIPS]
    bonafide = np.flatnonzero(dev.labels)
    fitted = Typicality.fit(_summaries(model, train, drawn, settings), _summaries(model, dev, bonafide, settings))
    put_weights(model, kept)
    add_to_checkpoint(checkpoint, {"typicality": {"clips": len(drawn), "bonafide": len(bonafide)}}, fitted)


@torch.inference_mode()
def _summaries(model: AASIST, data: TrialData, rows: Sequence[int] | NDArray, settings: TrainingConfig) -> NDArray[np.float32]:
    """`summary` of the rows' states, `(rows, features)`."""
    loader = DataLoader(Subset(data, [int(row) for row in rows]), settings.batch_size, num_workers=settings.workers)
    parts = []
    for inputs, _, _ in tqdm(loader, "typicality", leave=False, mininterval=5, disable=None):
        states = inputs if settings.feature_cache else model.frontend(inputs.to(model.device))
        parts.append(summary(states).cpu())
    return torch.cat(parts).numpy()
