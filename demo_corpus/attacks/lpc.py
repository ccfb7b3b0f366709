"""Source-filter vocoders: an excitation of pulses and noise through a filter estimated from the clip."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.linalg import solve_toeplitz
from scipy.signal import get_window, lfilter

from aasist_lib.audio import RATE
from demo_corpus.attacks.source import Source

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    import pysptk
    from pysptk.synthesis import MLSADF, Synthesizer

_HOP = 80
_MEL_ORDER, _ALPHA, _MEL_FRAME = 24, 0.42, 512
_LPC_ORDER, _LPC_FRAME = 18, 400
_LSB = 1 / 32768


def mel_cepstral(source: Source, rng: np.random.Generator) -> np.ndarray:
    """Mel-cepstral vocoder: mel-cepstra of order 24 driving an MLSA filter, `(samples,)`."""
    wave = source.wave + rng.uniform(-_LSB, _LSB, len(source.wave))
    frames = _frames(wave, _MEL_FRAME) * pysptk.blackman(_MEL_FRAME)
    cepstra = pysptk.mcep(np.ascontiguousarray(frames), _MEL_ORDER, _ALPHA, maxiter=4, eps=1e-8, etype=1)
    excitation = _excitation(wave, len(frames), rng)
    filtered = Synthesizer(MLSADF(order=_MEL_ORDER, alpha=_ALPHA, pd=5), _HOP).synthesis(
        excitation, pysptk.mc2b(cepstra, _ALPHA)
    )
    return filtered[: len(wave)]


def linear_prediction(source: Source, rng: np.random.Generator) -> np.ndarray:
    """LPC vocoder: all-pole filters of order 18, excited by pulses where voiced and noise elsewhere, `(samples,)`."""
    wave = source.wave + rng.uniform(-_LSB, _LSB, len(source.wave))
    frames = _frames(wave, _LPC_FRAME) * get_window("hann", _LPC_FRAME)
    excitation = _excitation(wave, len(frames), rng)
    spoken = np.zeros(len(frames) * _HOP)
    state = np.zeros(_LPC_ORDER)
    for index, frame in enumerate(frames):
        correlation = np.correlate(frame, frame, "full")[_LPC_FRAME - 1 : _LPC_FRAME + _LPC_ORDER]
        correlation[0] = correlation[0] * (1 + 1e-4) + 1e-9
        predictor = solve_toeplitz(correlation[:-1], correlation[1:])
        gain = np.sqrt(max(correlation[0] - predictor @ correlation[1:], 0) / np.sum(get_window("hann", _LPC_FRAME) ** 2))
        at = slice(index * _HOP, (index + 1) * _HOP)
        spoken[at], state = lfilter([gain], np.concatenate([[1], -predictor]), excitation[at], zi=state)
    return spoken[: len(wave)]


def _frames(wave: np.ndarray, size: int) -> np.ndarray:
    """Return overlapping frames centred every 5 ms, `(frames, size)`."""
    padded = np.pad(wave, size // 2)
    return np.lib.stride_tricks.sliding_window_view(padded, size)[:-1:_HOP]


def _excitation(wave: np.ndarray, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return unit-power pulses at the clip's F0, and white noise where it is unvoiced, `(frames * 80,)`."""
    f0 = pysptk.swipe(wave, RATE, _HOP, threshold=0.25, min=60, max=400)
    f0 = np.pad(f0, (0, max(frames - len(f0), 0)))[:frames]
    per_sample = np.repeat(f0, _HOP)
    cycles = np.cumsum(per_sample / RATE)
    pulses = np.diff(np.floor(cycles), prepend=0) > 0
    periods = np.sqrt(RATE / np.maximum(per_sample, 1))
    return np.where(per_sample > 0, pulses * periods, rng.standard_normal(len(per_sample)))
