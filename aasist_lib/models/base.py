"""What every front end offers to the back end, to feature banks and to checkpoints."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from typing import Any

from torch import nn

from aasist_lib.config import ConfigError


class EncoderUnavailable(ConfigError):
    """The encoder is neither on this machine nor reachable; the message gives the command that fetches it."""


class Frontend(nn.Module, ABC):
    """`waveform (batch, samples)` at 16 kHz -> states `(batch, layers, frames, features)`."""

    name: str
    layers: list[int]
    """Numbers of the layers it gives out."""
    features: int
    """Numbers in a frame of a layer."""
    stride: int
    """Samples from one frame to the next."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What banks and checkpoints go by: name, layers, and a sha256 of all that its states depend on."""

    def content_digest(self) -> str:
        """16 hexadecimal digits of `identity()`, for keys of kept results."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:16]
