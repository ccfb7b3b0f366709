"""Linear frequency cepstral coefficients (LFCC): the classic front end of the ASVspoof baselines."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchaudio import functional, transforms

from aasist_lib.audio import RATE
from aasist_lib.models.base import Frontend


class LFCC(Frontend):
    """`waveform (batch, samples)` at 16 kHz -> `(batch, 1, frames, 60)`: 20 cepstral coefficients, then their deltas, then the
    deltas of these. One frame per 10 ms; its 20 ms are entirely inside the clip.

    The set-up of the ASVspoof 2019 baseline (Sahidullah, Kinnunen and Hanilci, Interspeech 2015): pre-emphasis 0.97, Hamming
    window of 20 ms, 512-point FFT, 20 triangular filters side by side over 0..8000 Hz, logarithm, DCT. Differences from
    the baseline: the natural logarithm of power + 1e-6 (instead of log10 and 2e-16), and a delta is half the difference of the
    neighbours (instead of the difference). Nothing is trained.
    """

    name = "lfcc"
    SETTINGS: ClassVar[dict[str, Any]] = {
        "coefficients": 20,
        "deltas": 2,
        "window": 320,
        "hop": 160,
        "fft": 512,
        "filters": 20,
        "preemphasis": 0.97,
    }

    def __init__(self) -> None:
        super().__init__()
        chosen = self.SETTINGS
        self.layers, self.features, self.stride = [0], chosen["coefficients"] * (1 + chosen["deltas"]), chosen["hop"]
        # Torch puts the window into the middle of the FFT's stretch; padding by the rest lets the window touch both ends of
        # the clip. Not in decibels: torchaudio would cut them off 80 dB below the loudest clip of the batch.
        spectrum = {
            "n_fft": chosen["fft"], "win_length": chosen["window"], "hop_length": chosen["hop"], "center": False,
            "pad": (chosen["fft"] - chosen["window"]) // 2, "window_fn": torch.hamming_window, "wkwargs": {"periodic": False},
        }  # fmt: skip
        self.cepstrum = transforms.LFCC(
            RATE, n_filter=chosen["filters"], n_lfcc=chosen["coefficients"], log_lf=True, speckwargs=spectrum
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """The coefficients.

        Raises:
            ValueError: fewer samples than one window (320).
        """
        window = self.SETTINGS["window"]
        if waveform.shape[-1] < window:
            raise ValueError(f"{waveform.shape[-1]} samples; LFCC needs {window} (20 ms): repeat the clip (audio.fit)")
        blocks = [self.cepstrum(functional.preemphasis(waveform, self.SETTINGS["preemphasis"]))]
        for _ in range(self.SETTINGS["deltas"]):
            blocks.append(functional.compute_deltas(blocks[-1], win_length=3))
        return torch.cat(blocks, dim=1).transpose(1, 2).unsqueeze(1)

    def identity(self) -> dict[str, Any]:
        """Stored in feature banks and checkpoints: name, layers, settings and a sha256 of these."""
        digest = hashlib.sha256(json.dumps(self.SETTINGS, sort_keys=True).encode()).hexdigest()
        return {"name": self.name, "layers": self.layers, "settings": self.SETTINGS, "sha256": digest}
