"""What all distortions share: their randomness, their record, and what they promise.

A distortion is an audiomentations transform on mono float32 `(samples,)` at 16 kHz. It draws every random choice in
`randomize_parameters` and keeps it in `parameters`; `apply` is then a function of the clip and those parameters alone, so
that `freeze_parameters` and composition with the rest of audiomentations work as its users know them.
"""

from __future__ import annotations

import hashlib
import random
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from audiomentations.core.transforms_interface import BaseWaveformTransform

from aasist_lib.audio import RATE
from aasist_lib.errors import AasistError


class AugmentationError(AasistError, ValueError):
    """A distortion cannot be made, or gave something that is not audio of the same length; says which and what to do."""


class Distortion(BaseWaveformTransform):
    """Base of the transforms made here. Sub-classes implement `draw` and `distort`.

    `parameters` holds what was drawn, and `measured` what the last call found, such as the SNR that was reached.
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.measured: dict[str, object] = {}

    def randomize_parameters(self, samples: np.ndarray, sample_rate: int) -> None:
        """Decide whether to fire and draw the parameters (audiomentations calls this)."""
        super().randomize_parameters(samples, sample_rate)
        if self.parameters["should_apply"]:
            self.parameters |= self.draw(len(samples))

    def apply(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """Distort with the parameters drawn (audiomentations calls this).

        Raises:
            AugmentationError: the rate is not 16 kHz.
        """
        if sample_rate != RATE:
            raise AugmentationError(f"{type(self).__name__} works at {RATE} Hz, not at {sample_rate}")
        self.measured = {}
        return self.distort(samples).astype(np.float32, copy=False)

    @abstractmethod
    def draw(self, length: int) -> dict[str, object]:
        """Random parameters for a clip of `length` samples, from `random` as audiomentations does; JSON types only. Noise is
        drawn in `distort`, from `np.random.default_rng` of a seed that is drawn here by `new_seed`."""

    @abstractmethod
    def distort(self, samples: np.ndarray) -> np.ndarray:
        """`(samples,)` float32 in and out, same length and alignment; depends on `self.parameters` and does not change them."""


def record(transform: BaseWaveformTransform) -> dict[str, object]:
    """What the last call of a transform drew and, for a `Distortion`, measured."""
    drawn = {name: value for name, value in transform.parameters.items() if name != "should_apply"}
    return drawn | getattr(transform, "measured", {})


def check_range(name: str, values: Iterable[float], low: float, high: float) -> None:
    """Raise AugmentationError, saying what is allowed, unless all `values` of the argument `name` lie in [low, high]."""
    values = tuple(values)
    if not all(low <= value <= high for value in values):
        raise AugmentationError(f"{name} = {list(values)} leaves [{low:g}, {high:g}]")


def new_seed() -> int:
    """A seed to be kept among a transform's parameters."""
    return random.randrange(2**32)


def clip_generator(seed: int, view: int, utt_id: str) -> np.random.Generator:
    """The generator of one view (or epoch) of one clip: equal for any number of workers and processes."""
    digest = hashlib.sha256(f"{seed}\0{view}\0{utt_id}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


@contextmanager
def seeded(rng: np.random.Generator) -> Iterator[None]:
    """Seed the global generators that audiomentations draws from, and put their states back afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    seed = int(rng.integers(2**32))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002


def power(wave: np.ndarray) -> float:
    """Mean square of `(samples,)`."""
    return float(np.mean(np.square(wave, dtype=np.float64)))


def scale_to_snr(signal: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """`noise` scaled so that `signal` lies `snr_db` dB above it; zeros when either is silent."""
    loudness = power(noise)
    return noise * np.sqrt(power(signal) / loudness) * 10 ** (-snr_db / 20) if loudness else np.zeros_like(noise)
