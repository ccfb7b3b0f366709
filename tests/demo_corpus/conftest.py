"""Synthetic recordings: buzzes with moving formants, enough like speech for every synthesiser to find F0 and pauses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter

RATE = 16_000


def talk(seed: int, seconds: float = 1.8) -> np.ndarray:
    """Speech-like float64 `(samples,)`: voiced syllables with pauses, over a faint noise floor."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * RATE)
    f0 = 110 * (1 + seed % 3 / 2) * (1 + 0.1 * np.sin(np.arange(samples) / RATE * 9 + seed))
    wave = (np.diff(np.floor(np.cumsum(f0) / RATE), prepend=0) > 0) * 1.0
    for centre, width in zip(rng.uniform([400, 1100, 2400], [800, 1900, 3200]), (80, 120, 200), strict=True):
        pole = np.exp(-np.pi * width / RATE)
        wave = lfilter([1 - pole], [1, -2 * pole * np.cos(2 * np.pi * centre / RATE), pole**2], wave)
    syllables = np.clip(np.sin(np.arange(samples) / RATE * 2 * np.pi * 3), 0, 1) ** 0.5
    return 0.2 * wave / np.abs(wave).max() * syllables + 3e-4 * rng.standard_normal(samples)


@pytest.fixture
def recordings(tmp_path: Path) -> Callable[..., Path]:
    """A maker of folders of recordings: `recordings(speakers=3, clips=4)` -> folder with a sub-folder a speaker."""

    def make(speakers: int = 3, clips: int = 3) -> Path:
        folder = tmp_path / "people"
        for speaker in range(speakers):
            (folder / f"Speaker {speaker}").mkdir(parents=True)
            for clip in range(clips):
                name = folder / f"Speaker {speaker}" / f"{clip}.{('wav', 'flac', 'ogg')[clip % 3]}"
                soundfile.write(name, talk(10 * speaker + clip), RATE)
        return folder

    return make
