"""Training data: clips with labels, a new distortion or view per epoch, in a reproducible order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset, Sampler

from aasist_lib.augment import Strength
from aasist_lib.corpora import TrialTableError
from aasist_lib.datasets.clips import Clips
from aasist_lib.datasets.feature_bank import FeatureBank


class TrialData(Dataset):
    """`row -> (input, label, row)`: encoder states from a feature bank (fp16), or the waveform (float32) without a bank.

    Without a bank every epoch draws a new distortion of the current strength. With a bank it draws one of the views; views of
    final strength are drawn in proportion to the progress of the ramp. With `crop_frames`, that many frames are cut from a
    random start; after the last frame the crop continues with the first, as in the repeated waveform.
    """

    def __init__(
        self, trials: pd.DataFrame, source: FeatureBank | Clips, seed: int, crop_frames: int | None = None,
        first_risen_view: int | None = None,
    ) -> None:  # fmt: skip
        self.source, self.seed, self.crop_frames, self.first_risen_view = source, seed, crop_frames, first_risen_view
        self.labels = (trials["label"] == "bonafide").to_numpy().astype(np.int64)
        # In shared memory, so that running workers receive it.
        self._now = torch.zeros(4, dtype=torch.float64).share_memory_()

    def begin(self, epoch: int, at: Strength) -> None:
        """Set epoch and strength for the next pass over the data."""
        self._now[:] = torch.tensor([epoch, at.probability, at.intensity, at.progress], dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[np.ndarray, int, int]:
        epoch, *at = self._now.tolist()
        if isinstance(self.source, Clips):
            return self.source.wave(row, int(epoch), Strength(*at)), self.labels[row], row
        rng = np.random.default_rng([self.seed, int(epoch), row])
        states = self.source[row, self._view(rng, Strength(*at).progress, self.source.views)]
        if self.crop_frames:
            start = rng.integers(states.shape[1])
            return states.take(range(start, start + self.crop_frames), axis=1, mode="wrap"), self.labels[row], row
        return np.array(states), self.labels[row], row

    def _view(self, rng: np.random.Generator, progress: float, views: int) -> int:
        first = self.first_risen_view
        if first is None or first == views:
            return int(rng.integers(views))
        return int(rng.integers(first, views) if rng.random() < progress else rng.integers(first))


class EpochSampler(Sampler[int]):
    """A permutation of the rows that depends on (seed, epoch) only, so a resumed run gets the same batches."""

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.default_rng([self.seed, self.epoch]).permutation(self.length).tolist())


def contents(trials: pd.DataFrame) -> dict[str, Any]:
    """Clips per class, number of bona fide speakers (None if unknown) and attacks of a split."""
    speakers, attacks = set(trials.loc[trials["label"] == "bonafide", "speaker"]) - {"-"}, set(trials["attack"]) - {"-"}
    return {**trials["label"].value_counts().to_dict(), "speakers": len(speakers) or None, "attacks": sorted(attacks)}


def both_classes(trials: pd.DataFrame, split: str) -> pd.DataFrame:
    """The trials of a split.

    Raises:
        TrialTableError: it lacks a class.
    """
    chosen: Any = trials[trials["split"] == split].reset_index(drop=True)
    counts = chosen["label"].value_counts().to_dict()
    if len(counts) < 2:
        raise TrialTableError(f"split '{split}' has {counts or 'no trials'}; bona fide and spoofed trials are both needed")
    return chosen
