"""The profile's distortions as one pipeline; its effect on a clip depends only on (seed, view, utt_id).

audiomentations draws from the global generators of `random` and NumPy. This module seeds them from the clip's own generator
for each call and restores them afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from audiomentations.core.transforms_interface import BaseWaveformTransform

from aasist_lib.audio import RATE
from aasist_lib.augment.base import AugmentationError, power, record, seeded
from aasist_lib.augment.registry import build
from aasist_lib.augment.schedule import Strength, strength
from aasist_lib.config.augmentation import AugmentationConfig, Item, OneOf

_SPEECH_POWER = 1e-3
"""Mean square above which a clip is assumed to contain speech (-30 dBFS). A codec may turn a fainter clip into silence."""


@dataclass(frozen=True)
class Applied:
    """A distortion that was applied, with the parameters drawn.

    `snr_db` is the scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, eq. 3): the power of the scaled clip
    within the result over the power of the remainder. It is infinite if only the level changed.
    """

    name: str
    parameters: dict[str, object]
    snr_db: float


class Augmenter:
    """Applies the profile's distortions: `augmenter(wave, rng, utt_id) -> (wave, applied)`.

    Waves are float32 `(samples,)` at 16 kHz in and out, with the same length.

    Args:
        config: the profile's `augmentation` section.
        paths: audio files of the current split, used for babble.
    """

    def __init__(self, config: AugmentationConfig, paths: Sequence[str] = ()) -> None:
        self.config, self.paths = config, tuple(paths)
        self.start = strength(config, 0.0)
        self.transforms = lru_cache(maxsize=None)(self._build)
        self.transforms(self.start)  # report errors here, not in a worker process

    def _build(self, at: Strength) -> tuple[tuple[bool, tuple[BaseWaveformTransform, ...]], ...]:
        """For each item of the list, whether it is `always` applied, and the transforms of which one is drawn."""
        return tuple((item.always, self._choices(item, at)) for item in self.config.distortions)

    def _choices(self, item: Item, at: Strength) -> tuple[BaseWaveformTransform, ...]:
        p = item.p if item.always or self.config.together else min(item.p * at.probability, 1.0)
        intensity = 1.0 if item.always else at.intensity
        choices = item.choices if isinstance(item, OneOf) else (item,)
        return tuple(build(choice.kind, choice.at(intensity), p, self.paths) for choice in choices)

    def __getstate__(self) -> dict:
        return {"config": self.config, "paths": self.paths}

    def __setstate__(self, state: dict) -> None:
        Augmenter.__init__(self, **state)

    def draw_speed(self, rng: np.random.Generator, at: Strength | None = None) -> float:
        """Draw the factor of a speed change; 1 = none. Apply it before cropping, because it changes the length."""
        fires, factor = rng.random() < (at or self.start).probability, rng.uniform(*self.config.speed)
        return factor if fires else 1.0

    def __call__(
        self, wave: np.ndarray, rng: np.random.Generator, utt_id: str = "?", path: str | None = None, at: Strength | None = None
    ) -> tuple[np.ndarray, list[Applied]]:
        """Distort one clip.

        Args:
            wave: `(samples,)`.
            rng: the clip's own generator, see `clip_generator`.
            utt_id: name of the clip in error messages.
            path: the clip's own file, which is excluded from its babble.
            at: probability and intensity of the distortions; None = the start of the schedule.

        Returns:
            The distorted wave and the distortions that were applied, in order.

        Raises:
            AugmentationError: a result has another length, is silent although the clip is loud, or contains NaN or infinite
                values.
        """
        applied: list[Applied] = []
        at = at or self.start
        skipped = self.config.together and rng.random() >= at.probability
        for always, choices in self.transforms(at):
            if skipped and not always:
                continue
            transform = choices[rng.integers(len(choices))] if len(choices) > 1 else choices[0]
            with seeded(rng, path):
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
        error.add_note(f"while distorting {utt_id} with {type(transform).__name__} {transform.parameters}")
        raise


def _check(wave: np.ndarray, distorted: np.ndarray, what: str) -> None:
    if distorted.shape != wave.shape:
        raise AugmentationError(f"{what} returned shape {distorted.shape} for a clip of shape {wave.shape}")
    if not np.isfinite(distorted).all():
        raise AugmentationError(f"{what} returned NaN or infinite samples")
    if not distorted.any() and power(wave) > _SPEECH_POWER:
        raise AugmentationError(f"{what} returned silence")


def _distortion_ratio(wave: np.ndarray, distorted: np.ndarray) -> float:
    clip, result = wave.astype(np.float64), distorted.astype(np.float64)
    own = clip * (result @ clip / (clip @ clip)) if clip.any() else result
    rest = power(result - own)
    # Float32 rounding leaves a remainder of about -140 dB relative to the level.
    if rest <= 1e-13 * power(own):
        return float("inf")
    return float(10 * np.log10(power(own) / rest)) if own.any() else float("-inf")
