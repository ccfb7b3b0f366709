"""Noise, gain and MP3 compression as one pipeline (paper, idea 4, first part).

audiomentations draws from the global generators of `random` and NumPy. Here they are seeded from the clip's own generator
for the length of one call and put back afterwards, so that a clip's distortion depends on (seed, view, utt_id) only.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import audiomentations
import numpy as np

from aasist_lib.audio import RATE
from aasist_lib.config import AugmentationConfig


class AugmentationError(ValueError):
    """A distortion gave something that is not audio of the same length; the message names clip and parameters."""


def clip_generator(seed: int, view: int, utt_id: str) -> np.random.Generator:
    """The generator of one view (or epoch) of one clip: equal for any number of workers and processes."""
    digest = hashlib.sha256(f"{seed}\0{view}\0{utt_id}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


@dataclass(frozen=True)
class Applied:
    """One distortion that was applied: its name and the parameters drawn (units as in audiomentations: dB, kbit/s)."""

    name: str
    parameters: dict[str, object]


class Augmenter:
    """`augmenter(wave, rng, utt_id) -> (wave, applied)`: float32 `(samples,)` at 16 kHz in and out, same length."""

    def __init__(self, config: AugmentationConfig) -> None:
        low, high = config.mp3_kbps
        self.config = config
        self.transforms = [
            audiomentations.AddGaussianSNR(*config.noise_snr_db, p=config.probability),
            audiomentations.Gain(*config.gain_db, p=config.probability),
            audiomentations.Mp3Compression(low, high, backend="fast-mp3-augment", preserve_delay=False, p=config.probability),
        ]

    def draw_speed(self, rng: np.random.Generator) -> float:
        """The factor of a speed change, to be made before cropping since it changes the length; 1 = none."""
        fires, factor = rng.random() < self.config.probability, rng.uniform(*self.config.speed)
        return factor if fires else 1.0

    def __call__(self, wave: np.ndarray, rng: np.random.Generator, utt_id: str = "?") -> tuple[np.ndarray, list[Applied]]:
        """Distort one clip.

        Raises:
            AugmentationError: the result has another length, or holds NaN or infinite values.
        """
        applied: list[Applied] = []
        for transform in self.transforms:
            with _seeded(rng):
                distorted = transform(wave, sample_rate=RATE)
            if not transform.parameters["should_apply"]:
                continue
            parameters = {k: v for k, v in transform.parameters.items() if k != "should_apply"}
            applied.append(Applied(type(transform).__name__, parameters))
            if distorted.shape != wave.shape or not np.isfinite(distorted).all():
                raise AugmentationError(
                    f"{utt_id}: {applied[-1]} gave shape {distorted.shape}, finite: {np.isfinite(distorted).all()}"
                )
            wave = distorted.astype(np.float32, copy=False)
        return wave, applied


@contextmanager
def _seeded(rng: np.random.Generator) -> Iterator[None]:
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    seed = int(rng.integers(2**32))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
