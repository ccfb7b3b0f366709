"""Audio files for corpora of the tests' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def record(*files: Path) -> None:
    """A hundredth of a second of faint noise in each of these files, in the format of its ending."""
    wave = 0.01 * np.random.default_rng(0).standard_normal(RATE // 100)
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, wave, RATE)
