"""Waveforms of trials as model input: read, cropped to one length and, for training, distorted."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from torch.utils.data import Dataset

from aasist_lib import audio
from aasist_lib.augment import Applied, Augmenter, Strength, clip_generator, strength
from aasist_lib.config import Profile


class Clips(Dataset):
    """`(row, view)` -> waveform `(samples,)` of a clip: cropped, and distorted if an augmenter is given."""

    def __init__(self, trials: pd.DataFrame, samples: int, seed: int, augmenter: Augmenter | None = None) -> None:
        self.paths, self.ids = trials["path"].tolist(), trials["utt_id"].tolist()
        self.samples, self.seed, self.augmenter = samples, seed, augmenter

    def only(self, rows: np.ndarray) -> Clips:
        """The clips of these rows."""
        chosen = pd.DataFrame({"path": self.paths, "utt_id": self.ids}).iloc[rows]
        return Clips(chosen, self.samples, self.seed, self.augmenter)

    def __len__(self) -> int:
        return len(self.paths)

    def wave(self, row: int, view: int, at: Strength | None = None) -> np.ndarray:
        """View `view` of clip `row`; without an augmenter always the beginning of the clip."""
        return self.wave_and_record(row, view, at)[0]

    def wave_and_record(self, row: int, view: int, at: Strength | None = None) -> tuple[np.ndarray, list[Applied]]:
        """As `wave`, with the applied distortions; `at` is their strength, by default that of the first epoch."""
        path = self.paths[row]
        if self.augmenter is None:
            return audio.read_crop(path, self.samples), []
        rng = clip_generator(self.seed, view, self.ids[row])
        factor = self.augmenter.draw_speed(rng, at)
        drawn = partial(audio.random_start, samples=self.samples, rng=rng)
        start = drawn if self.augmenter.config.random_start else lambda length: 0
        if factor == 1:
            wave = audio.read_crop(path, self.samples, start)
        else:
            wave = audio.change_speed(audio.read(path), factor)
            wave = audio.fit(wave, self.samples, start(len(wave)))
        wave, applied = self.augmenter(wave, rng, self.ids[row], path, at)
        return wave, applied if factor == 1 else [Applied("Speed", {"factor": factor}, float("nan")), *applied]

    def __getitem__(self, item: tuple[int, int]) -> np.ndarray:
        row, view = item
        if self.augmenter is None:
            return self.wave(row, view)
        config = self.augmenter.config
        return self.wave(row, view, strength(config, float(view >= config.first_risen_view)))


def clips_for(profile: Profile, trials: pd.DataFrame, train: bool, seed: int) -> Clips:
    """The waveforms of these trials; for training, distorted by the profile's list."""
    augmenter = Augmenter(profile.augmentation, trials["path"].tolist()) if train else None
    return Clips(trials, profile.model.samples, seed, augmenter)
