"""Original AASIST's front end: a fixed bank of mel-spaced sinc band-pass filters on the waveform (after RawNet2)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from aasist_lib.audio import RATE
from aasist_lib.models.base import Frontend

POOL = 3
"""Filters, and samples, per cell of the image."""


def mel_edges(filters: int, sample_rate: int) -> Tensor:
    """The `filters` + 1 edges, in Hz, of bands equally wide on the mel scale from 0 to half the rate."""
    top = 2595 * torch.log10(torch.tensor(1 + sample_rate / 2 / 700, dtype=torch.float64))
    return 700 * (10 ** (torch.linspace(0, 1, filters + 1, dtype=torch.float64) * top / 2595) - 1)


def mel_band_pass(filters: int, taps: int, sample_rate: int) -> Tensor:
    """Adjacent windowed ideal band-pass filters, equally wide on the mel scale from 0 to half the rate: `(filters, taps)`.

    Filter i passes `low_i` to `high_i` Hz: `g_i[n] = (2 high sinc(2 high n) - 2 low sinc(2 low n)) * hamming[n]`, with the
    frequencies over the sample rate, `sinc(x) = sin(pi x) / (pi x)` and n centred on 0 (SincNet, Ravanelli and Bengio 2018).
    """
    edges = 2 * mel_edges(filters, sample_rate) / sample_rate
    times = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    low_pass = edges[:, None] * torch.sinc(edges[:, None] * times)
    window = torch.hamming_window(taps, periodic=False, dtype=torch.float64)
    return (low_pass.diff(dim=0) * window).float()


class SincFilters(Frontend):
    """`waveform (batch, samples)` at 16 kHz -> `(batch, 1, frames, 23)`: the maximum magnitude in each cell of 3 filters x 3
    samples, so a frame is 3 samples (0.19 ms) and `frames = (samples - 128) // 3`.

    70 filters of 129 taps, as in original AASIST (Jung et al., ICASSP 2022, section 2.1). As in the official model
    they are not trained; they are computed from `SETTINGS` and not stored in checkpoints.
    """

    name = "sinc"
    filters: Tensor
    SETTINGS = {"filters": 70, "taps": 129, "sample_rate": RATE}

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.features, self.stride = [0], self.SETTINGS["filters"] // POOL, POOL
        self.register_buffer("filters", mel_band_pass(**self.SETTINGS).unsqueeze(1), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """The magnitudes.

        Raises:
            ValueError: fewer samples than one frame needs (131).
        """
        shortest = self.SETTINGS["taps"] - 1 + POOL
        if waveform.shape[-1] < shortest:
            raise ValueError(f"{waveform.shape[-1]} samples; the sinc filters need {shortest}: repeat the clip (audio.fit)")
        bands = functional.conv1d(waveform.unsqueeze(1), self.filters)
        return functional.max_pool2d(bands.abs().unsqueeze(1), POOL).transpose(2, 3)

    def identity(self) -> dict[str, Any]:
        """Stored in feature banks and checkpoints: name, layers, settings and a sha256 of these."""
        settings = {**self.SETTINGS, "pool": POOL}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return {"name": self.name, "layers": self.layers, "settings": settings, "sha256": digest}
