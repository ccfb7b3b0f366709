"""Simple distortions that audiomentations lacks, or implements with artefacts that a detector could learn.

Some audiomentations transforms keep length and alignment and are used directly: `Gain`, `PolarityInversion`, `LowPassFilter`
(with `zero_phase=True`; otherwise it delays by more than a sample), `PitchShift` and `ClippingDistortion`.
tests/augment/test_filters.py checks this. Implemented here: `Resampling` (audiomentations' `Resample` changes the length),
`TimeStretching` (its `TimeStretch` pads faster clips with digital zeros), `TrimSilence` (its `Trim` changes the length) and
`Equaliser` (its `SevenBandParametricEQ` is causal and does not record its parameters).
"""

from __future__ import annotations

import random

import audiomentations
import numpy as np
import soxr
from scipy.signal import firwin2, oaconvolve

from aasist_lib.audio import RATE, fit
from aasist_lib.augment.base import Distortion, check_range, power

Range = tuple[float, float]
FRAME = RATE // 100
_EQUALISER_TAPS = 513
_EQUALISER_HZ = (80.0, 7900.0)


def zero_phase(wave: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Filter `wave (samples,)` with an odd number of symmetric FIR taps and remove the delay; the length stays the same."""
    return oaconvolve(wave, taps.astype(wave.dtype), mode="same")


class Resampling(Distortion):
    """Resample to a lower rate and back with soxr, which removes everything above half the lower rate.

    Args:
        rate_hz: range of the lower sampling rate, within 2000 to 16000 Hz.
        p: probability of applying the distortion.
    """

    def __init__(self, rate_hz: Range = (15_000, 8000), p: float = 0.5) -> None:
        super().__init__(p)
        check_range("rate_hz", rate_hz, 2000, RATE)
        self.rate_hz = rate_hz

    def draw(self, length: int) -> dict[str, object]:
        return {"rate_hz": random.uniform(*self.rate_hz)}

    def distort(self, samples: np.ndarray) -> np.ndarray:
        # The padding allows for two roundings of the length, and for clips shorter than one sample at the lower rate.
        lower = soxr.resample(np.pad(samples, (0, 16)), RATE, self.parameters["rate_hz"])
        return soxr.resample(lower, self.parameters["rate_hz"], RATE)[: len(samples)]


class TimeStretching(Distortion):
    """Change the tempo but not the pitch. A clip that becomes shorter is repeated, one that becomes longer is cut.

    The result is not aligned with the input. audiomentations' TimeStretch is used without its own length correction, which
    would pad faster clips with digital zeros.

    Args:
        rate: range of the tempo, within 0.5 to 2 times the original (below 0.5, the underlying library draws phases from a
            generator that cannot be seeded).
        p: probability of applying the distortion.
    """

    def __init__(self, rate: Range = (1.0, 1.1), p: float = 0.5) -> None:
        super().__init__(p)
        check_range("rate", rate, 0.5, 2)
        self.rate = rate

    def draw(self, length: int) -> dict[str, object]:
        return {"rate": random.uniform(*self.rate)}

    def distort(self, samples: np.ndarray) -> np.ndarray:
        rate = self.parameters["rate"]
        stretch = audiomentations.TimeStretch(rate, rate, leave_length_unchanged=False, p=1.0)
        return fit(stretch(samples, RATE), len(samples))


class TrimSilence(Distortion):
    """Cut leading and trailing silence, and repeat the rest to the original length with `audio.fit`.

    The result is not aligned with the input. In ASVspoof 2019 and 2021 the length of this silence alone distinguishes spoof
    from bona fide far better than chance (Müller, Dieckmann, Czempin, Canals, Böttinger and Williams: Speech is Silver, Silence
    is Golden, ASVspoof workshop 2021, arXiv 2106.12914). A detector trained with this distortion cannot rely on it.

    Args:
        below_db: range of the threshold, within 5 to 100 dB below the loudest 10 ms. A frame below the threshold is silent.
        p: probability of applying the distortion.
    """

    def __init__(self, below_db: Range = (60, 30), p: float = 0.5) -> None:
        super().__init__(p)
        check_range("below_db", below_db, 5, 100)
        self.below_db = below_db

    def draw(self, length: int) -> dict[str, object]:
        return {"below_db": random.uniform(*self.below_db)}

    def distort(self, samples: np.ndarray) -> np.ndarray:
        energy = np.add.reduceat(np.square(samples, dtype=np.float64), np.arange(0, len(samples), FRAME))
        loud = np.flatnonzero(energy >= energy.max() * 10 ** (-self.parameters["below_db"] / 10))
        return fit(samples[loud[0] * FRAME : (loud[-1] + 1) * FRAME], len(samples))


class Equaliser(Distortion):
    """Apply a smooth random frequency response, like that of another microphone; zero-phase FIR, RMS level unchanged.

    The range from 80 to 7900 Hz is split into `points` bands of equal width in octaves. Each band gets a random gain at a
    random frequency. Between these points the gain in dB is linear in log-frequency; outside them it is constant.

    Args:
        gain_db: range of the largest boost or cut, within 0 to 40 dB; each point's gain is drawn between plus and minus that.
        points: smallest and largest number of points, within 2 to 20.
        p: probability of applying the distortion.
    """

    def __init__(self, gain_db: Range = (3, 9), points: Range = (6, 10), p: float = 0.5) -> None:
        super().__init__(p)
        check_range("gain_db", gain_db, 0, 40)
        check_range("points", points, 2, 20)
        self.gain_db, self.points = gain_db, points

    def draw(self, length: int) -> dict[str, object]:
        depth, count = random.uniform(*self.gain_db), round(random.uniform(*self.points))
        low, high = _EQUALISER_HZ
        places = [(k + random.random()) / count for k in range(count)]
        return {
            "frequencies_hz": [low * (high / low) ** place for place in places],
            "gains_db": [random.uniform(-depth, depth) for _ in places],
        }

    def distort(self, samples: np.ndarray) -> np.ndarray:
        hertz = np.linspace(0, RATE / 2, _EQUALISER_TAPS // 2 + 1)
        octave = np.log2(np.maximum(hertz, 1))
        gains = np.interp(octave, np.log2(self.parameters["frequencies_hz"]), self.parameters["gains_db"])
        shaped = zero_phase(samples, firwin2(_EQUALISER_TAPS, hertz, 10 ** (gains / 20), fs=RATE))
        loudness = power(shaped)
        return shaped * np.sqrt(power(samples) / loudness) if loudness else shaped
