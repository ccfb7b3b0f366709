"""WORLD (pyworld): analysis into F0, spectral envelope and aperiodicity, and synthesis from them."""

from __future__ import annotations

import numpy as np
import pyworld

from aasist_lib.audio import RATE
from demo_corpus.attacks.source import Source


def copy(source: Source, rng: np.random.Generator) -> np.ndarray:
    """Copy synthesis: analysis and synthesis without changes, `(samples,)`."""
    return _synthesise(*_analyse(source.wave), len(source.wave))


def convert(source: Source, rng: np.random.Generator) -> np.ndarray:
    """Another voice: F0 and formants moved by up to a fifth and 18 %, always by a noticeable amount, `(samples,)`."""
    f0, envelope, aperiodicity = _analyse(source.wave)
    direction = rng.choice([-1, 1])
    pitch = 2 ** (direction * rng.uniform(2, 6) / 12)
    formants = 1 + direction * rng.uniform(0.06, 0.18)
    bins = np.arange(envelope.shape[1])
    places = np.minimum(bins / formants, bins[-1])
    below = np.minimum(places.astype(int), bins[-1] - 1)
    part = places - below
    logarithm = np.log(envelope)
    warped = np.exp(logarithm[:, below] * (1 - part) + logarithm[:, below + 1] * part)
    return _synthesise(f0 * pitch, warped, aperiodicity, len(source.wave))


def _analyse(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    wave = np.ascontiguousarray(wave, dtype=np.float64)
    rough, times = pyworld.dio(wave, RATE)
    f0 = pyworld.stonemask(wave, rough, times, RATE)
    return f0, pyworld.cheaptrick(wave, f0, times, RATE), pyworld.d4c(wave, f0, times, RATE)


def _synthesise(f0: np.ndarray, envelope: np.ndarray, aperiodicity: np.ndarray, samples: int) -> np.ndarray:
    return pyworld.synthesize(f0, np.ascontiguousarray(envelope), aperiodicity, RATE)[:samples]
