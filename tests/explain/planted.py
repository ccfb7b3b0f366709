"""A detector that hears spoof where a frame's first sample is above a half, and nowhere else: maps are checked against it."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aasist_lib.config import ModelConfig
from aasist_lib.models import AASIST

STRIDE, FEATURES = 320, 8


class FrontEnd(nn.Module):
    """`(batch, samples)` -> `(batch, 1, frames, 8)`: the first samples of each 20 ms frame."""

    stride = STRIDE

    def forward(self, waves: Tensor) -> Tensor:
        count = waves.shape[1] // STRIDE
        return waves[:, : count * STRIDE].reshape(len(waves), 1, count, STRIDE)[..., :FEATURES]


class Member(nn.Module):
    """Spoof is how far the first feature is above 0.5, on average over the frames, times a strength; bona fide 1 minus it."""

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(20.0))

    def forward(self, heard: Tensor) -> tuple[Tensor, None]:
        spoof = self.strength * functional.relu(heard[..., 0] - 0.5).mean(dim=1)
        return torch.stack([spoof, 1.0 - spoof], dim=1), None


class BackEnd(nn.Module):
    """Two members behind a mix that takes the one layer there is."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList([Member(), Member()])

    def mix(self, states: Tensor) -> Tensor:
        return states.squeeze(1)

    def forward(self, states: Tensor) -> Tensor:
        return torch.stack([member(self.mix(states))[0] for member in self.members]).mean(dim=0)


class Planted(nn.Module):
    """As `AASIST`, as far as the maps that are not attention need it."""

    device = AASIST.device

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.config = ModelConfig(samples=samples)
        self.frontend, self.backend = FrontEnd(), BackEnd()

    def forward(self, waves: Tensor) -> Tensor:
        return self.backend(self.frontend(waves))


def planted_wave(samples: int, start: int, end: int, seed: int = 0) -> np.ndarray:
    """Faint noise whose frames `start..end` begin with 0.9."""
    wave = 0.01 * np.random.default_rng(seed).standard_normal(samples).astype(np.float32)
    for frame in range(start, end):
        wave[frame * STRIDE : frame * STRIDE + FEATURES] = 0.9
    return wave
