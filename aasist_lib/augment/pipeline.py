"""The profile's list of distortions as one pipeline whose effect on a clip depends on (seed, view, utt_id) only.

audiomentations draws from the global generators of `random` and NumPy. Here they are seeded from the clip's own generator
for the length of one call and put back afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from audiomentations.core.transforms_interface import BaseWaveformTransform

from aasist_lib.audio import RATE
from aasist_lib.augment.base import AugmentationError, power, record, seeded
from aasist_lib.augment.noise import Babble
from aasist_lib.augment.registry import build
from aasist_lib.augment.schedule import Strength, strength
from aasist_lib.config.augmentation import AugmentationConfig

_SPEECH_POWER = 1e-3
"""Mean square of a clip at which it surely holds speech (-30 dBFS). Of fainter ones a codec may rightly leave nothing."""


@dataclass(frozen=True)
class Applied:
    """One distortion that was applied, with the parameters drawn.

    `snr_db` is what was reached: the power of the part of the result that is the clip itself, scaled, over that of all the
    rest (scale-invariant signal-to-distortion ratio, Le Roux et al. 2019, eq. 3), in dB; infinite where nothing but the level
    changed.
    """

    name: str
    parameters: dict[str, object]
    snr_db: float


class Augmenter:
    """`augmenter(wave, rng, utt_id) -> (wave, applied)`: float32 `(samples,)` at 16 kHz in and out, same length.

    Args:
        config: the profile's section.
        paths: audio files of the split at hand, from which babble is made.
    """

    def __init__(self, config: AugmentationConfig, paths: Sequence[str] = ()) -> None:
        self.config, self.paths = config, tuple(paths)
        self.start = strength(config, 0.0)
        self.transforms = lru_cache(maxsize=None)(self._build)
        self.transforms(self.start)  # what cannot be built is said now, not in a worker

    def _build(self, at: Strength) -> tuple[BaseWaveformTransform, ...]:
        return tuple(
            build(item.kind, item.at(at.intensity), min(item.p * at.probability, 1.0), self.paths)
            for item in self.config.distortions
        )

    def __getstate__(self) -> dict:
        return {"config": self.config, "paths": self.paths}

    def __setstate__(self, state: dict) -> None:
        Augmenter.__init__(self, **state)

    def draw_speed(self, rng: np.random.Generator, at: Strength | None = None) -> float:
        """The factor of a speed change, to be made before cropping since it changes the length; 1 = none."""
        fires, factor = rng.random() < (at or self.start).probability, rng.uniform(*self.config.speed)
        return factor if fires else 1.0

    def __call__(
        self, wave: np.ndarray, rng: np.random.Generator, utt_id: str = "?", path: str | None = None, at: Strength | None = None
    ) -> tuple[np.ndarray, list[Applied]]:
        """Distort one clip.

        Args:
            wave: `(samples,)`.
            rng: the clip's own, see `clip_generator`.
            utt_id: named in errors.
            path: the clip's own file, kept out of its babble.
            at: how often and how strongly; None = the beginning of the schedule.

        Raises:
            AugmentationError: a result has another length, is silent where the clip was loud, or holds NaN or infinite values.
        """
        applied: list[Applied] = []
        for transform in self.transforms(at or self.start):
            if isinstance(transform, Babble):
                transform.current = path
            with seeded(rng):
                distorted = _apply(transform, wave, utt_id)
            if not transform.parameters["should_apply"]:
                continue
            parameters = record(transform)
            name = type(transform).__name__
            _check(wave, distorted, f"{utt_id}: {name} {parameters}")
            applied.append(Applied(name, parameters, _distortion_ratio(wave, distorted)))
            wave = distorted.astype(np.float32, copy=False)
        return wave, applied


def _apply(transform: BaseWaveformTransform, wave: np.ndarray, utt_id: str) -> np.ndarray:
    try:
        return transform(wave, sample_rate=RATE)
    except Exception as error:
        error.add_note(f"while {utt_id} was distorted by {type(transform).__name__} {transform.parameters}")
        raise


def _check(wave: np.ndarray, distorted: np.ndarray, what: str) -> None:
    if distorted.shape != wave.shape:
        raise AugmentationError(f"{what} gave {distorted.shape} samples for {wave.shape}")
    if not np.isfinite(distorted).all():
        raise AugmentationError(f"{what} gave NaN or infinite samples")
    if not distorted.any() and power(wave) > _SPEECH_POWER:
        raise AugmentationError(f"{what} gave silence")


def _distortion_ratio(wave: np.ndarray, distorted: np.ndarray) -> float:
    clip, result = wave.astype(np.float64), distorted.astype(np.float64)
    own = clip * (result @ clip / (clip @ clip)) if clip.any() else result
    rest = power(result - own)
    # Rounding to float32 leaves some -140 dB of the level.
    if rest <= 1e-13 * power(own):
        return float("inf")
    return float(10 * np.log10(power(own) / rest)) if own.any() else float("-inf")
