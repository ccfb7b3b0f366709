"""Pitch and formant conversion by PSOLA, with Praat in a separate program."""

from __future__ import annotations

import numpy as np

from demo_corpus import external
from demo_corpus.attacks.source import Source


def psola(source: Source, rng: np.random.Generator) -> np.ndarray:
    """Convert the voice: pitch shifted by 2–6 semitones, formants by 6–18 %, pitch range by up to 30 %, `(samples,)`."""
    direction = rng.choice([-1, 1])
    return external.call(
        "psola",
        source.wave,
        seed=int(rng.integers(1, 2**31)),
        formants=float(1 + direction * rng.uniform(0.06, 0.18)),
        pitch=float(2 ** (direction * rng.uniform(2, 6) / 12)),
        pitch_range=float(rng.uniform(0.7, 1.3)),
    )[: len(source.wave)]
