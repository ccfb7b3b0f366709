"""Spectrograms in decibels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.signal import spectrogram

from .style import Array, make_figure, styled

SPECTROGRAM_RANGE_DB = 80


@styled
def spectrogram_pair(wave_a: Array, wave_b: Array, titles: Sequence[str], rate: int) -> Figure:
    """Draw spectrograms of two waveforms, (samples,), side by side with a common time axis and level scale."""
    figure, panels = make_figure(9, 3.4, 1, 2, sharey=True, sharex=True)
    drawn = [decibels(wave, rate) for wave in (wave_a, wave_b)]
    top = max(level.max() for _, _, level in drawn)
    for axes, (times, frequencies, level), title in zip(panels, drawn, titles, strict=True):
        image = draw_spectrogram(axes, times, frequencies, level, top)
        axes.set(xlabel="Time (s)", title=title, xlim=(0, max(len(wave_a), len(wave_b)) / rate))
        axes.grid(False)
    panels[1].set_ylabel("")
    figure.colorbar(image, ax=panels, label="Level (dB re full scale)", pad=0.01)
    return figure


def decibels(wave: Array, rate: int) -> tuple[Array, Array, Array]:
    """Compute times (s), frequencies (kHz) and levels (frequencies, times) in dB re a full-scale sine; 25 ms windows."""
    length = min(len(wave), round(0.025 * rate))
    overlap = max(0, length - round(0.010 * rate))
    settings = {"window": "hann", "nperseg": length, "noverlap": overlap, "nfft": max(512, length)}
    frequencies, times, magnitude = spectrogram(wave, rate, **settings, scaling="spectrum", mode="magnitude")
    return times, frequencies / 1000, 20 * np.log10(np.maximum(2 * magnitude, 1e-8))


def draw_spectrogram(axes: Axes, times: Array, frequencies: Array, level: Array, top: float | None = None) -> Any:
    top = level.max() if top is None else top
    step = (times[1] - times[0]) / 2 if len(times) > 1 else times[0]
    extent = (times[0] - step, times[-1] + step, frequencies[0], frequencies[-1])
    axes.set_ylabel("Frequency (kHz)")
    limits: dict[str, Any] = {"vmin": top - SPECTROGRAM_RANGE_DB, "vmax": top}
    return axes.imshow(level, origin="lower", aspect="auto", extent=extent, cmap="viridis", **limits)
