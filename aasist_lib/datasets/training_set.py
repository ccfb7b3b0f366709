"""Training data: clips with labels, a new distortion or view per epoch, in a reproducible order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset, Sampler

from aasist_lib.augment import Strength
from aasist_lib.conventions import UNKNOWN, family
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
    """The rows of an epoch in an order that depends on (seed, epoch) only, so a resumed run gets the same batches.

    Args:
        trials: the train split. For pairs, column `recording` if the corpus has it.
        seed: of the profile.
        batches: 'random', 'balanced' or 'pairs', see `config.profile.TrainingConfig`.
    """

    def __init__(self, trials: pd.DataFrame, seed: int, batches: str = "random") -> None:
        self.length, self.seed, self.batches, self.epoch = len(trials), seed, batches, 0
        bonafide = (trials["label"] == "bonafide").to_numpy()
        self._bonafide, self._spoof = np.flatnonzero(bonafide), np.flatnonzero(~bonafide)
        self._speaker, self._attack = trials["speaker"].to_numpy(), trials["attack"].to_numpy()
        self._mates = self._find_mates(trials) if batches == "pairs" else []

    def __len__(self) -> int:
        return self.length if self.batches == "random" else self.length // 2 * 2

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.batches == "random":
            return iter(rng.permutation(self.length).tolist())
        bonafide = _evenly(self._bonafide, self._speaker[self._bonafide], self.length // 2, rng)
        if self.batches == "pairs":
            spoof = self._deal_mates(bonafide, rng)
        else:
            spoof = _evenly(self._spoof, self._attack[self._spoof], self.length // 2, rng)
        return iter(np.stack([bonafide, spoof], axis=1).ravel().tolist())

    def _find_mates(self, trials: pd.DataFrame) -> list[dict[str, np.ndarray]]:
        """For each row the spoofs of its recording, or else of its speaker, or else all; by attack."""
        mates = [self._by_attack(self._spoof)] * len(trials)
        for name in ("speaker", "recording"):
            if name in trials:
                values = trials[name].to_numpy()
                groups = trials.iloc[self._spoof].groupby(name).indices
                known = {key: self._by_attack(self._spoof[rows]) for key, rows in groups.items() if key != UNKNOWN}
                mates = [known.get(key, before) for key, before in zip(values, mates, strict=True)]
        return mates

    def _by_attack(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {attack: rows[self._attack[rows] == attack] for attack in np.unique(self._attack[rows])}

    def _deal_mates(self, bonafide: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One mate for each bona fide row, of its attack that was drawn least often so far."""
        drawn: Counter[str] = Counter()
        spoof = np.empty_like(bonafide)
        for place, row in enumerate(bonafide):
            mates = self._mates[row]
            attack = min(rng.permutation(list(mates)), key=drawn.__getitem__)
            drawn[attack] += 1
            spoof[place] = rng.choice(mates[attack])
        return spoof


def _evenly(rows: np.ndarray, groups: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` rows, equally often from every group (to within one); a group repeats when all its rows are drawn."""
    names = rng.permutation(np.unique(groups))
    turn = rng.permutation(np.resize(names, count))
    drawn = np.empty(count, dtype=rows.dtype)
    for name in names:
        places, own = np.flatnonzero(turn == name), rows[groups == name]
        passes = [rng.permutation(own) for _ in range(-(-len(places) // len(own)))]
        drawn[places] = np.concatenate([own[:0], *passes])[: len(places)]
    return drawn


def contents(trials: pd.DataFrame) -> dict[str, Any]:
    """Clips per class, number of bona fide speakers (None if unknown) and attacks of a split."""
    speakers, attacks = set(trials.loc[trials["label"] == "bonafide", "speaker"]) - {"-"}, set(trials["attack"]) - {"-"}
    return {**trials["label"].value_counts().to_dict(), "speakers": len(speakers) or None, "attacks": sorted(attacks)}


def rows_without(trials: pd.DataFrame, leave_out: Sequence[str]) -> np.ndarray:
    """The rows without the spoofs of these attacks and families of attacks."""
    named = trials["attack"].isin(leave_out) | family(trials["attack"]).isin(leave_out)
    return np.flatnonzero(~(named & (trials["label"] == "spoof")))


def refuse_unknown(trials: pd.DataFrame, leave_out: Sequence[str]) -> None:
    """Check the attacks and families that are to be left out.

    Raises:
        TrialTableError: one of them is not in the trials.
    """
    known = {*trials["attack"], *family(trials["attack"])} - {UNKNOWN}
    if unknown := sorted(set(leave_out) - known):
        names = ", ".join(f"'{name}'" for name in unknown)
        raise TrialTableError(f"training.leave_out: {names} not in train or dev, which have {', '.join(sorted(known))}")


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
