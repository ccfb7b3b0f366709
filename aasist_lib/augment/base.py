"""Base class and helpers of all distortions: random draws, recorded parameters and argument checks.

A distortion is an audiomentations transform on mono float32 `(samples,)` at 16 kHz. It makes every random choice in
`randomize_parameters` and stores it in `parameters`. `apply` depends only on the clip and those parameters, so
`freeze_parameters` and composition work as in the rest of audiomentations.
"""

from __future__ import annotations

import hashlib
import os
import random
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
from audiomentations.core.transforms_interface import BaseWaveformTransform

from aasist_lib.audio import RATE
from aasist_lib.errors import AasistError

_clip_path: ContextVar[str | None] = ContextVar("clip_path", default=None)


class AugmentationError(AasistError, ValueError):
    """A distortion cannot be built, or its output is not audio of the input's length; the message says how to fix it."""


class Distortion(BaseWaveformTransform):
    """Base class of this package's transforms. Subclasses implement `draw` and `distort`.

    `parameters` holds the drawn parameters. `measured` holds values measured during the last call, such as the actual SNR.
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.measured: dict[str, object] = {}

    def randomize_parameters(self, samples: np.ndarray, sample_rate: int) -> None:
        """Decide whether to apply the distortion, and draw its parameters (called by audiomentations)."""
        super().randomize_parameters(samples, sample_rate)
        if self.parameters["should_apply"]:
            self.parameters |= self.draw(len(samples))

    def apply(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """Distort the clip with the drawn parameters (called by audiomentations).

        Raises:
            AugmentationError: the sampling rate is not 16 kHz.
        """
        if sample_rate != RATE:
            raise AugmentationError(f"{type(self).__name__} needs {RATE} Hz, not {sample_rate}: resample the audio first")
        self.measured = {}
        return self.distort(samples).astype(np.float32, copy=False)

    @abstractmethod
    def draw(self, length: int) -> dict[str, object]:
        """Draw the random parameters for a clip of `length` samples, as JSON types.

        Use Python's `random`, as audiomentations does. Noise is generated in `distort` by `np.random.default_rng`, with a seed
        that `new_seed` draws here.
        """

    @abstractmethod
    def distort(self, samples: np.ndarray) -> np.ndarray:
        """Return the distorted clip: float32 `(samples,)` in and out, with the same length and alignment.

        The result depends on `self.parameters`, which must not be changed.
        """


def record(transform: BaseWaveformTransform) -> dict[str, object]:
    """Return the parameters that the last call of a transform drew and, for a `Distortion`, the values it measured."""
    drawn = {name: value for name, value in transform.parameters.items() if name != "should_apply"}
    return drawn | getattr(transform, "measured", {})


def check_range(name: str, values: Iterable[float], low: float, high: float) -> None:
    """Raise AugmentationError unless all `values` of the argument `name` are within [low, high]."""
    values = tuple(values)
    if not all(low <= value <= high for value in values):
        raise AugmentationError(f"{name} = {list(values)}: must be within [{low:g}, {high:g}]")


def new_seed() -> int:
    """Draw a seed to be stored in a transform's parameters."""
    return random.randrange(2**32)


def clip_generator(seed: int, view: int, utt_id: str) -> np.random.Generator:
    """Return the random generator for one view (or epoch) of one clip; it does not depend on the number of processes."""
    digest = hashlib.sha256(f"{seed}\0{view}\0{utt_id}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


@contextmanager
def seeded(rng: np.random.Generator, path: str | None = None) -> Iterator[None]:
    """Seed the global generators that audiomentations draws from, and restore their states afterwards.

    Args:
        path: file of the clip that is distorted within, which babble never uses as a talker; None = unknown.
    """
    token = _clip_path.set(path)
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    seed = int(rng.integers(2**32))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        _clip_path.reset(token)


def is_own_file(path: str) -> bool:
    """Return whether `path` is the file of the clip that is being distorted, as told to `seeded`."""
    own = _clip_path.get()
    return own is not None and os.path.abspath(path) == os.path.abspath(own)


def power(wave: np.ndarray) -> float:
    """Return the mean square of `(samples,)`."""
    return float(np.mean(np.square(wave, dtype=np.float64)))


def scale_to_snr(signal: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Scale `noise` so that the signal-to-noise ratio is `snr_db` dB; return zeros if either input is silent."""
    loudness = power(noise)
    return noise * np.sqrt(power(signal) / loudness) * 10 ** (-snr_db / 20) if loudness else np.zeros_like(noise)
