"""Simple distortions that audiomentations lacks, or makes in a way that leaves a trace no detector should learn.

Used as they are, because they keep length and alignment: `Gain`, `PolarityInversion`, `LowPassFilter` (only with
`zero_phase=True`: without it the filter delays by more than a sample), `PitchShift` and `ClippingDistortion`;
tests/augment/test_filters.py holds them to that. Made here: `Resampling` (audiomentations' `Resample` changes the length),
`TimeStretching` (its `TimeStretch` fills a faster clip up with digital zeros), `TrimSilence` (its `Trim` changes the length)
and `Equaliser` (its `SevenBandParametricEQ` is causal, and its record holds no parameters).
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
    """`wave (samples,)` through a FIR filter of an odd number of symmetric taps, its delay removed; same length."""
    return oaconvolve(wave, taps.astype(wave.dtype), mode="same")


class Resampling(Distortion):
    """Down to a lower sampling rate and back up with soxr, so that what lies above half the lower rate is lost.

    Args:
        rate_hz: range of the lower rate, within 2000 to 16000 Hz.
        p: probability.
    """

    def __init__(self, rate_hz: Range = (15_000, 8000), p: float = 0.5) -> None:
        super().__init__(p)
        check_range("rate_hz", rate_hz, 2000, RATE)
        self.rate_hz = rate_hz

    def draw(self, length: int) -> dict[str, object]:
        return {"rate_hz": random.uniform(*self.rate_hz)}

    def distort(self, samples: np.ndarray) -> np.ndarray:
        # Room for lengths to be rounded twice: soxr makes nothing of less than one sample of the lower rate.
        lower = soxr.resample(np.pad(samples, (0, 16)), RATE, self.parameters["rate_hz"])
        return soxr.resample(lower, self.parameters["rate_hz"], RATE)[: len(samples)]


class TimeStretching(Distortion):
    """Another tempo at the same pitch; a clip that got shorter is repeated, one that got longer is cut.

    Not aligned with the input, by its nature. audiomentations' TimeStretch does the work; its own way to keep the length would
    end faster clips in digital zeros.

    Args:
        rate: range of the tempo, within 0.5 to 2 times the original (slower than that, its library draws phases from a
            generator that cannot be seeded).
        p: probability.
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
    """Cut silent edges and repeat the rest to the same length, as `audio.fit` does. Not aligned with the input, by its nature.

    The length of edge silence alone tells spoofs from bona fide far better than chance in ASVspoof 2019 and 2021 (Müller,
    Dieckmann, Czempin, Canals, Böttinger and Williams: Speech is Silver, Silence is Golden, ASVspoof workshop 2021, arXiv
    2106.12914). A detector trained with this distortion cannot rely on it.

    Args:
        below_db: range of the threshold, within 5 to 100 dB below the loudest 10 ms. A frame under it is silent.
        p: probability.
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
    """A smooth random frequency response, as of another microphone; zero-phase FIR, the RMS level kept.

    The response runs through `points` gains at random frequencies, one in each of as many equal parts of the octaves from 80
    to 7900 Hz, straight in dB over log-frequency between them and level beyond them.

    Args:
        gain_db: range of the largest gain or cut, within 0 to 40 dB; the points' gains are drawn between plus and minus that.
        points: least and greatest number of points, within 2 to 20.
        p: probability.
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
