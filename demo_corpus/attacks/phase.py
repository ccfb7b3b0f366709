"""Phase reconstruction: fast Griffin-Lim from a linear or a mel spectrogram."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.fft import irfft, rfft
from scipy.signal import get_window

from aasist_lib.audio import RATE
from demo_corpus.attacks.source import Source

_FRAME, _HOP, _MELS = 1024, 256, 80
_MOMENTUM, _ROUNDS = 0.99, 32
_WINDOW = get_window("hann", _FRAME)


def linear(source: Source, rng: np.random.Generator) -> np.ndarray:
    """Griffin-Lim from the exact magnitudes at 75 % overlap, close to transparent, `(samples,)`."""
    return _griffin_lim(np.abs(_transform(source.wave)), len(source.wave), rng)


def mel(source: Source, rng: np.random.Generator) -> np.ndarray:
    """Griffin-Lim from an 80-band mel spectrogram, inverted by the filter bank's pseudo-inverse, `(samples,)`."""
    forward, back = _mel_filters()
    magnitude = np.abs(_transform(source.wave)) @ forward.T @ back.T
    return _griffin_lim(np.maximum(magnitude, 1e-8), len(source.wave), rng)


def _griffin_lim(magnitude: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    phase = np.exp(2j * np.pi * rng.random(magnitude.shape))
    previous = np.zeros_like(phase)
    for _ in range(_ROUNDS):
        consistent = _transform(_inverse(magnitude * phase, samples))
        moved = consistent + _MOMENTUM * (consistent - previous)
        phase = moved / np.maximum(np.abs(moved), 1e-12)
        previous = consistent
    return _inverse(magnitude * phase, samples)


def _transform(wave: np.ndarray) -> np.ndarray:
    """Return the short-time spectrum `(frames, 513)`; the ends are padded so that every sample is in four frames."""
    padded = np.pad(wave, (_FRAME, _FRAME + -len(wave) % _HOP))
    return rfft(np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP] * _WINDOW)


def _inverse(spectrum: np.ndarray, samples: int) -> np.ndarray:
    """Return the least-squares inverse of `_transform`."""
    frames = irfft(spectrum, _FRAME) * _WINDOW
    parts = frames.reshape(len(frames), -1, _HOP)
    blocks = np.zeros((len(frames) + parts.shape[1] - 1, _HOP))
    for shift in range(parts.shape[1]):
        blocks[shift : shift + len(frames)] += parts[:, shift]
    weight = np.sum(_WINDOW.reshape(-1, _HOP) ** 2, axis=0)
    return (blocks / weight).ravel()[_FRAME : _FRAME + samples]


@cache
def _mel_filters() -> tuple[np.ndarray, np.ndarray]:
    """Return triangular mel filters `(80, 513)` and their pseudo-inverse."""
    mels = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), _MELS + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    bins = np.fft.rfftfreq(_FRAME, 1 / RATE)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    forward = np.maximum(np.minimum(rising, falling), 0)
    return forward, np.linalg.pinv(forward)
