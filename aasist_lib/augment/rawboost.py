"""RawBoost (Tak, Kamble, Patino, Todisco and Evans, ICASSP 2022, arXiv 2111.04433), implemented from the paper's equations.

It combines three kinds of noise, in series or in parallel:

- LnL, linear and non-linear convolutive (a Hammerstein model): y = sum over j of g_j h_j * x^j, h_j a chain of notch filters;
- ISD, impulsive and signal-dependent: y[n] = x[n] + g_sd d[n] x[n] at randomly chosen n, with d[n] in [-1, 1];
- SSI, stationary and signal-independent: y = x + g_si (h * w), with white noise w, scaled to an SNR.

The default ranges are those of the authors' published script, as is the distribution of d (the product of two uniform values).
Samples are not normalised before taking powers, so the non-linear orders are stronger in louder clips.

Additions of this implementation: filters cause no delay, the clip keeps its peak and its mean (even powers would shift the
mean), and silent and one-sample clips are accepted.
"""

from __future__ import annotations

import random
from functools import reduce

import numpy as np
from scipy.signal import firwin

from aasist_lib.audio import RATE
from aasist_lib.augment.base import AugmentationError, Distortion, check_range, new_seed, scale_to_snr
from aasist_lib.augment.filters import Range, zero_phase

PARALLEL = 8
STAGES = {
    1: ("lnl",),
    2: ("isd",),
    3: ("ssi",),
    4: ("lnl", "isd", "ssi"),
    5: ("lnl", "isd"),
    6: ("lnl", "ssi"),
    7: ("isd", "ssi"),
    PARALLEL: ("lnl", "isd"),
}
"""Stages of each algorithm, numbered as in the published script. Stages run in series; algorithm 8 sums their outputs."""
_GRID = 8192


class RawBoost(Distortion):
    """Add RawBoost noise. The output of each stage, and the sum in algorithm 8, is scaled to the peak of its input.

    Args:
        algorithm: 1 LnL, 2 ISD, 3 SSI, 4 all in series, 5 LnL and ISD, 6 LnL and SSI, 7 ISD and SSI, 8 LnL and ISD in parallel.
        orders: number of powers of the signal in LnL, 1 (linear only) to 10; N_f in the paper.
        notches: number of notch filters in a chain, 1 to 20.
        centre_hz: range of the notches' centre frequencies, within 0 to 8000 Hz.
        bandwidth_hz: range of the notches' bandwidths, within 1 to 8000 Hz.
        taps: range of the number of taps per notch filter, within 3 to 501; even numbers are increased by one.
        gain_db: range of each order's gain (its filter's largest response), within -40 to 40 dB. Because the peak is kept, only
            the differences between orders matter.
        nonlinear_db: range of the attenuation of orders 2 and higher, within 0 to 80 dB.
        impulses_percent: range of the percentage of samples that ISD changes, within 0 to 100 %.
        impulse_gain: g_sd in the paper, 0 to 10.
        snr_db: range of SSI's SNR, within -20 to 100 dB.
        p: probability of applying the distortion.

    Raises:
        AugmentationError: an argument is outside its range.
    """

    def __init__(
        self,
        algorithm: int = 4,
        orders: int = 5,
        notches: int = 5,
        centre_hz: Range = (20, 8000),
        bandwidth_hz: Range = (100, 1000),
        taps: Range = (10, 100),
        gain_db: Range = (0, 0),
        nonlinear_db: Range = (20, 5),
        impulses_percent: Range = (0, 10),
        impulse_gain: float = 2.0,
        snr_db: Range = (40, 10),
        p: float = 0.5,
    ) -> None:
        super().__init__(p)
        if algorithm not in STAGES:
            raise AugmentationError(f"algorithm = {algorithm}: must be one of {sorted(STAGES)}")
        check_range("orders", (orders,), 1, 10)
        check_range("notches", (notches,), 1, 20)
        check_range("centre_hz", centre_hz, 0, RATE / 2)
        check_range("bandwidth_hz", bandwidth_hz, 1, RATE / 2)
        check_range("taps", taps, 3, 501)
        check_range("gain_db", gain_db, -40, 40)
        check_range("nonlinear_db", nonlinear_db, 0, 80)
        check_range("impulses_percent", impulses_percent, 0, 100)
        check_range("impulse_gain", (impulse_gain,), 0, 10)
        check_range("snr_db", snr_db, -20, 100)
        self.algorithm, self.orders, self.notches = algorithm, orders, notches
        self.centre_hz, self.bandwidth_hz, self.taps = centre_hz, bandwidth_hz, taps
        self.gain_db, self.nonlinear_db = gain_db, nonlinear_db
        self.impulses_percent, self.impulse_gain, self.snr_db = impulses_percent, impulse_gain, snr_db

    def draw(self, length: int) -> dict[str, object]:
        """Draw the parameters of each stage; a filter is a list of notches, each `[centre in Hz, bandwidth in Hz, taps]`."""
        drawn: dict[str, object] = {"algorithm": self.algorithm}
        stages = STAGES[self.algorithm]
        if "lnl" in stages:
            weaker = [0.0] + [random.uniform(*self.nonlinear_db) for _ in range(self.orders - 1)]
            drawn["gains_db"] = [random.uniform(*self.gain_db) - less for less in weaker]
            drawn["filters"] = [self._draw_filter() for _ in weaker]
        if "isd" in stages:
            drawn["impulses_percent"] = random.uniform(*self.impulses_percent)
            drawn["impulse_gain"] = self.impulse_gain
            drawn["impulse_seed"] = new_seed()
        if "ssi" in stages:
            drawn |= {"snr_db": random.uniform(*self.snr_db), "noise_filter": self._draw_filter(), "noise_seed": new_seed()}
        return drawn

    def _draw_filter(self) -> list[list[float]]:
        return [
            [random.uniform(*self.centre_hz), random.uniform(*self.bandwidth_hz), round(random.uniform(*self.taps)) | 1]
            for _ in range(self.notches)
        ]

    def distort(self, samples: np.ndarray) -> np.ndarray:
        stages = {"lnl": self._convolutive, "isd": self._impulsive, "ssi": self._stationary}
        if self.parameters["algorithm"] == PARALLEL:
            return to_peak(np.sum([stages[name](samples) for name in STAGES[PARALLEL]], axis=0), samples)
        wave = samples
        for name in STAGES[self.parameters["algorithm"]]:
            wave = stages[name](wave)
        return wave

    def _convolutive(self, wave: np.ndarray) -> np.ndarray:
        result, raised = np.zeros_like(wave), np.ones_like(wave)
        for gain, notches in zip(self.parameters["gains_db"], self.parameters["filters"], strict=True):
            raised *= wave
            result += zero_phase(raised, 10 ** (gain / 20) * notch_taps(notches))
        result += wave.mean() - result.mean()
        return to_peak(result, wave)

    def _impulsive(self, wave: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(self.parameters["impulse_seed"])
        count = round(len(wave) * self.parameters["impulses_percent"] / 100)
        where = rng.choice(len(wave), count, replace=False, shuffle=False)
        result = wave.copy()
        result[where] *= 1 + self.parameters["impulse_gain"] * np.prod(rng.uniform(-1, 1, (2, count)), axis=0)
        return to_peak(result, wave)

    def _stationary(self, wave: np.ndarray) -> np.ndarray:
        white = np.random.default_rng(self.parameters["noise_seed"]).standard_normal(len(wave), dtype=np.float32)
        noise = zero_phase(white, notch_taps(self.parameters["noise_filter"]))
        return to_peak(wave + scale_to_snr(wave, noise, self.parameters["snr_db"]), wave)


def notch_taps(notches: list[list[float]]) -> np.ndarray:
    """Combine a chain of linear-phase notch filters into one filter (window method, Hamming).

    Args:
        notches: `[centre in Hz, bandwidth in Hz, odd number of taps]` for each notch; bands are clipped to 0 to 8000 Hz.

    Returns:
        An odd number of symmetric taps, scaled to a largest response of 1.
    """
    # Do not let firwin scale the gain to 1 at 0 Hz: a notch may be there.
    chain = (
        firwin(taps, np.clip([centre - width / 2, centre + width / 2], 1e-3, RATE / 2 - 1e-3), fs=RATE, scale=False)
        for centre, width, taps in notches
    )
    taps = reduce(np.convolve, chain)
    return taps / np.abs(np.fft.rfft(taps, max(_GRID, 4 * len(taps)))).max()


def to_peak(wave: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Scale `wave` to the largest absolute sample of `reference`; a silent wave stays silent."""
    peak = np.abs(wave).max()
    return wave * float(np.abs(reference).max() / peak) if peak else wave
