"""Neural copies: a recording passed through a small neural vocoder that was trained on train speakers only."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from demo_corpus import vocoders
from demo_corpus.attacks.source import Source
from demo_corpus.vocoders.networks import NETWORKS, Vocoder

WEIGHTS = {f"neural-{name}": Path(vocoders.__file__).with_name(f"{name}.safetensors") for name in NETWORKS}
"""Attack -> the file with its vocoder's weights."""


def istft(source: Source, rng: np.random.Generator) -> np.ndarray:
    """Copy by magnitude and phase of an inverse STFT, `(samples,)`."""
    return _copy("istft", source)


def upsampling(source: Source, rng: np.random.Generator) -> np.ndarray:
    """Copy by transposed convolutions, `(samples,)`."""
    return _copy("upsampling", source)


def codec(source: Source, rng: np.random.Generator) -> np.ndarray:
    """Copy by a neural codec of 3 kbit/s, `(samples,)`."""
    return _copy("codec", source)


@cache
def vocoder(name: str) -> Vocoder:
    """Return a trained vocoder; `name` is one of `NETWORKS`."""
    network = NETWORKS[name]()
    network.load_state_dict({key: value.float() for key, value in load_file(WEIGHTS[f"neural-{name}"]).items()})
    return network.eval().requires_grad_(False)


@torch.no_grad()
def _copy(name: str, source: Source) -> np.ndarray:
    wave = torch.from_numpy(source.wave).float()[None]
    return vocoder(name)(wave)[0].double().numpy()
