"""The interface of all front ends, used by the back end, feature banks and checkpoints."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from typing import Any

from torch import nn

from aasist_lib.config import ConfigError


class EncoderUnavailable(ConfigError):
    """The encoder is neither on this machine nor reachable; the message gives the command that fetches it."""


def activation(name: str) -> nn.Module:
    """The activation that `model.activation` names: 'gelu' (the paper) or 'selu' (original AASIST)."""
    return nn.GELU() if name == "gelu" else nn.SELU(inplace=True)


class Frontend(nn.Module, ABC):
    """`waveform (batch, samples)` at 16 kHz -> states `(batch, layers, frames, features)`."""

    name: str
    layers: list[int]
    """Numbers of the layers it returns."""
    features: int
    """Features per frame and layer."""
    stride: int
    """Samples from one frame to the next."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Stored in feature banks and checkpoints: name, layers, and a sha256 of everything that the states depend on."""

    def content_digest(self) -> str:
        """16 hexadecimal digits of `identity()`, for cache keys."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:16]
