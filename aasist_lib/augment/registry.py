"""Mapping from distortion kinds in a profile (`aasist_lib.config.augmentation`) to the transforms that implement them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import audiomentations
from audiomentations.core.transforms_interface import BaseWaveformTransform

from aasist_lib.augment.codecs import CodecChain, CodecCompression
from aasist_lib.augment.filters import Equaliser, Resampling, TimeStretching, TrimSilence
from aasist_lib.augment.noise import Babble, Background, Noise
from aasist_lib.augment.rawboost import RawBoost
from aasist_lib.augment.reverberation import Reverberation
from aasist_lib.augment.telephone import PacketLoss, QuantisedTelephone, Telephone


def _gain(gain_db: tuple[float, float], p: float) -> BaseWaveformTransform:
    return audiomentations.Gain(-max(gain_db), max(gain_db), p=p)


def _pitch(semitones: tuple[float, float], p: float) -> BaseWaveformTransform:
    return audiomentations.PitchShift(-max(semitones), max(semitones), method="signalsmith_stretch", p=p)


def _low_pass(cutoff_hz: tuple[float, float], p: float) -> BaseWaveformTransform:
    # Zero-phase: the causal filter delays by more than a sample.
    return audiomentations.LowPassFilter(min(cutoff_hz), max(cutoff_hz), 12, 24, zero_phase=True, p=p)


def _shift(share: tuple[float, float], p: float) -> BaseWaveformTransform:
    return audiomentations.Shift(-max(share), max(share), p=p)


def _clipping(percent: tuple[float, float], p: float) -> BaseWaveformTransform:
    low, high = sorted(round(end) for end in percent)
    return audiomentations.ClippingDistortion(low, high, p=p)


TRANSFORMS: dict[str, Callable[..., BaseWaveformTransform]] = {
    "codec": CodecCompression,
    "codec_chain": CodecChain,
    "telephone": Telephone,
    "packet_loss": PacketLoss,
    "noise": Noise,
    "background": Background,
    "babble": Babble,
    "reverberation": Reverberation,
    "rawboost": RawBoost,
    "gain": _gain,
    "polarity": audiomentations.PolarityInversion,
    "low_pass": _low_pass,
    "equaliser": Equaliser,
    "resampling": Resampling,
    "pitch": _pitch,
    "stretch": TimeStretching,
    "shift": _shift,
    "normalise": audiomentations.Normalize,
    "clipping": _clipping,
    "trim_silence": TrimSilence,
    "quantised_telephone": QuantisedTelephone,
}


def build(kind: str, arguments: Mapping[str, Any], p: float, paths: Sequence[str] = ()) -> BaseWaveformTransform:
    """Build the transform for a distortion kind.

    Args:
        kind: a key of `TRANSFORMS`.
        arguments: keyword arguments, as returned by `Item.at`.
        p: probability of applying the distortion, in [0, 1].
        paths: the split's audio files, used for babble.

    Raises:
        AugmentationError: an argument is not allowed, a codec is not installed, or a folder has no audio files.
    """
    if kind == "babble":
        arguments = {**arguments, "paths": paths}
    return TRANSFORMS[kind](**arguments, p=p)
